"""The spool: what is acknowledged is there, once, unchanged, whatever happens next."""

from __future__ import annotations

import math
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from otters_lab.core.errors import DamagedFileError, InputError, OttersError, RefusedError
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.spool import Spool

MakeTrace = Callable[..., Trace]
MakeKey = Callable[[int], TraceKey]

finite = st.floats(min_value=-1e300, max_value=1e300)  # of which a mean can be taken
maybe = st.one_of(st.just(math.nan), finite)


def same(first: Trace, second: Trace) -> bool:
    """Bit for bit, NaN equal to NaN."""
    numbers = ("aperture_s", "edge_uncertainty_s", "pulse_width_s", "range_A")
    return (
        first.time_s.tobytes() == second.time_s.tobytes()
        and first.current_A.tobytes() == second.current_A.tobytes()
        and all(np.array_equal(getattr(first, n), getattr(second, n), equal_nan=True) for n in numbers)
        and (first.start_utc, first.status) == (second.start_utc, second.status)
    )


@pytest.fixture
def filled(tmp_path: Path, meta: CaptureMeta, trace: MakeTrace, key: MakeKey) -> Path:
    path = tmp_path / "run.h5.spool"
    with Spool.create(path, meta) as spool:
        for index in range(5):
            spool.append(key(index), trace(index))
    return path


@settings(max_examples=40, deadline=None)
@given(
    samples=hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(0, 20)), elements=finite),
    numbers=st.tuples(maybe, maybe, maybe, maybe),
    gate=finite,
    status=st.sampled_from(["ok", "overflow", "späte Antwort"]),
)
def test_any_trace_comes_back_bit_for_bit(
    samples: np.ndarray, numbers: tuple[float, float, float, float], gate: float, status: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.spool"
        stored = Trace(samples[0], samples[1], *numbers, "2026-01-31T12:00:00.000000Z", status)
        place = TraceKey("µ-chip", 3, 17, 2, {"gate": gate})
        with Spool.create(path, CaptureMeta(origin="measured", chip="c", parameter_units={"gate": "V"})) as spool:
            spool.append(place, stored)
        with Spool.open(path) as spool:
            ((found, back),) = spool.traces()
    assert found == place
    assert same(stored, back)


def test_a_resumed_spool_knows_what_it_holds_and_goes_on(
    filled: Path, meta: CaptureMeta, key: MakeKey, trace: MakeTrace
) -> None:
    with Spool.open(filled, meta=meta.model_copy(update={"command": ["otters-lab", "sweep", "--resume"]})) as spool:
        assert [key(index) in spool for index in range(7)] == [True] * 5 + [False] * 2
        assert key(4) in spool
        assert key(5) not in spool
        spool.append(key(5), trace(5))
        assert len(spool) == 6
        assert [found.device for found, _ in spool.traces()] == [1, 2, 3, 4, 1, 2]
        assert same(spool.trace(5)[1], trace(5))


def test_the_uid_of_the_capture_survives_a_resume(tmp_path: Path, meta: CaptureMeta) -> None:
    with Spool.create(tmp_path / "a.spool", meta) as spool:
        uid = spool.uid
    with Spool.open(tmp_path / "a.spool") as spool:
        assert spool.uid == uid
        assert spool.meta == meta


def test_the_same_point_device_and_repeat_twice_is_refused(filled: Path, key: MakeKey, trace: MakeTrace) -> None:
    with Spool.open(filled) as spool:
        with pytest.raises(InputError, match="already holds point 0, device 3, repeat 0"):
            spool.append(key(2), trace(99))
        assert len(spool) == 5
        assert same(spool.trace(2)[1], trace(2))


def test_a_resume_with_another_recipe_is_refused_and_says_so(filled: Path, meta: CaptureMeta) -> None:
    with pytest.raises(InputError, match="begun with another recipe_text, plan_digest"):
        Spool.open(filled, meta=meta.model_copy(update={"recipe_text": "x", "plan_digest": "y"}))
    Spool.open(filled, meta=meta).close()  # the refusal left no lock behind


def test_an_existing_spool_is_never_begun_anew(filled: Path, meta: CaptureMeta) -> None:
    with pytest.raises(InputError, match="stands here already"):
        Spool.create(filled, meta)


def test_two_writers_are_refused_and_a_reader_is_not(
    filled: Path, meta: CaptureMeta, key: MakeKey, trace: MakeTrace
) -> None:
    with Spool.open(filled) as writer:
        with pytest.raises(RefusedError, match="another process is writing"):
            Spool.open(filled)
        with Spool.open(filled, read_only=True) as reader:
            assert len(reader) == 5
            writer.append(key(5), trace(5))
            assert len(reader) == 6
            with pytest.raises(OttersError):
                reader.append(key(6), trace(6))


def test_a_reader_sees_what_a_killed_writer_left_and_folds_nothing_in(
    tmp_path: Path, meta: CaptureMeta, key: MakeKey, trace: MakeTrace
) -> None:
    (tmp_path / "left").mkdir()
    with Spool.create(tmp_path / "a.spool", meta) as spool:
        for index in range(3):
            spool.append(key(index), trace(index))
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{spool.path}{suffix}", tmp_path / "left")
    before = {path.name: path.read_bytes() for path in (tmp_path / "left").iterdir()}
    with Spool.open(tmp_path / "left" / "a.spool", read_only=True) as left:
        assert [key_.device for key_, _ in left.traces(1)] == [key(1).device, key(2).device]
    assert {path.name: path.read_bytes() for path in (tmp_path / "left").iterdir()} == before
    (tmp_path / "left" / "a.spool-shm").unlink()  # without it SQLite makes the index anew, as it must
    with Spool.open(tmp_path / "left" / "a.spool", read_only=True) as left:
        assert len(left) == 3


def test_reading_a_closed_spool_leaves_nothing_beside_it(filled: Path) -> None:
    before = sorted(filled.parent.iterdir())
    with Spool.open(filled, read_only=True) as spool:
        assert len(list(spool.traces())) == 5
    assert sorted(filled.parent.iterdir()) == before


def test_appends_are_synced_before_they_count(tmp_path: Path, meta: CaptureMeta) -> None:
    with Spool.create(tmp_path / "a.spool", meta) as spool:
        connection = spool._connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert not connection.in_transaction


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("UPDATE traces SET current = zeroblob(length(current)) WHERE seq = 3", 3),
        ("UPDATE axes SET time = substr(time, 9) WHERE id = 1", 1),  # the times that all traces share
        ("DELETE FROM axes WHERE id = 1", 1),
        ("UPDATE traces SET record = replace(record, '\"ok\"', '\"OK\"') WHERE seq = 3", 3),
        ("UPDATE traces SET device = 40 WHERE seq = 3", 3),
    ],
)
def test_an_altered_row_is_found_when_it_is_read(filled: Path, change: str, first: int) -> None:
    connection = sqlite3.connect(filled)
    with connection:
        assert connection.execute(change).rowcount == 1
    connection.close()
    with Spool.open(filled) as spool, pytest.raises(DamagedFileError, match=f"trace {first} "):
        list(spool.traces())


