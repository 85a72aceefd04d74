"""The seal line: the last line of a capture, the SHA-256 of every byte before it.

HDF5 ignores bytes after its own end, so readers of HDF5 and netCDF never see the line; with it a lone file is known to
be whole before a damaged byte can reach the HDF5 library, which is not safe against them.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from otters_lab.core.errors import DamagedFileError

_FORM = "\n#otters-lab sealed {length:015d} bytes, sha256 {sha256}\n"
_LENGTH = len(_FORM.format(length=0, sha256="0" * 64))
_PATTERN = re.compile(rb"\n#otters-lab sealed (\d{15}) bytes, sha256 ([0-9a-f]{64})\n")
_BLOCK = 1 << 20


def append_seal_line(path: Path) -> None:
    """Seals a file that is written and closed, and syncs it to the disk."""
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        line = _FORM.format(length=length, sha256=_sha256_of_next(file, length))
        file.seek(length)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def has_seal_line(path: Path) -> bool:
    """Whether the file ends in a seal line of the right length; its bytes are not hashed."""
    length = path.stat().st_size - _LENGTH
    found = _PATTERN.fullmatch(_tail(path))
    return found is not None and int(found[1]) == length


def check_seal_line(path: Path) -> None:
    """Checks every byte of a file against its seal line.

    Raises
    ------
    DamagedFileError
        if there is no such line, or the bytes before it are not those that were sealed.
    """
    found = _PATTERN.fullmatch(_tail(path))
    length = path.stat().st_size - _LENGTH
    if found is None or int(found[1]) != length:
        raise DamagedFileError(path, "does not end in its seal line: cut short, or written by another program since")
    with path.open("rb") as file:
        actual = _sha256_of_next(file, length)
    if actual != found[2].decode():
        raise DamagedFileError(
            path, f"sha256 {actual[:12]}... does not match the {found[2].decode()[:12]}... it was sealed with"
        )


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LENGTH))
        return file.read(_LENGTH)


def _sha256_of_next(file: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    while length > 0:
        block = file.read(min(length, _BLOCK))
        if not block:
            break
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()
