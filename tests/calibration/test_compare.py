"""Has the chip drifted: the same chip keeps its calibration, a half-dead one does not, and both at a stated rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from otters_lab.calibration.again import measured_again
from otters_lab.calibration.compare import Measured, compare
from otters_lab.calibration.fit import fit_captures
from otters_lab.calibration.frame import Frame, curvature_effect, recorded_runs
from otters_lab.calibration.simultaneous import difference, effective_dof, largest_t, sd_interval
from otters_lab.core.errors import InputError, RefusedError


@pytest.fixture(scope="module")
def truth(chip):
    return chip.Truth(repeats=12, chip_seed=3)


@pytest.fixture(scope="module")
def old(chip, truth):
    return fit_captures([chip(truth, seed=1)])


def test_the_same_chip_measured_again_keeps_its_calibration(chip, truth, old):
    for new in (measured_again([chip(truth, seed=2)], old.device), Measured.of(fit_captures([chip(truth, seed=2)]))):
        result = compare(Measured.of(old), new)
        assert result.verdict == "keep", result.because
        assert "6 devices in common" in result.design
        assert abs(result.largest_shift_levels) < 0.3
        # 5 % of device spread would alone be 0.3 levels of uncertainty; the same devices' spread cancels.
        assert all(high - low < 0.08 for low, high in (level.mean_interval for level in result.levels))


def test_a_half_dead_chip_is_seen_in_the_old_constants(chip, truth, old):
    capture = chip(replace(truth, swing=0.5), seed=2)
    refit = fit_captures([capture])
    # By itself it looks alike: levels are normalised by its own constants.
    sds = [np.array(c.device.levels.run_to_run_sd[3:], dtype=float) for c in (refit, old)]
    np.testing.assert_allclose(*sds, rtol=0.3)
    for new in (measured_again([capture], old.device), Measured.of(refit)):
        result = compare(Measured.of(old), new)
        assert result.verdict == "refit"
        assert result.swing_ratio == pytest.approx(0.5, abs=0.02)
        for level in result.levels:  # O(t_k) halves with the swing, and the run-to-run sd as well
            assert level.mean_change == pytest.approx(-level.mean_old / 2, abs=0.02)
        assert result.largest_shift_levels == pytest.approx(-7.5, abs=0.2)
        assert any("mean of level" in reason for reason in result.because)
        assert any("run-to-run sd" in reason for reason in result.because)


def test_a_noisier_chip_with_the_same_mean_needs_a_refit(chip, truth, old):
    new = measured_again([chip(replace(truth, run_sd=(0.005, 0.05, 0.02)), seed=2)], old.device)
    result = compare(Measured.of(old), new)
    assert result.verdict == "refit"
    assert [reason.startswith("run-to-run sd of") for reason in result.because] == [True]


def test_a_small_shift_counts_from_the_tolerance_on(chip, truth, old):
    new = measured_again([chip(replace(truth, swing=0.95), seed=2)], old.device)
    assert compare(Measured.of(old), new).verdict == "refit"
    result = compare(Measured.of(old), new, tolerance_levels=2.0)
    assert result.verdict == "keep"
    assert "2 levels" in result.rule


def test_another_chip_of_the_same_kind_is_compared_with_the_spread_between_devices(chip, truth, old):
    other = replace(truth, chip="S2", chip_seed=4)
    result = compare(Measured.of(old), Measured.of(fit_captures([chip(other, seed=5)])))
    assert "no device in common: scatter between 6 and 6 devices" in result.design
    assert result.verdict == "keep", result.because
    assert result.notes[0] == "chip S2 against chip S1"
    low, high = result.levels[12].mean_interval
    J = old.device_model().sensitivity(16)[12]
    between = J @ old.device_model().device_to_device @ J
    assert high - low > 2 * 2 * (2 * between / 6) ** 0.5 * 0.6


def test_one_device_alone_is_compared_by_its_runs(chip):
    truth = chip.Truth(devices=1, repeats=25, chip_seed=3)
    old = fit_captures([chip(truth, seed=1)])
    again = compare(Measured.of(old), measured_again([chip(truth, seed=2)], old.device))
    assert (again.verdict, again.design) == ("keep", "1 device in common: scatter of their runs")
    dead = compare(Measured.of(old), measured_again([chip(replace(truth, swing=0.5), seed=2)], old.device))
    assert dead.verdict == "refit"
    assert dead.levels[3].device_to_device.interval is None
    other = Measured.of(fit_captures([chip(replace(truth, chip="S2"), seed=2)]))
    with pytest.raises(InputError, match="no device in common"):
        compare(Measured.of(old), other)


def test_a_capture_compared_with_its_own_calibration_has_not_drifted(chip, truth, old):
    result = compare(Measured.of(old), measured_again([chip(truth, seed=1)], old.device))
    assert result.verdict == "keep"
    assert abs(result.largest_shift_levels) < 1e-6


def test_what_cannot_be_compared_is_one_clear_line(chip, truth, old):
    side = Measured.of(old)
    with pytest.raises(InputError, match=r"another window W; found '0\.5 s', expected 1 s"):
        compare(side, Measured.of(fit_captures([chip(truth, seed=2)], window_s=0.5)))
    with pytest.raises(InputError, match="another polarity; found 'a current that rises'"):
        compare(side, measured_again([chip(replace(truth, sign=-1.0), seed=2)], old.device))
    with pytest.raises(InputError, match=r"another drive; found 3\.0, expected 5"):
        compare(side, measured_again([chip(truth, seed=2, drives=(3.0,))], old.device))
    several = chip(chip.Truth(devices=2, repeats=3), drives=(4.0, 5.0))
    with pytest.raises(InputError, match="several settings; found 2"):
        measured_again([several], old.device)
    with pytest.raises(RefusedError, match="several settings"):
        Measured.of(old.model_copy(update={"device": None}))


def test_a_change_of_c_alone_hardly_moves_the_fitted_levels(old):
    """On the window another c is made up for by O0, D and beta: 1 % of c's range is far less than 1 % of O."""
    effect = curvature_effect(Frame.of(old.device), old.device)
    assert 1e-4 < np.max(np.abs(effect[1:])) < 0.05
    runs = recorded_runs(old.device, old.traces)
    np.testing.assert_allclose(runs.mean(axis=0), 0, atol=1e-9)


