"""Replies of instruments, parsed: a finite number or an error, never something in between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from pyvisa.errors import InvalidSession, VisaIOError

from otters_lab.core.errors import InstrumentError
from otters_lab.core.protocols import Array


class LinkError(InstrumentError):
    """A link timed out, was cut or refused: what comes on it from now on may answer another question."""


# SCPI-99 volume 1, 7.2.1.4: infinity is 9.9E37, not-a-number 9.91E37.
OVERFLOW_A = 9.9e37


def finite(reply: object, of: str) -> float:
    """A reply as a finite float.

    Raises
    ------
    InstrumentError
        for text that is no number, NaN, infinity and SCPI's stand-ins for them (9.9E37, 9.91E37).
    """
    try:
        value = float(reply)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or abs(value) >= OVERFLOW_A:
        raise InstrumentError(f"{of}: replied {str(reply).strip()!r}, expected a finite number")
    return value


def number_table(reply: str, columns: int, rows: int, of: str) -> Array:
    """A comma-separated reply as an array [rows, columns]; 9.9E37 stays, NaN does not pass.

    Raises
    ------
    InstrumentError
        for a count that is not rows x columns, or a field that is no number.
    """
    try:
        values = np.array(reply.split(","), dtype=np.float64)
    except ValueError:
        raise InstrumentError(f"{of}: replied {reply[:40].strip()!r}..., expected numbers") from None
    if values.size != rows * columns:
        raise InstrumentError(f"{of}: replied {values.size} numbers, expected {rows} x {columns}")
    if not np.all(np.isfinite(values)):
        raise InstrumentError(f"{of}: the reply holds NaN or infinity")
    return values.reshape(rows, columns)


def first_error(reply: str, of: str) -> str | None:
    """The text of a SYST:ERR? reply, or None for ``0,"No error"``."""
    code, _, message = reply.partition(",")
    if finite(code, of) == 0:
        return None
    return f"{code.strip().lstrip('+')} {message.strip().strip(chr(34))}"


def confirm(of: str, what: str, asked: float, found: float, relative: float = 1e-5) -> None:
    """Compares a setting with what the instrument says it is.

    Raises
    ------
    InstrumentError
        if they differ by more than `relative` (PyMeasure formats some settings with seven digits).
    """
    if not math.isclose(asked, found, rel_tol=relative, abs_tol=1e-15):
        raise InstrumentError(f"{of}: {what}: asked for {asked:g}, the instrument says {found:g}")


@contextmanager
def link_errors(of: str) -> Iterator[None]:
    """Turns what VISA raises on a link into `LinkError`, PyMeasure's into `InstrumentError`, naming the instrument."""
    try:
        yield
    except VisaIOError as error:
        raise LinkError(f"{of}: {error.abbreviation}: {error.description}") from error
    except (OSError, InvalidSession) as error:
        raise LinkError(f"{of}: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # PyMeasure takes replies apart without looking: a garbled one ends in any of these.
        raise InstrumentError(f"{of}: a setting or a reply was not understood: {error}") from error
