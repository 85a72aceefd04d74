import numpy as np
import pytest

from otters_lab.calibration.fit import fit_captures
from otters_lab.core.errors import InputError, RefusedError

SWING_A = 8e-9


def test_run_to_run_sd_is_that_of_the_devices_not_of_the_meter(fitted):
    calibration = fitted()
    assert calibration.passed, [g for g in calibration.gates if g.verdict != "pass"]
    runs = calibration.device.run_to_run
    # 180 traces: the sd of an sd is 5.5 %. Without deconvolution O0 would come out 15 % high or more.
    for name, truth in (("O0", 0.005), ("D", 0.02), ("logit_beta", 0.02)):
        assert runs.sd[name] == pytest.approx(truth, rel=0.17), name


def test_the_mean_curve_and_its_constants_are_the_published_ones(fitted):
    device = fitted().device
    assert device.constants.polarity == "falls"
    assert device.constants.I_dark_A == pytest.approx(2e-8, abs=1e-11)
    # device spread of D is 5 %, over 6 devices: 2 % on the swing's mean
    swing = device.constants.I_edge_A - device.constants.I_end_A
    assert swing == pytest.approx(SWING_A, rel=4 * 0.05 / np.sqrt(6))
    assert device.constants.I_edge_A == pytest.approx(9e-7 + SWING_A, abs=0.002 * SWING_A)
    assert 1 / (1 + np.exp(-device.logit_beta)) == pytest.approx(0.495, abs=4 * 0.05 * 0.25 / np.sqrt(6))
    assert abs(device.law.c - 1 / 110.989) < 5 * device.law.c_sd


def test_a_current_that_rises_after_the_light_is_fitted_as_well(chip, fitted):
    calibration = fitted(chip.Truth(sign=-1.0))
    assert calibration.device.constants.polarity == "rises"
    assert calibration.device.constants.I_edge_A < calibration.device.constants.I_end_A
    assert calibration.device.run_to_run.sd["D"] == pytest.approx(0.02, rel=0.2)


def test_a_spread_that_is_not_there_is_null_with_an_upper_bound_and_never_zero(chip):
    truth = chip.Truth(devices=3, repeats=8, run_sd=(0.0, 0.02, 0.0), device_sd=(0.0, 0.0))
    device = fit_captures([chip(truth)]).device
    assert device.run_to_run.sd["O0"] is None
    assert device.run_to_run.upper_bound["O0"] > 0
    assert device.run_to_run.covariance[0] == [None, None, None]


def test_one_run_gives_no_run_to_run_spread_and_fails_its_gate(chip):
    calibration = fit_captures([chip(chip.Truth(devices=4, repeats=1))])
    assert calibration.device.run_to_run.sd == {"O0": None, "D": None, "logit_beta": None}
    failed = {gate.name for gate in calibration.gates if gate.verdict == "fail"}
    assert "run-to-run sd of D resolved" in failed
    assert not calibration.passed


def test_drift_is_told_from_run_to_run_scatter(chip):
    device = fit_captures([chip(chip.Truth(drift=0.1))]).device
    hours = 180 * 6 / 3600
    slope, sd = device.drift.per_hour["D"], device.drift.sd_per_hour["D"]
    assert slope * hours == pytest.approx(0.1, abs=4 * sd * hours)
    assert slope > 5 * sd
    assert device.run_to_run.sd["D"] == pytest.approx(0.02, rel=0.2)


def test_an_outlier_run_is_listed_by_its_trace_and_kept_out(chip):
    calibration = fit_captures([chip(chip.Truth(outlier=(2, 7)))])
    columns = calibration.traces.columns
    listed = [dict(zip(columns, row, strict=True)) for row in calibration.traces.rows]
    assert [(row["device"], row["repeat"]) for row in listed if row["outlier"]] == [(2, 7)]
    assert calibration.device.run_to_run.sd["D"] == pytest.approx(0.02, rel=0.2)


def test_several_settings_give_a_device_model_each_and_none_of_all(chip):
    capture = chip(chip.Truth(devices=2, repeats=3), drives=(4.0, 5.0))
    calibration = fit_captures([capture])
    assert calibration.device is None
    assert [point.settings for point in calibration.conditions] == [{"drive": 4.0}, {"drive": 5.0}]
    assert len(calibration.traces.rows) == 12
    with pytest.raises(RefusedError, match="several settings"):
        calibration.device_model()
    assert fit_captures([capture], point=1).device is not None


def test_a_window_shorter_than_the_record_moves_the_end_of_the_curve(fitted):
    device, whole = fitted(window_s=0.5).device, fitted().device
    fallen = (1.0 - 0.5**0.495) * (whole.constants.I_edge_A - whole.constants.I_end_A)
    assert device.constants.I_end_A - whole.constants.I_end_A == pytest.approx(fallen, rel=0.02)


def test_a_window_before_the_first_sample_is_refused(chip):
    with pytest.raises(InputError, match="no sample lies between"):
        fit_captures([chip()], window_s=1e-4)


def test_pooled_captures_of_one_chip_count_as_more_repeats(chip):
    one, two = chip(), chip(seed=0, truth=chip.Truth(outlier=(2, 7)))
    pooled = fit_captures([one, two])
    assert len(pooled.traces.rows) == 360
    assert len(pooled.header.inputs) == 2
    assert pooled.device.run_to_run.degrees_of_freedom > 340
