"""What SQLite says, in one line that a user understands."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from otters_lab.core.errors import DamagedFileError, InputError, OttersError, RefusedError


@contextmanager
def clear_sqlite_errors(path: Path, *, safe: int | None = None) -> Iterator[None]:
    """Turns an `sqlite3.Error` about `path` into ours; `safe` is how many traces it holds for certain.

    Raises
    ------
    RefusedError
        for a full or failing disk, and for a file that another process holds.
    DamagedFileError
        for a file that is no database, or a broken one.
    InputError
        for a file that cannot be opened or written.
    """
    try:
        yield
    except sqlite3.Error as error:
        clear = _clear(path, error, safe)
        if clear is None:
            raise
        raise clear from error


def _clear(path: Path, error: sqlite3.Error, safe: int | None) -> OttersError | None:
    # The low byte is the primary result code: https://sqlite.org/rescode.html
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None  # misuse of the module: a bug, not a user's concern
    kept = "" if safe is None else f"; this trace is not stored, the {safe} acknowledged before it are safe"
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return RefusedError(f"{path}: the disk is full{kept}")
        case sqlite3.SQLITE_IOERR:
            return RefusedError(f"{path}: the disk failed ({error}){kept}")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return RefusedError(f"{path}: another process holds the file ({error}){kept}")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return InputError(f"cannot be opened for writing ({error})", file=path)
        case _:
            return DamagedFileError(path, f"is not a spool that can be read ({error})")
