"""A calibration's page: the file's own gates, levels and outliers; residuals and draws against independent sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from otters_lab.calibration.file import Calibration
from otters_lab.core.errors import InputError
from otters_lab.measurements.capture import Capture
from otters_lab.reports.calibration_page import calibration_report
from otters_lab.reports.report import Report
from otters_lab.reports.residuals import Fitted, autocorrelation, fitted, level_scatter, white_residuals


@pytest.fixture(scope="module")
def joined(reference: tuple[Capture, Calibration]) -> Fitted:
    return fitted(reference[1], [reference[0]])


def test_gates_levels_and_outliers_are_those_of_the_file(
    calibration_page: Report, calibration_html: str, reference: tuple[Capture, Calibration], parsed: Any
) -> None:
    calibration = reference[1]
    assert calibration.device is not None
    page = parsed(calibration_html)
    for gate in calibration.gates:
        row = page.row(gate.name)
        assert float(row[1]) == pytest.approx(gate.value, rel=1e-3)
        assert row[2] == f"{gate.rule} {gate.limit:g}"
        assert row[3].split()[-1] == gate.verdict
    assert calibration_page.verdicts[0].text == "15 of 15 gates passed"
    levels = calibration.device.levels
    row = page.row("8")
    assert [float(row[i]) for i in (2, 3, 5)] == pytest.approx(
        [levels.mean[8], levels.run_to_run_sd[8], levels.device_to_device_sd[8]], abs=6e-5
    )
    low, high = (float(end) for end in row[4].split(" to "))
    assert low < levels.run_to_run_sd[8] < high
    assert page.row("0")[5] == "unknown"  # only O0 moves level 0, and its device-to-device spread is not resolved
    named = [row[1:5] for row in page.rows if len(row) == 8 and row[1] == "reference"]
    assert named == [["reference", "3", "0", "17"], ["reference", "6", "0", "41"]]
    assert "SYNTHETIC" in page.text


def test_without_its_capture_the_page_says_what_it_lacks(
    root: Path, reference: tuple[Capture, Calibration], parsed: Any
) -> None:
    path = root / "calibration" / "reference.json"
    missing = "reference.h5 was not found; give it with --capture"
    text = calibration_report(reference[1], path, "0" * 64, None, missing).html()
    assert calibration_report(reference[1], path, "0" * 64, None, missing).html() == text
    page = parsed(text)
    assert "Residuals against time" in page.text
    assert "need the readings themselves: reference.h5 was not found; give it with --capture." in page.text
    assert page.tags.count("svg") == 5


def test_a_failed_gate_is_the_first_thing_said(reference: tuple[Capture, Calibration]) -> None:
    calibration = reference[1]
    gate = calibration.gates[3].model_copy(update={"verdict": "fail", "value": 0.3})
    other = calibration.gates[4].model_copy(update={"verdict": "unknown", "value": None})
    changed = calibration.model_copy(update={"gates": [*calibration.gates[:3], gate, other, *calibration.gates[5:]]})
    report = calibration_report(changed, Path("c.json"), "0" * 64, None)
    assert [verdict.state for verdict in report.verdicts[:3]] == ["bad", "bad", "open"]
    assert report.verdicts[0].text == f"13 of 15 gates passed; FAILED: {gate.name}"
    assert "refuse" in report.verdicts[1].text
    assert other.name in report.verdicts[2].text


def test_a_capture_of_other_traces_is_refused(reference: tuple[Capture, Calibration], spoilt: Capture) -> None:
    with pytest.raises(InputError, match="does not hold the traces of the calibration"):
        fitted(reference[1], [spoilt])


def test_residuals_are_readings_less_the_law_averaged_over_the_aperture(
    reference: tuple[Capture, Calibration], joined: Fitted
) -> None:
    capture, calibration = reference
    assert calibration.device is not None
    row, c = 40, calibration.device.law.c
    place = calibration.traces.columns.index
    edge, drop, beta = (calibration.traces.rows[row][place(name)] for name in ("edge_A", "drop_A", "beta"))
    t = capture.time_s[row][capture.time_s[row] > 0]
    fine = t[:, None] + 1e-3 * ((np.arange(400) + 0.5) / 400 - 0.5)  # the aperture is 1 ms, the window 1 s
    curve = edge - drop * ((1 - (1 - c) ** (fine**beta)) / c).mean(axis=1)
    left = capture.current_A[row][capture.time_s[row] > 0] - curve
    np.testing.assert_allclose(joined.left_A[row], left, rtol=0, atol=2e-13)  # a reading's noise is 4e-11


def test_whitened_residuals_of_the_reference_are_white_and_of_sd_1(
    reference: tuple[Capture, Calibration], joined: Fitted
) -> None:
    groups = white_residuals(reference[1], joined)
    values = np.concatenate([group.ravel() for group in groups])
    assert len(values) == 400 * 500
    assert values.std() == pytest.approx(1.0, abs=0.01)
    plain, white = autocorrelation([joined.left_A]), autocorrelation(groups)
    assert abs(white[:5] + 3 / 500).max() < 4 / len(values) ** 0.5 + 0.002
    assert plain[0] > white[0] + 0.01  # the 1/f noise that whitening takes off


def test_autocorrelation_is_that_of_a_known_process() -> None:
    rng = np.random.default_rng(1)
    steps = rng.normal(size=(200, 600))
    x = np.zeros_like(steps)
    for i in range(1, 600):
        x[:, i] = 0.6 * x[:, i - 1] + steps[:, i]
    np.testing.assert_allclose(autocorrelation([x[:, 100:]], 4), 0.6 ** np.arange(1, 5), atol=0.02)


def test_readings_near_the_level_times_scatter_as_the_draws_do(
    reference: tuple[Capture, Calibration], joined: Fitted
) -> None:
    capture, calibration = reference
    scatter = level_scatter(calibration, joined)
    assert scatter is not None
    assert calibration.device is not None
    assert list(scatter.k) == list(range(1, 15))
    ratio = scatter.measured.std(axis=0) / scatter.sampled.std(axis=0)
    assert np.abs(ratio - 1).max() < 0.1  # the gate's limit
    constants = calibration.device.constants
    out = [row[calibration.traces.columns.index("outlier")] for row in calibration.traces.rows]
    time_s = capture.time_s[0][capture.time_s[0] > 0]
    at = int(np.argmin(np.abs(time_s - calibration.device.levels.time_s[8])))
    readings = capture.current_A[:, capture.time_s[0] > 0][:, at] / (constants.I_edge_A - constants.I_end_A)
    by_hand = pd.Series(readings[~np.array(out)]).groupby(capture.table["device"][~np.array(out)].to_numpy()).var()
    assert scatter.measured[:, 7].std() == pytest.approx(by_hand.mean() ** 0.5, rel=0.02)  # but for the drift
