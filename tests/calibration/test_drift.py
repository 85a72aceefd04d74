import numpy as np
import pytest

from otters_lab.calibration.drift import confounding, within_devices


def test_time_and_light_history_are_told_apart_where_a_pause_parts_them():
    rng = np.random.default_rng(1)
    device = np.repeat(np.arange(6), 30)
    repeat = np.tile(np.arange(30.0), 6)
    elapsed = repeat * 10 + np.where(repeat >= 15, 5000.0, 0.0) + device  # a long pause in the middle
    theta = 1e-5 * elapsed[:, None] + 2e-3 * repeat[:, None] + 0.01 * rng.normal(size=(180, 1)) + device[:, None]
    drift = within_devices(theta, device, elapsed, repeat).drift
    assert drift.per_s[0] == pytest.approx(1e-5, abs=4 * drift.sd_per_s[0])
    assert drift.per_repeat[0] == pytest.approx(2e-3, abs=4 * drift.sd_per_repeat[0])
    assert drift.sd_per_repeat[0] < 1e-3


def test_light_history_is_null_where_every_repeat_comes_at_its_time():
    device = np.repeat(np.arange(4), 10)
    repeat = np.tile(np.arange(10.0), 4)
    drift = within_devices(np.random.default_rng(2).normal(size=(40, 2)), device, repeat * 7.0 + device, repeat).drift
    assert drift.per_repeat is None
    assert drift.shared > 0.99


def test_devices_measured_one_after_the_other_are_confounded_with_time_and_shuffled_ones_are_not():
    rng = np.random.default_rng(3)
    device = np.repeat(np.arange(8), 20)
    assert confounding(device, np.arange(160.0)) > 0.95
    assert abs(confounding(rng.permutation(device), np.arange(160.0))) < 0.2
    assert confounding(np.zeros(5), np.arange(5.0)) is None
