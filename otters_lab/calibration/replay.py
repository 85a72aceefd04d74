"""Levels read from recorded traces instead of a model: what the devices really did, noise of the meter included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from otters_lab.calibration.model import DeviceModel
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array

_EDGE_SAMPLES = 10


@dataclass(frozen=True)
class RecordedLevels:
    """A `LevelReader` over recorded level tables [trace, T + 1]; each draw is one trace, chosen at random."""

    tables: Array

    @property
    def n_levels(self) -> int:
        return int(self.tables.shape[1])

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        """`n` tables of traces drawn with replacement, [n, T + 1]."""
        rows = np.random.default_rng(seed).integers(len(self.tables), size=n)
        return np.asarray(self.tables[rows])


def recorded_levels(
    time_s: Array,
    current_A: Array,
    model: DeviceModel,
    I_edge_A: float,
    I_end_A: float,
    n_levels: int,
    first_read_s: float = 0.0,
) -> RecordedLevels:
    """Reads O(t_k) off recorded decays, in a calibration's own constants.

    time_s, current_A [trace, sample], NaN padded, 0 at the edge. Between samples the reading is linear in u**beta,
    on which the mean curve is nearly straight; beyond the first and the last sample it is extrapolated by a straight
    line through the nearest ten. Level 0 is read `first_read_s` after the edge.

    Raises
    ------
    InputError
        if a trace ends before the last level that is ever read, t_{T-1}, or the first read is out of place.
    """
    beta = float(expit(model.logit_beta))
    x_k = model.level_times(n_levels, first_read_s) ** beta
    tables = np.empty((len(time_s), n_levels))
    for row, (t, current) in enumerate(zip(time_s, current_A, strict=True)):
        used = np.isfinite(t) & np.isfinite(current) & (t > 0)
        x = (t[used] / model.window_s) ** beta
        value = (current[used] - I_end_A) / (I_edge_A - I_end_A)
        if len(x) < _EDGE_SAMPLES or x[-1] < x_k[-2]:
            reach = t[used][-1] if used.any() else 0.0
            needed = float(model.level_times(n_levels)[-2] * model.window_s)
            raise InputError(f"trace {row} ends at {reach:.4g} s, before the level read at {needed:.4g} s")
        tables[row] = np.interp(x_k, x, value)
        for beyond, end in ((x_k < x[0], slice(_EDGE_SAMPLES)), (x_k > x[-1], slice(-_EDGE_SAMPLES, None))):
            tables[row, beyond] = np.polyval(np.polyfit(x[end], value[end], 1), x_k[beyond])
    return RecordedLevels(tables)
