"""Which samples a grid keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otters_lab.instruments.grids import Grid, kept
from otters_lab.instruments.timing import level_times_s

INTERVAL_S, DECAY_S = 1e-3, 1.0
TIMES_S = np.arange(-300, 1000) * INTERVAL_S + 0.5e-3


@pytest.mark.parametrize("grid", ["quadratic", "log"])
def test_a_grid_is_denser_early_keeps_the_first_sample_and_reaches_the_end(grid: Grid) -> None:
    chosen = TIMES_S[kept(TIMES_S, INTERVAL_S, DECAY_S, grid, 60)]
    after = chosen[chosen > 0]
    assert after[0] == TIMES_S[TIMES_S > 0][0]
    assert after[-1] == TIMES_S[-1]
    steps = np.diff(after)
    assert (np.diff(steps) > -1.5 * INTERVAL_S).all()
    assert steps[:5].mean() < 3 * INTERVAL_S < steps[-5:].mean()


def test_a_quadratic_grid_has_a_sample_near_every_level_time() -> None:
    chosen = TIMES_S[kept(TIMES_S, INTERVAL_S, DECAY_S, "quadratic", 100)]
    for level_s in level_times_s(DECAY_S)[1:]:
        nearest = np.min(np.abs(chosen - level_s))
        assert nearest <= 0.5 * INTERVAL_S + DECAY_S * 2 * np.sqrt(level_s / DECAY_S) / 100


@given(st.integers(10, 400), st.sampled_from(["quadratic", "log"]))
def test_a_grid_keeps_no_sample_twice_none_out_of_order_and_not_more_than_asked(points: int, grid: Grid) -> None:
    index = kept(TIMES_S, INTERVAL_S, DECAY_S, grid, points)
    assert (np.diff(index) > 0).all()
    assert np.sum(TIMES_S[index] > 0) <= points + 1
    assert np.sum(TIMES_S[index] <= 0) >= 4


def test_a_linear_grid_and_one_finer_than_the_samples_keep_everything() -> None:
    assert kept(TIMES_S, INTERVAL_S, DECAY_S, "linear", None).size == TIMES_S.size
    assert kept(TIMES_S, INTERVAL_S, DECAY_S, "log", 5000).size == TIMES_S.size
