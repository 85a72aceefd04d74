"""Laws a single trace is compared with: each a small object with formula, Jacobian, start guess, bounds and units.

t is the time since the light's falling edge (s). Amplitudes and drops are signed: a current that rises after the light
goes off is the same law with another sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from scipy.optimize import least_squares

from otters_lab.calibration.laws import drop_derivatives
from otters_lab.calibration.starts import grid_start, thinned
from otters_lab.core.protocols import Array

Unit = Literal["A", "s", "1"]


class Curve(NamedTuple):
    """A law at given times: value [sample], its Jacobian [sample, parameter], its slope by t [sample]."""

    value: Array
    jacobian: Array
    slope: Array


@dataclass(frozen=True)
class Parameter:
    """A parameter: its unit ("A" scales with the current), bounds, and two properties.

    level : an absolute current, which moves with the current's zero; other parameters in A are differences.
    held : no parameter of a fit but a scale the guess sets, such as a trace's own length.
    """

    name: str
    unit: Unit
    low: float = -math.inf
    high: float = math.inf
    level: bool = False
    held: bool = False


@dataclass(frozen=True)
class Law:
    """A decay law for a single trace.

    curve : (t [sample] >= 0, theta [parameter]) -> `Curve`; theta in the order of `parameters`.
    guess : (t, y) -> start values by name.
    mean : (a [sample], b [sample], theta) -> mean over a..b and its Jacobian, where there is a closed form.
    """

    name: str
    formula: str
    parameters: tuple[Parameter, ...]
    curve: Callable[[Array, Array], Curve]
    guess: Callable[[Array, Array], Mapping[str, float]]
    mean: Callable[[Array, Array, Array], tuple[Array, Array]] | None = field(default=None)

    @property
    def names(self) -> list[str]:
        """The parameters' names, in order."""
        return [parameter.name for parameter in self.parameters]

    def theta(self, values: Mapping[str, float]) -> Array:
        """Values by name as an array in the law's order."""
        return np.array([values[name] for name in self.names])

    def __call__(self, t: Array, **values: float) -> Array:
        """The law's value (A) at times t (s)."""
        return self.curve(np.asarray(t, dtype=float), self.theta(values)).value


def _columns(*columns: Array | float) -> Array:
    return np.stack(np.broadcast_arrays(*columns), axis=1)


def _exponential(t: Array, theta: Array) -> Curve:
    A, tau, offset = theta
    e = np.exp(-t / tau)
    return Curve(A * e + offset, _columns(e, A * e * t / tau**2, 1.0), -A * e / tau)


def _exponential_mean(a: Array, b: Array, theta: Array) -> tuple[Array, Array]:
    """exp(-a/tau)*phi(z) with z = (b - a)/tau and phi(z) = (1 - exp(-z))/z."""
    A, tau, offset = theta
    z = np.maximum((b - a) / tau, 1e-300)
    start, rest = np.exp(-a / tau), np.exp(-z)
    phi = -np.expm1(-z) / z
    return A * start * phi + offset, _columns(start * phi, A * start * (a / tau * phi + phi - rest) / tau, 1.0)


def _biexponential(t: Array, theta: Array) -> Curve:
    A1, tau1, A2, tau2, offset = theta
    one, two = _exponential(t, np.array([A1, tau1, 0.0])), _exponential(t, np.array([A2, tau2, offset]))
    return Curve(one.value + two.value, np.hstack([one.jacobian[:, :2], two.jacobian]), one.slope + two.slope)


def _biexponential_mean(a: Array, b: Array, theta: Array) -> tuple[Array, Array]:
    A1, tau1, A2, tau2, offset = theta
    one, one_J = _exponential_mean(a, b, np.array([A1, tau1, 0.0]))
    two, two_J = _exponential_mean(a, b, np.array([A2, tau2, offset]))
    return one + two, np.hstack([one_J[:, :2], two_J])


def _progress(t: Array, scale: float, beta: float) -> tuple[Array, Array, Array]:
    """x = (t/scale)**beta, dx/dbeta = x*log(t/scale), dx/dt; finite at t = 0, where they are 0, 0 and a huge slope."""
    u = np.maximum(t / scale, 1e-300)
    log_u = np.log(u)
    x = np.exp(beta * log_u)
    return x, x * log_u, beta * x / (u * scale)


def _kww(t: Array, theta: Array) -> Curve:
    A, tau, beta, offset = theta
    x, by_beta, by_t = _progress(t, tau, beta)
    e = np.exp(-x)
    return Curve(A * e + offset, _columns(e, A * e * beta * x / tau, -A * e * by_beta, 1.0), -A * e * by_t)


def _power(t: Array, theta: Array) -> Curve:
    y0, B, beta, scale = theta
    x, by_beta, by_t = _progress(t, scale, beta)
    return Curve(y0 - B * x, _columns(1.0, -x, -B * by_beta, B * beta * x / scale), -B * by_t)


def _unified(t: Array, theta: Array) -> Curve:
    y0, B, beta, c, scale = theta
    x, by_beta, by_t = _progress(t, scale, beta)
    g, by_x, by_c = drop_derivatives(x, float(c))
    columns = _columns(1.0, -g, -B * by_x * by_beta, -B * by_c, B * by_x * beta * x / scale)
    return Curve(y0 - B * g, columns, -B * by_x * by_t)


