"""The spool: where traces lie, safe from kills and full disks, until a capture is sealed.

SQLite in WAL mode with synchronous=FULL: an `append` that has returned has been synced to the disk. One row a
trace, with a SHA-256 over its canonical bytes. The folder must be on a local disk: WAL needs shared memory.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from pydantic import ValidationError

from otters_lab.core.clock import Clock, SystemClock, iso_utc
from otters_lab.core.errors import DamagedFileError, InputError, RefusedError
from otters_lab.core.files import canonical_json, fsync_dir, sha256_bytes
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements import rows
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.sqlite_errors import clear_sqlite_errors

_APPLICATION_ID = 0x4F545453  # "OTTS", in the SQLite header: an SQLite file of another program is told at once

_FINISHED = "finished"

_SCHEMA = """
CREATE TABLE about (uid TEXT NOT NULL, created_utc TEXT NOT NULL, meta TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE traces (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, point INTEGER NOT NULL, device INTEGER NOT NULL,
    repeat INTEGER NOT NULL, record TEXT NOT NULL, sha256 TEXT NOT NULL, axis INTEGER NOT NULL, current BLOB NOT NULL,
    UNIQUE (kind, point, device, repeat)
);
CREATE TABLE axes (id INTEGER PRIMARY KEY, time BLOB NOT NULL);
CREATE TABLE messages (after_seq INTEGER NOT NULL, line TEXT NOT NULL);
CREATE TABLE seams (after_seq INTEGER NOT NULL, utc TEXT NOT NULL, why TEXT NOT NULL);
"""

_INSERT = (
    "INSERT INTO traces (kind, point, device, repeat, record, sha256, axis, current) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = f"SELECT {rows.WHOLE} FROM traces LEFT JOIN axes ON axes.id = axis"
# Traces of one point mostly have the same times, which are then stored once; this many sets of times are kept in mind.
_AXES = 64


def spool_path(capture: Path) -> Path:
    """``NAME.h5.spool``: where the traces of NAME.h5 lie until it is sealed."""
    return capture.with_name(capture.name + ".spool")


class Spool:
    """Traces of one capture that is being measured. One process may write it; any may read it meanwhile."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, meta: CaptureMeta, uid: str, lock: FileLock | None
    ) -> None:
        self.path = path
        self.meta = meta
        self.uid = uid  # of the capture to be: given here, so that it survives a resume
        self._connection = connection
        self._lock = lock
        self._axes: dict[bytes, int] = {}
        self._acknowledged = self._count()

    @classmethod
    def create(cls, path: Path, meta: CaptureMeta, *, clock: Clock | None = None) -> Spool:
        """Begins a new spool at `path`.

        Raises
        ------
        InputError
            if there is a file already.
        RefusedError
            if the disk is full, cannot hold a spool, or another process is writing this one.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        partial = path.with_name(path.name + ".partial")
        try:
            if path.exists():
                raise InputError("a spool stands here already: resume it, seal it or delete it", file=path)
            _forget(path)  # an orphaned -wal would be taken for this file's own
            about = (str(uuid.uuid4()), iso_utc((clock or SystemClock()).utc()), meta.model_dump_json())
            partial.unlink(missing_ok=True)
            with clear_sqlite_errors(path):
                connection = sqlite3.connect(partial, isolation_level=None)
                try:
                    connection.executescript(f"PRAGMA application_id = {_APPLICATION_ID}; BEGIN; {_SCHEMA}")
                    connection.execute("INSERT INTO about VALUES (?, ?, ?, ?)", (*about, _about_sha256(*about)))
                    connection.execute("COMMIT")
                finally:
                    connection.close()
            partial.replace(path)
            fsync_dir(path.parent)
            return cls._connect(path, lock)
        except BaseException:
            partial.unlink(missing_ok=True)
            lock.release()
            raise

    @classmethod
    def open(cls, path: Path, *, meta: CaptureMeta | None = None, read_only: bool = False) -> Spool:
        """Opens an existing spool, to go on appending or (`read_only`) beside the process that does.

        Raises
        ------
        InputError
            if there is none, it is no spool, or it was begun with other settings than `meta`.
        DamagedFileError
            if it cannot be read.
        RefusedError
            if another process is writing it.
        """
        if not path.is_file():
            raise InputError("no such spool", file=path)
        lock = None if read_only else _lock(path)
        try:
            spool = cls._connect(path, lock)
            different = [] if meta is None else spool.meta.differences(meta)
            if different:
                spool.close()
                raise InputError(f"was begun with another {', '.join(different)}", file=path)
            return spool
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    @classmethod
    def _connect(cls, path: Path, lock: FileLock | None) -> Spool:
        with clear_sqlite_errors(path):
            # mode=rw, unlike the default, never makes an empty database of a missing file.
            address = _reader_address(path) if lock is None else f"{path.absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(address, uri=True, isolation_level=None)
            try:
                if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
                    raise InputError("is an SQLite file, but no spool", file=path)
                if lock is None:
                    connection.execute("PRAGMA query_only = ON")
                else:
                    _make_durable(path, connection)
                meta, uid = _read_about(path, connection)
                return cls(path, connection, meta, uid, lock)
            except BaseException:
                connection.close()
                raise

    def append(self, key: TraceKey, trace: Trace, state: Any = None, messages: Sequence[str] = ()) -> None:
        """Stores one trace; when this returns the trace is on the disk (acknowledged).

        `state` is any JSON value that a resumed sweep needs (`last_state`); it does not go into the capture.
        `messages` are the lines of a transcript since the trace before, stored with it or not at all.

        Raises
        ------
        InputError
            if the same kind, point, device and repeat is there already, or the trace is not one.
        RefusedError
            if the disk is full or fails: the trace is not stored, all before it are.
        """
        self._check(key, trace)
        try:
            row = rows.encode(key, trace, state)
        except ValueError:
            raise InputError(f"{_name(key)}: a value is infinite; what is not known is NaN", file=self.path) from None
        with clear_sqlite_errors(self.path, safe=self._acknowledged):
            try:
                self._insert(row, messages)
            except sqlite3.IntegrityError:
                raise InputError(f"already holds {_name(key)}", file=self.path) from None
        self._acknowledged += 1

    def _insert(self, row: tuple[Any, ...], messages: Sequence[str]) -> None:
        """A trace with its times and messages, all or nothing."""
        *head, time, current = row
        axis = self._axes.get(time)
        self._connection.execute("BEGIN")
        try:
            if axis is None:
                axis = self._connection.execute("INSERT INTO axes (time) VALUES (?)", (time,)).lastrowid
            self._connection.execute(_INSERT, (*head, axis, current))
            lines = ((self._acknowledged, line) for line in messages)
            self._connection.executemany("INSERT INTO messages VALUES (?, ?)", lines)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._axes[time] = int(axis or 0)
        if len(self._axes) > _AXES:
            del self._axes[next(iter(self._axes))]

    def messages(self) -> Iterator[str]:
        """The lines of the transcript that came with the traces, in order."""
        with clear_sqlite_errors(self.path):
            for (line,) in self._connection.execute("SELECT line FROM messages ORDER BY rowid"):
                yield str(line)

    def __contains__(self, key: TraceKey) -> bool:
        with clear_sqlite_errors(self.path):
            found = self._connection.execute(
                "SELECT 1 FROM traces WHERE kind = ? AND point = ? AND device = ? AND repeat = ?",
                (key.kind, int(key.point), int(key.device), int(key.repeat)),
            ).fetchone()
        return found is not None

    def mark_seam(self, utc: str, why: str) -> None:
        """Notes that the sweep stood still after the last trace: what follows met the devices after another rest."""
        with clear_sqlite_errors(self.path, safe=self._acknowledged):
            self._connection.execute("INSERT INTO seams VALUES (?, ?, ?)", (self._acknowledged, utc, why))

    def finish(self, utc: str) -> None:
        """Notes that the sweep has taken all it was to take: what is left to do is sealing."""
        self.mark_seam(utc, _FINISHED)

    @property
    def created_utc(self) -> str:
        """When the spool was begun."""
        with clear_sqlite_errors(self.path):
            return str(self._connection.execute("SELECT created_utc FROM about").fetchone()[0])

    @property
    def finished(self) -> bool:
        """Whether `finish` was called."""
        with clear_sqlite_errors(self.path):
            return self._connection.execute("SELECT 1 FROM seams WHERE why = ?", (_FINISHED,)).fetchone() is not None

    def statuses(self) -> dict[str, int]:
        """How many traces there are of each status."""
        return dict(Counter(str(record.row["status"]) for record in self.records()))

    def seams(self) -> list[dict[str, Any]]:
        """Where the sweep stood still: the number (from 0) of the first trace after it, UTC, and why."""
        with clear_sqlite_errors(self.path):
            rows_ = self._connection.execute(
                "SELECT after_seq, utc, why FROM seams WHERE why != ? ORDER BY rowid", (_FINISHED,)
            ).fetchall()
        return [{"trace": int(after), "utc": str(utc), "why": str(why)} for after, utc, why in rows_]

    def __len__(self) -> int:
        return self._count()

    def records(self) -> Iterator[rows.Record]:
        """Every trace without its samples, in the order they were taken, checksums verified."""
        for row in self._rows(f"SELECT {rows.HEAD} FROM traces"):
            yield rows.decode_head(self.path, row)

    def traces(self, first: int = 0) -> Iterator[tuple[TraceKey, Trace]]:
        """Every trace from number `first` on, in the order they were taken, one in memory at a time.

        Raises
        ------
        DamagedFileError
            at the first row that is not what was stored.
        """
        for row in self._rows(_SELECT, first):
            yield rows.decode(self.path, row)

    def trace(self, index: int) -> tuple[TraceKey, Trace]:
        """The trace that was taken as number `index`, from 0.

        Raises
        ------
        DamagedFileError
            if it is not what was stored.
        """
        with clear_sqlite_errors(self.path):
            row = self._connection.execute(f"{_SELECT} WHERE seq = ?", (index + 1,)).fetchone()
        if row is None:
            raise IndexError(index)
        return rows.decode(self.path, row)

    def last_state(self) -> Any:
        """The `state` that came with the last trace; None if there is no trace."""
        with clear_sqlite_errors(self.path):
            row = self._connection.execute(f"SELECT {rows.HEAD} FROM traces ORDER BY seq DESC LIMIT 1").fetchone()
        return None if row is None else rows.decode_head(self.path, row).state

    def close(self) -> None:
        """Closes the file; the write-ahead log is folded in. A second call does nothing."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def drop(self) -> None:
        """Closes and deletes the spool: its traces now live elsewhere."""
        self._connection.close()
        self.path.unlink(missing_ok=True)
        _forget(self.path)
        if self._lock is not None:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _count(self) -> int:
        with clear_sqlite_errors(self.path):
            count, last = self._connection.execute("SELECT count(*), coalesce(max(seq), 0) FROM traces").fetchone()
        if count != last:
            raise DamagedFileError(self.path, f"holds {count} traces, expected {last}")
        return int(count)

    def _rows(self, select: str, first: int = 0) -> Iterator[tuple[Any, ...]]:
        with clear_sqlite_errors(self.path):
            yield from self._connection.execute(f"{select} WHERE seq > ? ORDER BY seq", (first,))

    def _check(self, key: TraceKey, trace: Trace) -> None:
        unknown = [name for name in key.parameters if name not in self.meta.parameter_units]
        unknown += [name for name in trace.readings if name not in self.meta.reading_units]
        if unknown:
            raise InputError(f"{_name(key)}: no unit was given for it", file=self.path, found=unknown[0])
        if trace.time_s.ndim != 1 or trace.time_s.shape != trace.current_A.shape:
            shapes = f"time {trace.time_s.shape} and current {trace.current_A.shape}"
            raise InputError(f"{_name(key)}: {shapes}, expected one time a sample", file=self.path)
        if not (np.isfinite(trace.time_s).all() and np.isfinite(trace.current_A).all()):
            raise InputError(f"{_name(key)}: a sample is not finite; leave it out and say so", file=self.path)


