"""Files: whole or not at all, hashed, and JSON that diffs well."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otters_lab.core.errors import DamagedFileError, InputError


def fsync_dir(folder: Path) -> None:
    """Makes a rename durable where the platform can (Windows has no directory handles to sync)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes beside, syncs, renames: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    fsync_dir(path.parent)


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, shortest floats, no NaN.

    Raises
    ------
    ValueError
        for NaN or infinity: what is not known is null.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def pretty_json(value: Any) -> bytes:
    """JSON to be read and diffed by people: two spaces, and lists of plain numbers on one line."""
    return (_render(value, "") + "\n").encode()


def _render(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(str(k), ensure_ascii=False)}: {_render(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        return "[\n" + ",\n".join(inner + _render(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and of all below it, sorted; names that begin with a dot, and what lies below them, are left
    out.
    """
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(names) if not name.startswith("."))


def read_bytes(path: Path) -> bytes:
    """A file's bytes, or an `InputError` that says what is wrong with the path."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except IsADirectoryError:
        raise InputError("is a folder", file=path, expected="a file") from None
    except OSError as error:
        raise InputError(error.strerror or str(error), file=path) from None


def read_json(path: Path) -> Any:
    """A JSON document.

    Raises
    ------
    InputError
        if there is no such file.
    DamagedFileError
        if it is not JSON in UTF-8.
    """
    data = read_bytes(path)
    try:
        return json.loads(data)
    except ValueError as error:
        raise DamagedFileError(path, f"is not JSON ({error})") from None


def check_form(path: Path) -> None:
    """Holds a JSON file that `pretty_json` wrote against that form: no byte of it is without meaning.

    Raises
    ------
    InputError
        if there is no such file.
    DamagedFileError
        if it is laid out otherwise, by a space, a line end or the writing of a number.
    """
    if read_bytes(path) != pretty_json(read_json(path)):
        raise DamagedFileError(path, "is not laid out as it was written: reformatted or altered since")
