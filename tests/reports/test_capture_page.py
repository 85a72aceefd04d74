"""A capture's page says what was measured, what is missing and what was flagged, in the file's own numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.calibration.file import Calibration
from otters_lab.measurements.capture import Capture, load_capture
from otters_lab.reports.capture_figures import device_figures
from otters_lab.reports.capture_numbers import away_from_their_like, drift_of, noise_spectra, numbers_of
from otters_lab.reports.capture_page import capture_report
from otters_lab.reports.html import svg
from otters_lab.reports.report import Report


def said(report: Report) -> list[tuple[str, str]]:
    return [(verdict.state, verdict.text) for verdict in report.verdicts]


def test_the_reference_is_whole_and_says_that_it_is_synthetic(
    capture_page: Report, capture_html: str, parsed: Any
) -> None:
    assert ("good", "400 of 400 planned traces are there") in said(capture_page)
    assert ("good", "0 of 400 traces flagged") in said(capture_page)
    page = parsed(capture_html)
    assert page.text.index("SYNTHETIC") < page.text.index("400 of 400")
    assert page.row("3")[1] == "50"
    assert capture_page.drawings[0].name == "coverage"
    assert sum(drawing.name.startswith("traces-0") for drawing in capture_page.drawings) == 8


def test_its_provenance_is_the_files(capture_html: str, reference: tuple[Capture, Calibration], parsed: Any) -> None:
    capture = reference[0]
    page = parsed(capture_html)
    assert page.row("uid")[1] == capture.header.uid
    assert page.row("SHA-256 of the file")[1] == capture.sha256
    assert page.row("meter")[1] == capture.header.instruments["meter"]
    assert [row for row in page.rows if row[-1:] == [capture.header.inputs[0].sha256]]
    assert "devices are shuffled anew in every repeat" in page.text  # the recipe as it was, comments and all


def test_flagged_traces_are_named_and_missing_ones_counted(spoilt: Capture, parsed: Any) -> None:
    report = capture_report(spoilt)
    assert ("bad", "14 of 16 planned traces are there") in said(report)
    assert ("bad", "3 of 14 traces flagged: 2 late, 1 overflow") in said(report)
    assert ("open", "the sweep stood still 1 time; see Drift") in said(report)
    page = parsed(report.html())
    flagged = ["chip <X1>, device 2, point 1, repeat 1", "overflow", "a reading left the meter's range"]
    assert page.row("7")[1:4] == flagged
    assert page.row("11")[1] == "chip <X1>, device 2, point 1, repeat 2"
    assert "2 planned traces are missing" in page.text
    assert "SYNTHETIC" not in page.text
    assert "The same at every point: width 100 ms." in page.text
    coverage = next(drawing for drawing in report.drawings if drawing.name == "coverage")
    counts = [text.get_text() for text in coverage.figure.axes[0].texts]
    table = spoilt.table
    wanted = [((table["device"] == d) & (table["point"] == p) & (table["status"] == "ok")).sum()
              for p in (0, 1) for d in (1, 2)]  # fmt: skip
    assert counts == [str(count) for count in wanted if count]


def test_figures_of_strangely_named_chips_have_names_of_their_own(spoilt: Capture) -> None:
    numbers = numbers_of(spoilt)
    numbers["device_name"] = ['a"b/1' if device == 1 else "A b/1" for device in numbers["device"]]
    names = [drawing.name for drawing in device_figures(spoilt, numbers)]
    assert len(set(names)) == len(names) == 4
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


def test_the_same_capture_gives_the_same_numbers_and_figures(capture_page: Report, root: Path) -> None:
    again = capture_report(load_capture(root / "measurements" / "reference.h5"))
    assert (again.about, again.verdicts) == (capture_page.about, capture_page.verdicts)
    for one, other in zip(again.parts, capture_page.parts, strict=True):
        assert [c for c in one.content if isinstance(c, str)] == [c for c in other.content if isinstance(c, str)]
    for one, other in zip(again.drawings, capture_page.drawings, strict=True):
        assert (one.name, one.caption) == (other.name, other.caption)
        if one.name in ("repeats", "decays", "drift-drop"):
            assert svg(one.figure, one.name) == svg(other.figure, other.name)


def test_drop_noise_and_signal_are_those_of_the_samples(reference: tuple[Capture, Calibration]) -> None:
    capture = reference[0]
    numbers = numbers_of(capture)
    t, current = capture.time_s[17], capture.current_A[17]
    decay, dark = current[t > 0], current[t < -0.2]
    assert numbers["drop_A"][17] == pytest.approx(decay[:25].mean() - decay[-25:].mean(), rel=1e-9)
    assert numbers["noise_A"][17] == pytest.approx(np.std(np.diff(dark)) / 2**0.5, rel=0.05)
    assert numbers["signal_to_noise"][17] == pytest.approx(numbers["drop_A"][17] / numbers["noise_A"][17])


def test_drift_is_found_within_devices_whatever_they_differ_by(reference: tuple[Capture, Calibration]) -> None:
    numbers = numbers_of(reference[0])
    rng = np.random.default_rng(0)
    numbers["drop_A"] = 1e-9 * (numbers["device"] * 3 + 0.25 * numbers["elapsed_h"] + rng.normal(0, 0.01, len(numbers)))
    slope = drift_of(numbers, "drop_A")
    assert slope is not None
    assert abs(slope[0] - 0.25e-9) < 4 * slope[1] < 1e-11
    away = away_from_their_like(numbers, "drop_A")
    assert np.abs(away).max() < 0.2e-9


def test_noise_spectra_are_flat_and_as_high_as_white_noise_is(reference: tuple[Capture, Calibration]) -> None:
    capture, calibration = reference
    spectra = noise_spectra(capture, numbers_of(capture))
    assert calibration.noise is not None
    assert set(spectra) == {"dark", "lit"}
    for frequency_Hz, density, count in spectra.values():
        assert count == 400
        assert frequency_Hz[-1] < 250
        high = density[frequency_Hz > 50]
        assert high.mean() == pytest.approx(calibration.noise.white_A_per_sqrtHz, rel=0.03)


def test_the_verdict_on_drift_is_in_the_parts_that_show_it(capture_page: Report) -> None:
    (drift,) = [verdict for verdict in capture_page.verdicts if "drift" in verdict.text]
    caption = next(drawing.caption for drawing in capture_page.drawings if drawing.name == "drift-drop")
    assert re.search(r"Slope: \+152 ± 46 pA an hour", caption)
    assert drift.state == "open"  # 3.3 sd: the chip drifts by design
