"""An event simulator of whole converted networks: a clock, spikes, membranes, staircase thresholds, exact integers.

It is the proof's other side, so it shares no code with the quantisers and the closed form, and knows the modules it is
given only by their attributes. Time passes in windows of T + 1 ticks, k = 0..T. An array of neurons fires in a window
of its own (a dynamic threshold: it is out of reach in any other), and the next synapse array charges its membranes in
that same window, spike by spike. Windows are numbered in the order of computation; what a chip would run side by side
(queries, keys and values) takes one after the other here.

Every parameter and value is a float, thus an integer times a power of two. All are brought to one power of two, and
from there on there are Python integers alone: nothing is rounded and no float is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from otters_lab.ttfs.spikes import MembraneTrace, Record, SpikeTrain, Ticks

Result = TypeVar("Result")
Integers = npt.NDArray[Any]  # of Python integers

RAILS = {"two rails": (+1, -1), "one rail": (+1,), "shift": (+1,)}
MOST_WATCHED = 64  # neurons an array


def reaches(charge: Integers, threshold: int) -> npt.NDArray[np.bool_]:
    """A rail fires when its charge is at the threshold or above."""
    return np.asarray(charge >= threshold, dtype=bool)


def precharge(step: int) -> int:
    """What a rail has before anything arrives: half a step of the staircase. `step` is even."""
    return step // 2


def dyadic(values: npt.NDArray[np.float64]) -> tuple[Integers, int]:
    """Floats as (integers, e) with values = integers / 2**e, e >= 0, without rounding.

    Raises
    ------
    ValueError
        for a value that is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("a membrane cannot hold a value that is not finite")
    if (values == np.rint(values)).all() and (np.abs(values) < 2.0**53).all():
        return values.astype(np.int64).astype(object), 0
    fraction, exponent = np.frexp(values)
    mantissa = np.ldexp(fraction, 53).astype(np.int64).astype(object)
    lowest = min(0, int(exponent[values != 0].min()) - 53)
    shift = np.where(values != 0, exponent.astype(np.int64) - 53 - lowest, 0).astype(object)
    return np.left_shift(mantissa, shift), -lowest


@dataclass(frozen=True)
class Neurons:
    """An array of neurons ready to fire: charges [n] and the staircase's step, integers of one unit.

    The window closes `dead_zone` ticks before the staircase's end.
    """

    charge: Integers
    step: int
    top: int
    rails: tuple[int, ...]
    dead_zone: int = 0

    def fire(self) -> Ticks:
        """Each rail's tick, [rails, n]; T where the window ends without a spike."""
        ticks = np.full((len(self.rails), len(self.charge)), self.top, dtype=np.int8)
        waiting = [np.arange(len(self.charge)) for _ in self.rails]
        held = [rail * self.charge + precharge(self.step) for rail in self.rails]
        for k in range(self.top - self.dead_zone):  # what comes then only closes the window
            threshold = self.step * (self.top - k)
            for row in range(len(self.rails)):
                crossed = reaches(held[row], threshold)
                ticks[row, waiting[row][crossed]] = k
                # It has fired: out of reach for the rest of the window.
                waiting[row], held[row] = waiting[row][~crossed], held[row][~crossed]
        return ticks


