"""Fits chunk by chunk are the fits of all traces at once, wherever the traces are read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from otters_lab.calibration.bulk import fit_bulk, fit_shared_c
from otters_lab.calibration.engines import Runner, Serial, Workers
from otters_lab.calibration.select import Selection, select
from otters_lab.calibration.streamed import CaptureSupply, fit_streamed
from otters_lab.measurements.capture import Capture, load_capture

REFERENCE = Path(__file__).resolve().parents[2] / "measurements" / "reference.h5"


@pytest.fixture(scope="module")
def capture() -> Capture:
    return load_capture(REFERENCE)


@pytest.fixture(scope="module")
def chosen(capture: Capture) -> Selection:
    return select([capture], None)


@pytest.fixture(scope="module")
def supply(capture: Capture) -> CaptureSupply:
    rows = np.stack([np.zeros(len(capture.table), dtype=int), np.arange(len(capture.table))], axis=1)
    return CaptureSupply((REFERENCE,), (capture.sha256,), rows, 1.0)


def test_decays_read_from_the_file_are_those_in_memory(supply: CaptureSupply, chosen: Selection) -> None:
    rows = np.array([7, 3, 399, 0])
    found, ideal = supply.decays(rows), chosen.decays().take(rows)
    np.testing.assert_array_equal(found.y, ideal.y)
    np.testing.assert_array_equal(found.time_s, ideal.time_s)
    assert found.aperture_s == ideal.aperture_s


def test_chunks_give_what_all_at_once_gives_and_two_processes_the_same_bytes(
    supply: CaptureSupply, chosen: Selection, tmp_path: Path
) -> None:
    groups = chosen.table["device_code"].to_numpy()
    alone = fit_streamed(supply, groups, Runner(Serial(), tmp_path / "a", 100))
    both = fit_streamed(supply, groups, Runner(Workers(2), tmp_path / "b", 100))
    np.testing.assert_array_equal(alone.fit.theta, both.fit.theta)
    np.testing.assert_array_equal(alone.fit.rss, both.fit.rss)
    shared = fit_shared_c(chosen.decays(), groups)
    assert alone.c == pytest.approx(shared.c, abs=1e-9)
    whole = fit_bulk(chosen.decays(), alone.c)
    np.testing.assert_allclose(alone.fit.rss, whole.rss, rtol=1e-9)
    np.testing.assert_allclose(alone.fit.theta, whole.theta, rtol=1e-5)
    assert alone.fit.converged.all()


def test_chunks_of_another_file_or_window_are_not_taken_for_these(supply: CaptureSupply) -> None:
    from dataclasses import replace

    assert supply.identity != replace(supply, hashes=("0" * 64,)).identity
    assert supply.identity != replace(supply, window_s=0.5).identity
    assert supply.identity != replace(supply, rows=supply.rows[1:]).identity
