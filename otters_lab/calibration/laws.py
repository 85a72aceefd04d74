"""Decay laws: formula, parameters, start guess and bounds of each, and the unified law with its derivatives.

t is the time since the light's falling edge in seconds. The unified law (c-form) joins the stretched exponential
and the power law and stays identifiable on a window much shorter than the time constant, where I0 and tau of
the stretched exponential are not (Otters++ publishes I0 = 110.989 for a signal normalised to 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
        total_g += weight * drop_from_progress(x, c)
        slope = slope_limit if abs(c) < _STRAIGHT else slope_limit * np.exp(math.log1p(-c) * x)
        total_d += weight * slope * x * log_u
    return total_g, total_d * beta * (1.0 - beta)


@dataclass(frozen=True)
class Law:
    """A decay law for a single trace.

    `function(t, **parameters)` is vectorised over t (s); `guess(t, y)` starts from data; `bounds` are (low, high).
    """

    name: str
    formula: str
    function: Callable[..., Array]
    guess: Callable[[Array, Array], Mapping[str, float]]
    bounds: Mapping[str, tuple[float, float]]


def _ends(y: Array) -> tuple[float, float]:
    """Robust first and last values of a decay."""
    m = max(1, len(y) // 50)
    return float(np.median(y[:m])), float(np.median(y[-m:]))


def _half_time(t: Array, y: Array) -> float:
    """When the decay is half way between its ends."""
    first, last = _ends(y)
    done = (first - y) / ((first - last) or 1.0)
    return float(max(t[np.argmax(done > 0.5)], t[0], 1e-12))


def _exponential(t: Array, A: float, tau: float, offset: float) -> Array:
    return np.asarray(A * np.exp(-t / tau) + offset)


def _biexponential(t: Array, A1: float, tau1: float, A2: float, tau2: float, offset: float) -> Array:
    return np.asarray(A1 * np.exp(-t / tau1) + A2 * np.exp(-t / tau2) + offset)


def _kww(t: Array, A: float, tau: float, beta: float, offset: float) -> Array:
    return np.asarray(A * np.exp(-np.power(np.maximum(t, 0.0) / tau, beta)) + offset)


def _power(t: Array, y0: float, B: float, beta: float, scale: float) -> Array:
    return np.asarray(y0 - B * np.power(np.maximum(t, 0.0) / scale, beta))


def _unified_trace(t: Array, y0: float, B: float, beta: float, c: float, scale: float) -> Array:
    return np.asarray(y0 - B * drop_from_progress(np.power(np.maximum(t, 0.0) / scale, beta), c))


def _guess_exponential(t: Array, y: Array) -> dict[str, float]:
    first, last = _ends(y)
    return {"A": first - last, "tau": _half_time(t, y) / math.log(2), "offset": last}


def _guess_biexponential(t: Array, y: Array) -> dict[str, float]:
    first, last = _ends(y)
    half, swing = _half_time(t, y), first - last
    return {"A1": swing / 2, "tau1": half / 2, "A2": swing / 2, "tau2": float(t[-1]) / 2, "offset": last}


def _guess_kww(t: Array, y: Array) -> dict[str, float]:
    return {**_guess_exponential(t, y), "beta": 0.6}


def _guess_power(t: Array, y: Array) -> dict[str, float]:
    first, last = _ends(y)
    return {"y0": first, "B": first - last, "beta": 0.5, "scale": float(t[-1])}


def _guess_unified(t: Array, y: Array) -> dict[str, float]:
    return {**_guess_power(t, y), "c": 0.1}


_TAU = (1e-9, 1e9)
_FREE = (-math.inf, math.inf)
_BETA = (0.02, 1.5)

# `scale` is no parameter but the trace's own length: it has no bounds here, and is held fixed for that.
LAWS: Mapping[str, Law] = {
    "exp": Law(
        "exp",
        "A*exp(-t/tau) + offset",
        _exponential,
        _guess_exponential,
        {"A": _FREE, "tau": _TAU, "offset": _FREE},
    ),
    "biexp": Law(
        "biexp",
        "A1*exp(-t/tau1) + A2*exp(-t/tau2) + offset",
        _biexponential,
        _guess_biexponential,
        {"A1": _FREE, "tau1": _TAU, "A2": _FREE, "tau2": _TAU, "offset": _FREE},
    ),
    "kww": Law(
        "kww",
        "A*exp(-(t/tau)**beta) + offset",
        _kww,
        _guess_kww,
        {"A": _FREE, "tau": _TAU, "beta": _BETA, "offset": _FREE},
    ),
    "power": Law("power", "y0 - B*(t/scale)**beta", _power, _guess_power, {"y0": _FREE, "B": _FREE, "beta": _BETA}),
    "unified": Law(
        "unified",
        "y0 - B*[1 - (1-c)**((t/scale)**beta)]/c",
        _unified_trace,
        _guess_unified,
        {"y0": _FREE, "B": _FREE, "beta": _BETA, "c": (-1.0, 1.0 - 1e-6)},
    ),
}


def logit_of(beta: float) -> float:
    """logit(beta), the scale on which the exponent is averaged and varied."""
    return float(logit(beta))
