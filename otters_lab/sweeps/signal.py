"""What one trace is worth: how far its current decays, and how much a reading of it scatters."""

from __future__ import annotations

import math

import numpy as np

from otters_lab.core.protocols import Array, Trace

_FEWEST = 8  # readings that say how much one scatters


def drop_A(trace: Trace) -> float | None:
    """Mean of the first twentieth of the decay less that of the last (A); None without a decay."""
    decay = _decay(trace)
    if len(decay) < 2:
        return None
    m = max(1, len(decay) // 20)
    return float(np.mean(decay[:m]) - np.mean(decay[-m:]))


def noise_A(trace: Trace) -> float | None:
    """sd of one reading (A), from differences of neighbours, which a slow decay hardly touches; None of too few.

    In the dark before the pulse where there are enough samples, else in the decay.
    """
    for values in (dark_A(trace), _decay(trace)):
        if len(values) >= _FEWEST:
            return float(np.std(np.diff(values)) / math.sqrt(2))
    return None


def dark_A(trace: Trace) -> Array:
    """The readings (A) before the pulse."""
    return trace.current_A[trace.time_s + trace.aperture_s / 2 < -trace.pulse_width_s]


def _decay(trace: Trace) -> Array:
    return trace.current_A[trace.time_s - trace.aperture_s / 2 > trace.edge_uncertainty_s]
