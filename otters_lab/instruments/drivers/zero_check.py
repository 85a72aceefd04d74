"""Zero check and zero correct, which Keithley's picoammeters and electrometers have alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymeasure.instruments import Instrument

from otters_lab.instruments.drivers.replies import finite


def reply_number(value: Any) -> float:
    """A reply as a finite float; `finite`, for PyMeasure's `get_process`."""
    return finite(value, "meter")


def reply_switch(value: Any) -> bool:
    """A reply 0 or 1."""
    return reply_number(value) != 0


def reply_whole(value: Any) -> int:
    """A reply as a whole number."""
    return int(reply_number(value))


class ZeroChecked:
    """Commands for an Instrument class to inherit. `lowest_range_A` is the range on which the offset is measured."""

    lowest_range_A: float
    current_range: Any
    write: Callable[..., None]
    ask: Callable[..., str]

    # 6487-901-01 p. 13-8, bits 9 and 10, for the 6485 and 6487. The page of the 6517B was not at hand: it is sent the
    # same commands, as public code for it sends them.
    zero_check_enabled = Instrument.control(
        ":SYST:ZCH?",
        ":SYST:ZCH %d",
        """Control whether the input is shunted to low (bool).""",
        set_process=int,
        get_process=reply_switch,
    )

    zero_correct_enabled = Instrument.control(
        ":SYST:ZCOR?",
        ":SYST:ZCOR %d",
        """Control whether the acquired offset is subtracted (bool).""",
        set_process=int,
        get_process=reply_switch,
    )

    def correct_zero(self) -> None:
        """Measures the offset with the input shunted, on the lowest range, and subtracts it from then on.

        The sequence is the manuals' own, as public code sends it; the input stays shunted.
        """
        self.write(":TRAC:FEED:CONT NEV")  # *RST leaves the buffer as it was, 6487 p. 6-5
        self.zero_check_enabled = True
        self.zero_correct_enabled = False
        self.current_range = self.lowest_range_A
        self.write(":INIT")
        self.ask("*OPC?")
        self.write(":SYST:ZCOR:ACQ")
        self.zero_correct_enabled = True
