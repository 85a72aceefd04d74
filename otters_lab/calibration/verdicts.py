"""The values of the gates: what is checked before anybody trains on a fit."""

from __future__ import annotations

import lmfit
import numpy as np

from otters_lab.calibration.bulk import BulkFit, Decays, jacobian
from otters_lab.calibration.choice import TraceVerdict, lag_one_autocorrelation
from otters_lab.calibration.drift import confounding, within_devices
from otters_lab.calibration.gates import Gate, at_least, at_most
from otters_lab.calibration.laws import unified_level_times
from otters_lab.calibration.model import PARAMETERS
from otters_lab.calibration.normalise import NormalisedFit
from otters_lab.calibration.refine import edge_slope
from otters_lab.calibration.select import WINDOW_SLACK, Selection
from otters_lab.core.protocols import Array


def population_gates(
    normal: NormalisedFit,
    chosen: Selection,
    decays: Decays,
    extrapolated: list[int],
    n_levels: int,
) -> list[Gate]:
    population = normal.population
    shares = [share for share in population.run_to_run.estimation_share if share is not None]
    resolved_D = population.run_to_run.sd[PARAMETERS.index("D")]
    early = [k for k in extrapolated if 0 < k < n_levels - 1]
    modes, device = normal.modes, chosen.table["device_code"].to_numpy()
    return [
        at_most("identifiability", _identifiability(normal), 0.99, "largest correlation of a trace's parameters"),
        at_least(
            "run-to-run sd of D resolved", float(resolved_D is not None), 1, "enough repeats to tell it from noise"
        ),
        at_most("estimation noise in the run-to-run variance", max(shares, default=None), 0.5, "worst parameter"),
        at_most(
            "measured against sampled sd",
            _measured_against_sampled(normal, chosen, decays),
            0.10,
            "worst of levels 1, 4, 8, 12, 14: sd of readings against model plus read noise, relative",
        ),
        at_most(
            "extra mode",
            None if modes is None else modes.value,
            1.0 if modes is None else round(modes.limit, 4),
            "largest eigenvalue of the runs' residual curves, 1 under read noise alone; the limit by simulation",
        ),
        at_most(
            "drift confounded with devices",
            confounding(device, chosen.table["elapsed_s"].to_numpy()),
            0.5,
            "R^2 of the time of measurement on the device: 1 where one device came after the other",
        ),
        at_most("outlier share", len(population.outliers) / len(normal.theta), 0.05, "runs far from their device"),
        at_most("levels before the first sample", float(len(early)), 3, "levels 1 and later that are extrapolated"),
    ]


def _measured_against_sampled(normal: NormalisedFit, chosen: Selection, decays: Decays) -> float | None:
    """Largest relative difference between the scatter of single readings near a level's time and what the run-to-run
    covariance and read noise (in quadrature) predict; None without repeats.
    """
    population, noise = normal.extended, normal.noise
    if len(decays.time_s) > 1 or population.run_to_run.dof < 20:
        return None
    kept = population.kept
    value = (decays.y[kept] - normal.I_end_A) / normal.swing_A
    codes = chosen.table["device_code"].to_numpy()[kept]
    elapsed = chosen.table["elapsed_s"].to_numpy()[kept]
    repeat = chosen.table["repeat"].to_numpy(dtype=float)[kept]
    u = decays.time_s[0] / decays.window_s
    times = unified_level_times(float(population.mean[2]), normal.shared.c, 16)
    samples = [int(np.argmin(np.abs(u - times[k]))) for k in (1, 4, 8, 12, 14)]
    sensitivity = normal.sensitivity(u[samples])
    within = within_devices(value[:, samples], codes, elapsed, repeat)
    measured = np.sum(within.runs**2, axis=0) / within.dof
    read_variance = (noise.white_sd**2 + noise.rms_flicker(chosen.duration_s) ** 2) / normal.swing_A**2
    edge_s = np.nan_to_num(chosen.table["edge_uncertainty_s"].to_numpy(dtype=float)[kept])
    middle = np.median(normal.shared.fit.theta, axis=0, keepdims=True)
    slope = edge_slope(decays, decays.time_s[0], middle, normal.shared.c, float(np.median(edge_s)))[samples]
    edge_variance = (slope / normal.swing_A) ** 2 * float(np.mean(edge_s**2))
    spread = np.einsum("ki,ij,kj->k", sensitivity, population.run_to_run.covariance, sensitivity)
    return float(np.max(np.abs(np.sqrt(measured / (spread + read_variance + edge_variance)) - 1.0)))


