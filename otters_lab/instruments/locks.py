"""Locks by instrument address: two sweeps never share an instrument, whichever bench files they come from."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from otters_lab.core.errors import InstrumentError
from otters_lab.core.files import sha256_bytes


def lock_path(address: str) -> Path:
    """The lock file of a VISA address, the same for every user and workspace of this machine."""
    name = address.strip().upper()
    readable = re.sub(r"[^A-Z0-9]+", "-", name).strip("-")
    return Path(tempfile.gettempdir()) / f"otters-lab-{readable}-{sha256_bytes(name.encode())[:8]}.lock"


@contextmanager
def locked(addresses: Iterable[str]) -> Iterator[None]:
    """Holds the locks of all addresses. The system frees them if the process dies.

    Raises
    ------
    InstrumentError
        if one is held by another bench, or its lock file cannot be opened.
    """
    with ExitStack() as stack:
        for address in sorted(addresses):
            path = lock_path(address)
            try:
                stack.enter_context(FileLock(path, timeout=0, mode=0o666))
            except Timeout:
                raise InstrumentError(f"{address} is in use by another bench (lock file {path})") from None
            except OSError as error:
                raise InstrumentError(f"{address} cannot be locked: {path}: {error.strerror}") from None
        yield
