"""Many traces at once: batched Levenberg-Marquardt on the unified law, one shared c."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from otters_lab.calibration.laws import averaged_drop
from otters_lab.core.protocols import AnyArray, Array

C_BOUNDS = (-0.5, 0.999)
_LOGIT_BOUND = 6.0
_ENOUGH = 150  # traces to look for the shared c among


@dataclass(frozen=True)
class Decays:
    """Decay parts of traces.

    time_s [trace, sample], or [1, sample] where all share one grid: mid-aperture, all after the edge; y [trace, sample]
    in any unit; used [trace, sample] is 1 where a sample counts and 0 in the padding.
    """

    time_s: Array
    y: Array
    used: Array
    aperture_s: float
    window_s: float

    def take(self, rows: AnyArray) -> Decays:
        """The traces `rows` (indices or a mask)."""
        time_s = self.time_s if len(self.time_s) == 1 else self.time_s[rows]
        return replace(self, time_s=time_s, y=self.y[rows], used=self.used[rows])


@dataclass(frozen=True)
class BulkFit:
    """theta [trace, 3] = (edge value, drop over the window, logit beta); rss [trace]; converged [trace]."""

    theta: Array
    rss: Array
    c: float
    converged: Array


def jacobian(decays: Decays, theta: Array, c: float) -> tuple[Array, Array]:
    """Model [trace, sample] and its derivatives [trace, sample, 3] by (edge value, drop, logit beta)."""
    g, dg = averaged_drop(decays.time_s, decays.aperture_s, decays.window_s, expit(theta[:, 2:3]), c)
    drop, used = theta[:, 1:2], decays.used
    J = np.empty((*g.shape, 3))
    J[..., 0], J[..., 1], J[..., 2] = used, -g * used, -drop * dg * used
    return theta[:, 0:1] - drop * g, J


def fit_bulk(decays: Decays, c: float, start: Array | None = None, max_steps: int = 60) -> BulkFit:
    """Least squares of every trace at a fixed c.

    Damping per trace (Marquardt's diagonal); a trace is converged when a step lowers its sum of squares by less than
    1e-12 of it. Traces that never get there say so in `converged`.
    """
    y = decays.y
    theta = _start(decays) if start is None else start.copy()
    damping = np.full(len(y), 1e-3)
    model, J = jacobian(decays, theta, c)
    rss = np.sum((decays.used * (y - model)) ** 2, axis=1)
    converged = np.zeros(len(y), dtype=bool)
    for _ in range(max_steps):
        active = np.flatnonzero(~converged)
        if not len(active):
            break
        residual = decays.used[active] * (y[active] - model[active])
        JT = np.swapaxes(J[active], 1, 2)
        normal = JT @ J[active]
        gradient = (JT @ residual[..., None])[..., 0]
        diagonal = np.einsum("nii->ni", normal)
        damped = normal + np.einsum("ni,ij->nij", damping[active, None] * diagonal + 1e-300, np.eye(3))
        step = np.linalg.solve(damped, gradient[..., None])[..., 0]
        trial = theta[active] + step
        trial[:, 2] = np.clip(trial[:, 2], -_LOGIT_BOUND, _LOGIT_BOUND)
        part = decays.take(active)
        trial_model, trial_J = jacobian(part, trial, c)
        trial_rss = np.sum((part.used * (part.y - trial_model)) ** 2, axis=1)
        better = trial_rss <= rss[active]
        small = np.abs(rss[active] - trial_rss) <= 1e-12 * rss[active] + 1e-300
        won = active[better]
        theta[won], model[won], J[won] = trial[better], trial_model[better], trial_J[better]
        rss[won] = trial_rss[better]
        damping[active] = np.clip(np.where(better, damping[active] / 10, damping[active] * 10), 1e-12, 1e12)
        converged[active] = small
    return BulkFit(theta, rss, c, converged)


def _start(decays: Decays) -> Array:
    """Edge value and drop by linear regression on sqrt(u), beta = 1/2."""
    x = np.broadcast_to(np.sqrt(decays.time_s / decays.window_s), decays.y.shape)
    count = decays.used.sum(axis=1)
    mean_x, mean_y = (np.sum(decays.used * part, axis=1) / count for part in (x, decays.y))
    away = decays.used * (x - mean_x[:, None])
    drop = -np.sum(away * decays.y, axis=1) / np.sum(away**2, axis=1)
    return np.stack([mean_y + drop * mean_x, drop, np.zeros(len(decays.y))], axis=1)


@dataclass(frozen=True)
class SharedC:
    """The shared curvature c, its sd by jackknife over groups (None with fewer than 3), and the fit at it."""

    c: float
    sd: float | None
    fit: BulkFit


def _better(one: BulkFit, other: BulkFit) -> BulkFit:
    """Trace by trace the lower of two fits: a c tried far off can leave a trace at a bound, from which none returns."""
    lower = other.rss < one.rss
    return BulkFit(
        np.where(lower[:, None], other.theta, one.theta),
        np.where(lower, other.rss, one.rss),
        one.c,
        np.where(lower, other.converged, one.converged),
    )


def fit_shared_c(decays: Decays, groups: AnyArray, bounds: tuple[float, float] = C_BOUNDS) -> SharedC:
    """Finds the one c that lowers the total sum of squares most, then fits every trace at it.

    `groups` [trace] are device numbers: the sd of c comes from leaving out one device at a time, on the parabola of
    the profile, so that it holds whatever the noise's spectrum.
    """
    state: dict[str, Array] = {}

    def total(c: float) -> float:
        fit = fit_bulk(decays, c, state.get("theta"))
        state["theta"] = fit.theta
        return float(np.sum(fit.rss))

    if len(decays.y) > 2 * _ENOUGH:  # every so-manieth trace says where to look, at a fraction of the cost
        rows = np.linspace(0, len(decays.y) - 1, _ENOUGH).astype(int)
        near = fit_shared_c(decays.take(rows), groups[rows], bounds).c
        reach = 0.05 * (1 - near)
        bounds = (max(bounds[0], near - reach), min(bounds[1], near + reach))
    best = minimize_scalar(total, bounds=bounds, method="bounded", options={"xatol": 1e-5})
    c = float(best.x)
    final = _better(fit_bulk(decays, c, state["theta"]), fit_bulk(decays, c))
    h = 0.02 * (1 - c)
    low, high = fit_bulk(decays, c - h, final.theta).rss, fit_bulk(decays, c + h, final.theta).rss
    slope, curvature = (high - low) / (2 * h), (high - 2 * final.rss + low) / h**2
    names = np.unique(groups)
    if len(names) < 3 or curvature.sum() <= 0:
        return SharedC(c, None, final)
    left_out = np.array([c - slope[groups != g].sum() / curvature[groups != g].sum() for g in names])
    sd = float(np.sqrt((len(names) - 1) / len(names) * np.sum((left_out - left_out.mean()) ** 2)))
    return SharedC(c, sd, final)
