"""Which law does a single trace prefer, and what can it not tell: lmfit on every law, judged by AIC."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import lmfit
import numpy as np

from otters_lab.calibration.laws import LAWS, Law
from otters_lab.core.protocols import Array

DECISIVE_AIC = 10.0
_LINEAR = {"A", "A1", "A2", "offset", "y0", "B"}
_MAX_POINTS = 1500


@dataclass(frozen=True)
class LawFit:
    """One law fitted to one trace: values and standard errors (None where lmfit gives none), rss, notes."""

    law: str
    values: dict[str, float]
    errors: dict[str, float | None]
    rss: float
    n_free: int
    at_bound: list[str]
    worst_correlation: float
    residual: Array


@dataclass(frozen=True)
class TraceVerdict:
    """What a trace says.

    law : the preferred law, "line" where a straight line does as well (no decay resolved).
    rival : another law whose AIC is within `DECISIVE_AIC`, None if the choice is decisive.
    polarity : "falls" or "rises" after the light goes off: its last quarter against its first.
    aic : AIC of each law less the best, with the effective number of samples.
    """

    law: str
    rival: str | None
    polarity: str
    values: dict[str, float]
    errors: dict[str, float | None]
    aic: dict[str, float]
    autocorrelation: float
    notes: list[str] = field(default_factory=list)


def fit_law(law: Law, t: Array, y: Array) -> LawFit:
    """Fits one law to a trace with lmfit (Levenberg-Marquardt); the current is scaled to order 1 meanwhile.

    t [sample] s, y [sample] A. The law is taken at mid-aperture.
    """
    centre, scale = float(np.median(y)), float(np.ptp(y)) or 1.0
    scaled = (y - centre) / scale
    model = lmfit.Model(law.function, independent_vars=["t"])
    parameters = lmfit.Parameters()
    for name, value in law.guess(t, scaled).items():
        low, high = law.bounds.get(name, (-math.inf, math.inf))
        parameters.add(name, value=float(np.clip(value, low, high)), min=low, max=high, vary=name in law.bounds)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        result = model.fit(scaled, parameters, t=t, nan_policy="omit", max_nfev=3000)
    free = [result.params[name] for name in result.var_names]
    values, errors = {}, {}
    for p in result.params.values():
        factor, shift = (scale, centre if p.name in ("offset", "y0") else 0.0) if p.name in _LINEAR else (1.0, 0.0)
        values[p.name] = float(p.value) * factor + shift
        known = p.stderr is not None and math.isfinite(p.stderr)
        errors[p.name] = float(p.stderr) * factor if known else None
    worst = max((abs(c) for p in free for c in (p.correl or {}).values()), default=0.0)
    return LawFit(
        law=law.name,
        values=values,
        errors=errors,
        rss=float(np.sum(result.residual**2)) * scale**2,
        n_free=len(free),
        at_bound=[p.name for p in free if _at_bound(p)],
        worst_correlation=worst,
        residual=np.asarray(result.residual) * scale,
    )


def _at_bound(parameter: lmfit.Parameter) -> bool:
    for bound in (parameter.min, parameter.max):
        if math.isfinite(bound) and abs(parameter.value - bound) <= 1e-4 * max(abs(bound), 1e-12):
            return True
    return False


def lag_one_autocorrelation(residual: Array) -> float:
    """Correlation of each residual with the next."""
    centred = residual - residual.mean()
    power = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0


def judge_trace(t: Array, y: Array) -> TraceVerdict:
    """Compares all laws, and a straight line, on one decay (t > 0, s; y A).

    AIC = n_eff*log(rss/n) + 2k with n_eff = n(1-r)/(1+r), r the lag-one autocorrelation of the best law's residuals:
    with 1/f noise, counting samples as independent decides everything.
    """
    if len(t) > _MAX_POINTS:  # long records: every m-th reading carries the same curve
        t, y = t[:: len(t) // _MAX_POINTS + 1], y[:: len(y) // _MAX_POINTS + 1]
    fits = {name: fit_law(law, t, y) for name, law in LAWS.items()}
    line = np.polyfit(t, y, 1)
    line_residual = y - np.polyval(line, t)
    rss = {**{name: fit.rss for name, fit in fits.items()}, "line": float(line_residual @ line_residual)}
    size = {**{name: fit.n_free for name, fit in fits.items()}, "line": 2}
    closest = min(fits.values(), key=lambda fit: fit.rss)
    r = float(np.clip(lag_one_autocorrelation(closest.residual), 0.0, 0.99))
    n_eff = len(t) * (1 - r) / (1 + r)
    aic = {name: n_eff * math.log(max(rss[name], 1e-300) / len(t)) + 2 * size[name] for name in rss}
    best = min(aic, key=lambda name: aic[name])
    if aic["line"] - aic[best] < DECISIVE_AIC:
        best = "line"
    relative = {name: value - aic[best] for name, value in aic.items()}
    rivals = [name for name in fits if name != best and relative[name] < DECISIVE_AIC]
    notes: list[str] = []
    quarter = max(1, len(y) // 4)
    polarity = "falls" if y[:quarter].mean() > y[-quarter:].mean() else "rises"
    if best == "line":
        values = {"slope": float(line[0]), "intercept": float(line[1])}
        notes.append("no decay resolved: a straight line does as well")
        return TraceVerdict(best, None, polarity, values, dict.fromkeys(values), relative, r, notes)
    chosen = fits[best]
    notes += _what_cannot_be_told(chosen, t)
    if r > 0.3:
        notes.append(f"residuals correlated ({r:.2f}): errors too small")
    rival = min(rivals, key=lambda name: relative[name], default=None)
    return TraceVerdict(best, rival, polarity, chosen.values, chosen.errors, relative, r, notes)


def _what_cannot_be_told(fit: LawFit, t: Array) -> list[str]:
    notes = []
    length = float(t[-1])
    for name in ("tau", "tau1", "tau2"):
        if name in fit.values and fit.values[name] > 3 * length:
            notes.append(f"{name} = {fit.values[name]:.3g} s beyond the record ({length:.3g} s): not identified")
    if fit.at_bound:
        notes.append(f"{', '.join(fit.at_bound)} at its bound")
    missing = [name for name in fit.errors if fit.errors[name] is None and name != "scale"]
    if missing:
        notes.append(f"no standard error for {', '.join(missing)}")
    elif fit.worst_correlation > 0.99:
        notes.append(f"parameters correlate at {fit.worst_correlation:.4f}: only the curve is known")
    return notes
