"""Runs that do not belong: a stated rule on their robust distance, which knows that tails may be heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import chi2, f

from otters_lab.calibration.drift import within_devices
from otters_lab.core.protocols import AnyArray, Array

OUTLIER_CHANCE = 1e-4  # of one run to be kept out by chance, of the distribution that the bulk of the runs has
_TAILS = (4.0, 6.0, 10.0, 20.0)  # of a multivariate t, the heaviest with a variance of its variance barely
_BULK = 0.95  # runs further out than this quantile count by their number alone: how far they are is what is asked
_EVIDENCE = 4.0  # in log likelihood, before tails are called heavier than a Gaussian's
_ENOUGH = 60


@dataclass(frozen=True)
class Tails:
    """out : mask [trace] of the outliers. tail : degrees of freedom of the multivariate t that the bulk of the runs
    has, infinite where a Gaussian does.
    """

    out: AnyArray
    tail: float = math.inf


def find_outliers(theta: Array, device: AnyArray, elapsed_s: Array) -> Tails:
    """Finds the runs [trace] that are further from their device than one in 10 000 is.

    Distances are those of a scatter that outliers do not move (the weights of a multivariate t with 4 degrees of
    freedom); the bulk of them says whether runs are Gaussian or heavy-tailed, and how wide. Under heavy tails a far run
    is no outlier: leaving it out would make run-to-run variation too small.
    """
    size = theta.shape[1]
    found = Tails(np.zeros(len(theta), dtype=bool))
    if len(theta) < 3 * size + len(np.unique(device)):
        return found
    for _ in range(10):
        squared = _distances(theta, device, elapsed_s, found.out)
        if squared is None:
            break
        limit, tail = _limit(squared, size)
        before, found = found, Tails(squared > limit, tail)
        if np.array_equal(before.out, found.out):
            break
    return found


def _distances(theta: Array, device: AnyArray, elapsed_s: Array, out: AnyArray) -> Array | None:
    """Squared robust distances [trace] of runs from their device; the means and the drift are those of the kept."""
    codes = np.unique(device, return_inverse=True)[1]
    middle = np.empty_like(theta)
    kept = ~out
    drift = within_devices(theta[kept], device[kept], elapsed_s[kept]).drift
    slope = np.zeros(theta.shape[1]) if drift is None else drift.per_s
    straight = theta - np.outer(elapsed_s, slope)
    for code in range(int(codes.max()) + 1):
        mine = codes == code
        within = straight[mine & kept] if np.any(mine & kept) else straight[mine]
        middle[mine] = within.mean(axis=0) if np.any(out) or len(within) > 20 else np.median(within, axis=0)
    away = straight - middle
    spread = 1.4826 * np.median(np.abs(away), axis=0)
    if not np.all(spread > 0):
        return None
    scatter = np.diag(spread**2)
    size = theta.shape[1]
    for _ in range(30):
        squared = np.einsum("ni,ij,nj->n", away, np.linalg.pinv(scatter), away)
        weight = (4 + size) / (4 + squared)
        scatter = (away * weight[:, None]).T @ away / len(away)
    return np.asarray(np.einsum("ni,ij,nj->n", away, np.linalg.pinv(scatter), away))


def _limit(squared: Array, size: int) -> tuple[float, float]:
    """The squared distance a run exceeds with the stated chance, of the distribution fitted to the bulk; its tail."""
    edge = float(np.quantile(squared, _BULK))
    inside = squared[squared <= edge]
    beyond = len(squared) - len(inside)

    def unlikely(log_scale: float, tail: float) -> float:
        scale = math.exp(log_scale)
        if math.isinf(tail):
            density, rest = chi2.logpdf(inside / scale, size), chi2.logsf(edge / scale, size)
        else:
            density = f.logpdf(inside / scale / size, size, tail) - math.log(size)
            rest = f.logsf(edge / scale / size, size, tail)
        return float(len(inside) * log_scale - np.sum(density) - beyond * rest)

    middle = math.log(float(np.median(squared)) / chi2.median(size))
    fits = {}
    for tail in (math.inf, *(_TAILS if len(squared) >= _ENOUGH else ())):
        best = minimize_scalar(
            unlikely, args=(tail,), bounds=(middle - 1, middle + 1), method="bounded", options={"xatol": 1e-3}
        )
        fits[tail] = (float(best.fun) + (0.0 if math.isinf(tail) else _EVIDENCE), math.exp(float(best.x)))
    tail = min(fits, key=lambda t: fits[t][0])
    scale = fits[tail][1]
    if math.isinf(tail):
        return float(scale * chi2.isf(OUTLIER_CHANCE, size)), tail
    return float(scale * size * f.isf(OUTLIER_CHANCE, size, tail)), tail
