"""Which device each site reads in a forward pass, and when its noise is drawn anew.

Noise has a place: one device for the whole "network", for a "layer" (a site: all lines of a synapse array), for an
input "line", or for a "synapse" of its own. And it has a time: drawn once a "run", for every "sentence" (example), or
for every "token"; never for a batch: all draws are keyed by (seed, example id, site), so that the batch an example
travels in, and its padding, change nothing. Run-to-run noise has a place and a time; device-to-device variation a
place, and is drawn once a run.

Of single synapses no table is drawn. Run-to-run, read once a token: with 1-bit weights all synapses of a row weigh the
same, so what their noise adds to a sum of many is Gaussian of variance sum_i var[level_i], one reduction more.
Device-to-device: delta_ij(k) = sum_m z_ijm*phi_m(k) with Z fixed by the seed, one matrix product a mode more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array, LevelReader
from otters_lab.ttfs.code import ideal_table
from otters_lab.ttfs.config import NoiseConfig, Place
from otters_lab.ttfs.functional import level_index, mirrored, read_table
from otters_lab.ttfs.layers import SiteShape, TTFSCode
from otters_lab.ttfs.statistics import LevelCounter, alarm_if_sparse
from otters_lab.ttfs.summary import SiteSummary

# Apart from each other and from what a reader draws: the last part of a key.
_RUNS, _DEVICES, _SYNAPSES, _THRESHOLDS, _STUCK = range(5)
_ALL_SITES = -1  # in place of a site's number
_ENOUGH = 2000  # draws that a reader without a covariance of its own is described by


@runtime_checkable
class DeviceReader(LevelReader, Protocol):
    """A `LevelReader` that knows its mean and covariances: a sampled device model."""

    def mean_levels(self) -> Array:
        """O(t_k) [T + 1] of the mean device."""

    def run_modes(self) -> Array:
        """phi [M, T + 1] with phi^T phi the run-to-run covariance of O(t_k)."""

    def device_modes(self) -> Array:
        """phi [M, T + 1] of the device-to-device covariance; M = 0 where devices are alike or not drawn."""

    def device_deviations(self, n: int, seed: tuple[int, ...]) -> Array:
        """What the mean levels of `n` devices differ by from the chip's, [n, T + 1]."""


def sites(model: nn.Module) -> dict[str, TTFSCode]:
    """All sites of a converted model by name, in the order of the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, TTFSCode)}


def check_levels(reader: LevelReader, top: int) -> None:
    """Refuses a reader of another code than the network's."""
    if reader.n_levels != top + 1:
        raise InputError("level tables do not fit the network", found=reader.n_levels, expected=f"{top + 1} levels")


