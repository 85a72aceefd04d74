"""The decay law in its identifiable form, and its exact mean over an aperture.

The stretched exponential ``O(t) = I0*exp(-(t/tau)**beta) + I_offset`` with O(0) = 1 is written over a window W in
which it falls from 1 to 0: with ``c = 1 - exp(-(W/tau)**beta)`` and ``u = t/W``,

    O(t) = O0 - D*[1 - (1 - c)**(u**beta)]/c,    O0 = D = 1, c = 1/I0

is the same curve, and its three parameters can vary one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc

from otters_lab.core.protocols import Array


@dataclass(frozen=True)
class Kww:
    """A stretched exponential with O(0) = I0 + I_offset = 1 that ends below zero (I_offset < 0)."""

    I0: float
    tau: float
    beta: float
    I_offset: float

    @property
    def t_zero(self) -> float:
        """Where the curve reaches 0, in tau's unit: tau*ln(-I0/I_offset)**(1/beta)."""
        return self.tau * math.log(self.I0 / -self.I_offset) ** (1 / self.beta)

    @property
    def c(self) -> float:
        """The share of the amplitude that is gone at `t_zero`; 1/I0 where O(0) = 1."""
        return 1 + self.I_offset / self.I0

    def tau_for_window(self, window_s: float) -> float:
        """tau in seconds on the time axis that is stretched until `t_zero` falls on `window_s`."""
        return self.tau * window_s / self.t_zero


@dataclass(frozen=True)
class Decay:
    """One decay O(t) over a window: edge value, drop over the window, exponent, curvature (0 < c < 1)."""

    O0: float
    D: float
    beta: float
    c: float
    window_s: float

    def at(self, t_s: Array) -> Array:
        """O at times >= 0 (s)."""
        x = np.power(np.asarray(t_s) / self.window_s, self.beta)
        return self.O0 + self.D * np.expm1(x * math.log1p(-self.c)) / self.c

    def integral(self, t_s: Array) -> Array:
        """Integral of O from 0 to times >= 0 (s).

        With x = (t/tau)**beta: int_0^t exp(-x) dt = tau/beta * Gamma(1/beta) * P(1/beta, x), P the regularised
        lower incomplete gamma function (DLMF 8.2.4, by substitution).
        """
        t_s = np.asarray(t_s)
        p = 1 / self.beta
        rate = -math.log1p(-self.c)  # (W/tau)**beta
        tau = self.window_s * rate**-p
        decayed = tau * math.gamma(1 + p) * gammainc(p, rate * np.power(t_s / self.window_s, self.beta))
        return self.O0 * t_s + self.D * (decayed - t_s) / self.c
