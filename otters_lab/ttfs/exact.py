"""The spiking parts as integers and comparisons alone: no rounding, so ties are decided exactly.

A row of a 1-bit layer has the membrane V = s*(alpha_in*N + shift_in*R) + b, N the integer sum of its levels and R that
of its signs. It fires the level m = max{m : V - shift_out + alpha_out/2 >= m*alpha_out}, on the negative rail the same
with the sign of V turned; a level within the dead zone is silence. Solved for N it is a table of integer thresholds a
row; for a digital value x, a table of the least numbers of x's own kind. Both are worked out once from the stored
parameters in rational arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from otters_lab.core.errors import InputError
from otters_lab.ttfs.functional import weight_scale, weight_signs
from otters_lab.ttfs.layers import Machine, SignNeurons, TTFSCode, TTFSLinear

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class IntegerThresholds:
    """Row j fires level m or more on the positive rail if N_j >= rise[j, m-1], on the negative if N_j <= fall[j, m-1].

    `rise`, `fall`: int64 [out, T], `rise` ascending and `fall` descending along a row.
    """

    rise: Ints
    fall: Ints

    def levels(self, sums: Tensor) -> Tensor:
        """Signed levels [..., out] of integer sums N [..., out], in the sums' dtype."""
        rows = sums.reshape(-1, sums.shape[-1]).T.contiguous()
        rise, fall = (torch.from_numpy(part).to(sums.dtype).contiguous() for part in (self.rise, -self.fall))
        up = torch.searchsorted(rise, rows, right=True)
        down = torch.searchsorted(fall, -rows, right=True)
        return (up - down).T.reshape(sums.shape).to(sums.dtype)


def integer_thresholds(
    gain: Sequence[Fraction],
    offset: Sequence[Fraction],
    alpha_out: Fraction,
    top: int,
    limit: int,
    signed: bool,
    dead_zone: int = 0,
) -> IntegerThresholds:
    """The table of rows with membranes gain_j*N_j + offset_j, gain_j >= 0 (offset: less the output's shift).

    |N_j| < limit; a threshold at `limit` means "never", one at its negative "always" (a row with gain 0).
    """
    steps = [alpha_out * (2 * m - 1) / 2 for m in _levels(top, dead_zone)]
    rise = [[_first(step - b, g, limit) for step in steps] for g, b in zip(gain, offset, strict=True)]
    fall = [[-_first(step + b, g, limit) for step in steps] for g, b in zip(gain, offset, strict=True)]
    falling = np.array(fall, dtype=np.int64)
    return IntegerThresholds(np.array(rise, dtype=np.int64), falling if signed else np.full_like(falling, -limit))


def _levels(top: int, dead_zone: int) -> list[int]:
    """By level 1..T, the one whose threshold it has: of a dead zone's, the first level behind it."""
    return [max(m, dead_zone + 1) for m in range(1, top + 1)]


def _first(charge: Fraction, gain: Fraction, limit: int) -> int:
    """The least integer N in -limit..limit with gain*N >= charge."""
    if gain == 0:
        return limit if charge > 0 else -limit
    return max(-limit, min(limit, math.ceil(charge / gain)))


def value_thresholds(alpha: Tensor, top: int, shift: Tensor | None, dtype: torch.dtype, dead_zone: int = 0) -> Tensor:
    """[T] in `dtype`: a value x of it, or of a narrower one, has level m or more, upwards, if x >= threshold m-1.

    The least numbers of the dtype at or above shift + (2m - 1)*alpha/2; those of a dead zone are the first behind it.

    Raises
    ------
    ValueError
        unless alpha is positive.
    """
    base, step = _exact(shift), _step(alpha)
    found = []
    for m in _levels(top, dead_zone):
        wanted = base + step * (2 * m - 1) / 2
        near = torch.tensor(float(wanted), dtype=dtype)
        while Fraction(float(near)) < wanted:
            near = torch.nextafter(near, near.new_tensor(math.inf))
        while Fraction(float(below := torch.nextafter(near, near.new_tensor(-math.inf)))) >= wanted:
            near = below
        found.append(near)
    return torch.stack(found)


