"""Errors a user can meet, each with its exit code and one clear line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

EXIT_DONE = 0
EXIT_SAYS_NO = 1
EXIT_BAD_INPUT = 2
EXIT_INSTRUMENT = 3
EXIT_DAMAGED = 4
EXIT_INTERRUPTED = 130


class OttersError(Exception):
    """Base of all errors that are reported in one line. `exit_code` is what the process ends with."""

    exit_code = EXIT_SAYS_NO


class RefusedError(OttersError):
    """The work was done, or could be, and the answer is no (a gate failed, a stale calibration)."""

    exit_code = EXIT_SAYS_NO


class InterruptedRunError(OttersError):
    """The user stopped a run; the message says what is kept and how to go on."""

    exit_code = EXIT_INTERRUPTED


class InputError(OttersError):
    """Bad usage or bad input.

    Shown as ``file:line: key: message; found X, expected Y (did you mean "Z"?)``; absent parts are left out.
    """

    exit_code = EXIT_BAD_INPUT

    def __init__(
        self,
        message: str = "",
        *,
        file: Path | str | None = None,
        line: int | None = None,
        key: str | None = None,
        found: object = None,
        expected: str | None = None,
        suggestion: str | None = None,
    ) -> None:
        place = "" if file is None else str(file) + ("" if line is None else f":{line}")
        facts = []
        if found is not None:
            facts.append(f"found {found!r}")
        if expected is not None:
            facts.append(f"expected {expected}")
        parts = [part for part in (place, key, "; ".join(filter(None, [message, ", ".join(facts)]))) if part]
        text = ": ".join(parts)
        if suggestion:
            text += f' (did you mean "{suggestion}"?)'
        super().__init__(" ".join(text.split()))


class InstrumentError(OttersError):
    """An instrument failed, answered nonsense, or is not the one the bench file names."""

    exit_code = EXIT_INSTRUMENT


class DamagedFileError(OttersError):
    """A file is damaged, or its contents do not match the hash that was recorded for them."""

    exit_code = EXIT_DAMAGED

    def __init__(self, file: Path | str, what: str) -> None:
        super().__init__(" ".join(f"{file}: {what}".split()))


def said_of(path: Path, error: Exception) -> str:
    """What an error says of a file, without the file's name before it."""
    return str(error).removeprefix(f"{path}: ")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None where nothing is near."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
