"""What a fit's numbers are worth: whether the search arrived, inside its bounds, at something the data tell."""

from __future__ import annotations

import math
from typing import Any, Literal

import lmfit
import numpy as np

from otters_lab.calibration.trace_laws import Law
from otters_lab.core.protocols import Array

Status = Literal["ok", "not converged", "at bound", "not identified"]

# A minimum is one where the model's plane at it holds less than this share of the residual (Bates and Watts 1981).
_STATIONARY = 1e-4
_SINGULAR = 1e-11  # smallest to largest singular value of the Jacobian, its columns brought to length 1
_ENDLESS = 1e3  # records: a search that passes this on its way tells no time constant
_EXACT = 1e-24  # of the data's sum of squares: nothing is left but rounding


def status_of(
    law: Law,
    result: Any,
    jacobian: Array,
    residual: Array,
    y: Array,
    length: float,
    values: dict[str, float],
    errors: dict[str, float | None],
    at_bound: list[str],
) -> tuple[Status, str]:
    """What is worst is said: a fit that is not at a minimum tells nothing else."""
    if not (np.all(np.isfinite(jacobian)) and np.all(np.isfinite(residual))):
        return "not converged", "the law is not finite where the search ended"
    lengths = np.linalg.norm(jacobian, axis=0)
    if np.any(lengths == 0):
        return "not identified", "a parameter changes nothing"
    basis, singular, _ = np.linalg.svd(jacobian / lengths, full_matrices=False)
    exact = float(residual @ residual) <= _EXACT * float(y @ y)
    share = 0.0 if exact else float(np.linalg.norm(basis.T @ residual) / np.linalg.norm(residual))
    endless = [p.name for p in law.parameters if p.unit == "s" and not p.held and values[p.name] > _ENDLESS * length]
    if share > _STATIONARY and endless:
        longest = max(values[name] for name in endless) / length
        return "not identified", f"{', '.join(endless)} ran away, to {longest:.1g} records when the search was ended"
    if share > _STATIONARY:
        return "not converged", f"{result.nfev} evaluations; {share:.1e} of the residual could still be fitted"
    if at_bound:
        return "at bound", ", ".join(at_bound)
    if singular[-1] < _SINGULAR * singular[0]:
        return "not identified", "parameters are exchangeable: only their combination is known"
    loose = [
        p.name
        for p in law.parameters
        if p.unit != "1" and not (p.level or p.held) and (e := errors[p.name]) is not None and e > abs(values[p.name])
    ]
    missing = [p.name for p in law.parameters if not p.held and errors[p.name] is None]
    if missing:
        return "not identified", f"no standard error for {', '.join(missing)}"
    if loose:
        return "not identified", f"{', '.join(loose)} known to no better than 100 %"
    return "ok", ""


def is_at_bound(parameter: lmfit.Parameter) -> bool:
    """Whether a parameter stands on one of its bounds."""
    for bound in (parameter.min, parameter.max):
        if math.isfinite(bound) and abs(parameter.value - bound) <= 1e-4 * max(abs(bound), 1e-12):
            return True
    return False
