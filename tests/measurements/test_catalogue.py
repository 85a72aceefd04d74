"""The catalogue finds what is asked for, tells what is damaged, and never believes its index more than the files."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.core.index import NAME
from otters_lab.core.listing import When, parse_date
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.core.provenance import sidecar_path
from otters_lab.measurements import catalogue as module
from otters_lab.measurements.catalogue import Query, catalogue, parse_condition
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.measurements.summary import Summary, summarise

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path, meta: CaptureMeta, trace: Callable[..., Trace]) -> Build:
    """build("a.h5", chip="A", day=3, drives=[1.0], devices=[1], ...) -> path; `sealed=False` leaves the spool."""

    def build(name: str, *, chip: str = "A", day: int = 1, drives: tuple[float, ...] = (1.0,),
              devices: tuple[int, ...] = (1, 2), status: str = "ok", kind: str = "decay", sealed: bool = True,
              origin: str = "synthetic") -> Path:  # fmt: skip
        path = tmp_path / name
        changed = {"chip": chip, "origin": origin, "attributes": {"window_s": 0.5}, "planned_traces": 8}
        with Spool.create(spool_path(path), meta.model_copy(update=changed)) as spool:
            for point, drive in enumerate(drives):
                for device in devices:
                    key = TraceKey(chip, device, point, 0, {"gate": -0.5, "drive": drive}, kind)  # type: ignore[arg-type]
                    start = f"2026-01-{day:02d}T12:00:{10 * point + device:02d}.000000Z"
                    spool.append(key, replace(trace(device), start_utc=start, status=status))
        if not sealed:
            return spool_path(path)
        seal(spool.path, path)
        return path

    return build


def names(folder: Path, **query: object) -> list[str]:
    return [summary.path for summary in catalogue(folder, Query(**query)).found]  # type: ignore[arg-type]


def test_a_capture_and_a_spool_are_summarised_alike(build: Build, tmp_path: Path) -> None:
    build("deep/a.h5", day=3, drives=(1.0, 2.0))
    build(".trash/a.h5")
    build("b.h5", sealed=False, day=3, drives=(1.0, 2.0))
    spool, sealed = catalogue(tmp_path).found
    assert (sealed.path, sealed.state, spool.path, spool.state) == ("deep/a.h5", "sealed", "b.h5.spool", "unfinished")
    for found in (spool, sealed):
        assert (found.chip, found.origin, found.traces, found.planned) == ("A", "synthetic", 4, 8)
        assert (found.devices, found.window_s, found.duration_s) == ([1, 2], 0.5, 11.0)
        assert found.start_utc == "2026-01-03T12:00:01.000000Z"
        assert (found.statuses, found.kinds) == ({"ok": 4}, {"decay": 4})
        assert found.parameters["drive"] == {"unit": "V", "values": [1.0, 2.0], "whole": True}


def test_every_question_finds_what_it_asks_for_and_nothing_else(build: Build, tmp_path: Path) -> None:
    build("a.h5", chip="A", day=1, drives=(1.0, 5.0))
    build("b.h5", chip="B", day=2, devices=(7,), origin="measured", drives=(0.1 + 0.2,))
    build("c.h5", chip="C", day=3, status="late", kind="dark", sealed=False, drives=(2.0,))
    assert names(tmp_path) == ["a.h5", "b.h5", "c.h5.spool"]
    assert names(tmp_path, chip="B") == ["b.h5"]
    assert names(tmp_path, device=7) == ["b.h5"]
    assert names(tmp_path, origin="measured") == ["b.h5"]
    assert names(tmp_path, status="late") == ["c.h5.spool"]
    assert names(tmp_path, kind="dark") == ["c.h5.spool"]
    assert names(tmp_path, when=When(since=parse_date("2026-01-02"))) == ["b.h5", "c.h5.spool"]
    assert names(tmp_path, when=When(until=parse_date("2026-01-02", end=True))) == ["a.h5", "b.h5"]
    assert names(tmp_path, when=When(until=parse_date("2026-01-02T11:00"))) == ["a.h5"]
    for text, expected in {
        "drive=5 V": ["a.h5"],
        "drive = 300 mV": ["b.h5"],  # whatever the last bit of the sum
        "drive>1 V": ["a.h5", "c.h5.spool"],
        "drive>=1 V": ["a.h5", "c.h5.spool"],
        "drive<1 V": ["b.h5"],
        "drive<=1 V": ["a.h5", "b.h5"],
        "gate=-0.5 V": ["a.h5", "b.h5", "c.h5.spool"],
    }.items():
        assert names(tmp_path, parameters=(parse_condition(text),)) == expected, text
    both = (parse_condition("drive>4 V"), parse_condition("gate<0 V"))
    assert names(tmp_path, parameters=both, chip="A", device=2) == ["a.h5"]


def test_a_question_that_cannot_be_answered_is_refused(build: Build, tmp_path: Path) -> None:
    build("a.h5")
    with pytest.raises(InputError, match=r'expected one of drive, gate \(did you mean "drive"'):
        names(tmp_path, parameters=(parse_condition("drvie=5 V"),))
    with pytest.raises(InputError, match="found 'a value in A', expected drive in V"):
        names(tmp_path, parameters=(parse_condition("drive=5 A"),))
    for text in ("drive", "drive=5 volts", "drive=5,0 V", "=5 V", "drive!=5 V"):
        with pytest.raises(InputError, match="a condition like"):
            parse_condition(text)
    with pytest.raises(InputError, match="a date like"):
        parse_date("yesterday")
    with pytest.raises(InputError, match="no such folder"):
        catalogue(tmp_path / "none")
    assert parse_date("2026-01-31", end=True) == datetime(2026, 2, 1, tzinfo=UTC)


def test_a_parameter_with_very_many_values_is_known_by_its_range(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otters_lab.measurements.summary.MAX_VALUES", 3)
    build("a.h5", drives=(1.0, 2.0, 3.0, 4.0))
    assert catalogue(tmp_path).found[0].parameters["drive"] == {"unit": "V", "values": [1.0, 4.0], "whole": False}
    for text, found in {"drive=3 V": True, "drive=5 V": False, "drive>4 V": False, "drive<2 V": True}.items():
        assert bool(names(tmp_path, parameters=(parse_condition(text),))) is found


def test_damaged_and_foreign_files_are_told_and_the_others_still_listed(build: Build, tmp_path: Path) -> None:
    good, flipped, short = build("good.h5"), build("flipped.h5"), build("short.h5")
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    short.write_bytes(short.read_bytes()[:-9])
    sidecar_path(short).unlink()
    spool = build("spool.h5", sealed=False)
    with sqlite3.connect(spool) as connection:
        connection.execute("UPDATE traces SET record = replace(record, 'ok', 'no')")
    (tmp_path / "junk.h5.spool").write_bytes(b"not a database")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spectrum"] = np.arange(3)
    for _ in range(2):  # read, then from the index
        listed = catalogue(tmp_path, Query(chip="A"))
        assert [summary.path for summary in listed.found] == [good.name]
        told = {summary.path: summary.reason for summary in listed.damaged}
        assert sorted(told) == ["flipped.h5", "junk.h5.spool", "short.h5", "spool.h5.spool"]
        assert "does not match" in told["flipped.h5"]
        assert "seal line" in told["short.h5"]
        assert [summary.path for summary in listed.unreadable] == ["other.h5"]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are really read."""
    read: list[str] = []

    def reading(path: Path, name: str) -> Summary:
        read.append(name)
        return summarise(path, name)

    monkeypatch.setattr(module, "summarise", reading)
    return read


