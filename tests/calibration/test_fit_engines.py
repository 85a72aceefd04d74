"""A calibration does not depend on where its traces were fitted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from otters_lab.calibration import curvature
from otters_lab.calibration.engines import Cluster, Engine, Runner, Serial, Workers
from otters_lab.calibration.fit import fit_captures
from otters_lab.measurements.capture import Capture


@pytest.fixture(scope="module")
def capture(chip: Any) -> Capture:
    made: Capture = chip(chip.Truth(devices=4, repeats=30))
    return made


@pytest.fixture(autouse=True)
def _many_are_more_than_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    """120 traces go the way that more than 4000 do."""
    for_many(monkeypatch)


def for_many(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(curvature, "SAMPLE", 100)


def fitted(capture: Capture, engine: Engine, folder: Path | None) -> dict[str, Any]:
    calibration = fit_captures([capture], runner=Runner(engine, folder, size=50))
    return calibration.model_dump(mode="json", exclude={"header"})


@pytest.fixture(scope="module")
def ideal(capture: Capture) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        for_many(patch)
        return fitted(capture, Serial(), None)


def test_two_processes_give_the_calibration_of_one(capture: Capture, ideal: dict[str, Any], tmp_path: Path) -> None:
    assert fitted(capture, Workers(2), tmp_path) == ideal
    assert len(list(tmp_path.glob("*.npz"))) >= 6  # two steps of three chunks at least


def test_a_fit_that_was_cut_short_goes_on_and_ends_the_same(
    capture: Capture, ideal: dict[str, Any], tmp_path: Path
) -> None:
    fitted(capture, Serial(), tmp_path)
    kept = sorted(tmp_path.glob("*.npz"))
    for path in kept[::2]:
        path.unlink()
    assert fitted(capture, Serial(), tmp_path) == ideal
    assert sorted(tmp_path.glob("*.npz")) == kept


def test_a_cluster_gives_the_same_with_one_of_its_workers_killed(
    capture: Capture, ideal: dict[str, Any], tmp_path: Path
) -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as local:
        os.kill(next(iter(local.workers.values())).process.pid, signal.SIGKILL)
        assert fitted(capture, Cluster(local.scheduler_address), tmp_path) == ideal
