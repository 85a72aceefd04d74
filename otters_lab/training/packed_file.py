"""A packed student as a file: what it says of itself, and its seal; needs nothing that loads a network.

The seal is the SHA-256 of the file's own bytes with zeros in the seal's place, so that a lone file can be checked.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otters_lab.core.errors import DamagedFileError
from otters_lab.core.files import read_bytes, sha256_bytes
from otters_lab.core.provenance import Header, parse_header

ABOUT, SEAL = "otters_packed", "otters_seal"
UNSEALED = "0" * 64
_SEAL = re.compile(f'"{SEAL}":"([0-9a-f]{{64}})"'.encode())
_LENGTH = 8  # bytes that say how long the JSON header of a safetensors file is
_LONGEST = 100_000_000  # of a header, as safetensors has it
_START = 1 << 20


@dataclass(frozen=True)
class PackedFile:
    """A packed student that was read and checked: its bytes, what it says of itself, and the header in that."""

    data: bytes
    about: dict[str, Any]
    header: Header


def sealed(packed: bytes) -> bytes:
    """The bytes of a packed student whose metadata hold `SEAL: UNSEALED`, with the seal in its place."""
    found = _SEAL.search(packed, _LENGTH, _LENGTH + _header_size(packed))
    assert found is not None
    return packed[: found.start(1)] + sha256_bytes(packed).encode() + packed[found.end(1) :]


def is_packed(path: Path) -> bool:
    """Whether a file begins like a packed student, whatever its name, be it damaged or not."""
    return any(f'"{name}":'.encode() in _start(path) for name in (ABOUT, SEAL))


def is_sealed(path: Path) -> bool:
    """Whether a packed student bears a seal; earlier ones do not."""
    return f'"{SEAL}":'.encode() in _start(path)


def read_packed(path: Path) -> PackedFile:
    """Reads a packed student and checks its seal, if it has one.

    Raises
    ------
    InputError
        if there is no such file.
    DamagedFileError
        if it is none, or was altered.
    """
    data = read_bytes(path)
    metadata = _metadata(data)
    if not {ABOUT} <= metadata.keys() <= {ABOUT, SEAL}:
        raise DamagedFileError(path, "is not a packed student")
    if SEAL in metadata:
        found = _SEAL.search(data, _LENGTH, _LENGTH + _header_size(data))
        blank = b"" if found is None else data[: found.start(1)] + UNSEALED.encode() + data[found.end(1) :]
        if sha256_bytes(blank) != metadata[SEAL]:
            raise DamagedFileError(path, "its bytes do not match its seal: it was altered after it was packed")
    try:
        about = json.loads(metadata[ABOUT])
        header = about["header"]
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(path, f"is not a packed student: {error}") from None
    return PackedFile(data, about, parse_header(path, header))


def _header_size(data: bytes) -> int:
    return min(int.from_bytes(data[:_LENGTH], "little"), _LONGEST)


def _start(path: Path) -> bytes:
    """Where safetensors writes metadata; they come first."""
    try:
        with path.open("rb") as file:
            return file.read(_START)
    except OSError:
        return b""


def _metadata(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data[_LENGTH : _LENGTH + _header_size(data)])["__metadata__"]
    except (KeyError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
