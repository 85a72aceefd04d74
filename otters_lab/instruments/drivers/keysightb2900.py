"""Keysight (Agilent) B2901A and B2902A SMUs, channel 1: source voltage, measure current into the trace buffer.

PyMeasure 0.16 has no driver for them. Sources: Agilent B2900 Series SCPI Command Reference, Edition 2 (July 2011,
B2910-90030), whose page stands beside a command where it was at hand; the output-off and auto-on commands after the
sister manual B2961-90030, Edition 6, p. 4-67; the syntax of ARM:ACQuire:TOUTput after PyMeasure's driver of the sister
B298x. The digital line's commands are the subsystem's names, their pages not at hand. No instrument was at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymeasure.instruments import Instrument, SCPIMixin
from pymeasure.instruments.validators import strict_discrete_set, strict_range

from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import OVERFLOW_A, finite, number_table
from otters_lab.instruments.roles import MeterReadings, ReadingFlag

# Status data, p. 1-14: bits 1 and 2, the compliance condition; bit 13, measurement range overflow.
COMPLIANCE, OVER_RANGE = 0b110, 1 << 13


def _number(value: Any) -> float:
    return finite(value, "Keysight B2900")


def _count(value: Any) -> int:
    return int(_number(value))


class KeysightB2900(SCPIMixin, Instrument):
    """The commands of a B2901A or B2902A that a timed current measurement needs."""

    def __init__(self, adapter: Any, name: str = "Keysight B2900", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    line_frequency = Instrument.measurement(
        ":SYST:LFR?", """Get the power-line frequency in Hz (50 or 60).""", get_process=_number
    )
    source_function = Instrument.control(
        ":SOUR:FUNC:MODE?",
        ":SOUR:FUNC:MODE %s",
        """Control what is sourced (string, strictly 'VOLT' or 'CURR').""",
        validator=strict_discrete_set,
        values=["VOLT", "CURR"],
        cast=str,
    )
    source_voltage = Instrument.control(
        ":SOUR:VOLT?",
        ":SOUR:VOLT %.9g",
        """Control the sourced voltage in V (float strictly from -210 to 210).""",
        validator=strict_range,
        values=[-210, 210],
        get_process=_number,
    )
    current_limit = Instrument.control(
        ":SENS:CURR:PROT?",
        ":SENS:CURR:PROT %.9g",
        """Control the current compliance in A (float strictly from 1e-9 to 3.03).""",
        validator=strict_range,
        values=[1e-9, 3.03],
        get_process=_number,
    )
    output_enabled = Instrument.control(
        ":OUTP?",
        ":OUTP %d",
        """Control whether the output is on (bool).""",
        validator=strict_discrete_set,
        values={True: 1, False: 0},
        map_values=True,
    )
    output_auto_on_enabled = Instrument.control(
        ":OUTP:ON:AUTO?",
        ":OUTP:ON:AUTO %d",
        """Control whether INITiate switches the output on, as it does after *RST (bool; p. 4-67).""",
        validator=strict_discrete_set,
        values={True: 1, False: 0},
        map_values=True,
    )
    output_off = Instrument.control(
        ":OUTP:OFF:MODE?",
        ":OUTP:OFF:MODE %s",
        """Control what the output does while off (string, strictly 'normal', 'high impedance' or 'zero'; p. 4-67).""",
        validator=strict_discrete_set,
        values={"normal": "NORM", "high impedance": "HIZ", "zero": "ZERO"},
        map_values=True,
    )
    wires = Instrument.control(
        ":SENS:REM?",
        ":SENS:REM %d",
        """Control the number of wires to the device (int, strictly 2 or 4).""",
        validator=strict_discrete_set,
        values={2: 0, 4: 1},
        map_values=True,
    )
    current_range = Instrument.control(
        ":SENS:CURR:RANG?",
        ":SENS:CURR:RANG %.9g",
        """Control the fixed current range in A (float strictly from 1e-7 to 3).""",
        validator=strict_range,
        values=[1e-7, 3.0],
        get_process=_number,
    )
    current_autorange_enabled = Instrument.control(
        ":SENS:CURR:RANG:AUTO?",
        ":SENS:CURR:RANG:AUTO %d",
        """Control whether the current range is automatic (bool; p. 2-17).""",
        validator=strict_discrete_set,
        values={True: 1, False: 0},
        map_values=True,
    )
    current_aperture = Instrument.control(
        ":SENS:CURR:APER?",
        ":SENS:CURR:APER %.9g",
        """Control the aperture of a current reading in s (float strictly from 8e-6 to 2; p. 4-73).""",
        validator=strict_range,
        values=[8e-6, 2.0],
        get_process=_number,
    )
    acquire_timer = Instrument.control(
        ":TRIG:ACQ:TIM?",
        ":TRIG:ACQ:TIM %.9g",
        """Control the period of the acquire trigger in s (float strictly from 2e-5 to 1e5).""",
        validator=strict_range,
        values=[2e-5, 1e5],
        get_process=_number,
    )
    acquire_count = Instrument.control(
        ":TRIG:ACQ:COUN?",
        ":TRIG:ACQ:COUN %d",
        """Control the readings of an acquisition (int strictly from 1 to 100000).""",
        validator=strict_range,
        values=[1, 100_000],
        get_process=_count,
    )
    buffer_points = Instrument.control(
        ":TRAC:POIN?",
        ":TRAC:POIN %d",
        """Control the size of the trace buffer (int strictly from 1 to 100000; p. 4-147).""",
        validator=strict_range,
        values=[1, 100_000],
        get_process=_count,
    )
    buffer_count = Instrument.measurement(
        ":TRAC:POIN:ACT?",
        """Get how many readings the trace buffer holds (int from 0 to 100000).""",
        get_process=_count,
    )

    def prepare_trigger_out(self) -> None:
        """Makes digital line 1 give a rising edge as the acquisition leaves its idle state, and elements and format."""
        self.write(":SOUR:DIG:EXT1:FUNC TOUT")
        self.write(":SOUR:DIG:EXT1:POL POS")
        self.write(":SOUR:DIG:EXT1:TOUT:TYPE EDGE")
        self.write(":SOUR:DIG:EXT1:TOUT:EDGE:POS BEF")
        self.write(":ARM:ACQ:TOUT:SIGN EXT1")
        self.write(":ARM:ACQ:TOUT 1")
        self.write(":FORM ASC")
        self.write(":FORM:ELEM:SENS CURR,TIME,STAT")
        self.write(":TRAC:TST:FORM ABS")  # p. 4-149: from the first reading on

    def load_timed_acquisition(self, n_samples: int, interval_s: float) -> None:
        """Sets trigger and buffer: a reading every `interval_s` (s), `n_samples` of them into an empty buffer."""
        self.write(":ARM:ACQ:COUN 1")
        self.write(":ARM:ACQ:SOUR AINT")
        self.write(":TRIG:ACQ:SOUR TIM")
        self.write(":TRIG:ACQ:DEL 0")
        self.acquire_timer = interval_s
        self.acquire_count = n_samples
        self.write(":TRAC:FEED:CONT NEV")  # the buffer can be set while it is not fed (p. 4-147)
        self.write(":TRAC:CLE")
        self.buffer_points = n_samples
        self.write(":TRAC:FEED SENS")
        self.write(":TRAC:FEED:CONT NEXT")

    def read_buffer(self, n_samples: int) -> MeterReadings:
        """Reads `n_samples` readings of the trace buffer: times (s, 0 at the first), currents (A), flags."""
        reply = self.ask(":TRAC:DATA?")
        current_A, time_s, status = number_table(reply, 3, n_samples, "Keysight B2900 buffer").T
        if np.any(np.diff(time_s) <= 0):
            raise InstrumentError("Keysight B2900 buffer: the timestamps do not increase")
        word = status.astype(np.int64)
        overflow = (np.abs(current_A) >= OVERFLOW_A) | ((word & OVER_RANGE) > 0)
        flags = overflow * int(ReadingFlag.OVERFLOW) + ((word & COMPLIANCE) > 0) * int(ReadingFlag.COMPLIANCE)
        return MeterReadings(time_s - time_s[0], np.where(overflow, np.nan, current_A), flags.astype(np.uint8))