def _lock(path: Path) -> FileLock:
    lock = FileLock(str(path) + ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise RefusedError(f"{path}: another process is writing this spool") from None
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", file=path) from None
    return lock


def _reader_address(path: Path) -> str:
    """How SQLite opens a spool to read it and to write nothing, neither into the file nor beside it.

    Beside a writer, or after one that was killed, the log and its index are read as they are (without
    `readonly_shm` the last reader to close would fold a dead writer's log in). With neither there the file is whole,
    and nobody writes. An index cannot be read where it is missing: SQLite has to make it anew.
    """
    log, index = (path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm"))
    how = "mode=ro&readonly_shm=1" if index else "mode=rw" if log else "mode=ro&immutable=1"
    return f"{path.absolute().as_uri()}?{how}"


def _forget(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _make_durable(path: Path, connection: sqlite3.Connection) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise RefusedError(f"{path}: this disk cannot hold a spool (found journal mode {mode}, expected wal)")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync there stops at the drive's cache


def _read_about(path: Path, connection: sqlite3.Connection) -> tuple[CaptureMeta, str]:
    row = connection.execute("SELECT uid, created_utc, meta, sha256 FROM about").fetchone()
    if row is None or row[3] != _about_sha256(*row[:3]):
        raise DamagedFileError(path, "the spool's own description does not match its checksum")
    try:
        return CaptureMeta.model_validate_json(row[2]), str(row[0])
    except ValidationError as error:
        raise DamagedFileError(path, f"the spool's description: {error.errors()[0]['msg']}") from None


def _about_sha256(uid: str, created_utc: str, meta: str) -> str:
    return sha256_bytes(canonical_json([uid, created_utc, meta]))


def _name(key: TraceKey) -> str:
    kind = "" if key.kind == "decay" else f"{key.kind} "
    return f"{kind}point {key.point}, device {key.device}, repeat {key.repeat}"
