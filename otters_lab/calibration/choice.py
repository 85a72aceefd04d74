"""Which law does a single trace prefer, and what can it not tell: every law fitted, judged by AIC and BIC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from otters_lab.calibration.single import LawFit, fit_law
from otters_lab.calibration.trace_laws import LAWS
from otters_lab.core.protocols import Array

DECISIVE_AIC = 10.0
_MAX_POINTS = 1500
_SAME_CURVE = 0.1  # of AIC


@dataclass(frozen=True)
class TraceVerdict:
    """What a trace says.

    law : the law whose numbers these are: the preferred one, or the one asked for.
    preferred : the law of lowest AIC, "line" where a straight line does as well (no decay resolved).
    rival : another law whose AIC is within `DECISIVE_AIC` of `law`'s or below it, None if there is none.
    status : of the fit of `law`, "ok" or why its numbers are not to be used as they stand (see `LawFit`).
    polarity : "falls" or "rises" after the light goes off: its last quarter against its first.
    errors : standard errors, widened for correlated residuals: by sqrt(samples/n_effective).
    aic, bic : of each law less the best whose search arrived, with the effective number of samples.
    """

    law: str
    preferred: str
    rival: str | None
    status: str
    polarity: str
    values: dict[str, float]
    errors: dict[str, float | None]
    aic: dict[str, float]
    bic: dict[str, float]
    n_effective: float
    autocorrelation: float
    notes: list[str] = field(default_factory=list)


def lag_one_autocorrelation(residual: Array) -> float:
    """Correlation of each residual with the next."""
    centred = residual - residual.mean()
    power = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0


def effective_samples(residual: Array) -> float:
    """How many independent samples residuals [sample] are worth: n over their integrated autocorrelation time.

    1 + 2*(sum of autocorrelations up to the first that is not positive); at least 2 samples are left. For a first-order
    process of correlation r that is n(1-r)/(1+r); 1/f noise, whose correlations last, is worth fewer.
    """
    n = len(residual)
    centred = residual - residual.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    correlation = np.fft.irfft(spectrum)[:n]
    if correlation[0] <= 0:
        return float(n)
    rho = correlation / correlation[0]
    ends = np.flatnonzero(rho <= 0)
    stop = int(ends[0]) if len(ends) else n
    return max(2.0, n / (1 + 2 * float(rho[1:stop].sum())))


def judge_trace(
    t: Array, y: Array, *, aperture_s: float = 0.0, edge_sd_s: float | None = None, asked: str | None = None
) -> TraceVerdict:
    """Compares all laws, and a straight line, on one decay.

    Parameters
    ----------
    t, y : [sample] mid-aperture times after the edge (s), currents (A).
    aperture_s : laws are averaged over it.
    edge_sd_s : sd of the edge's time; None or 0 takes t0 as known.
    asked : the law whose numbers are wanted whatever is preferred.

    -2 log likelihood is n_eff*log(rss/n) plus what t0's prior adds, AIC adds 2k to it, BIC k*log(n_eff), with n_eff the
    effective number of samples of the best fit's residuals: with 1/f noise, counting samples as independent decides
    everything. t0 is no part of k: every law has it, held by its prior.
    """
    if len(t) > _MAX_POINTS:  # long records: every m-th reading carries the same curve
        t, y = t[:: len(t) // _MAX_POINTS + 1], y[:: len(y) // _MAX_POINTS + 1]
    fits = {name: fit_law(law, t, y, aperture_s=aperture_s, edge_sd_s=edge_sd_s) for name, law in LAWS.items()}
    line = np.polyfit(t, y, 1)
    line_rss = float(np.sum((y - np.polyval(line, t)) ** 2))
    n_eff = effective_samples(min(fits.values(), key=lambda fit: fit.rss).residual)
    aic, bic = {}, {}
    for name in [*fits, "line"]:
        fit = fits.get(name)
        rss, penalty, k = (line_rss, 0.0, 2) if fit is None else (fit.rss, fit.penalty, fit.n_free)
        deviance = n_eff * math.log(max(rss, 1e-300) / len(t)) + penalty
        aic[name], bic[name] = deviance + 2 * k, deviance + k * math.log(n_eff)
    # A search that did not arrive says nothing against its law, nor for it.
    arrived = [name for name, fit in fits.items() if fit.status != "not converged"] or list(fits)
    best = _identifiable(_lowest(aic, arrived), fits, aic)
    by_bic = _identifiable(_lowest(bic, arrived), fits, bic)
    preferred = "line" if aic["line"] - aic[best] < DECISIVE_AIC else best
    law = asked or preferred
    rivals = [name for name in {*arrived, preferred} if name != law and aic[name] - aic[law] < DECISIVE_AIC]
    polarity = _polarity(y)
    notes = [f"asked for; AIC prefers {preferred}"] if law != preferred else []
    autocorrelation = lag_one_autocorrelation(fits[best if law == "line" else law].residual)
    if preferred == "line":
        notes.append("no decay resolved: a straight line does as well")
    elif by_bic != preferred:
        notes.append(f"BIC prefers {by_bic}")
    status, values, errors = "ok", {"slope": float(line[0]), "intercept": float(line[1])}, {}
    if law == "line":
        rivals, errors = [], dict.fromkeys(values)
    else:
        fit = fits[law]
        status, values = fit.status, fit.values
        widened = math.sqrt(max(1.0, len(t) / n_eff))
        errors = {name: None if error is None else error * widened for name, error in fit.errors.items()}
        notes += _what_cannot_be_told(fit, t)
        if autocorrelation > 0.3:
            notes.append(f"residuals correlated ({autocorrelation:.2f}): errors widened {widened:.1f} times")
    return TraceVerdict(
        law=law,
        preferred=preferred,
        rival=_lowest(aic, rivals) if rivals else None,
        status=status,
        polarity=polarity,
        values=values,
        errors=errors,
        aic=_less_lowest(aic, arrived),
        bic=_less_lowest(bic, arrived),
        n_effective=n_eff,
        autocorrelation=autocorrelation,
        notes=notes,
    )


def _less_lowest(criterion: Mapping[str, float], among: list[str]) -> dict[str, float]:
    lowest = criterion[_lowest(criterion, among)]
    return {name: value - lowest for name, value in criterion.items()}


def _identifiable(best: str, fits: Mapping[str, LawFit], criterion: Mapping[str, float]) -> str:
    """Stretched exponential and c-form are one curve for 0 < c < 1: the former's tau is named where it is known."""
    if best not in ("kww", "unified") or abs(criterion["kww"] - criterion["unified"]) > _SAME_CURVE:
        return best
    kww = fits["kww"]
    return "kww" if kww.status == "ok" and kww.worst_correlation <= 0.99 else "unified"


def _lowest(criterion: Mapping[str, float], among: list[str]) -> str:
    return min(among, key=lambda name: criterion[name])


def _polarity(y: Array) -> str:
    quarter = max(1, len(y) // 4)
    return "falls" if y[:quarter].mean() > y[-quarter:].mean() else "rises"


def _what_cannot_be_told(fit: LawFit, t: Array) -> list[str]:
    notes = [] if fit.status == "ok" else [f"{fit.status}: {fit.because}"]
    length = float(t[-1])
    for name in ("tau", "tau1", "tau2"):
        if name in fit.values and fit.values[name] > 3 * length:
            notes.append(f"{name} = {fit.values[name]:.3g} s beyond the record ({length:.3g} s): not identified")
    if fit.worst_correlation > 0.99:
        notes.append(f"parameters correlate at {fit.worst_correlation:.4f}: only the curve is known")
    return notes
