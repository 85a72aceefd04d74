"""What an unfinished spool holds is sealed, and what it lacks is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.recovery import recover_spool
from otters_lab.measurements.spool import Spool, spool_path


@pytest.fixture
def unfinished(tmp_path: Path, meta: CaptureMeta, key: Callable[[int], TraceKey], trace: Callable[..., Trace]) -> Path:
    path = spool_path(tmp_path / "run.h5")
    with Spool.create(path, meta) as spool:
        for index in range(7):
            spool.append(key(index), replace(trace(index), status="ok" if index != 2 else "failed"))
    return path


def test_what_is_there_is_sealed_and_what_is_missing_is_counted(unfinished: Path) -> None:
    found = recover_spool(unfinished)
    assert found.path == unfinished.with_name("run.h5")
    assert (found.traces, found.planned, found.missing, found.finished) == (7, 12, 5, False)
    assert found.repeats_by_device == {1: 2, 2: 2, 3: 2, 4: 1}
    assert found.statuses == {"ok": 6, "failed": 1}
    assert found.missing_line() == "5 of 12 planned traces are missing; a device has 1 to 2 decays"
    assert len(load_capture(found.path).table) == 7
    assert not unfinished.exists()


def test_a_sweep_that_had_ended_lacks_nothing_though_it_left_traces_out(unfinished: Path) -> None:
    with Spool.open(unfinished) as spool:
        spool.finish("2026-01-31T13:00:00.000000Z")
    assert recover_spool(unfinished).missing_line().startswith("nothing is missing (7 of 12")


def test_seams_survive_sealing(unfinished: Path) -> None:
    with Spool.open(unfinished) as spool:
        spool.mark_seam("2026-01-31T13:00:00.000000Z", "resumed")
    seams = load_capture(recover_spool(unfinished).path).seams
    assert seams == [{"trace": 7, "utc": "2026-01-31T13:00:00.000000Z", "why": "resumed"}]


def test_an_empty_spool_and_a_name_that_says_nothing_are_refused(tmp_path: Path, meta: CaptureMeta) -> None:
    Spool.create(spool_path(tmp_path / "empty.h5"), meta).close()
    with pytest.raises(RefusedError, match="no trace"):
        recover_spool(spool_path(tmp_path / "empty.h5"))
    with pytest.raises(InputError, match="give -o"):
        recover_spool(tmp_path / "something")
