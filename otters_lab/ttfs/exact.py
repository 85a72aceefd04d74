"""A 1-bit layer and the quantiser that follows it as integers alone: no rounding, so ties are decided exactly.

The level that a row fires is m = max{m : s*alpha_in*N + b + alpha_out/2 >= m*alpha_out} on the positive rail and the
same with both signs turned on the negative one, where N is the row's integer sum of signed levels. Solved for N it is
a table of integer thresholds a row, worked out once from the stored parameters in rational arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from otters_lab.ttfs.code import Ints


@dataclass(frozen=True)
class IntegerThresholds:
    """Row j fires level m or more on the positive rail if N_j >= rise[j, m-1], on the negative if N_j <= fall[j, m-1].

    `rise`, `fall`: int64 [out, T].
    """

    rise: Ints
    fall: Ints

    def levels(self, sums: Ints) -> Ints:
        """Signed levels [..., out] of integer sums N [..., out]."""
        up = (sums[..., None] >= self.rise).sum(axis=-1)
        down = (sums[..., None] <= self.fall).sum(axis=-1)
        return up - down


def integer_thresholds(
    row_scale: Sequence[float], alpha_in: float, bias: Sequence[float], alpha_out: float, top: int, fan_in: int
) -> IntegerThresholds:
    """The threshold table of a layer with row scales s_j >= 0 and biases b_j [out], exact over the given floats.

    |N_j| <= T*fan_in; thresholds beyond it mean "never", those below its negative "always" (a row with s_j = 0).
    """
    limit = top * fan_in + 1
    a_in, a_out = Fraction(alpha_in), Fraction(alpha_out)
    rise, fall = [], []
    for s, b in zip(row_scale, bias, strict=True):
        gain, offset = Fraction(s) * a_in, Fraction(b)
        steps = [a_out * (2 * m - 1) / 2 for m in range(1, top + 1)]
        rise.append([_first(step - offset, gain, limit) for step in steps])
        fall.append([-_first(step + offset, gain, limit) for step in steps])
    return IntegerThresholds(np.array(rise, dtype=np.int64), np.array(fall, dtype=np.int64))


def _first(charge: Fraction, gain: Fraction, limit: int) -> int:
    """The least integer N in -limit..limit with gain*N >= charge."""
    if gain == 0:
        return limit if charge > 0 else -limit
    return max(-limit, min(limit, math.ceil(charge / gain)))