def test_files_are_read_once_and_again_when_they_were_written(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trace: Callable[..., Trace]
) -> None:
    read = counted(monkeypatch)
    sealed, spool = build("a.h5"), build("b.h5", sealed=False)
    first = catalogue(tmp_path)
    assert read == ["a.h5", "b.h5.spool"]
    assert catalogue(tmp_path) == first
    assert len(read) == 2
    with Spool.open(spool) as writing:
        writing.append(TraceKey("A", 3, 0, 0, {}), trace(3))
        assert catalogue(tmp_path).found[1].traces == 3  # also what is still in the write-ahead log
    assert read[2:] == ["b.h5.spool"]
    catalogue(tmp_path)
    del read[:]
    os.utime(sealed, ns=(1, 1))
    catalogue(tmp_path)
    assert read == ["a.h5"]
    catalogue(tmp_path, verify=True)
    assert read == ["a.h5", "a.h5", "b.h5.spool"]
    sealed.unlink()
    assert [summary.path for summary in catalogue(tmp_path).found] == ["b.h5.spool"]
    with sqlite3.connect(tmp_path / NAME) as index:
        assert index.execute("SELECT path FROM files").fetchall() == [("b.h5.spool",)]


def garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 8)


def text(path: Path) -> None:
    path.write_text("nothing of the kind")


def other_version(path: Path) -> None:
    with sqlite3.connect(path) as index:
        index.execute("PRAGMA user_version = 99")
        index.execute("UPDATE files SET summary = '{}'")


def other_columns(path: Path) -> None:
    with sqlite3.connect(path) as index:
        index.execute("UPDATE files SET summary = ?", (json.dumps({"path": "a.h5", "colour": "red"}),))


def no_table(path: Path) -> None:
    with sqlite3.connect(path) as index:
        index.execute("DROP TABLE files")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [Path.unlink, garbage, text, other_version, other_columns, no_table, a_folder])
def test_an_index_that_is_no_good_changes_nothing(build: Build, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    build("a.h5")
    before = catalogue(tmp_path)
    assert (tmp_path / NAME).is_file()
    spoil(tmp_path / NAME)
    assert catalogue(tmp_path) == before
    assert catalogue(tmp_path) == before


def test_an_index_held_by_another_process_or_that_cannot_be_written_is_done_without(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("a.h5")
    before = catalogue(tmp_path)
    with sqlite3.connect(tmp_path / NAME, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert catalogue(tmp_path) == before

    def refused(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")  # as in a folder that is read-only

    (tmp_path / NAME).unlink()
    monkeypatch.setattr("otters_lab.core.index.sqlite3.connect", refused)
    assert catalogue(tmp_path) == before
    assert not (tmp_path / NAME).exists()