@pytest.mark.parametrize("change", ["DELETE FROM traces WHERE seq = 2", "UPDATE about SET meta = '{}'"])
def test_a_missing_row_or_an_altered_description_is_found_on_opening(filled: Path, change: str) -> None:
    connection = sqlite3.connect(filled)
    with connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(DamagedFileError):
        Spool.open(filled)


def test_files_that_are_no_spool_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such spool"):
        Spool.open(tmp_path / "none.spool")
    (tmp_path / "text.spool").write_text("not a database, but long enough to be taken for one\n" * 100)
    with pytest.raises(DamagedFileError, match=r"not a database"):
        Spool.open(tmp_path / "text.spool")
    other = sqlite3.connect(tmp_path / "other.spool")
    other.execute("CREATE TABLE photos (id)")
    other.close()
    with pytest.raises(InputError, match="no spool"):
        Spool.open(tmp_path / "other.spool")


def test_a_truncated_spool_is_damaged(filled: Path) -> None:
    filled.write_bytes(filled.read_bytes()[:9000])
    with pytest.raises(DamagedFileError), Spool.open(filled) as spool:
        list(spool.traces())


def test_a_full_disk_refuses_the_trace_keeps_the_others_and_goes_on_after(
    tmp_path: Path, meta: CaptureMeta, key: MakeKey, trace: MakeTrace
) -> None:
    with Spool.create(tmp_path / "a.spool", meta) as spool:
        connection = spool._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        # SQLite's own cap on the file's size gives the very error that a full disk gives (SQLITE_FULL).
        connection.execute(f"PRAGMA max_page_count = {pages + 10}")
        stored, refusal = 0, None
        while refusal is None:
            try:
                spool.append(key(stored), trace(stored, 200))
                stored += 1
            except RefusedError as error:
                refusal = error
        assert stored > 0
        assert f"the disk is full; this trace is not stored, the {stored} acknowledged before it are safe" in str(
            refusal
        )
        assert refusal.exit_code == 1
        assert all(same(back, trace(i, 200)) for i, (_, back) in enumerate(spool.traces()))
        connection.execute("PRAGMA max_page_count = 100000")
        spool.append(key(stored), trace(stored, 200))
        assert len(spool) == stored + 1


def test_what_is_no_trace_is_refused_before_it_is_stored(
    tmp_path: Path, meta: CaptureMeta, key: MakeKey, trace: MakeTrace
) -> None:
    good = trace(0)
    hole = np.where(np.arange(60) == 7, np.nan, good.current_A)
    wrong = [
        (key(0), replace(good, current_A=hole), "not finite"),
        (key(0), replace(good, current_A=good.current_A[1:]), "one time a sample"),
        (key(0), replace(good, range_A=math.inf), "infinite"),
        (replace(key(0), parameters={"gaet": 1.0}), good, "'gaet'"),
    ]
    with Spool.create(tmp_path / "a.spool", meta) as spool:
        for place, bad, message in wrong:
            with pytest.raises(InputError, match=message):
                spool.append(place, bad)
        assert len(spool) == 0


@pytest.mark.parametrize("name", ["time", "status", "range_A", "trace", "two words", "a/b", ""])
def test_a_parameter_cannot_take_the_name_of_a_column(name: str) -> None:
    with pytest.raises(ValueError, match="parameter name"):
        CaptureMeta(origin="measured", chip="c", parameter_units={name: "V"})


def test_dropping_a_spool_leaves_nothing_behind(filled: Path) -> None:
    spool = Spool.open(filled)
    spool.drop()
    assert list(filled.parent.iterdir()) == []
