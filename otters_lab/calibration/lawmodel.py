"""Laws as models of lmfit, for users to fit and to compose with models of their own."""

from __future__ import annotations

import inspect
from typing import Any

import lmfit
import numpy as np

from otters_lab.calibration.aperture import seen_by_meter
from otters_lab.calibration.trace_laws import LAWS, Law
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array


class LawModel(lmfit.Model):
    """A law as an `lmfit.Model`: `model.fit(y, model.guess(y, t=t), t=t)`, `model + lmfit.models.LinearModel()`.

    Parameters are the law's own, and t0 (s), held at 0 unless a user sets it free. Units as `law.parameters` says.
    """

    def __init__(self, law: Law | str = "unified", aperture_s: float = 0.0, prefix: str = "", **kwargs: Any) -> None:
        self.law = named_law(law)
        self.aperture_s = aperture_s

        def function(t: Array, t0: float = 0.0, **values: float) -> Array:
            return seen_by_meter(self.law, t, self.law.theta(values), aperture_s, t0).value

        # lmfit reads parameters off a signature.
        names = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("t", *self.law.names)]
        edge = inspect.Parameter("t0", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=0.0)
        function.__signature__ = inspect.Signature([*names, edge])  # type: ignore[attr-defined]
        function.__name__ = self.law.name
        kwargs.setdefault("independent_vars", ["t"])
        super().__init__(function, prefix=prefix, **kwargs)
        for parameter in self.law.parameters:
            self.set_param_hint(parameter.name, min=parameter.low, max=parameter.high, vary=not parameter.held)
        self.set_param_hint("t0", value=0.0, vary=False)

    def guess(self, data: Array, t: Array, **kwargs: float) -> lmfit.Parameters:
        """Start values from data [sample] at times t [sample] (s, > 0); keywords override."""
        found = self.law.guess(np.asarray(t, dtype=float), np.asarray(data, dtype=float))
        return self.make_params(**{**found, **kwargs})


def law_model(law: Law | str, aperture_s: float = 0.0, prefix: str = "") -> LawModel:
    """An `lmfit.Model` of a law, averaged over the aperture (s).

    Raises
    ------
    InputError
        if there is no law of that name.
    """
    return LawModel(law, aperture_s, prefix)


def named_law(law: Law | str) -> Law:
    """A law by its name; a law of one's own is itself.

    Raises
    ------
    InputError
        if there is no law of that name.
    """
    if isinstance(law, Law):
        return law
    if law not in LAWS:
        raise InputError("no such law", found=law, expected=", ".join(LAWS))
    return LAWS[law]
