"""The unified law, in its forms and with its derivatives; `trace_laws` has the laws a single trace is compared with.

t is the time since the light's falling edge in seconds. The unified law (c-form) joins the stretched exponential
and the power law and stays identifiable on a window much shorter than the time constant, where I0 and tau of
the stretched exponential are not (Otters++ publishes I0 = 110.989 for a signal normalised to 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from otters_lab.core.protocols import Array

# Gauss-Legendre nodes on [-1/2, 1/2]: enough for 1e-6 of the drop when an aperture starts right at the edge.
_nodes, _weights = np.polynomial.legendre.leggauss(6)
APERTURE_NODES: Array = _nodes / 2
APERTURE_WEIGHTS: Array = _weights / 2

# Below this the curve differs from the power law, c = 0, by less than rounding does; below 1e-308 it underflows.
_STRAIGHT = 1e-15
_NEARLY_STRAIGHT = 1e-4  # its third power, what a series of three terms leaves out, is rounding


@dataclass(frozen=True)
class PublishedFit:
    """Parameters of O(t) = I0*exp(-(t/tau)**beta) + I_offset, normalised so that O(0) = 1 (Otters++, arXiv 2606.13016).

    `tau` is in the paper's unit of time, which it does not state.
    """

    I0: float = 110.989
    tau: float = 1.3425
    beta: float = 0.495
    I_offset: float = -109.989

    def level_time(self, value: float) -> float:
        """The time at which O falls to `value`, in tau's unit: the law solved for t."""
        return float(self.tau * (-math.log((value - self.I_offset) / self.I0)) ** (1 / self.beta))

    def level_times(self, n_levels: int) -> Array:
        """t_k with O(t_k) = (T - k)/T for k = 0..T, T = n_levels - 1, in tau's unit."""
        top = n_levels - 1
        return np.array([0.0] + [self.level_time((top - k) / top) for k in range(1, top + 1)])

    def shape(self) -> tuple[float, float]:
        """(beta, c) of the same curve in the unified law over its own window [0, t_T]; c = D/I0 with D = 1."""
        return self.beta, 1.0 / self.I0


def drop_from_progress(x: Array, c: float) -> Array:
    """g = [1 - (1 - c)**x]/c, and x at c = 0: the share of the drop done when u**beta has reached x. g(0)=0, g(1)=1."""
    if abs(c) < _STRAIGHT:
        return np.asarray(x, dtype=float)
    return np.asarray(-np.expm1(math.log1p(-c) * x) / c)


def progress_from_drop(g: Array, c: float) -> Array:
    """Inverse of `drop_from_progress`: x = log(1 - c*g)/log(1 - c)."""
    if abs(c) < _STRAIGHT:
        return np.asarray(g, dtype=float)
    return np.asarray(np.log1p(-c * np.asarray(g, dtype=float)) / math.log1p(-c))


def unified(u: Array, O0: Array | float, D: Array | float, logit_beta: Array | float, c: float) -> Array:
    """O(u) = O0 - D*[1 - (1-c)**(u**beta)]/c with u = t/W, beta = expit(logit_beta); O0 - D*u**beta at c = 0.

    Arrays broadcast; u = 0 gives O0 exactly.
    """
    return np.asarray(O0 - D * drop_from_progress(np.power(u, expit(logit_beta)), c))


def unified_level_times(logit_beta: float, c: float, n_levels: int) -> Array:
    """u_k = t_k/W, k = 0..T, where the law with O0 = D = 1 takes the values (T - k)/T; in closed form."""
    drop = np.arange(n_levels) / (n_levels - 1)
    return np.asarray(progress_from_drop(drop, c) ** (1.0 / expit(logit_beta)))


def drop_derivatives(x: Array, c: float) -> tuple[Array, Array, Array]:
    """(g, dg/dx, dg/dc) of `drop_from_progress`, regular through c = 0.

    dg/dc = [x*(1-c)**(x-1) - g]/c cancels near c = 0 and is taken from its Taylor series there.
    """
    g = drop_from_progress(x, c)
    if abs(c) < _STRAIGHT:
        return g, np.ones_like(g), -x * (x - 1) / 2
    log_rest = math.log1p(-c)
    rest = np.exp(log_rest * x)
    if abs(c) < _NEARLY_STRAIGHT:
        by_c = -x * (x - 1) / 2 + c * x * (x - 1) * (x - 2) / 3 - c**2 * x * (x - 1) * (x - 2) * (x - 3) / 8
    else:
        by_c = (x * rest / (1 - c) - g) / c
    return g, -log_rest / c * rest, by_c


def averaged_drop(time_s: Array, aperture_s: float, window_s: float, beta: Array, c: float) -> tuple[Array, Array]:
    """The drop g and its derivative by logit(beta), averaged over each aperture.

    Parameters
    ----------
    time_s : [..., sample]
        mid-aperture times; the whole aperture must lie after the edge.
    beta : broadcasts against time_s.

    Returns
    -------
    g, dg/dlogit(beta), each of the broadcast shape. The mean of a curve over an aperture is not its value in the
    middle: near the edge, where the slope is infinite for beta < 1, the difference exceeds run-to-run variation.
    """
    total_g: Array = np.zeros(np.broadcast_shapes(np.shape(time_s), np.shape(beta)))
    total_d = np.zeros_like(total_g)
    slope_limit = 1.0 if abs(c) < _STRAIGHT else -math.log1p(-c) / c
    nodes = zip(APERTURE_NODES, APERTURE_WEIGHTS, strict=True) if aperture_s > 0 else [(0.0, 1.0)]
    for node, weight in nodes:
        u = np.maximum((time_s + node * aperture_s) / window_s, 1e-300)
        log_u = np.log(u)
        x = np.exp(beta * log_u)
        g = drop_from_progress(x, c)
        total_g += weight * g
        # (1 - c)**x, which the slope is proportional to, is 1 - c*g: no second exponential.
        total_d += (weight * slope_limit) * (1 - c * g) * x * log_u
    return total_g, total_d * beta * (1.0 - beta)


def logit_of(beta: float) -> float:
    """logit(beta), the scale on which the exponent is averaged and varied."""
    return float(logit(beta))
