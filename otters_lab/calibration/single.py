"""One law on one trace, by lmfit: a fit that says what it could not do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import lmfit
import numpy as np

from otters_lab.calibration.aperture import seen_by_meter
from otters_lab.calibration.lawmodel import law_model, named_law
from otters_lab.calibration.rounding import pdg
from otters_lab.calibration.status import Status, is_at_bound, status_of
from otters_lab.calibration.trace_laws import Curve, Law, Parameter
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.protocols import Array

_MUTE = 1e-4  # what a shift of the edge by its sd adds to chi-square, below which t0 is not fitted
MAX_EVALUATIONS = 100  # a decay's fit takes ten to forty; one that runs along a valley never arrives


@dataclass(frozen=True)
class LawFit:
    """One law fitted to one trace.

    status : "ok", or why the numbers are not to be used as they stand; `because` says it in words.
    values, errors : in SI units by name; an error is None where there is none. t0 (s) is there where it was fitted.
    rss : sum of squared residuals (A^2), `penalty` what t0's prior adds to chi-square.
    n_free : free parameters, t0 aside: its prior holds it.
    residual : data less model, A [sample].
    """

    law: Law
    status: Status
    because: str
    values: dict[str, float]
    errors: dict[str, float | None]
    rss: float
    penalty: float
    n_free: int
    at_bound: list[str]
    worst_correlation: float
    residual: Array
    _minimizer: lmfit.Minimizer = field(repr=False)
    _result: lmfit.minimizer.MinimizerResult = field(repr=False)
    _frame: _Frame = field(repr=False)

    def report(self) -> str:
        """A line a parameter, rounded by the rule of the Particle Data Group, after the status."""
        units = {parameter.name: parameter.unit for parameter in self.law.parameters}
        lines = [
            f"{self.law.name}: {self.law.formula}",
            f"status: {self.status}" + f" ({self.because})" * bool(self.because),
        ]
        for name, value in self.values.items():
            held = name in units and next(p for p in self.law.parameters if p.name == name).held
            unit = str(units.get(name, "s"))
            shown = f"{value:.6g} {unit} (held)" if held else pdg(value, self.errors[name], unit)
            lines.append(f"{name} = {shown}")
        return "\n".join(lines)

    def confidence_intervals(
        self, level: float = 0.95, names: list[str] | None = None
    ) -> dict[str, tuple[float, float]]:
        """Profile intervals by `lmfit.conf_interval`: other parameters refitted at each step. White noise is assumed.

        Raises
        ------
        RefusedError
            if the fit's status is not "ok", or a profile does not reach the level.
        """
        if self.status != "ok":
            raise RefusedError(f"no intervals for a fit that is {self.status}: {self.because}")
        try:
            found = lmfit.conf_interval(self._minimizer, self._result, p_names=names, sigmas=[level])
        except (lmfit.MinimizerException, ValueError) as error:
            raise RefusedError(f"the profile of a parameter does not reach {level:.0%}: {error}") from None
        ends = {name: (rows[0][1], rows[-1][1]) for name, rows in found.items()}
        if not all(math.isfinite(value) for pair in ends.values() for value in pair):
            raise RefusedError(f"the profile of a parameter does not reach {level:.0%}")
        return {
            name: (self._frame.value(name, low), self._frame.value(name, high)) for name, (low, high) in ends.items()
        }


@dataclass(frozen=True)
class _Frame:
    """The current's zero and unit in which a fit is done: order 1, so that no step is lost to rounding."""

    zero_A: float
    unit_A: float
    parameters: Mapping[str, Parameter]

    def value(self, name: str, inner: float) -> float:
        parameter = self.parameters.get(name)
        if parameter is None or parameter.unit != "A":
            return inner
        return inner * self.unit_A + (self.zero_A if parameter.level else 0.0)

    def inner(self, name: str, value: float) -> float:
        parameter = self.parameters.get(name)
        if parameter is None or parameter.unit != "A":
            return value
        return (value - (self.zero_A if parameter.level else 0.0)) / self.unit_A

    def error(self, name: str, inner: float | None) -> float | None:
        if inner is None or not math.isfinite(inner):
            return None
        return abs(self.value(name, inner) - self.value(name, 0.0))


