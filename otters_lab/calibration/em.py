"""Covariance of a population seen through known noise: the global two-stage EM, with the mean's own error (REML)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from otters_lab.core.protocols import Array

_STEPS = 300
_TOLERANCE = 1e-6  # of the largest change relative to the variances


def within_covariance(scatter: Array, dof: Array, noise: Array, start: Array) -> Array:
    """Maximum of the restricted likelihood of R, where `scatter` [g, p, p] ~ Wishart(dof [g], R + noise [g, p, p]).

    `start` [p, p] positive semi-definite; the result is positive semi-definite by construction.
    """
    total = float(dof.sum())

    def step(R: Array) -> Array:
        gain = R @ _inverse(R + noise)
        explained = gain @ scatter @ np.swapaxes(gain, 1, 2)
        left = R - gain @ R
        return np.asarray(np.sum(explained + dof[:, None, None] * left, axis=0) / total)

    return _iterate(step, start)


def between_covariance(means: Array, noise: Array, start: Array) -> Array:
    """Restricted maximum likelihood of B, where `means` [g, p] ~ N(mu, B + noise [g, p, p]) with mu unknown."""
    count = len(means)

    def step(B: Array) -> Array:
        weight = _inverse(B + noise)
        mean_cov = _inverse(weight.sum(axis=0))
        centre = mean_cov @ np.einsum("gij,gj->i", weight, means)
        guess = np.einsum("ij,gjk,gk->gi", B, weight, means - centre)
        known = weight - weight @ mean_cov @ weight
        return np.asarray((guess.T @ guess + np.sum(B - B @ known @ B, axis=0)) / count)

    return _iterate(step, start)


def _inverse(matrices: Array) -> Array:
    """Of positive semi-definite [..., p, p], with 1e-12 of the diagonal added; a pseudo-inverse is far slower."""
    diagonal = np.einsum("...ii->...i", matrices)
    return np.asarray(np.linalg.inv(matrices + (1e-12 * diagonal + 1e-300)[..., None] * np.eye(matrices.shape[-1])))


def _iterate(step: Callable[[Array], Array], start: Array) -> Array:
    scale = np.sqrt(np.outer(np.diag(start), np.diag(start))) + 1e-300
    current = start
    for _ in range(_STEPS):
        following = step(current)
        following = (following + following.T) / 2
        change = float(np.max(np.abs(following - current) / scale))
        current = following
        if change < _TOLERANCE:
            break
    return np.asarray(current)
