"""A covariance with the estimation noise taken out: what of it is resolved, and how well."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from otters_lab.calibration.intervals import variance_interval
from otters_lab.core.protocols import Array

MAX_ESTIMATION_SHARE = 0.5


@dataclass(frozen=True)
class Spread:
    """A deconvolved covariance. Parameters whose spread the data cannot resolve have None, and an upper bound.

    covariance [p, p] holds 0 for unresolved parameters (for sampling; files write null there). interval and upper
    are on the sd, 95 %. dof are those of the total scatter, as many as its tails leave (`intervals.effective_dof`).
    """

    sd: list[float | None]
    interval: list[tuple[float, float] | None]
    upper: list[float | None]
    estimation_share: list[float | None]
    covariance: Array
    dof: float

    @property
    def resolved(self) -> list[bool]:
        return [sd is not None for sd in self.sd]


def unresolved(size: int) -> Spread:
    """A spread of which the data say nothing at all."""
    nothing: list[float | None] = [None] * size
    return Spread(nothing, [None] * size, nothing, nothing, np.zeros((size, size)), 0)


def deconvolve(
    total: Array, noise: Array, dof: float, noise_dof: float = math.inf, likeliest: Array | None = None
) -> Spread:
    """`total` - `noise` as a proper covariance, parameter by parameter resolved or not.

    A parameter is not resolved where noise makes up more than half of its total variance or where the lower end of
    its interval reaches 0. `likeliest` [p, p], where given, is the covariance to state instead of the difference.
    """
    size = len(total)
    if dof < 1:
        return unresolved(size)
    ends = [variance_interval(float(total[i, i]), float(noise[i, i]), dof, noise_dof) for i in range(size)]
    low, high = (np.array(end) for end in zip(*ends, strict=True))
    share = np.diag(noise) / np.maximum(np.diag(total), 1e-300)
    resolved = (share <= MAX_ESTIMATION_SHARE) & (low > 0)
    covariance = total - noise if likeliest is None else likeliest
    covariance = nearest_covariance(np.where(np.outer(resolved, resolved), covariance, 0.0))
    sd = [float(np.sqrt(covariance[i, i])) if resolved[i] else None for i in range(size)]
    interval = [(float(np.sqrt(low[i])), float(np.sqrt(high[i]))) if resolved[i] else None for i in range(size)]
    upper: list[float | None] = [float(np.sqrt(max(high[i], 0.0))) for i in range(size)]
    return Spread(sd, interval, upper, [float(s) for s in share], covariance, dof)


def nearest_covariance(matrix: Array) -> Array:
    """Clips negative eigenvalues of the correlation matrix and restores the variances."""
    scale = np.sqrt(np.clip(np.diag(matrix), 0.0, None))
    safe = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(matrix / np.outer(safe, safe))
    if values.min() >= 0:
        return matrix
    clipped = (vectors * np.clip(values, 0.0, None)) @ vectors.T
    diagonal = np.sqrt(np.clip(np.diag(clipped), 1e-300, None))
    return np.asarray(clipped * np.outer(scale / diagonal, scale / diagonal))