def _frame(law: Law, y: Array) -> _Frame:
    parameters = {parameter.name: parameter for parameter in law.parameters}
    current = any(parameter.unit == "A" for parameter in law.parameters)
    level = any(parameter.level for parameter in law.parameters)
    unit = float(np.ptp(y)) or float(np.max(np.abs(y))) or 1.0
    return _Frame(float(np.median(y)) if level else 0.0, unit if current else 1.0, parameters)


def fit_law(
    law: Law | str,
    t: Array,
    y: Array,
    *,
    aperture_s: float = 0.0,
    edge_sd_s: float | None = None,
    noise_sd: float | None = None,
    start: Mapping[str, float] | None = None,
    max_evaluations: int = MAX_EVALUATIONS,
) -> LawFit:
    """Fits one law to a trace by lmfit: trust-region least squares inside the bounds, analytic Jacobian.

    Parameters
    ----------
    t, y : [sample] mid-aperture times (s) after the edge, currents (A).
    aperture_s : the law is averaged over it.
    edge_sd_s : sd of the edge's time. With it (not None, not 0) t0 is fitted under the prior N(0, edge_sd_s**2),
        unless the trace says nothing of it: then it is 0 and its error the prior's.
    noise_sd : sd of a reading (A), taken as known; without it, from the residuals.
    start : by name, instead of the law's guess.
    max_evaluations : after which the search gives up, and the status says so.

    Raises
    ------
    InputError
        for an unknown law, or fewer samples than parameters.
    """
    law = named_law(law)
    t, y = np.asarray(t, dtype=float), np.asarray(y, dtype=float)
    free = [parameter for parameter in law.parameters if not parameter.held]
    if len(t) <= len(free):
        raise InputError(f"too few samples for {law.name}", found=len(t), expected=f"more than {len(free)}")
    frame = _frame(law, y)
    scaled = (y - frame.zero_A) / frame.unit_A
    model = law_model(law, aperture_s)
    if start is None:
        parameters = model.guess(scaled, t)
    else:
        parameters = model.make_params(**{name: frame.inner(name, value) for name, value in start.items()})
    _narrow(law, parameters, t)
    sd = 1.0 if noise_sd is None else noise_sd / frame.unit_A
    problem = _Problem(law, t, scaled, aperture_s, sd, None)
    minimizer, result = problem.solve(parameters, max_evaluations, scale_covariance=noise_sd is None)
    if edge_sd_s and result.success:
        for _ in range(1 if noise_sd is not None else 2):
            if noise_sd is None:
                sd = _rms(problem.misfit(result.params), len(free))
            told = float(np.sum((problem.seen(result.params).slope * edge_sd_s / sd) ** 2))
            if told < _MUTE:
                break
            problem = _Problem(law, t, scaled, aperture_s, sd, edge_sd_s)
            start_again = result.params.copy()
            highest = 8 * edge_sd_s if aperture_s > 0 else min(8 * edge_sd_s, 0.999 * float(t[0]))
            start_again["t0"].set(min=-8 * edge_sd_s, max=highest, vary=True)
            minimizer, result = problem.solve(start_again, max_evaluations, scale_covariance=False)
    fit = _judged(law, problem, minimizer, result, frame, len(free))
    if edge_sd_s and "t0" not in fit.values:  # the trace says nothing of it: what was known of it still holds
        return replace(fit, values={**fit.values, "t0": 0.0}, errors={**fit.errors, "t0": edge_sd_s})
    return fit


def _rms(misfit: Array, n_free: int) -> float:
    return float(np.sqrt(np.sum(misfit**2) / max(len(misfit) - n_free, 1))) or 1e-12


def _narrow(law: Law, parameters: lmfit.Parameters, t: Array) -> None:
    """Time constants stay within a million records, and above a millionth of one: beyond, nothing changes with them."""
    length = float(np.max(np.abs(t)))
    for parameter in law.parameters:
        if parameter.unit == "s" and not parameter.held:
            low, high = max(parameter.low, 1e-6 * length), min(parameter.high, 1e6 * length)
            value = float(np.clip(parameters[parameter.name].value, 2 * low, high / 2))
            parameters[parameter.name].set(value=value, min=low, max=high)


