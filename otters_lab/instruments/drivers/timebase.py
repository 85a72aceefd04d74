"""Which records an oscilloscope can make: ten divisions of 1, 2 or 5 times a power of ten, and some numbers of points.

Pure, and apart from the drivers, so that a recipe can be checked without importing one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DIVISIONS = 10  # across; both scopes here

# In normal acquisition a scope throws away the samples between two that it keeps (Keysight 3000T X-Series User's Guide
# p. 221, "decimating"), so that a sample is a point, whatever the sample interval. With the bandwidth limit on (20 or
# 25 MHz) one pole averages as an aperture of 1/(pi*bandwidth) = 13 to 16 ns does; 10 ns stands for it, assumed.
POINT_APERTURE_S = 10e-9


@dataclass(frozen=True)
class Record:
    """One record: seconds a division, points in all, and how many of them lie before the trigger."""

    scale_s: float
    points: int
    n_before: int


@dataclass(frozen=True)
class Timebase:
    """Numbers of points that a record may have, seconds a division from and to.

    `centred`: the trigger stays in the middle of the record; otherwise it can be put anywhere in it.
    """

    points: tuple[int, ...]
    scale_s: tuple[float, float]
    centred: bool

    def record(self, interval_s: float, n_samples: int, before_s: float) -> Record | None:
        """The shortest record that holds `n_samples` every `interval_s` (s), beginning `before_s` before the trigger.

        None if there is none.
        """
        n_before = round(before_s / interval_s)
        for points in self.points:
            scale_s = interval_s * points / DIVISIONS
            room = points // 2 if self.centred else points
            longest = max(n_before, n_samples - n_before) if self.centred else n_samples
            low, high = self.scale_s
            if longest <= room and _is_step(scale_s) and low * (1 - 1e-9) <= scale_s <= high * (1 + 1e-9):
                return Record(scale_s, points, points // 2 if self.centred else n_before)
        return None


def _is_step(value: float) -> bool:
    mantissa = value / 10 ** math.floor(math.log10(value) + 1e-9)
    return any(math.isclose(mantissa, step, rel_tol=1e-9) for step in (1, 2, 5))
