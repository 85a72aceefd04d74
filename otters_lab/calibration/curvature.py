"""The curvature c that the traces of a setting, or of all settings, share."""

from __future__ import annotations

import numpy as np
from scipy.stats import f as f_distribution

from otters_lab.calibration.bulk import C_BOUNDS, Decays, SharedC, fit_bulk, fit_shared_c
from otters_lab.calibration.engines import ON_ONE_CORE, Runner
from otters_lab.calibration.streamed import SAMPLE, InMemory, fit_streamed
from otters_lab.core.protocols import AnyArray

ONE_C_QUANTILE = 0.99


def shared_curvature(decays: Decays, groups: AnyArray, law: str, runner: Runner = ON_ONE_CORE) -> SharedC:
    """Every trace by the unified law with one c: free, held to a stretched exponential ("kww"), or 0 ("power").

    groups [trace] are device numbers (see `fit_shared_c`). Of very many traces an even sample says what c is, and the
    runner fits the rest at it.
    """
    bounds = (1e-9, C_BOUNDS[1]) if law == "kww" else C_BOUNDS
    if len(decays.y) > SAMPLE:
        return fit_streamed(InMemory(decays), groups, runner, c=0.0 if law == "power" else None, bounds=bounds)
    if law == "power":
        return SharedC(0.0, None, fit_bulk(decays, 0.0))
    return fit_shared_c(decays, groups, bounds)


def differ(curvatures: list[SharedC], n_devices: int) -> bool:
    """Whether settings have curvatures of their own: their scatter against their sds, F test at 1 %.

    The sds are by jackknife over devices, so that is how well they are known. Never where one of them is unknown.
    """
    sds = [one.sd for one in curvatures]
    known = [sd for sd in sds if sd is not None and sd > 0]
    if len(known) < len(sds) or len(sds) < 2:
        return False
    c, weight = np.array([one.c for one in curvatures]), 1 / np.array(known) ** 2
    middle = np.sum(weight * c) / np.sum(weight)
    ratio = float(np.sum(weight * (c - middle) ** 2)) / (len(c) - 1)
    return ratio > float(f_distribution.ppf(ONE_C_QUANTILE, len(c) - 1, max(n_devices - 1, 1)))
