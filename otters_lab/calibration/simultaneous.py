"""Intervals for many levels at once, and for a change of a standard deviation."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

from otters_lab.core.protocols import Array

_DRAWS = 20_000
_MANY = 40  # degrees of freedom from which the variances' joint wobble is left out of the shape


def largest_t(root: Array, dof: int, alpha: float) -> float:
    """The value that the largest |t_k| over all levels exceeds with probability alpha when nothing has changed.

    root [level, p]: the levels' errors are root @ standard normals, each t_k is studentised by a variance estimated
    with `dof` degrees of freedom from the same law. Drawn from a fixed seed: levels are p-dimensional, so Bonferroni
    over all of them would be far too wide, and few devices make the tail heavy.
    """
    rng = np.random.default_rng(5)
    scale = np.sqrt(np.sum(root**2, axis=1))
    root = root[scale > 0] / scale[scale > 0, None]
    errors = rng.standard_normal((_DRAWS, root.shape[1])) @ root.T
    if dof <= _MANY:
        draws = rng.standard_normal((_DRAWS, dof, root.shape[1]))
        moments = np.einsum("ndi,ndj->nij", draws, draws) / dof
        variance = np.einsum("ki,nij,kj->nk", root, moments, root, optimize=True)
    else:
        variance = rng.chisquare(dof, (_DRAWS, 1)) / dof
    return float(np.quantile(np.max(np.abs(errors) / np.sqrt(variance), axis=1), 1 - alpha))


def sd_interval(total: float, noise: float, dof: float, alpha: float) -> tuple[float, float]:
    """Interval of sqrt(total - noise), the total variance having `dof` degrees of freedom, the noise being known."""
    low, high = (max(total * dof / float(chi2.ppf(p, dof)) - noise, 0.0) for p in (1 - alpha / 2, alpha / 2))
    return low**0.5, high**0.5


def difference(
    old: float, old_interval: tuple[float, float], new: float, new_interval: tuple[float, float]
) -> tuple[float, float]:
    """Interval of new - old from the interval of each (MOVER: Zou and Donner, Statistics in Medicine 27, 2008)."""
    low = np.hypot(new - new_interval[0], old_interval[1] - old)
    high = np.hypot(new_interval[1] - new, old - old_interval[0])
    return float(new - old - low), float(new - old + high)


def effective_dof(away: Array, dof: int) -> float:
    """Degrees of freedom of a variance from values that may have heavy tails: 2*dof/(kurtosis - 1), at most `dof`."""
    variance = float(np.mean(away**2))
    if variance == 0.0:
        return float(dof)
    kurtosis = float(np.mean(away**4)) / variance**2
    return min(float(dof), 2.0 * dof / max(kurtosis - 1.0, 1e-9))
