"""Transcripts: every message of a sweep with its time and direction, written as it passes, and replayed word by word.

JSON lines. The first says what it is and when it began; each other one is a message: `t` (s on the bench's clock since
the beginning), `role`, `dir` ("out" to the instrument, "in" from it, "error" for a read that failed), `text` without
terminators. A binary block stands in the pieces that it was read in, a character a byte (latin-1), its line feed last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from otters_lab.core.clock import Clock, VirtualClock, iso_utc
from otters_lab.core.errors import DamagedFileError, InputError, InstrumentError
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.virtual.visalib import TwinLibrary, twin_library

VERSION = 1


@contextmanager
def recording(
    path: Path, file: BenchFile, clock: Clock, also: Callable[[str], None] | None = None
) -> Iterator[Callable[[str, str, str], None]]:
    """Writes a transcript; yields the tap for the links. Every line is handed to the system as it is written, and to
    `also`.

    Raises
    ------
    InputError
        if the file exists or cannot be written.
    """
    began_s = clock.monotonic_s()
    try:
        log = path.open("x", encoding="utf-8")
    except FileExistsError:
        raise InputError("a file stands here already and is never overwritten", file=path) from None
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", file=path) from None
    with log:

        def line(entry: dict[str, Any]) -> None:
            text = json.dumps(entry, ensure_ascii=True)
            if also is not None:
                also(text)
            log.write(text + "\n")
            log.flush()

        def tap(role: str, direction: str, text: str) -> None:
            line({"t": round(clock.monotonic_s() - began_s, 9), "role": role, "dir": direction, "text": text})

        line({"transcript": VERSION, "bench": file.name, "start_utc": iso_utc(clock.utc())})
        yield tap


@dataclass(frozen=True)
class Entry:
    """One message of a transcript, with its line in the file."""

    line: int
    t_s: float
    role: str
    direction: str
    text: str


class Script:
    """A transcript that is being replayed: what must come next, and what is answered."""

    def __init__(self, path: Path, entries: list[Entry], clock: VirtualClock) -> None:
        self.clock = clock
        self.deviation: str | None = None
        self._path = path
        self._entries = entries
        self._next = 0

    def answer(self, role: str, message: str) -> str | None:
        """The recorded reply to a message, if it is the recorded one.

        Raises
        ------
        InstrumentError
            for any other message, with what was expected.
        """
        while self._next < len(self._entries) and self._entries[self._next].direction != "out":
            self._next += 1
        expected = self._entries[self._next] if self._next < len(self._entries) else None
        if expected is None or (expected.role, expected.text) != (role, message):
            wanted = "its end" if expected is None else f"{expected.text!r} to the {expected.role}"
            line = "" if expected is None else f":{expected.line}"
            self.deviation = f"{self._path}{line}: the sweep deviates: got {message!r} to the {role}, expected {wanted}"
            raise InstrumentError(self.deviation)
        self._next += 1
        self.clock.sleep(expected.t_s - self.clock.monotonic_s())
        replies = []
        for entry in self._entries[self._next :]:
            if entry.role == role and entry.direction == "out":
                break
            if entry.role == role and entry.direction == "in":
                replies.append(entry.text)
        return "".join(replies).removesuffix("\n") if replies else None


@dataclass(frozen=True)
class _Replayed:
    """One instrument of a transcript; behind a `TwinLibrary` like a twin."""

    role: str
    script: Script

    def handle(self, message: bytes) -> bytes | None:
        """The recorded reply."""
        reply = self.script.answer(self.role, message.decode("latin-1"))
        return None if reply is None else reply.encode("latin-1")

    def queue_error(self, code: int) -> None:
        """A transcript has no error queue: what the sweep did then, it does now."""


def load_script(file: BenchFile) -> Script:
    """Reads the transcript that a bench file names.

    Raises
    ------
    InputError
        if there is none, or it is none.
    DamagedFileError
        for a line that is no entry; a last line cut short by a kill is left out.
    """
    path = file.path.parent / (file.transcript or "")
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path) from None
    entries: list[Entry] = []
    start: datetime | None = None
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            if number == 1:
                if said["transcript"] != VERSION:
                    raise InputError("transcript", file=path, found=said["transcript"], expected=f"version {VERSION}")
                start = datetime.fromisoformat(said["start_utc"])
            else:
                entries.append(Entry(number, float(said["t"]), said["role"], said["dir"], said["text"]))
        except (ValueError, KeyError, TypeError):
            if number == len(lines) > 1 and not line.endswith("\n"):
                break
            raise DamagedFileError(path, f"line {number} is no entry of a transcript") from None
    if start is None:
        raise InputError("is empty, expected a transcript", file=path)
    return Script(path, entries, VirtualClock(start))


def script_library(file: BenchFile, script: Script) -> TwinLibrary:
    """A VISA library whose instruments answer from a script."""
    replayed = {address: _Replayed(role, script) for role, address in file.addresses.items()}
    return twin_library(replayed, script.clock)
