"""Where a fit starts: the best of a grid of shapes, amplitudes and offset solved for at each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from otters_lab.core.protocols import AnyArray, Array

_POINTS = 160


def thinned(t: Array) -> AnyArray:
    """Indices of at most 160 samples, densest near the edge, first and last among them."""
    last = len(t) - 1
    spread = np.concatenate([np.geomspace(1, last + 1, _POINTS // 2) - 1, np.linspace(0, last, _POINTS // 2)])
    return np.unique(np.round(spread).astype(int))


def grid_start(
    t: Array, y: Array, shapes: Sequence[tuple[float, ...]], columns: Callable[..., list[Array]]
) -> tuple[tuple[float, ...], list[float]]:
    """The shape of least squares and its linear parameters (constant first, then one a column).

    columns(t, *shape) are the curves of which a law is a sum. Long records are thinned, densest near the edge.
    """
    rows = thinned(t)
    t, y = np.maximum(t[rows], 1e-300), y[rows]
    best, found = np.inf, (shapes[0], [float(y.mean())] + [0.0] * len(columns(t, *shapes[0])))
    for shape in shapes:
        G = np.stack([np.ones_like(t), *columns(t, *shape)], axis=1)
        linear = np.linalg.lstsq(G, y, rcond=1e-10)[0]
        rss = float(np.sum((y - G @ linear) ** 2))
        if rss < best:
            best, found = rss, (shape, [float(value) for value in linear])
    return found