@dataclass(frozen=True)
class Devices:
    """All devices of a model in one run. `seed` decides every draw, with example id and site; `multiple` scales noise.

    max_tokens : the longest sequence, for lines that are positions (attention probabilities).
    """

    reader: LevelReader
    seed: tuple[int, ...]
    config: NoiseConfig = field(default_factory=NoiseConfig)
    multiple: float = 1.0
    max_tokens: int = 512
    _kept: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def for_batch(self, model: nn.Module, ids: Sequence[int]) -> dict[str, SiteDevice]:
        """Each site's device for a batch of examples.

        Raises
        ------
        InputError
            if the reader has another number of levels than the model.
        """
        found = sites(model)
        lines = {name: self._lines(site.shape) for name, site in found.items()}
        for site in found.values():
            check_levels(self.reader, site.top)
        runs = self._runs(lines, ids)
        offsets = self._device_offsets(lines)
        late, seeds = self._late(), self._seeds(ids, len(found))
        made = {}
        for number, (name, site) in enumerate(found.items()):
            dtype = site.alpha.dtype
            table = torch.from_numpy(site.top * ideal_table(site.top)).to(dtype)[None, None]
            if runs is not None:
                table = table + self._levels(runs[name], site)
            elif late is not None:  # the mean alone
                table = table + self._levels(late, site)
            if offsets is not None:
                table = table + self._levels(offsets[name], site)
            if self._stuck and self.config.device_place != "synapse":
                table = self._with_stuck(table, number, lines[name])
            ideal = runs is None and offsets is None and late is None and not self._stuck
            made[name] = SiteDevice(self, number, site.shape, tuple(ids), table, ideal, seeds)
        return made

    def _levels(self, deviations: Array, site: TTFSCode) -> Tensor:
        """Deviations of O as such of T*O, in the site's precision."""
        return torch.from_numpy(np.ascontiguousarray(site.top * self.multiple * deviations)).to(site.alpha.dtype)

    @property
    def _stuck(self) -> bool:
        return self.config.stuck_low > 0 or self.config.stuck_high > 0

    def _with_stuck(self, table: Tensor, number: int, lines: int) -> Tensor:
        """The table with some devices stuck: a line's, the layer's or the network's."""
        place = self.config.device_place
        low, high = self.stuck(_ALL_SITES if place == "network" else number, (lines if place == "line" else 1,))
        silent_stays = torch.arange(table.shape[-1]) < table.shape[-1] - 1
        table = torch.where(low[None, :, None], 0.0, table)
        return torch.where(high[None, :, None] & silent_stays, float(table.shape[-1] - 1), table)

    def stuck(self, site: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Which devices are stuck low, and which high; drawn once a run."""
        name = f"stuck{site}"
        if name not in self._kept:
            self._kept[name] = torch.rand(shape, generator=generator(*self.seed, _STUCK, site + 1))
        drawn = self._kept[name]
        return drawn < self.config.stuck_low, drawn >= 1 - self.config.stuck_high

    def threshold_offsets(self, site: int, lines: int, dtype: torch.dtype) -> Tensor:
        """Each neuron's offset [lines], in steps of the staircase; drawn once a run."""
        name = f"thresholds{site}"
        if name not in self._kept:
            self._kept[name] = torch.randn(lines, generator=generator(*self.seed, _THRESHOLDS, site), dtype=dtype)
        return self._kept[name] * self.config.threshold_offset

    def _lines(self, shape: SiteShape) -> int:
        return shape.heads * (shape.d_in or self.max_tokens)

    def _seeds(self, ids: Sequence[int], sites: int) -> npt.NDArray[np.uint64] | None:
        """Seeds [B, 1 + sites] of what is drawn token by token: for all sites together, then for each."""
        if self.config.run_place != "synapse" and self.config.run_time != "token":
            return None
        run = self.config.run_time == "run"
        keys = [(*self.seed, _RUNS)] * len(ids) if run else [(*self.seed, _RUNS, int(i)) for i in ids]
        return np.stack([np.random.SeedSequence(key).generate_state(1 + sites, np.uint64) >> 1 for key in keys])

    def _late(self) -> Array | None:
        """What the mean device differs by from the ideal one, [T + 1]: where reads come late, or after drift."""
        if not isinstance(self.reader, DeviceReader):
            return None
        away = self.reader.mean_levels() - self._ideal()
        return away if np.abs(away[:-1]).max() > 1e-9 else None

    def _ideal(self) -> Array:
        return ideal_table(self.reader.n_levels - 1)

    def _runs(self, lines: dict[str, int], ids: Sequence[int]) -> dict[str, Array] | None:
        """Run-to-run deviations of each site, [b, P, T + 1]; None where they are of single tokens or synapses."""
        config = self.config
        if config.run_place == "synapse" or config.run_time == "token":
            return None
        counts = _counts(config.run_place, lines)
        total = 1 if config.run_place == "network" else sum(counts.values())
        keys = [(*self.seed, _RUNS)] if config.run_time == "run" else [(*self.seed, _RUNS, int(i)) for i in ids]
        rows = np.stack([self.reader.read(total, key) for key in keys]) - self._ideal()
        return _split(rows, counts, together=config.run_place == "network")

    def _device_offsets(self, lines: dict[str, int]) -> dict[str, Array] | None:
        """Device-to-device deviations, [1, P, T + 1]; None where there are none or they are of single synapses."""
        place = self.config.device_place
        if not isinstance(self.reader, DeviceReader) or place == "synapse" or not len(self.reader.device_modes()):
            return None
        counts = _counts(place, lines)
        if "offsets" not in self._kept:
            total = 1 if place == "network" else sum(counts.values())
            self._kept["offsets"] = torch.from_numpy(self.reader.device_deviations(total, (*self.seed, _DEVICES)))
        return _split(self._kept["offsets"].numpy()[None], counts, together=place == "network")

    def run_modes(self, top: int) -> Tensor:
        """phi [M, T + 1] of run-to-run noise in units of T*O, float64; what is silent adds none."""
        if "runs" not in self._kept:
            if isinstance(self.reader, DeviceReader):
                modes = self.reader.run_modes()
            else:
                away = self.reader.read(_ENOUGH, (*self.seed, _RUNS)) - self._ideal()
                modes = away / _ENOUGH**0.5  # as many modes as draws would do, fewer are as good
                values, vectors = np.linalg.eigh(modes.T @ modes)
                large = values > 1e-9 * max(values[-1], 1e-300)
                modes = (vectors[:, large] * np.sqrt(values[large])).T
            self._kept["runs"] = _silent(modes, top * self.multiple)
        return self._kept["runs"]

    def device_modes(self, top: int) -> Tensor:
        """phi [M, T + 1] of device-to-device variation in units of T*O, float64."""
        if "devices" not in self._kept:
            modes = self.reader.device_modes() if isinstance(self.reader, DeviceReader) else np.zeros((0, top + 1))
            self._kept["devices"] = _silent(modes, top * self.multiple)
        return self._kept["devices"]

    def fixed_normals(self, site: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Z of a site's synapses, drawn once a run."""
        name = f"Z{site}"
        if name not in self._kept:
            self._kept[name] = torch.randn(shape, generator=generator(*self.seed, _SYNAPSES, site), dtype=dtype)
        return self._kept[name]


def _counts(place: Place, lines: dict[str, int]) -> dict[str, int]:
    return lines if place == "line" else dict.fromkeys(lines, 1)


def _split(rows: Array, counts: dict[str, int], *, together: bool) -> dict[str, Array]:
    """[b, total, T + 1] as each site's part; the same one for all where they stand together."""
    if together:
        return dict.fromkeys(counts, rows)
    ends = np.cumsum(list(counts.values()))
    return dict(zip(counts, np.split(rows, ends[:-1], axis=1), strict=True))


def _silent(modes: Array, scale: float) -> Tensor:
    """Modes in units of T*O, 0 at silence; those that move nothing are left out."""
    found = np.array(modes) * scale
    found[:, -1] = 0.0
    size = np.linalg.norm(found, axis=1)
    return torch.from_numpy(found[size > 1e-9 * size.max(initial=0.0)])


def generator(*key: int) -> torch.Generator:
    """A torch generator of its own for each key."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


@dataclass(frozen=True)
class SiteDevice:
    """One site's device for one batch; a `functional.Device`.

    table [b, P, T + 1] holds T*O(t_k) of what is drawn a network, layer or line; `ideal` where nothing is.
    """

    devices: Devices
    number: int
    shape: SiteShape
    ids: tuple[int, ...]
    table: Tensor
    ideal: bool = False
    seeds: npt.NDArray[np.uint64] | None = None

    def read(self, nominal: Tensor) -> Tensor:
        """Levels read for N [B, ..., lines], or [B, heads, tokens, d_in] of an attention.

        Raises
        ------
        InputError
            where the first dimension is not that of the examples, whose noise differs: attention over windows.
        """
        config = self.devices.config
        if len(nominal) != len(self.ids) and (len(self.table) > 1 or config.run_time == "token"):
            raise InputError(
                "cannot tell whose device to read: this layer does not take one row an example",
                found=len(nominal),
                expected=f"{len(self.ids)} examples",
            )
        levels = self._from_table(nominal)
        if config.run_time == "token" and config.run_place != "synapse":
            levels = levels + self._of_tokens(nominal)
        return levels

    def _from_table(self, nominal: Tensor) -> Tensor:
        if self.ideal:
            return nominal
        if nominal.dim() < 4 or self.table.shape[1] == 1:
            return read_table(self.table, nominal)
        batch, heads, _, width = nominal.shape
        # Lines are (head, position): those of positions that this batch does not have are left out.
        table = self.table.expand(batch, -1, -1).reshape(batch, heads, -1, self.table.shape[-1])[:, :, :width]
        flat = read_table(table.reshape(batch * heads, width, -1), nominal.reshape(batch * heads, -1, width))
        return flat.reshape(nominal.shape)

    def _of_tokens(self, nominal: Tensor) -> Tensor:
        """Run-to-run deviations drawn for each token: of the layer, or of each of its lines."""
        config, top = self.devices.config, self.table.shape[-1] - 1
        modes = mirrored(self.devices.run_modes(top).to(nominal.dtype))
        heads, width = self.shape.heads, self.shape.d_in or self.devices.max_tokens
        if config.run_place != "line":
            heads, width = 1, 1
        batch, tokens = len(self.ids), nominal.shape[-2] if nominal.dim() > 2 else 1
        site = _ALL_SITES if config.run_place == "network" else self.number
        z = self._normals((tokens, len(modes) * heads * width), site, nominal.dtype)
        z = z.reshape(batch, tokens, len(modes), heads, width)[..., : nominal.shape[-1]]
        index = level_index(nominal, top).reshape(-1)
        found = torch.zeros_like(nominal)
        for m, mode in enumerate(modes):
            drawn = z[:, :, m].transpose(1, 2)  # [B, heads or 1, tokens, lines or 1]
            drawn = drawn if nominal.dim() == 4 else drawn.reshape(*nominal.shape[:-1], -1)
            found += mode.index_select(0, index).reshape(nominal.shape).mul_(drawn)
        return found

    def moved(self, x: Tensor, alpha: Tensor) -> Tensor:
        """Values x as thresholds that are off see them: nearer to 0 where a threshold is too high."""
        if not self.devices.config.threshold_offset:
            return x
        heads, width = self.shape.heads, self.shape.d_in or self.devices.max_tokens
        offsets = self.devices.threshold_offsets(self.number, heads * width, x.dtype)
        if x.dim() == 4:
            offsets = offsets.reshape(heads, 1, width)[..., : x.shape[-1]]
        return x - x.detach().sign() * offsets * alpha.detach()

    def disturb(self, sums: Tensor, nominal: Tensor, signs: Tensor) -> Tensor:
        """Sums [B, ..., out] with what single synapses add; signs [.., out, lines] are those they multiply with."""
        config, top = self.devices.config, self.table.shape[-1] - 1
        with torch.no_grad():  # in the forward value alone: keys and values are signs that gradients go through
            noise = sums.new_zeros(())
            if config.device_place == "synapse":
                noise = noise + self._of_devices(nominal, signs, top) + self._of_stuck(nominal, signs, top)
            if config.run_place == "synapse":
                noise = noise + self._of_runs(sums, nominal, top)
        return sums + noise.to(sums.dtype)

    def _of_runs(self, sums: Tensor, nominal: Tensor, top: int) -> Tensor:
        variance = self.devices.run_modes(top).square().sum(dim=0).to(nominal.dtype)
        either = torch.cat([variance, variance[:-1].flip(0)])  # by N + T, a level's variance is that of both rails
        each = either.index_select(0, level_index(nominal, top).reshape(-1)).reshape(nominal.shape)
        total = each.sum(dim=-1, keepdim=True)
        batch, tokens, out = len(self.ids), sums.shape[-2] if sums.dim() > 2 else 1, sums.shape[-1]
        heads = self.shape.heads if sums.dim() == 4 else 1
        # Outputs that are positions must not move with the padding: they are drawn at full width.
        width = self.shape.d_out or self.devices.max_tokens
        z = self._normals((tokens, heads * width), self.number, nominal.dtype)
        z = z.reshape(batch, tokens, heads, width)[..., :out].transpose(1, 2).reshape(sums.shape)
        return z * total.sqrt()

    def _of_devices(self, nominal: Tensor, signs: Tensor, top: int) -> Tensor:
        modes = mirrored(self.devices.device_modes(top).to(nominal.dtype))
        index = level_index(nominal, top).reshape(-1)
        Z = self._cut(self.devices.fixed_normals(self.number, (len(modes), *self._array(signs)), nominal.dtype), signs)
        found = nominal.new_zeros(())
        for mode, z in zip(modes, Z, strict=True):
            charge = mode.index_select(0, index).reshape(nominal.shape)
            found = found + torch.matmul(charge, (z * signs).transpose(-1, -2))
        return found

    def _of_stuck(self, nominal: Tensor, signs: Tensor, top: int) -> Tensor:
        """Stuck synapses sampled one by one: low ones take their charge away, high ones give T for every spike."""
        if not (self.devices.config.stuck_low or self.devices.config.stuck_high):
            return nominal.new_zeros(())
        low, high = (self._cut(part, signs) for part in self.devices.stuck(self.number, self._array(signs)))
        taken = torch.matmul(nominal, (signs * (low | high)).to(nominal.dtype).transpose(-1, -2))
        return torch.matmul(top * nominal.sign(), (signs * high).to(nominal.dtype).transpose(-1, -2)) - taken

    def _array(self, signs: Tensor) -> tuple[int, ...]:
        """The synapse array [out, lines], of an attention [heads, out, lines] at its largest."""
        d_in, d_out = (size or self.devices.max_tokens for size in (self.shape.d_in, self.shape.d_out))
        return (d_out, d_in) if signs.dim() == 2 else (self.shape.heads, d_out, d_in)

    @staticmethod
    def _cut(part: Tensor, signs: Tensor) -> Tensor:
        return part[..., : signs.shape[-2], : signs.shape[-1]]

    def _normals(self, shape: tuple[int, int], site: int, dtype: torch.dtype) -> Tensor:
        """[B, tokens, n] normals, each example's by its own key; more tokens leave the first ones as they are."""
        tokens, n = shape
        # torch fills in sixteens: a row that is a multiple of that long does not depend on how many follow.
        padded = -(-n // 16) * 16
        made = torch.empty(len(self.ids), tokens, padded, dtype=dtype)
        assert self.seeds is not None  # who draws by tokens has them
        rng = torch.Generator()
        for row, seed in enumerate(self.seeds[:, site + 1].tolist()):
            made[row].normal_(generator=rng.manual_seed(seed))
        return made[..., :n]


@contextmanager
def using(model: nn.Module, devices: Devices | None, ids: Sequence[int], mask: Tensor | None = None) -> Iterator[None]:
    """Sets the devices of the examples `ids` on every site; None is the ideal device.

    mask [B, tokens] is 0 where there is padding, for what is counted.
    """
    found = sites(model)
    try:
        for site in found.values():
            if site.counter is not None:
                site.counter.mask = mask
        for name, device in ({} if devices is None else devices.for_batch(model, ids)).items():
            found[name].device = device
        yield
    finally:
        for site in found.values():
            site.device = None


@contextmanager
def counting(model: nn.Module) -> Iterator[None]:
    """Counts what every site fires while open; read it with `summaries` before leaving."""
    found = sites(model)
    try:
        for site in found.values():
            site.counter = LevelCounter.empty(site.top)
        yield
    finally:
        for site in found.values():
            site.counter = None


def summaries(model: nn.Module) -> list[SiteSummary]:
    """What each site fired since `counting` began; warns of sites where almost nothing does."""
    result = [site.summary(name) for name, site in sites(model).items()]
    for summary in result:
        alarm_if_sparse(summary)
    return result