def _identifiability(normal: NormalisedFit) -> float:
    """Largest correlation between two parameters of a trace's fit, due to read noise, in the median trace."""
    covariance = np.median(normal.estimation, axis=0)
    sd = np.sqrt(np.clip(np.diag(covariance), 1e-300, None))
    correlation = covariance / np.outer(sd, sd)
    return float(np.max(np.abs(correlation - np.diag(np.diag(correlation)))))


def trace_gates(fit: BulkFit, chosen: Selection, decays: Decays, verdicts: dict[int, TraceVerdict]) -> list[Gate]:
    used = np.broadcast_to(decays.used > 0, decays.y.shape)
    last = np.max(np.where(used, np.broadcast_to(decays.time_s, decays.y.shape), 0.0), axis=1)
    residuals = decays.y - jacobian(decays, fit.theta, fit.c)[0]
    correlations = [lag_one_autocorrelation(r[u]) for r, u in zip(residuals, used, strict=True)]
    other = [v.preferred in ("exp", "biexp", "line") and v.aic.get("unified", np.inf) > 10 for v in verdicts.values()]
    no_decay = [verdict.preferred == "line" for verdict in verdicts.values()]
    return [
        at_least("window coverage", float(np.min(last)) / chosen.window_s, 1 - WINDOW_SLACK, "shortest trace"),
        at_least("fits converged", float(np.mean(fit.converged)), 1, "share of traces"),
        at_most(
            "fits at a bound", float(np.mean(np.abs(fit.theta[:, 2]) >= 5.99)), 0, "share of traces, of logit beta"
        ),
        at_most(
            "bulk against lmfit", _against_lmfit(decays, fit), 1e-6, "excess of the sum of squares, worst of a few"
        ),
        at_most("residual autocorrelation", float(np.median(correlations)), 0.3, "lag one, median trace"),
        at_most("traces another law describes better", float(np.mean(other)) if other else None, 0.25, "by AIC, > 10"),
        at_most("traces without a decay", float(np.mean(no_decay)) if no_decay else None, 0.05, "a line does as well"),
    ]


def _against_lmfit(decays: Decays, fit: BulkFit, sample: int = 5) -> float:
    """Refits a few traces with lmfit, from its own start: how much lower does it get the sum of squares?"""
    worst = 0.0
    for row in np.unique(np.linspace(0, len(decays.y) - 1, sample).astype(int)):
        one = decays.take(np.array([row]))
        scale = float(np.ptp(one.y[one.used > 0])) or 1.0
        flat = one.used[0] > 0

        def residual(p: lmfit.Parameters, one: Decays = one, flat: Array = flat, scale: float = scale) -> Array:
            theta = np.array([[p["edge"].value, p["drop"].value, p["logit_beta"].value]]) * [scale, scale, 1.0]
            return np.asarray((one.y[0] - jacobian(one, theta, fit.c)[0][0])[flat] / scale)

        parameters = lmfit.Parameters()
        first, last = one.y[0][flat][0], one.y[0][flat][-1]
        parameters.add("edge", value=first / scale)
        parameters.add("drop", value=(first - last) / scale)
        parameters.add("logit_beta", value=0.3, min=-6, max=6)
        result = lmfit.minimize(residual, parameters, method="leastsq", ftol=1e-14, xtol=1e-14, max_nfev=3000)
        theirs = float(np.sum(np.asarray(result.residual) ** 2)) * scale**2
        worst = max(worst, fit.rss[row] / max(theirs, 1e-300) - 1.0)
    return worst