def _guess_exponential(t: Array, y: Array) -> dict[str, float]:
    shape, (offset, A) = grid_start(t, y, [(tau,) for tau in _times(t, 16)], lambda t, tau: [np.exp(-t / tau)])
    return {"A": A, "tau": shape[0], "offset": offset}


def _guess_biexponential(t: Array, y: Array) -> dict[str, float]:
    taus = _times(t, 9)
    pairs = [(one, two) for i, one in enumerate(taus) for two in taus[i + 1 :]]
    shape, (offset, A1, A2) = grid_start(t, y, pairs, lambda t, one, two: [np.exp(-t / one), np.exp(-t / two)])
    return {"A1": A1, "tau1": shape[0], "A2": A2, "tau2": shape[1], "offset": offset}


def _guess_kww(t: Array, y: Array) -> dict[str, float]:
    """By the c-form, in which the valley a stretched exponential's A and tau lie in is no valley: A = B/c."""
    free = thinned(t)
    t, y = t[free], y[free]
    start = _guess_unified(t, y)
    scale = start["scale"]
    low, high = [-np.inf, -np.inf, _BETA[0], _LEAST_CURVED], [np.inf, np.inf, _BETA[1], _C[1]]
    first = np.clip([start[name] for name in ("y0", "B", "beta", "c")], low, high)

    def residual(theta: Array) -> Array:
        return np.asarray(_unified(t, np.append(theta, scale)).value - y)

    def jacobian(theta: Array) -> Array:
        return _unified(t, np.append(theta, scale)).jacobian[:, :4]

    found = least_squares(residual, first, jac=jacobian, bounds=(low, high), x_scale="jac", max_nfev=50)
    y0, B, beta, c = (float(value) for value in found.x)
    tau = scale * (-math.log1p(-c)) ** (-1 / beta)
    return {"A": B / c, "tau": tau, "beta": beta, "offset": y0 - B / c}


def _guess_power(t: Array, y: Array) -> dict[str, float]:
    scale = float(t[-1])
    shapes = [(beta,) for beta in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)]
    shape, (y0, drop) = grid_start(t, y, shapes, lambda t, beta: [-((t / scale) ** beta)])
    return {"y0": y0, "B": drop, "beta": shape[0], "scale": scale}


def _guess_unified(t: Array, y: Array) -> dict[str, float]:
    scale = float(t[-1])
    shapes = [(beta, c) for beta in (0.1, 0.25, 0.4, 0.55, 0.75, 1.0) for c in (-0.3, 0.1, 0.6, 0.95, 0.999)]
    shape, (y0, drop) = grid_start(
        t, y, shapes, lambda t, beta, c: [np.expm1(math.log1p(-c) * (t / scale) ** beta) / c]
    )
    return {"y0": y0, "B": drop, "beta": shape[0], "c": shape[1], "scale": scale}


def _times(t: Array, count: int) -> list[float]:
    """Time constants from the first sample's to a few records' length, evenly spread in their logarithm."""
    length = float(t[-1])
    first = max(float(t[0]), length / max(len(t), 2), 1e-6 * length)
    return [float(tau) for tau in np.geomspace(first / 2, 4 * length, count)]


_TAU, _BETA, _C = (1e-12, 1e12), (0.02, 1.5), (-1.0, 1.0 - 1e-6)


def _amplitude(name: str) -> Parameter:
    return Parameter(name, "A")


def _level(name: str) -> Parameter:
    return Parameter(name, "A", level=True)


def _time(name: str) -> Parameter:
    return Parameter(name, "s", *_TAU)


# Less, and a stretched exponential's time constant is thousands of records long: a power law.
_LEAST_CURVED = 1e-3
_EXPONENT, _SCALE = Parameter("beta", "1", *_BETA), Parameter("scale", "s", held=True)

LAWS: Mapping[str, Law] = {
    law.name: law
    for law in (
        Law(
            "exp",
            "A*exp(-t/tau) + offset",
            (_amplitude("A"), _time("tau"), _level("offset")),
            _exponential,
            _guess_exponential,
            _exponential_mean,
        ),
        Law(
            "biexp",
            "A1*exp(-t/tau1) + A2*exp(-t/tau2) + offset",
            (_amplitude("A1"), _time("tau1"), _amplitude("A2"), _time("tau2"), _level("offset")),
            _biexponential,
            _guess_biexponential,
            _biexponential_mean,
        ),
        Law(
            "kww",
            "A*exp(-(t/tau)**beta) + offset",
            (_amplitude("A"), _time("tau"), _EXPONENT, _level("offset")),
            _kww,
            _guess_kww,
        ),
        Law(
            "power",
            "y0 - B*(t/scale)**beta",
            (_level("y0"), _amplitude("B"), _EXPONENT, _SCALE),
            _power,
            _guess_power,
        ),
        Law(
            "unified",
            "y0 - B*[1 - (1-c)**((t/scale)**beta)]/c",
            (_level("y0"), _amplitude("B"), _EXPONENT, Parameter("c", "1", *_C), _SCALE),
            _unified,
            _guess_unified,
        ),
    )
}
