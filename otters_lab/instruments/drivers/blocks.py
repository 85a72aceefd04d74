"""Binary blocks of definite length (IEEE 488.2, 8.7.9): ``#``, a digit, so many digits, so many bytes, a line feed."""

from __future__ import annotations

from typing import Any

from otters_lab.core.errors import InstrumentError

MAX_BYTES = 64 * 1024 * 1024


def read_block(instrument: Any, of: str, expected: int | None = None) -> bytes:
    """The bytes of one block, read by their number: any of them may be a line feed.

    Raises
    ------
    InstrumentError
        for anything that is no block, for another number of bytes than `expected`, and for one that does not end where
        it says.
    """
    head = bytes(instrument.read_bytes(2))
    if head[:1] != b"#" or not head[1:].isdigit() or head == b"#0":
        raise InstrumentError(f"{of}: replied {head!r}..., expected a block of definite length")
    digits = bytes(instrument.read_bytes(int(head[1:])))
    size = int(digits) if digits.isdigit() else -1
    if not 0 <= size <= MAX_BYTES or expected not in (None, size):
        wanted = "a number of bytes" if expected is None else f"{expected} bytes"
        raise InstrumentError(f"{of}: a block of {digits!r} bytes, expected {wanted}")
    data = bytes(instrument.read_bytes(size)) if size else b""
    end = bytes(instrument.read_bytes(1))
    if len(data) != size or end != b"\n":
        raise InstrumentError(f"{of}: the block does not end after its {size} bytes: {end!r}")
    return data
