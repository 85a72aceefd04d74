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
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array, LevelReader
from otters_lab.core.tomlfile import StrictModel
from otters_lab.ttfs.code import ideal_table
from otters_lab.ttfs.functional import level_index, mirrored, read_table
from otters_lab.ttfs.layers import SiteShape, TTFSCode
from otters_lab.ttfs.statistics import LevelCounter, SiteSummary, alarm_if_sparse

Place = Literal["network", "layer", "line", "synapse"]
Time = Literal["run", "sentence", "token"]

# Apart from each other and from what a reader draws: the last part of a key.
_RUNS, _DEVICES, _SYNAPSES = range(3)
_ENOUGH = 2000  # draws that a reader without a covariance of its own is described by


@runtime_checkable
class DeviceReader(LevelReader, Protocol):
    """A `LevelReader` that knows its covariances: a sampled device model."""

    def run_modes(self) -> Array:
        """phi [M, T + 1] with phi^T phi the run-to-run covariance of O(t_k)."""

    def device_modes(self) -> Array:
        """phi [M, T + 1] of the device-to-device covariance; M = 0 where devices are alike or not drawn."""

    def device_deviations(self, n: int, seed: tuple[int, ...]) -> Array:
        """What the mean levels of `n` devices differ by from the chip's, [n, T + 1]."""


class NoiseConfig(StrictModel):
    """Place and time of the two kinds of noise."""

    run_place: Place = "layer"
    run_time: Time = "sentence"
    device_place: Place = "layer"


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
        made = {}
        for number, (name, site) in enumerate(found.items()):
            dtype = site.alpha.dtype
            table = torch.from_numpy(site.top * ideal_table(site.top)).to(dtype)[None, None]
            if runs is not None:
                table = table + self._levels(runs[name], site)
            if offsets is not None:
                table = table + self._levels(offsets[name], site)
            ideal = runs is None and offsets is None
            made[name] = SiteDevice(self, number, site.shape, tuple(ids), table, ideal)
        return made

    def _levels(self, deviations: Array, site: TTFSCode) -> Tensor:
        """Deviations of O as such of T*O, in the site's precision."""
        return torch.from_numpy(np.ascontiguousarray(site.top * self.multiple * deviations)).to(site.alpha.dtype)

    def _lines(self, shape: SiteShape) -> int:
        return shape.heads * (shape.d_in or self.max_tokens)

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
    found = torch.from_numpy(np.array(modes) * scale)
    found[:, -1] = 0.0
    return found


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

    def read(self, nominal: Tensor) -> Tensor:
        """Levels read for N [B, ..., lines], or [B, heads, tokens, d_in] of an attention."""
        config = self.devices.config
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
        """Run-to-run deviations drawn for each token: of the layer, or of each line."""
        top = self.table.shape[-1] - 1
        modes = mirrored(self.devices.run_modes(top).to(nominal.dtype))
        index = level_index(nominal, top).reshape(-1)
        found = torch.zeros_like(nominal)
        # One token's reads stand in the last dimension but one; the lines of all heads belong to one token.
        per_token = (
            nominal.transpose(1, 2).flatten(2)
            if nominal.dim() == 4
            else nominal.reshape(len(self.ids), -1, nominal.shape[-1])
        )
        tokens, lines = per_token.shape[1:]
        width = 1 if self.devices.config.run_place in ("network", "layer") else lines
        site = -1 if self.devices.config.run_place == "network" else self.number
        z = self._normals((tokens, len(modes) * width), site, nominal.dtype).reshape(
            len(self.ids), tokens, len(modes), width
        )
        for m, mode in enumerate(modes):
            drawn = z[:, :, m].expand(-1, -1, lines)
            if nominal.dim() == 4:
                drawn = drawn.reshape(len(self.ids), tokens, nominal.shape[1], -1).transpose(1, 2)
            found += mode.index_select(0, index).reshape(nominal.shape).mul_(drawn.reshape(nominal.shape))
        return found

    def disturb(self, sums: Tensor, nominal: Tensor, signs: Tensor) -> Tensor:
        """Sums [B, ..., out] with what single synapses add; signs [.., out, lines] are those they multiply with."""
        config, top = self.devices.config, self.table.shape[-1] - 1
        if config.device_place == "synapse":
            sums = sums + self._of_devices(nominal, signs, top).to(sums.dtype)
        if config.run_place == "synapse":
            sums = sums + self._of_runs(sums, nominal, top).to(sums.dtype)
        return sums

    def _of_runs(self, sums: Tensor, nominal: Tensor, top: int) -> Tensor:
        variance = self.devices.run_modes(top).square().sum(dim=0).to(nominal.dtype)
        either = torch.cat([variance, variance[:-1].flip(0)])  # by N + T, a level's variance is that of both rails
        each = either.index_select(0, level_index(nominal, top).reshape(-1)).reshape(nominal.shape)
        total = each.sum(dim=-1, keepdim=True)
        heads, out = (sums.shape[1], sums.shape[-1]) if sums.dim() == 4 else (1, sums.shape[-1])
        per_token = sums.transpose(1, 2).flatten(2) if sums.dim() == 4 else sums.reshape(len(self.ids), -1, out)
        # Columns of outputs that are positions must not move with the padding: each head's are drawn at full width.
        width = self.devices.max_tokens if self.shape.d_out == 0 else out
        z = self._normals((per_token.shape[1], heads * width), self.number, nominal.dtype)
        z = z.reshape(len(self.ids), per_token.shape[1], heads, width)[..., :out]
        z = z.transpose(1, 2).reshape(sums.shape) if sums.dim() == 4 else z.reshape(sums.shape)
        return z.mul_(total.sqrt())

    def _of_devices(self, nominal: Tensor, signs: Tensor, top: int) -> Tensor:
        modes = mirrored(self.devices.device_modes(top).to(nominal.dtype))
        index = level_index(nominal, top).reshape(-1)
        heads, d_in = self.shape.heads, self.shape.d_in or self.devices.max_tokens
        d_out = self.shape.d_out or self.devices.max_tokens
        shape = (len(modes), d_out, d_in) if signs.dim() == 2 else (len(modes), heads, d_out, d_in)
        Z = self.devices.fixed_normals(self.number, shape, nominal.dtype)[..., : signs.shape[-2], : signs.shape[-1]]
        found: Tensor | int = 0
        for mode, z in zip(modes, Z, strict=True):
            read = mode.index_select(0, index).reshape(nominal.shape)
            found = found + torch.matmul(read, (z * signs).transpose(-1, -2))
        assert isinstance(found, Tensor)
        return found

    def _normals(self, shape: tuple[int, int], site: int, dtype: torch.dtype) -> Tensor:
        """[B, tokens, n] normals, each example's by its own key; more tokens leave the first ones as they are."""
        tokens, n = shape
        # torch fills in sixteens: a row that is a multiple of that long does not depend on how many follow.
        padded = -(-n // 16) * 16
        made = torch.empty(len(self.ids), tokens, padded, dtype=dtype)
        run = self.devices.config.run_time == "run"
        for row, i in enumerate(self.ids):
            key = (*self.devices.seed, _RUNS, site + 1) if run else (*self.devices.seed, _RUNS, int(i), site + 1)
            made[row].normal_(generator=generator(*key))
        return made[..., :n]


@contextmanager
def using(model: nn.Module, devices: Devices | None, ids: Sequence[int]) -> Iterator[None]:
    """Sets the devices of the examples `ids` on every site; None is the ideal device."""
    found = sites(model)
    try:
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
