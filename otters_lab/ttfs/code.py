"""Time index and level, silence, rails, and the ideal device.

A neuron of n bits fires at most once in its window, at a level time t_k with k = 0..T-1 and T = 2**n - 1. A spike at
t_k stands for the level m = T - k, the earlier the larger; no spike (silence) is level 0, written as k = T, the
instant that only closes the window. A signed value takes two rails: a positive level fires the positive rail, a
negative one the negative rail, never both.
"""

from __future__ import annotations

import numpy as np

from otters_lab.core.protocols import Array

MIN_BITS, MAX_BITS = 2, 6


def top_level(bits: int) -> int:
    """T = 2**bits - 1, the largest level.

    Raises
    ------
    ValueError
        unless `bits` is 2..6.
    """
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"found {bits} bits, expected {MIN_BITS} to {MAX_BITS}")
    return 2**bits - 1


def ideal_table(top: int) -> Array:
    """O(t_k) = (T - k)/T for k = 0..T, float64 [T + 1]. T * O is exactly the integer T - k for 2 to 6 bits."""
    return (top - np.arange(top + 1)) / top


class IdealReader:
    """A `LevelReader` of a device without noise."""

    def __init__(self, bits: int) -> None:
        self._top = top_level(bits)

    @property
    def n_levels(self) -> int:
        return self._top + 1

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        """`n` times the ideal table, [n, T + 1]; the seed changes nothing."""
        return np.tile(ideal_table(self._top), (n, 1))
