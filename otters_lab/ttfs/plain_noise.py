"""Noise that no device was measured for: relative, curve or level noise of a stated size, for comparison.

On a level's value v = O(t_k), 0..1:

    relative    v*(1 + e), e of each level
    curve       v + d*(1 - v): what a change of the decay's depth by the share d does, one d for all levels
    level       v + e, e of each level, in full scales
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array
from otters_lab.ttfs.code import ideal_table

NoiseKind = Literal["relative", "curve", "level"]


@dataclass(frozen=True)
class PlainNoise:
    """A `device.DeviceReader`: run-to-run noise of one kind and sd; devices are alike."""

    kind: NoiseKind
    sd: float
    n_levels: int

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        """`n` level tables [n, T + 1]."""
        modes = self.run_modes()
        return np.asarray(self.mean_levels() + np.random.default_rng(seed).standard_normal((n, len(modes))) @ modes)

    def mean_levels(self) -> Array:
        """The ideal device's."""
        return ideal_table(self.n_levels - 1)

    def run_modes(self) -> Array:
        """phi [M, T + 1]."""
        value = self.mean_levels()
        if self.kind == "curve":
            return self.sd * (1 - value)[None]
        return self.sd * np.diag(value if self.kind == "relative" else np.ones_like(value))

    def device_modes(self) -> Array:
        """None: [0, T + 1]."""
        return np.zeros((0, self.n_levels))

    def device_deviations(self, n: int, seed: tuple[int, ...]) -> Array:
        """Zeros [n, T + 1]."""
        return np.zeros((n, self.n_levels))


def plain_noise(text: str, n_levels: int) -> PlainNoise:
    """Noise as it is written on a command line: KIND:SD, like curve:0.1.

    Raises
    ------
    InputError
        for another kind, or an sd that is no number from 0 to 1.
    """
    kind, _, sd = text.partition(":")
    try:
        size = float(sd)
    except ValueError:
        size = float("nan")
    if kind not in get_args(NoiseKind) or not 0 <= size <= 1:
        raise InputError("no such noise", found=text, expected="relative:SD, curve:SD or level:SD, SD from 0 to 1")
    return PlainNoise(kind, size, n_levels)  # type: ignore[arg-type]  # it is one of them
