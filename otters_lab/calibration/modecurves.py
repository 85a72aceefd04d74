"""Curves beyond the law, as functions of time: what a mode adds to a run at one sd."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander
from scipy.special import expit

from otters_lab.calibration.laws import averaged_drop
from otters_lab.core.protocols import Array


@dataclass(frozen=True)
class ModeCurves:
    """m curves: legendre [m, degree] in 2*u**beta - 1 less tangent [m, 3] of the law's derivatives by (edge value,
    drop, logit beta) at the mean curve, in one unit.
    """

    legendre: Array
    tangent: Array

    @property
    def count(self) -> int:
        """m."""
        return len(self.legendre)

    def at(self, u: Array, logit_beta: float, c: float, drop: float) -> Array:
        """The curves [m, len(u)] at u = t/W >= 0; logit_beta, c and drop are those of the mean curve."""
        beta = float(expit(logit_beta))
        polynomials = legvander(2 * u**beta - 1, self.legendre.shape[1] - 1)
        # Its derivative by beta has u*log(u): 0 at the edge, which a floor of u gives.
        g, dg = averaged_drop(np.maximum(u, 1e-12), 0.0, 1.0, np.array(beta), c)
        derivatives = np.stack([np.ones_like(g), -g, -drop * dg], axis=1)
        return np.asarray(self.legendre @ polynomials.T - self.tangent @ derivatives.T)
