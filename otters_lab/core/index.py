"""The index of a folder: summaries of files as they were last seen, by kind. Disposable; the files are the truth."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from otters_lab.core.provenance import sidecar_path

NAME = ".otters-lab-index.sqlite"
UNKNOWN: Final = object()
_SCHEMA = 2  # of the table: another one, and the index is made anew

_TABLE = (
    "CREATE TABLE IF NOT EXISTS files "
    "(kind TEXT, path TEXT, stamp TEXT NOT NULL, summary TEXT NOT NULL, PRIMARY KEY (kind, path))"
)


def stamp(path: Path) -> str:
    """Size and time of change of a file, of its sidecar and of a spool's write-ahead log: while they are the same,
    nothing was written.
    """
    parts = []
    for file in (path, sidecar_path(path), path.with_name(path.name + "-wal")):
        try:
            found = file.stat()
        except OSError:
            parts.append("")
            continue
        parts.append(f"{found.st_size}:{found.st_mtime_ns}")
    return " ".join(parts)


class Index:
    """Summaries (JSON documents) of one kind of file by path and stamp.

    Whatever is wrong with the index (damaged, of an older version, the folder not to be written, another process
    holding it) only means that files are read again. With `rebuild` it is thrown away first, with all kinds in it.
    """

    def __init__(self, folder: Path, kind: str, *, rebuild: bool = False) -> None:
        self._kind = kind
        if rebuild:
            with suppress(OSError):
                (folder / NAME).unlink(missing_ok=True)
        self._connection = _opened(folder / NAME)
        self._known: dict[str, tuple[str, str]] = {}
        if self._connection is not None:
            try:
                rows = self._connection.execute("SELECT path, stamp, summary FROM files WHERE kind = ?", (kind,))
                self._known = {row[0]: (row[1], row[2]) for row in rows}
            except sqlite3.Error:
                self._give_up()
        self._new: dict[str, tuple[str, str]] = {}

    def get(self, name: str, stamp_: str) -> Any:
        """The summary of a file that was not written since; UNKNOWN if it must be read."""
        known = self._known.get(name)
        if known is None or known[0] != stamp_:
            return UNKNOWN
        try:
            return json.loads(known[1])
        except ValueError:
            return UNKNOWN

    def put(self, name: str, stamp_: str, summary: Any) -> None:
        """Remembers a summary, once the index is closed."""
        self._new[name] = (stamp_, json.dumps(summary))

    def close(self, names: set[str]) -> None:
        """Writes what is new, forgets files that are not among `names`."""
        if self._connection is None:
            return
        gone = [(self._kind, name) for name in self._known if name not in names]
        try:
            if self._new or gone:
                with self._connection:
                    rows = [(self._kind, name, *row) for name, row in self._new.items()]
                    self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
                    self._connection.executemany("DELETE FROM files WHERE kind = ? AND path = ?", gone)
            self._connection.close()
        except sqlite3.Error:
            self._give_up()

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _opened(path: Path) -> sqlite3.Connection | None:
    """The index, made anew if it is damaged or of another version; None where there can be none."""
    for _ in range(2):
        try:
            connection = sqlite3.connect(path, timeout=1)
        except sqlite3.Error:
            return None
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _SCHEMA) or connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("of another version")
            if version == 0:
                with connection:
                    connection.execute(_TABLE)
                    connection.execute(f"PRAGMA user_version = {_SCHEMA}")
            connection.execute("SELECT kind, path, stamp, summary FROM files LIMIT 1")
            return connection
        except sqlite3.OperationalError:  # read-only, or held by another process
            connection.close()
            return None
        except sqlite3.DatabaseError:
            connection.close()
            try:
                path.unlink()
            except OSError:
                return None
    return None