@dataclass
class Simulator:
    """A machine (see `layers.Machine`) that encodes, accumulates and fires by events, and records them.

    device : T * O(t_k) for k = 0..T, integers or fractions; None: the ideal T - k. Sums that are no integers are
        rounded once to float32 (float64, if the tensors are) as they leave `accumulate`.
    watch : how many neurons of every firing layer to record the membranes of, the first ones; or which, by layer name
    keep_spikes : whether to keep the trains, a byte a rail and neuron; counts are always kept
    names : modules' names by identity
    """

    device: Sequence[int | Fraction] | None = None
    watch: int | Mapping[str, Sequence[int]] = 0
    keep_spikes: bool = True
    names: Mapping[int, str] = field(default_factory=dict)
    _trains: list[SpikeTrain] = field(default_factory=list, init=False, repr=False)
    _membranes: list[MembraneTrace] = field(default_factory=list, init=False, repr=False)
    _fired: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _neurons: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _window: int = field(default=-1, init=False, repr=False)
    _window_of: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    # The sums that charged a site's membranes, flat; of watched neurons, one row a tick.
    _charged: dict[int, Any] = field(default_factory=dict, init=False, repr=False)

    def encode(self, site: Any, x: Tensor) -> Tensor:
        """Levels of digital values x [B, ..., lines]: each charges a membrane, its rails meet the staircase.

        Raises
        ------
        ValueError
            if a value is not finite, or alpha not positive.
        """
        values, e = dyadic(_numbers(x).reshape(-1))
        alpha, shift = _fraction(site.alpha), _fraction(site.shift)
        unit = max(2**e, alpha.denominator, shift.denominator) * 2
        charge = values * (unit // 2**e) - _whole(shift, unit)
        ticks = self._fire(site, charge, alpha, unit).reshape(-1, *x.shape)
        return self._emit(site, self._name(site), "value", ticks, x)

    def accumulate(self, site: Any, nominal: Tensor, signs: Tensor) -> Tensor:
        """Sums [.., reads, out] of what spikes of levels [.., reads, lines] add over synapses [.., out, lines].

        Raises
        ------
        ValueError
            if levels are none of the site's, or signs not +1 and -1.
        """
        rails, ticks = _as_spikes(site, nominal)
        synapses = _numbers(signs).swapaxes(-1, -2)
        if not (np.abs(synapses) == 1).all():
            raise ValueError("a 1-bit synapse is +1 or -1")
        readings, unit = self._readings(site.top)
        # A spike adds |reading| at most: beyond 63 bits int64 would wrap.
        wide = max(abs(reading) for reading in readings) * nominal.shape[-1] >= 2**62
        membrane = np.zeros((*nominal.shape[:-1], signs.shape[-2]), dtype=object if wide else np.int64)
        watched = self._watched(site, membrane.size)
        history = [membrane.reshape(-1)[watched]]
        for k in range(site.top):
            arriving = sum(rail * (ticks[row] == k).astype(np.float64) for row, rail in enumerate(rails))
            # Counts of +1 and -1, far below 2**53: a float64 product has no rounding, and is fast.
            counts = np.rint(np.matmul(arriving, synapses)).astype(np.int64)
            membrane += (counts.astype(object) if wide else counts) * readings[k]
            history.append(membrane.reshape(-1)[watched])
        self._charged[id(site)] = (watched, history[1:] + history[-1:], unit)
        out = membrane if unit == 1 else membrane.astype(object) / unit
        return torch.from_numpy(np.asarray(out, dtype=np.float64)).to(torch.promote_types(nominal.dtype, torch.float32))

    def fire(self, layer: Any, sums: Tensor) -> Tensor:
        """Levels that a layer's neurons fire from sums N [B, ..., out] (signs, of sign neurons: V >= 0 or not).

        V = s*(alpha_in*N + shift_in*R) + b, s the rows' scale and R their sums of signs.
        """
        gain, offset = _rows(layer)
        neurons = layer.neurons
        levelled = hasattr(neurons, "alpha")
        alpha = _fraction(neurons.alpha) if levelled else Fraction(1)
        shift = _fraction(neurons.shift) if levelled else Fraction(0)
        counts, e = dyadic(_numbers(sums))
        unit = 2 * max(part.denominator for part in (*gain, *offset, alpha, shift))
        gains = np.array([_whole(part, unit) for part in gain], dtype=object)
        offsets = np.array([_whole(part - shift, unit) * 2**e for part in offset], dtype=object)
        charge = (counts * gains + offsets).reshape(-1)
        unit *= 2**e
        if not levelled:
            positive = reaches(charge, 0).reshape(sums.shape)
            return torch.from_numpy(np.where(positive, 1.0, -1.0)).to(sums.dtype)
        ticks = self._fire(neurons, charge, alpha, unit)
        levels = self._emit(neurons, self._name(neurons), "membrane", ticks.reshape(-1, *sums.shape), sums)
        self._observe(layer, gain, [part - shift for part in offset], charge, unit, ticks)
        return levels

    def record(self) -> Record:
        """All that happened so far."""
        return Record(
            tuple(self._trains), tuple(self._membranes), dict(self._fired), dict(self._neurons), self._window + 1
        )

    def _fire(self, code: Any, charge: Integers, alpha: Fraction, unit: int) -> Ticks:
        if alpha <= 0:
            raise ValueError(f"found a staircase of step {float(alpha)}, expected a positive one")
        return Neurons(charge, _whole(alpha, unit), code.top, RAILS[code.coding], code.dead_zone).fire()

    def _emit(self, code: Any, name: str, fired_from: str, ticks: Ticks, like: Tensor) -> Tensor:
        self._window += 1
        self._window_of[id(code)] = self._window
        train = SpikeTrain(name, self._window, code.top, RAILS[code.coding], fired_from, ticks)
        self._fired[name] = self._fired.get(name, 0) + train.count
        self._neurons[name] = self._neurons.get(name, 0) + ticks[0].size
        if self.keep_spikes:
            self._trains.append(train)
        return torch.from_numpy(train.signed_levels()).to(like.dtype)

    def _readings(self, top: int) -> tuple[list[int], int]:
        """T*O(t_k) as integers over one denominator."""
        device = range(top, -1, -1) if self.device is None else self.device
        if len(device) != top + 1:
            raise ValueError(f"found a device of {len(device)} levels, expected {top + 1}")
        readings = [Fraction(reading) for reading in device]
        unit = int(np.lcm.reduce([reading.denominator for reading in readings], dtype=object))
        return [_whole(reading, unit) for reading in readings], unit

    def _name(self, module: Any) -> str:
        return self.names.get(id(module), f"{type(module).__name__} {id(module)}")

    def _watched(self, site: Any, size: int) -> list[int]:
        name = self._name(site).removesuffix(".code")
        wanted: Iterable[int] = range(self.watch) if isinstance(self.watch, int) else self.watch.get(name, ())
        return [neuron for neuron in wanted if neuron < size][:MOST_WATCHED]

    def _observe(
        self,
        layer: Any,
        gain: list[Fraction],
        offset: list[Fraction],
        charge: Integers,
        unit: int,
        ticks: Ticks,
    ) -> None:
        """Records the watched neurons of a layer that has just fired."""
        code, alpha = layer.neurons, _fraction(layer.neurons.alpha)
        watched, history, per_count = self._charged.get(id(layer.code), ((), (), 1))
        for place, neuron in enumerate(watched):
            row = neuron % len(gain)
            rows = np.nonzero(ticks[:, neuron] < code.top)[0]
            self._membranes.append(
                MembraneTrace(
                    layer=self._name(layer),
                    neuron=neuron,
                    input_window=self._window_of.get(id(layer.code), self._window - 1),
                    window=self._window,
                    charging=tuple(
                        float(gain[row] * Fraction(int(now[place]), per_count) + offset[row]) for now in history
                    ),
                    potential=charge[neuron] / unit,
                    precharge=float(alpha / 2),
                    staircase=tuple(float(alpha * (code.top - k)) for k in range(code.top)),
                    rails=RAILS[code.coding],
                    rail=RAILS[code.coding][rows[0]] if len(rows) else 0,
                    tick=int(ticks[rows[0], neuron]) if len(rows) else code.top,
                )
            )


def _numbers(x: Tensor) -> npt.NDArray[np.float64]:
    """Any float dtype as float64, which holds all their values."""
    found: npt.NDArray[np.float64] = x.detach().double().cpu().numpy()
    return found


def _fraction(parameter: Tensor | None) -> Fraction:
    return Fraction(0) if parameter is None else Fraction(float(parameter.detach()))


def _whole(value: Fraction, unit: int) -> int:
    """value * unit, of which it is known that it is whole."""
    return value.numerator * (unit // value.denominator)


def _as_spikes(site: Any, nominal: Tensor) -> tuple[tuple[int, ...], Ticks]:
    """The rails of a site, and the tick of each rail's spike, [rails, ..., lines]."""
    rails, levels = RAILS[site.coding], _numbers(nominal)
    lowest = -site.top if -1 in rails else 0
    if (levels != np.rint(levels)).any() or (levels < lowest).any() or (levels > site.top).any():
        raise ValueError(f"found no levels of {lowest}..{site.top}")
    ticks = [np.where(rail * levels > 0, site.top - rail * levels, site.top) for rail in rails]
    return rails, np.stack(ticks).astype(np.int8)


def _rows(layer: Any) -> tuple[list[Fraction], list[Fraction]]:
    """What a unit of N adds to each row's membrane, and what it holds at N = 0, exactly."""
    weight = layer.weight.detach()
    scale = weight.abs().mean(dim=1) if layer.per == "row" else weight.abs().mean().expand(len(weight))
    total = np.where(_numbers(weight) >= 0, 1, -1).sum(axis=1)
    bias = [0.0] * len(weight) if layer.bias is None else layer.bias.detach().tolist()
    alpha, shift = _fraction(layer.code.alpha), _fraction(layer.code.shift)
    exact = [Fraction(s) for s in scale.tolist()]
    offset = [s * shift * int(r) + Fraction(b) for s, r, b in zip(exact, total, bias, strict=True)]
    return [s * alpha for s in exact], offset


def simulate(model: torch.nn.Module, forward: Callable[[], Result], **options: Any) -> tuple[Result, Record]:
    """`forward()` with every spiking part of a converted model run by events; options are those of `Simulator`.

    The model is as before afterwards.

    Raises
    ------
    ValueError
        if an approximation (activations, weights or states) is off, or a site has a device of its own.
    """
    names = {id(module): name for name, module in model.named_modules()}
    for module in model.modules():
        if not (getattr(module, "enabled", True) and getattr(module, "binary", True)):
            raise ValueError(f"{names[id(module)]}: an approximation is off; nothing fires there")
    simulator = Simulator(names=names, **options)
    found = [m for m in model.modules() if hasattr(m, "machine") and hasattr(m, "coding")]
    if any(site.device is not None for site in found):
        raise ValueError("a site has a device of its own; give the simulator's with `device`")
    before = [site.machine for site in found]
    try:
        for site in found:
            site.machine = simulator  # type: ignore[assignment]
        with torch.no_grad():
            result = forward()
    finally:
        for site, machine in zip(found, before, strict=True):
            site.machine = machine
    return result, simulator.record()