@dataclass(frozen=True)
class _Problem:
    """Residuals (data less model, over sd), with t0/edge_sd as one more, and their Jacobian."""

    law: Law
    t: Array
    y: Array
    aperture_s: float
    sd: float
    edge_sd_s: float | None
    _last: dict[tuple[float, ...], Curve] = field(default_factory=dict)

    def seen(self, parameters: lmfit.Parameters) -> Curve:
        """The model; residuals and Jacobian are asked for at the same parameters, one after the other."""
        theta, t0 = self.law.theta(parameters.valuesdict()), float(parameters["t0"].value)
        key = (*theta.tolist(), t0)
        if key not in self._last:
            self._last.clear()
            self._last[key] = seen_by_meter(self.law, self.t, theta, self.aperture_s, t0)
        return self._last[key]

    def misfit(self, parameters: lmfit.Parameters) -> Array:
        """Data less model."""
        return np.asarray(self.y - self.seen(parameters).value)

    def residual(self, parameters: lmfit.Parameters) -> Array:
        weighted = self.misfit(parameters) / self.sd
        return weighted if self.edge_sd_s is None else np.append(weighted, parameters["t0"].value / self.edge_sd_s)

    def jacobian(self, parameters: lmfit.Parameters) -> Array:
        """[residual, free parameter], in the order of lmfit's own list."""
        seen = self.seen(parameters)
        by_name = dict(zip(self.law.names, -seen.jacobian.T / self.sd, strict=True))
        by_name["t0"] = seen.slope / self.sd
        columns = [by_name[name] for name, parameter in parameters.items() if parameter.vary]
        jacobian = np.stack(columns, axis=1)
        if self.edge_sd_s is None:
            return jacobian
        prior = [1 / self.edge_sd_s if name == "t0" else 0.0 for name, p in parameters.items() if p.vary]
        return np.vstack([jacobian, prior])

    def solve(
        self, parameters: lmfit.Parameters, max_evaluations: int, *, scale_covariance: bool
    ) -> tuple[lmfit.Minimizer, Any]:
        # "propagate": a step to where the law is not finite is no error, the trust region shrinks.
        minimizer = lmfit.Minimizer(
            self.residual,
            parameters,
            scale_covar=scale_covariance,
            max_nfev=max_evaluations,
            nan_policy="propagate",
        )
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            result = minimizer.minimize(
                method="least_squares", jac=self.jacobian, x_scale="jac", ftol=1e-13, xtol=1e-12, gtol=1e-14
            )
        return minimizer, result


def _judged(law: Law, problem: _Problem, minimizer: lmfit.Minimizer, result: Any, frame: _Frame, n_free: int) -> LawFit:
    free = [result.params[name] for name in result.var_names]
    misfit = problem.misfit(result.params)
    jacobian, residual = problem.jacobian(result.params), problem.residual(result.params)
    at_bound = [parameter.name for parameter in free if is_at_bound(parameter)]
    reported = [name for name in law.names if name in result.params] + ["t0"] * ("t0" in result.var_names)
    values = {name: frame.value(name, float(result.params[name].value)) for name in reported}
    errors = {
        name: frame.error(name, result.params[name].stderr) if result.params[name].vary else None for name in reported
    }
    inside = np.array([parameter.name not in at_bound for parameter in free])
    status, because = status_of(
        law,
        result,
        jacobian[:, inside],
        residual,
        problem.y,
        float(np.max(np.abs(problem.t))),
        values,
        errors,
        at_bound,
    )
    t0 = float(result.params["t0"].value)
    return LawFit(
        law=law,
        status=status,
        because=because,
        values=values,
        errors=errors,
        rss=float(misfit @ misfit) * frame.unit_A**2,
        penalty=0.0 if problem.edge_sd_s is None else (t0 / problem.edge_sd_s) ** 2,
        n_free=n_free,
        at_bound=at_bound,
        worst_correlation=max((abs(c) for p in free for c in (p.correl or {}).values()), default=0.0),
        residual=misfit * frame.unit_A,
        _minimizer=minimizer,
        _result=result,
        _frame=frame,
    )
