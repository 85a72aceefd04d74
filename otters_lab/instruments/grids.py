"""Sampling grids: which readings of an evenly paced acquisition are kept, denser where the decay is steep.

Every meter here paces its readings evenly, so a grid is a choice among them: the others are dropped, and what is kept
has the noise and the aperture of one reading.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from otters_lab.core.protocols import AnyArray, Array

Grid = Literal["linear", "quadratic", "log"]


def kept(time_s: Array, interval_s: float, decay_s: float, grid: Grid, points: int | None) -> AnyArray:
    """Indices [kept] of the samples that a grid keeps; `time_s` [sample] is mid-aperture, 0 at the light's edge.

    Of the samples after the edge, about `points`: those nearest to decay*(i/points)^2 ("quadratic": a power law with
    exponent 1/2 then falls by equal steps), or to a geometric series from the first sample on ("log"). No sample is
    kept twice, so fewer than `points` remain where the grid would be finer than the interval. Of the samples before
    the edge every n-th, so that they lie as far apart as the kept ones do on average, but at least every fourth part
    of them.
    """
    everything = np.arange(time_s.size)
    after = everything[time_s > 0]
    if grid == "linear" or points is None or after.size <= points:
        return everything
    steps = np.arange(1, points + 1) / points
    first_s = float(time_s[after[0]])
    wanted_s = decay_s * steps**2 if grid == "quadratic" else first_s * (decay_s / first_s) ** steps
    nearest = np.clip(np.rint((wanted_s - first_s) / interval_s).astype(int), 0, after.size - 1)
    chosen = np.unique(np.concatenate([[0], nearest]))
    before = everything[time_s <= 0]
    stride = max(1, min(after.size // points, before.size // 4))
    return np.concatenate([before[::stride], after[chosen]])