def test_the_critical_value_is_student_s_for_one_level_and_wider_for_many():
    one = largest_t(np.array([[1.0]]), 7, 0.05)
    assert one == pytest.approx(2.365, rel=0.02)  # t of 7 degrees of freedom, 97.5 %
    many = largest_t(np.eye(3), 10_000, 0.05)
    assert many == pytest.approx(2.388, rel=0.02)  # 1 - 0.95**(1/3), two-sided, standard normal
    assert largest_t(np.ones((15, 1)), 10_000, 0.05) == pytest.approx(1.96, rel=0.02)


def test_the_interval_of_a_change_of_sd_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        a, b = rng.normal(0, 1.0, 25), rng.normal(0, 1.5, 40)
        sides = [(float(v.std(ddof=1)), sd_interval(float(v.var(ddof=1)), 0.0, len(v) - 1, 0.05)) for v in (a, b)]
        low, high = difference(*sides[0], *sides[1])
        covered.append(low <= 0.5 <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
    heavy = rng.standard_t(5, 2000)
    assert effective_dof(heavy, 1999) < 0.6 * effective_dof(rng.normal(size=2000), 1999)


@pytest.mark.long
@pytest.mark.parametrize("with_capture", [True, False])
def test_false_alarms_come_at_the_stated_rate(chip, with_capture):
    """60 chips, each measured twice: at most as many refits as 5 % allow (99 % bound), devices redrawn a chip."""
    alarms, repeats = 0, 60
    for number in range(repeats):
        truth = chip.Truth(repeats=10, chip_seed=100 + number)
        old = fit_captures([chip(truth, seed=1000 + number)])
        again = chip(truth, seed=2000 + number)
        new = measured_again([again], old.device) if with_capture else Measured.of(fit_captures([again]))
        alarms += compare(Measured.of(old), new).verdict == "refit"
    assert alarms <= binom.ppf(0.99, repeats, 0.05)
