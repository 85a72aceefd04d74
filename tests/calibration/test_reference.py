"""The shipped reference: what it holds, that it refits to itself, and that it knows the truth it was made from."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.special import logit

from otters_lab.calibration.file import read_calibration
from otters_lab.calibration.fit import fit_captures
from otters_lab.measurements.capture import load_capture

ROOT = Path(__file__).parents[2]
CAPTURE, CALIBRATION = ROOT / "measurements" / "reference.h5", ROOT / "calibration" / "reference.json"


@pytest.fixture(scope="module")
def few_laws():
    """None left out: the shipped calibration's fit is done again as it was done."""


@pytest.fixture(scope="module")
def capture():
    return load_capture(CAPTURE)


def test_xarray_opens_it_as_it_is_with_units_on_every_variable():
    with xr.open_dataset(CAPTURE, engine="h5netcdf") as data:
        assert dict(data.sizes) == {"trace": 400, "sample": 650}
        assert data["current"].dims == data["time"].dims == ("trace", "sample")
        assert data.attrs["origin"] == "synthetic"
        assert {name: v.attrs.get("units") for name, v in data.variables.items()}["current"] == "A"
        assert all(v.attrs.get("units") for v in data.variables.values())


def test_it_holds_eight_devices_fifty_times_with_dark_lit_and_500_decay_samples(capture):
    assert capture.table.groupby("device").size().tolist() == [50] * 8
    t = capture.time_s
    assert np.all(np.sum(t > 0, axis=1) == 500)
    assert np.all(np.sum(t < -0.2, axis=1) >= 49)
    np.testing.assert_allclose(np.diff(t, axis=1), 2e-3, rtol=1e-6)
    assert CAPTURE.stat().st_size < 3e6


def test_it_refits_to_the_shipped_calibration(capture):
    shipped, again = read_calibration(CALIBRATION), fit_captures([capture])
    assert shipped.passed
    assert again.passed
    assert shipped.header.inputs[0].sha256 == capture.sha256
    a, b = shipped.device, again.device
    assert b.law.c == pytest.approx(a.law.c, rel=1e-3)
    np.testing.assert_allclose(b.levels.mean, a.levels.mean, atol=1e-9)
    np.testing.assert_allclose(b.levels.run_to_run_sd, a.levels.run_to_run_sd, rtol=1e-4)
    for name in a.run_to_run.sd:
        assert b.run_to_run.sd[name] == pytest.approx(a.run_to_run.sd[name], rel=1e-4)


def test_the_calibration_finds_the_truth_the_chip_was_made_from(capture):
    truth, device = capture.attributes["synthetic_truth"], read_calibration(CALIBRATION).device
    chip = truth["decays"]
    for name, interval in device.run_to_run.interval.items():
        sd = chip["run_to_run_sd"][name]
        assert interval[0] * 0.95 <= sd <= interval[1] * 1.05, name  # a little beyond 95 %: three of them at once
    low, high = device.device_to_device.interval["D"]
    assert low <= chip["device_to_device_sd"]["D"] <= high
    assert device.constants.I_dark_A == pytest.approx(chip["dark_current_A"], rel=1e-3)
    assert abs(device.law.c - chip["c"]) < 3 * device.law.c_sd
    betas = [logit(beta) for beta in chip["device_beta"].values()]
    assert device.logit_beta == pytest.approx(np.mean(betas), abs=0.02)
    columns = read_calibration(CALIBRATION).traces.columns
    rows = [dict(zip(columns, row, strict=True)) for row in read_calibration(CALIBRATION).traces.rows]
    found = {(row["device"], row["repeat"]) for row in rows if row["outlier"]}
    assert found == {(outlier["device"], outlier["pulse"]) for outlier in chip["outliers"]}
