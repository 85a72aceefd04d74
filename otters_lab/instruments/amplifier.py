"""The link to an amplifier that only listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.links import Link, Tap, open_link

if TYPE_CHECKING:
    from otters_lab.instruments.drivers.sr570 import ListeningAmplifier


@dataclass(frozen=True)
class _Line:
    address: str
    timeout: float


def open_amplifier(
    file: BenchFile, library: Any, clock: Clock, tap: Tap | None = None
) -> tuple[Link, ListeningAmplifier]:
    """Opens the link to the bench's amplifier. Nothing is sent, and nothing can be asked.

    Raises
    ------
    InstrumentError
        if the file names none, or the line is not there.
    """
    from otters_lab.instruments.drivers.sr570 import SERIAL_OPTIONS, WRITE_TERMINATION, ListeningAmplifier

    table = file.meter.amplifier
    if table is None or table.address is None:
        raise InstrumentError("amplifier: the bench file names no address")
    # A line in this process has no baud rate.
    serial = SERIAL_OPTIONS if table.address.upper().startswith("ASRL") and not library else {}
    place = _Line(table.address, file.meter.timeout)
    link = open_link("amplifier", place, library, tap, write_termination=WRITE_TERMINATION, **serial)
    return link, ListeningAmplifier(link, table, clock)
