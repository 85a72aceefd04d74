"""Confidence intervals of variances from which a known or estimated noise is taken off; for few devices, few runs."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import chi2, f

from otters_lab.core.protocols import Array

_ALPHA = 0.025
_HEAVIEST = 5.0  # at 4 the variance of a variance is infinite, and no interval of this kind covers


def variance_interval(total: float, noise: float, dof: float, noise_dof: float = math.inf) -> tuple[float, float]:
    """95 % interval of (variance behind `total`) - (variance behind `noise`), each an estimate with its own dof.

    The modified large-sample interval of a difference of variances (Ting, Burdick, Graybill, Jeyaratnam and Lu 1990):
    with a noise that is known (noise_dof infinite) it is the chi-square interval less the noise, exactly. The ends may
    be negative.
    """
    g1, h1, g2, h2 = *_shrink_and_stretch(dof), *_shrink_and_stretch(noise_dof)
    high, low = _ratio(1 - _ALPHA, dof, noise_dof), _ratio(_ALPHA, dof, noise_dof)
    g12 = ((high - 1) ** 2 - g1**2 * high**2 - h2**2) / high
    h12 = ((1 - low) ** 2 - h1**2 * low**2 - g2**2) / low
    down = g1**2 * total**2 + h2**2 * noise**2 + g12 * total * noise
    up = h1**2 * total**2 + g2**2 * noise**2 + h12 * total * noise
    difference = total - noise
    return difference - math.sqrt(max(down, 0.0)), difference + math.sqrt(max(up, 0.0))


def _shrink_and_stretch(dof: float) -> tuple[float, float]:
    """How far a variance may lie below and above its estimate, relative: 1 - dof/chi2_high, dof/chi2_low - 1."""
    if math.isinf(dof):
        return 0.0, 0.0
    return float(1 - dof / chi2.ppf(1 - _ALPHA, dof)), float(dof / chi2.ppf(_ALPHA, dof) - 1)


def _ratio(quantile: float, dof: float, noise_dof: float) -> float:
    if math.isinf(noise_dof):
        return float(chi2.ppf(quantile, dof) / dof)
    return float(f.ppf(quantile, dof, noise_dof))


def effective_dof(residuals: Array, dof: float, tail: float = math.inf) -> float:
    """Degrees of freedom that a variance has when its runs have heavier tails than a Gaussian's.

    residuals [run, p]. For an elliptical population Var(s^2)/sigma^4 = 2/dof + 3*kappa/n, kappa the excess of Mardia's
    kurtosis, which pools the parameters: one number from p times as much data. Lighter tails count as Gaussian. Few
    runs seldom hold the far ones that make the kurtosis: that of a multivariate t with `tail` degrees of freedom counts
    where it is larger.
    """
    count, size = residuals.shape
    if dof < 4 or count < 8 * size:
        return dof
    inverse = np.linalg.pinv(residuals.T @ residuals / dof, hermitian=True)
    distance = np.einsum("ni,ij,nj->n", residuals, inverse, residuals)
    # Means that were taken off shorten each residual by dof/count.
    kurtosis = float(np.mean((distance * count / dof) ** 2)) / (size * (size + 2)) - 1
    expected = 2 / (max(tail, _HEAVIEST) - 4)
    return 2 / (2 / dof + 3 * max(kurtosis, expected, 0.0) / count)