def _exact(parameter: Tensor | None) -> Fraction:
    return Fraction(0) if parameter is None else Fraction(parameter.item())


def _step(alpha: Tensor) -> Fraction:
    if not alpha.item() > 0:
        raise ValueError(f"found alpha = {alpha.item()}, expected a positive step between levels")
    return _exact(alpha)


class ClosedForm:
    """A `layers.Machine` that compares with threshold tables, made of the parameters when it first meets them."""

    def __init__(self) -> None:
        self._values: dict[tuple[TTFSCode, torch.dtype], Tensor] = {}
        self._neurons: dict[TTFSLinear, IntegerThresholds] = {}

    def encode(self, site: TTFSCode, x: Tensor) -> Tensor:
        # Thresholds of a narrower dtype than x's would be rounded past some of its values.
        dtype = torch.promote_types(x.dtype, site.alpha.dtype)
        table = self._values.get((site, dtype))
        if table is None:
            table = self._values[site, dtype] = value_thresholds(
                site.alpha, site.top, site.shift, dtype, site.dead_zone
            )
        wide = x.to(dtype)
        count = torch.bucketize(wide.abs() if site.signed else wide, table, right=True).to(x.dtype)
        return count * x.sign() if site.signed else count

    def accumulate(self, site: TTFSCode, nominal: Tensor, signs: Tensor) -> Tensor:
        # In bfloat16, the model's own or autocast's, sums of more than 256 would be rounded.
        dtype = torch.promote_types(nominal.dtype, torch.float32)
        with torch.autocast(nominal.device.type, enabled=False):
            return torch.matmul(nominal.to(dtype), signs.to(dtype).transpose(-1, -2))

    def fire(self, layer: TTFSLinear, sums: Tensor) -> Tensor:
        table = self._neurons.get(layer)
        if table is None:
            table = self._neurons[layer] = _neurons_of(layer)
        levels = table.levels(sums)
        return levels if isinstance(layer.neurons, TTFSCode) else 2 * levels - 1


def _neurons_of(layer: TTFSLinear) -> IntegerThresholds:
    """The table of a layer's neurons; signs are a single threshold, 0, that is reached or not."""
    rows, fan_in = layer.weight.shape
    scale = weight_scale(layer.weight.detach(), layer.per).expand(rows).tolist()
    sums = weight_signs(layer.weight.detach()).double().sum(dim=1).tolist()
    bias = [0.0] * rows if layer.bias is None else layer.bias.tolist()
    shift_in, alpha_in = _exact(layer.code.shift), _step(layer.code.alpha)
    gain = [Fraction(s) * alpha_in for s in scale]
    offset = [Fraction(s) * shift_in * int(r) + Fraction(b) for s, r, b in zip(scale, sums, bias, strict=True)]
    limit = layer.code.top * fan_in + 1
    if not isinstance(layer.neurons, TTFSCode):
        return integer_thresholds(gain, offset, Fraction(0), 1, limit, signed=False)
    neurons = layer.neurons
    moved = [value - _exact(neurons.shift) for value in offset]
    return integer_thresholds(gain, moved, _step(neurons.alpha), neurons.top, limit, neurons.signed, neurons.dead_zone)


@contextmanager
def running_on(model: nn.Module, machine: Machine | None = None) -> Iterator[None]:
    """Computes the spiking parts of a converted model on a machine, the closed form unless told otherwise.

    For inference with activations, weights and states coded, and an ideal device.

    Raises
    ------
    InputError
        if an approximation is off, or a device set: a machine knows of neither.
    """
    machine = ClosedForm() if machine is None else machine
    found = [module for module in model.modules() if isinstance(module, TTFSCode)]
    for name, module in model.named_modules():
        off = isinstance(module, TTFSCode | SignNeurons) and not module.enabled
        if off or (isinstance(module, TTFSLinear) and not module.binary):
            raise InputError("cannot run exactly with an approximation off", found=name, expected="all of them on")
        if isinstance(module, TTFSCode) and module.device is not None:
            raise InputError("cannot run exactly through a device", found=name, expected="the ideal device")
    try:
        for site in found:
            site.machine = machine
        with torch.no_grad():
            yield
    finally:
        for site in found:
            site.machine = None
