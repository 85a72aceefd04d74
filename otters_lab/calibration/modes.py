"""What runs do that the law cannot describe: principal modes of the residual curves, beyond the read noise.

Residuals are projected, whitened, on smooth curves (polynomials in x = u**beta, with what the law's own parameters take
up of them removed). Under read noise alone the scores are independent with unit variance and uncorrelated with the
parameters. Their covariance within devices tells the rest: an eigenvalue beyond what noise alone gives, by simulation,
is a mode. Its score is then one more parameter of each run: its covariance with the others is estimated jointly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander
from scipy.special import expit

from otters_lab.calibration.bulk import Decays, jacobian
from otters_lab.calibration.drift import within_devices
from otters_lab.calibration.modecurves import ModeCurves
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.refine import Refined, Whitener, whitened
from otters_lab.core.protocols import AnyArray, Array

DEGREES = 10  # of the polynomials; the law takes up about three
FALSE_ALARM = 0.01
MAX_MODES = 3
_DRAWS = 2000


@dataclass(frozen=True)
class Basis:
    """Smooth curves beyond the law: `whitened` [row, K] orthonormal; each is legendre [K, degree] in 2*u**beta - 1 less
    tangent [K, 3] of the law's derivatives, in the decays' unit.
    """

    whitened: Array
    legendre: Array
    tangent: Array
    whitener: Whitener


@dataclass(frozen=True)
class Modes:
    """Scores [trace, m] in units of their run-to-run sd, and the curve of each; the test that found them.

    noise_variance [m] : that of the scores, due to read noise alone. value, limit : largest eigenvalue of the residual
    scores' covariance, 1 under noise alone, and what noise alone exceeds once in 100 times.
    """

    scores: Array
    curves: ModeCurves  # in the decays' unit
    noise_variance: Array
    value: float
    limit: float

    @property
    def count(self) -> int:
        return self.scores.shape[1]


def find_modes(
    refined: Refined,
    decays: Decays,
    noise: ReadNoise,
    duration_s: float,
    device: AnyArray,
    elapsed_s: Array,
    kept: AnyArray,
) -> Modes | None:
    """Looks for modes in the residuals of traces on one grid; None where grids differ or runs are too few.

    kept : indices of the traces that count (no outliers).
    """
    if len(refined.whiteners) != 1:
        return None
    c, middle = refined.shared.c, np.median(refined.theta, axis=0)
    basis = _basis(refined.whiteners[0], decays, middle, c)
    scores = np.concatenate(
        [
            whitened(basis.whitener, decays.take(rows), refined.theta[rows], c)[1] @ basis.whitened
            for rows in np.array_split(np.arange(len(decays.y)), max(1, len(decays.y) // 1000))
        ]
    )
    within = within_devices(scores[kept], device[kept], elapsed_s[kept])
    if within.dof < 2 * scores.shape[1]:
        return None
    values, vectors = np.linalg.eigh(within.runs.T @ within.runs / within.dof)
    limit = _noise_alone(basis, decays, noise, duration_s, within.dof)
    found = [i for i in range(len(values))[::-1][:MAX_MODES] if values[i] > limit]
    sd = np.sqrt(values[found] - 1)  # read noise alone has 1
    chosen = vectors[:, found]
    return Modes(
        scores=scores @ (chosen / sd),
        curves=ModeCurves((chosen * sd).T @ basis.legendre, (chosen * sd).T @ basis.tangent),
        noise_variance=1 / sd**2,
        value=float(values[-1]),
        limit=limit,
    )


def _basis(whitener: Whitener, decays: Decays, theta: Array, c: float) -> Basis:
    """Polynomials of degree 0 and up, whitened, less what the law's parameters take up, made orthonormal."""
    row = int(whitener.rows[0])
    one = decays.take(np.array([row]))
    J = whitener(jacobian(one, theta[None], c)[1])[0]
    x = (one.time_s / decays.window_s) ** float(expit(theta[2]))
    raw: Array = np.asarray(legvander(2 * np.broadcast_to(x, one.y.shape) - 1, DEGREES - 1), dtype=np.float64)
    polynomials = whitener(raw)[0]
    taken = np.linalg.lstsq(J, polynomials, rcond=None)[0]
    left = polynomials - J @ taken
    # Singular vectors rather than a QR: directions the law takes up whole come last, and are dropped.
    U, sizes, Vt = np.linalg.svd(left, full_matrices=False)
    size = max(1, min(DEGREES - 3, int(np.sum(sizes > 1e-6 * sizes[0]))))
    mix = (Vt[:size].T / sizes[:size]).T  # [K, degree]
    return Basis(U[:, :size], mix, mix @ taken.T, whitener)


def _noise_alone(basis: Basis, decays: Decays, noise: ReadNoise, duration_s: float, dof: int) -> float:
    """The largest eigenvalue that noise alone exceeds with the stated chance: parallel analysis, with the noise's
    own powers as uncertain as their estimate is.
    """
    rng = np.random.default_rng(0)
    size = basis.whitened.shape[1]
    identity = np.eye(size)
    parts = _score_covariances(basis, decays, noise, duration_s)
    root = _root(noise.power_cov)
    largest = np.empty(_DRAWS)
    for draw in range(_DRAWS):
        moved = root @ rng.standard_normal(2)
        wished = identity + moved[0] * parts[0] + moved[1] * parts[1]
        lower = _root(wished)
        largest[draw] = np.linalg.eigvalsh(lower @ _wishart(rng, size, dof) @ lower.T)[-1]
    return float(np.quantile(largest, 1 - FALSE_ALARM))


def _wishart(rng: np.random.Generator, size: int, dof: int) -> Array:
    """Bartlett's decomposition of a Wishart matrix over its degrees of freedom."""
    lower = np.tril(rng.standard_normal((size, size)), -1)
    lower[np.arange(size), np.arange(size)] = np.sqrt(rng.chisquare(dof - np.arange(size)))
    return np.asarray(lower @ lower.T / dof)


def _score_covariances(basis: Basis, decays: Decays, noise: ReadNoise, duration_s: float) -> list[Array]:
    """Covariance [K, K] of the scores under unit white variance, and under unit flicker power."""
    whitener = basis.whitener
    times = decays.time_s[0 if len(decays.time_s) == 1 else int(whitener.rows[0])]
    t = times[whitener.use]
    project = np.linalg.solve(whitener.root.T, basis.whitened) / whitener.scale  # [row, K]
    if whitener.average is not None:
        project = whitener.average.T @ project
    if len(t) > 4000:  # only how uncertain the noise is hangs on it
        step = len(t) // 2000
        t, project = t[::step], project[::step] * step
    units = (ReadNoise(1.0, 0.0, noise.interval_s, 0), ReadNoise(0.0, 1.0, noise.interval_s, 0))
    return [project.T @ unit.covariance(t, duration_s) @ project for unit in units]


def _root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None)))
