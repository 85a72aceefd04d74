"""Laws as a meter sees them: averaged over each aperture, the light's edge at t0 rather than at 0."""

from __future__ import annotations

import numpy as np

from otters_lab.calibration.trace_laws import Curve, Law
from otters_lab.core.protocols import Array

# With t = s**4 a curve in t**beta, whose slope is infinite at t = 0, is smooth enough in s for Gauss-Legendre.
_BENT = 4
_nodes, _weights = np.polynomial.legendre.leggauss(8)
_straight_nodes, _straight_weights = np.polynomial.legendre.leggauss(2)
# An aperture this many times shorter than the time since the edge sees a cubic, to 1e-11 of the drop.
_FAR = 100.0


def seen_by_meter(law: Law, time_s: Array, theta: Array, aperture_s: float = 0.0, t0_s: float = 0.0) -> Curve:
    """The law's mean over apertures of `aperture_s` around `time_s` [sample], its Jacobian, its slope by time.

    The derivative by t0 is the slope's negative: [f(a) - f(b)]/aperture for an aperture a..b, exact and finite where
    the law's own slope is not. Before the edge the current is taken to be what it is at the edge, so that with an
    aperture the mean is smooth in t0; with none (`aperture_s` 0) t0 must stay before the first sample.
    """
    since = np.asarray(time_s, dtype=float) - t0_s
    if aperture_s <= 0:
        before = since < 0
        curve = law.curve(np.maximum(since, 0.0), theta)
        return Curve(curve.value, curve.jacobian, np.where(before, 0.0, curve.slope))
    a, b = np.maximum(since - aperture_s / 2, 0.0), np.maximum(since + aperture_s / 2, 0.0)
    at_a, at_b = law.curve(a, theta), law.curve(b, theta)
    mean, jacobian = law.mean(a, b, theta) if law.mean else _quadrature(law, a, b, theta)
    early = b - a < aperture_s * (1 - 1e-12)
    if np.any(early):
        edge = law.curve(np.zeros(1), theta)
        lit = np.where(early, 1 - (b - a) / aperture_s, 0.0)
        mean = (1 - lit) * mean + lit * edge.value
        jacobian = (1 - lit)[:, None] * jacobian + lit[:, None] * edge.jacobian
    return Curve(mean, jacobian, (at_b.value - at_a.value) / aperture_s)


def _quadrature(law: Law, a: Array, b: Array, theta: Array) -> tuple[Array, Array]:
    """Mean over a..b and its Jacobian by Gauss-Legendre, for a law without a closed form."""
    far = a > _FAR * (b - a)
    mean, jacobian = np.empty(len(a)), np.empty((len(a), len(theta)))
    for part, nodes, weights, power in ((far, _straight_nodes, _straight_weights, 1), (~far, _nodes, _weights, _BENT)):
        if not np.any(part):
            continue
        low, high = a[part] ** (1 / power), b[part] ** (1 / power)
        s = (low + high)[:, None] / 2 + nodes * (high - low)[:, None] / 2
        weight = weights * s ** (power - 1)  # dt = power*s**(power - 1) ds
        total = weight.sum(axis=1, keepdims=True)
        weight = weight / np.where(total > 0, total, 1.0)
        curve = law.curve((s**power).ravel(), theta)
        mean[part] = np.sum(weight * curve.value.reshape(s.shape), axis=1)
        jacobian[part] = np.einsum("nk,nkp->np", weight, curve.jacobian.reshape(*s.shape, -1))
    return mean, jacobian
