"""Paired comparisons against closed forms: the delta method, pairing, coverage, and the metrics themselves."""

from __future__ import annotations

import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.training.compare import Comparison, paired_bootstrap
from otters_lab.training.metrics import METRICS


def paired(rng: np.random.Generator, n: int, teacher: float = 0.9, kept: float = 0.95, gained: float = 0.4):
    """Predictions (1 is right) of a student that is right on `kept` of what its teacher is, `gained` of the rest."""
    t = rng.random(n) < teacher
    s = rng.random(n) < np.where(t, kept, gained)
    return s.astype(float), t.astype(float), np.ones(n)


def width(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return interval[1] - interval[0]


def test_the_share_of_paired_bernoulli_outcomes_has_the_interval_of_the_delta_method() -> None:
    s, t, y = paired(np.random.default_rng(1), 4000)
    found = paired_bootstrap(s, t, y, "accuracy", draws=4000)
    share = s.mean() / t.mean()
    # var(S/T) = var(s - share*t)/(n*T^2), of examples that are drawn together
    sd = np.std(s - share * t) / np.sqrt(len(s)) / t.mean()
    assert found.share == pytest.approx(share)
    assert found.share_interval == pytest.approx((share - 1.96 * sd, share + 1.96 * sd), abs=0.1 * sd)
    spread = 1.96 * np.std(s - t) / np.sqrt(len(s))
    assert found.difference_interval == pytest.approx(
        (found.difference - spread, found.difference + spread), abs=0.1 * spread
    )


def test_a_pair_that_agrees_is_narrower_than_the_same_two_apart() -> None:
    rng = np.random.default_rng(2)
    s, t, y = paired(rng, 2000, kept=0.99, gained=0.1)
    apart = paired_bootstrap(s, rng.permutation(t), y, "accuracy")
    together = paired_bootstrap(s, t, y, "accuracy")
    assert apart.share == together.share
    assert width(together.share_interval) < 0.6 * width(apart.share_interval)


def test_the_interval_covers_the_true_share_about_as_often_as_it_says() -> None:
    rng, truth = np.random.default_rng(3), (0.9 * 0.95 + 0.1 * 0.4) / 0.9
    inside = 0
    for trial in range(300):
        found = paired_bootstrap(*paired(rng, 300), "accuracy", draws=400, seed=trial)
        assert found.share_interval is not None
        inside += found.share_interval[0] <= truth <= found.share_interval[1]
    assert 0.91 <= inside / 300 <= 0.99  # three standard errors on either side


def test_seeds_that_differ_widen_the_interval_as_their_spread_says() -> None:
    rng = np.random.default_rng(4)
    n, rates = 4000, np.array([0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
    s = (rng.random((6, n)) < rates[:, None]).astype(float)
    y = np.ones(n)
    found = paired_bootstrap(s, y, y, "accuracy")
    sd = np.std(s.mean(axis=1)) / 6**0.5  # the examples' own share is a tenth of it
    assert width(found.share_interval) == pytest.approx(2 * 1.96 * sd, rel=0.15)
    assert width(paired_bootstrap(s[0], y, y, "accuracy").share_interval) < 0.5 * width(found.share_interval)
    # Seeds that go up and down together are pairs: their share does not move.
    pairs = paired_bootstrap(s, s, y, "accuracy")
    assert pairs.share_interval == pytest.approx((1.0, 1.0))


def test_runs_of_a_seed_tell_nothing_of_the_next_seed() -> None:
    rng = np.random.default_rng(9)
    rates, y = np.array([0.7, 0.75, 0.8, 0.85, 0.9, 0.95]), np.ones(4000)
    s = (rng.random((6, 4000)) < rates[:, None]).astype(float)
    of_seeds = width(paired_bootstrap(s, y, y, "accuracy").share_interval)
    copies = np.repeat(s[:, None], 5, axis=1)
    assert width(paired_bootstrap(copies, y, y, "accuracy").share_interval) == pytest.approx(of_seeds, rel=0.1)
    assert width(paired_bootstrap(copies.reshape(30, -1), y, y, "accuracy").share_interval) < 0.6 * of_seeds
    # Runs that both networks have seen are pairs, within each seed.
    nested = paired_bootstrap(s.reshape(2, 3, -1), s.reshape(2, 3, -1), y, "accuracy")
    assert nested.share_interval == pytest.approx((1.0, 1.0))
    # Of seeds with equal means the runs are all there is: sd of six values, less what the examples add.
    equal = np.stack([s[[0, 5, 2]], s[[1, 4, 3]]])
    sd = np.mean(np.std(equal.mean(axis=2), axis=1)) / 6**0.5
    assert width(paired_bootstrap(equal, y, y, "accuracy").share_interval) == pytest.approx(2 * 1.96 * sd, rel=0.2)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_of_a_draw_is_that_of_the_drawn_examples(metric: str) -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 60).astype(float) if metric not in ("Pearson", "Spearman") else rng.normal(size=60) + 3
    t = np.where(rng.random(60) < 0.9, y, 1 - y)
    s = np.stack([np.where(rng.random(60) < 0.8, y, 1 - y) for _ in range(2)])
    found = paired_bootstrap(s, t, y, metric, draws=50, seed=6)
    assert found.student == pytest.approx(np.mean([METRICS[metric](row, y) for row in s]))
    again = np.random.default_rng(6)  # the same draws, one after the other
    rows = np.stack([again.integers(60, size=60) for _ in range(50)])
    seeds = again.multinomial(2, [0.5, 0.5], size=50) / 2
    students = [sum(k * METRICS[metric](one[i], y[i]) for k, one in zip(w, s, strict=True))
                for i, w in zip(rows, seeds, strict=True)]  # fmt: skip
    differences = np.array(students) - [METRICS[metric](t[i], y[i]) for i in rows]
    assert found.difference_interval == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_three_classes_are_no_binary_metric_in_disguise() -> None:
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, 200).astype(float)
    s = np.where(rng.random(200) < 0.7, y, rng.integers(0, 3, 200))
    assert paired_bootstrap(s, y, y, "Matthews", draws=20).student == pytest.approx(METRICS["Matthews"](s, y))


@pytest.mark.parametrize(("target", "verdict"), [(0.5, "met"), (0.99, "missed"), (0.97, "not resolved")])
def test_a_verdict_needs_the_whole_interval_on_one_side(target: float, verdict: str) -> None:
    s, t, y = paired(np.random.default_rng(8), 1000, kept=0.95, gained=0.2)
    found = paired_bootstrap(s, t, y, "accuracy", target=target)
    assert (found.verdict, found.target) == (verdict, target)
    assert Comparison.model_validate_json(found.model_dump_json()) == found
    assert paired_bootstrap(s, t, y, "accuracy").verdict is None


def test_a_share_of_nothing_is_not_invented() -> None:
    y = np.array([0.0, 1.0] * 20)
    found = paired_bootstrap(y, np.zeros(40), y, "Matthews", target=0.9)
    assert (found.share, found.share_interval, found.verdict) == (None, None, "not resolved")
    assert found.difference == 1.0


def test_what_does_not_fit_is_refused() -> None:
    y = np.zeros(4)
    shapes = ((3,), (4,)), ((3, 4), (2, 4)), ((2, 4), (3,)), ((2, 3, 4), (2, 2, 4)), ((2, 3, 4), (3, 4))
    for student, teacher in ((np.zeros(one), np.zeros(other)) for one, other in shapes):
        with pytest.raises(InputError, match="predictions do not fit"):
            paired_bootstrap(student, teacher, y, "accuracy")
    with pytest.raises(InputError, match="no such metric"):
        paired_bootstrap(y, y, y, "loss")
    with pytest.raises(InputError, match="do not fit"):
        paired_bootstrap(np.zeros(0), np.zeros(0), np.zeros(0), "accuracy")
