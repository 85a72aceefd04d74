"""The trigger model: when readings begin."""

from __future__ import annotations

import numpy as np
import pytest

from otters_lab.instruments.virtual.trigger_model import Block, Timer, play


def grid(n: int) -> dict[int, Block]:
    """The model of a timed acquisition, as the driver loads it."""
    return {
        1: Block("clear"), 2: Block("notify", 1), 3: Block("wait", event="TIM1"), 4: Block("measure"),
        5: Block("count", n, to=3),
    }  # fmt: skip


def timer(interval_s: float, **changes: object) -> Timer:
    settings = {"delay_s": interval_s, "count": 0, "at_start": True, "stimulus": "NOT1", "enabled": True} | changes
    return Timer(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "interval_s", "aperture_s"), [(650, 2e-3, 1e-3), (1000, 2e-3, 2e-3), (10, 0.1, 0.02)])
def test_readings_begin_on_the_timers_grid_from_the_trigger_on(n: int, interval_s: float, aperture_s: float) -> None:
    line = play(grid(n), {1: timer(interval_s)}, aperture_s)
    np.testing.assert_allclose(line.readings_s, interval_s * np.arange(n), atol=1e-12)
    assert line.notified == [(0.0, "NOT1")]
    assert line.end_s == pytest.approx((n - 1) * interval_s + aperture_s)


def test_readings_longer_than_the_interval_come_late_and_say_so_by_their_times() -> None:
    line = play(grid(5), {1: timer(1e-3)}, 1.5e-3)
    np.testing.assert_allclose(line.readings_s, 1.5e-3 * np.arange(5))


def test_without_the_event_at_the_start_the_first_reading_waits_an_interval() -> None:
    line = play(grid(3), {1: timer(1e-2, at_start=False)}, 1e-3)
    np.testing.assert_allclose(line.readings_s, [1e-2, 2e-2, 3e-2])


@pytest.mark.parametrize("changes", [{"enabled": False}, {"stimulus": "NONE"}, {"count": 2}])
def test_a_timer_that_gives_too_few_events_fails_the_model(changes: dict[str, object]) -> None:
    assert play(grid(10), {1: timer(1e-2, **changes)}, 1e-3).failed


def test_a_gap_in_the_blocks_fails_the_model() -> None:
    assert play({1: Block("measure"), 3: Block("measure")}, {}, 1e-3).failed


def test_the_manuals_nested_loops_take_fifteen_readings() -> None:
    # 2450-901-01 Rev. B, p. 6-144, example
    blocks = {
        1: Block("clear"), 2: Block("measure"), 3: Block("count", 5, to=2), 4: Block("delay", 1.0),
        5: Block("count", 3, to=2),
    }  # fmt: skip
    line = play(blocks, {}, 0.02)
    assert len(line.readings_s) == 15
    assert line.end_s == pytest.approx(15 * 0.02 + 3 * 1.0)
