"""Two networks on the same examples: share, difference, and whether a target is met, with what chance leaves open.

Examples are drawn with replacement, the same ones for both networks, and seeds (or runs of the noise) as well: rows and
columns of a table [seeds, examples] at once, the pigeonhole bootstrap (A. B. Owen, Annals of Applied Statistics 1,
2007, 386-411), which is somewhat wide where seeds and examples act together. Where each seed has runs of its own, a
drawn seed's runs are drawn in turn. Written here, since scipy.stats.bootstrap draws along one axis alone. Intervals are
the percentiles of the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array
from otters_lab.core.tomlfile import StrictModel
from otters_lab.training.metrics import METRICS

Verdict = Literal["met", "missed", "not resolved"]

_BLOCK = 2_000_000  # weights in memory at a time


class Comparison(StrictModel):
    """A student's metric against its teacher's, each the mean of its seeds; intervals hold the middle `level`.

    share is student/teacher: null where the teacher's metric is not positive, its interval where that of a draw is not.
    verdict is null where no target share was given.
    """

    metric: str
    student: float
    teacher: float
    share: float | None
    share_interval: tuple[float, float] | None
    difference: float
    difference_interval: tuple[float, float]
    level: float
    target: float | None
    verdict: Verdict | None


def paired_bootstrap(
    student: Array,
    teacher: Array,
    targets: Array,
    metric: str,
    *,
    target: float | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares predictions for the same n examples: class numbers, or values, as `metrics.predictions` gives them.

    student, teacher : [n], or [seeds, n]: seeds of training or runs of the noise, or [seeds, runs, n]: runs of each
        seed. As many seeds of both are pairs and drawn together, and so are as many runs; a single one stays as it is
        beside the other's. Of a single seed nothing is known about the next one, and of very few little: the spread
        between S seeds comes out smaller by sqrt((S - 1)/S).
    targets : [n]. target : the share that is asked for, "met" where the interval lies above it (or on it), "missed"
        where it lies below, else "not resolved".

    Raises
    ------
    InputError
        for an unknown metric, no example, or numbers of examples, seeds or runs that do not fit.
    """
    one, other, wanted = _by_seed(student), _by_seed(teacher), np.asarray(targets, dtype=np.float64)
    if metric not in METRICS:
        raise InputError("no such metric", found=metric, expected=", ".join(METRICS))
    n = len(wanted)
    seeds, runs = (max(a, b) for a, b in zip(one.shape[:2], other.shape[:2], strict=True))
    fit = all({a, b} <= {1, most} for a, b, most in zip(one.shape, other.shape, (seeds, runs), strict=False))
    if not n or {one.shape[2], other.shape[2]} != {n} or not fit:
        found = f"{list(np.shape(student))} and {list(np.shape(teacher))} for {n} targets"
        raise InputError("predictions do not fit", found=found, expected="the same examples, seeds and runs, or one")
    rng = np.random.default_rng(seed)
    of_student, of_teacher = _by_weights(metric, one, wanted), _by_weights(metric, other, wanted)
    everything = np.ones((n, 1))
    s, t = float(of_student(everything).mean()), float(of_teacher(everything).mean())
    found_s: list[Array] = []
    found_t: list[Array] = []
    left = draws
    while left:
        block = min(left, max(1, _BLOCK // n))
        left -= block
        weights = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(block)], axis=1)
        of_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=block).T  # how often each is drawn
        of_run = rng.multinomial(of_seed * runs, np.full(runs, 1 / runs)).transpose(0, 2, 1)  # [seeds, runs, block]
        for kept, by_weights in ((found_s, of_student), (found_t, of_teacher)):
            values = by_weights(weights.astype(np.float64))
            shared = of_run.sum(axis=tuple(axis for axis in (0, 1) if values.shape[axis] == 1), keepdims=True)
            kept.append((values * shared).sum(axis=(0, 1)) / (seeds * runs))
    drawn_s, drawn_t = np.concatenate(found_s), np.concatenate(found_t)
    share = s / t if t > 0 else None
    interval = _middle(drawn_s / drawn_t, level) if share is not None and (drawn_t > 0).all() else None
    return Comparison(
        metric=metric,
        student=s,
        teacher=t,
        share=share,
        share_interval=interval,
        difference=s - t,
        difference_interval=_middle(drawn_s - drawn_t, level),
        level=level,
        target=target,
        verdict=None if target is None else judged(interval, target),
    )


def judged(interval: tuple[float, float] | None, target: float) -> Verdict:
    """What a share's interval says of its target."""
    if interval is None or interval[0] < target <= interval[1]:
        return "not resolved"
    return "met" if interval[0] >= target else "missed"


def _middle(drawn: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _by_seed(predicted: Array) -> Array:
    """Predictions as [seeds, runs, n]."""
    found = np.atleast_2d(predicted)
    return found[:, None] if found.ndim == 2 else found


def _by_weights(metric: str, tables: Array, wanted: Array) -> Callable[[Array], Array]:
    """The metric of predictions [seeds, runs, n] as a function of examples' weights [n, draws]: [seeds, runs, draws].

    Weights are how often an example was drawn, so that a metric of sums is one matrix product for all draws.
    """
    predicted = tables.reshape(-1, tables.shape[-1])
    binary = np.isin(predicted, (0, 1)).all() and np.isin(wanted, (0, 1)).all()
    known: Mapping[str, Callable[[Array], Array]] = {
        "accuracy": lambda weights: (predicted == wanted) @ weights / weights.sum(axis=0),
        "Pearson": lambda weights: _correlation(predicted, wanted, weights),
    }
    if binary:
        known = {
            **known,
            "Matthews": known["Pearson"],  # of zeros and ones they are the same
            "F1": lambda weights: _ratio(2 * (predicted * wanted) @ weights, (predicted + wanted) @ weights),
        }
    of_rows = known.get(metric, lambda weights: _one_by_one(metric, predicted, wanted, weights))
    return lambda weights: of_rows(weights).reshape(*tables.shape[:2], -1)


def _correlation(predicted: Array, wanted: Array, weights: Array) -> Array:
    # Centred once, so that little is lost where squares are subtracted.
    x, y = predicted - predicted.mean(axis=1, keepdims=True), wanted - wanted.mean()
    total = weights.sum(axis=0)
    mean_x, mean_y = x @ weights / total, y @ weights / total
    spread_x, spread_y = x**2 @ weights / total - mean_x**2, y**2 @ weights / total - mean_y**2
    together = (x * y) @ weights / total - mean_x * mean_y
    # A draw of one value has no spread but for rounding.
    varies = (spread_x > 1e-12 * (x**2).mean(axis=1, keepdims=True)) & (spread_y > 1e-12 * (y**2).mean())
    return _ratio(together, np.sqrt(np.where(varies, spread_x * spread_y, 0.0)))


def _ratio(above: Array, below: Array) -> Array:
    """Quotients; 0 where there is nothing to divide by, as in `metrics`."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def _one_by_one(metric: str, predicted: Array, wanted: Array, weights: Array) -> Array:
    drawn = [np.repeat(np.arange(len(wanted)), column.astype(int)) for column in weights.T]
    return np.array([[METRICS[metric](row[rows], wanted[rows]) for rows in drawn] for row in predicted])
