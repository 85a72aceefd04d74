"""Keithley 6485 picoammeter and 6487, which has a voltage source too: timed readings into their buffer.

PyMeasure has neither. Sources: Model 6487 Reference Manual (6487-901-01) and Model 6485 Instruction Manual
(6485-901-01), whose page stands beside each command; "code" marks what comes from public code that drives one of them,
the page not being at hand. No instrument was at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymeasure.instruments import Instrument, SCPIMixin
from pymeasure.instruments.validators import strict_range

from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import OVERFLOW_A, number_table
from otters_lab.instruments.drivers.zero_check import ZeroChecked, reply_number, reply_switch, reply_whole
from otters_lab.instruments.roles import MeterReadings, ReadingFlag

STATUS_OVERFLOW = 1  # bit 0 of a reading's status word, 6487 p. 13-7
IN_COMPLIANCE_V = -999.0  # the source value of a reading that was taken in compliance, 6487 p. 13-7


class Keithley6485(ZeroChecked, SCPIMixin, Instrument):
    """The commands of a 6485 that a timed current measurement needs."""

    elements: tuple[str, ...] = ("READ", "TIME", "STAT")
    lowest_range_A = 2e-9

    def __init__(self, adapter: Any, name: str = "Keithley 6485", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    line_frequency = Instrument.measurement(
        ":SYST:LFR?",
        """Get the power-line frequency setting in Hz (50 or 60; code).""",
        get_process=reply_number,
    )

    current_range = Instrument.control(
        ":SENS:CURR:RANG?",
        ":SENS:CURR:RANG %.9g",
        """Control the fixed current range in A (float strictly from 2e-9 to 2e-2); setting it switches the autorange
        off (code).""",
        validator=strict_range,
        values=[2e-9, 2e-2],
        get_process=reply_number,
    )

    current_nplc = Instrument.control(
        ":SENS:CURR:NPLC?",
        ":SENS:CURR:NPLC %.9g",
        """Control the aperture of a reading in power-line cycles (float strictly from 0.01 to 50; code).""",
        validator=strict_range,
        values=[0.01, 50],
        get_process=reply_number,
    )

    autozero_enabled = Instrument.control(
        ":SYST:AZER?",
        ":SYST:AZER %d",
        """Control whether reference readings are slipped in between readings, which breaks a time grid (bool;
        code).""",
        set_process=int,
        get_process=reply_switch,
    )

    timer_interval = Instrument.control(
        ":ARM:TIM?",
        ":ARM:TIM %.9g",
        """Control the interval of the arm layer's timer in s (float strictly from 1e-3 to 99999.999; 6487 p. 7-5).""",
        validator=strict_range,
        values=[1e-3, 99999.999],
        get_process=reply_number,
    )

    arm_count = Instrument.control(
        ":ARM:COUN?",
        ":ARM:COUN %d",
        """Control how often the arm layer is passed, a reading each time (int strictly from 1 to 2000; code).""",
        validator=strict_range,
        values=[1, 2000],
        get_process=reply_whole,
    )

    buffer_points = Instrument.control(
        ":TRAC:POIN?",
        ":TRAC:POIN %d",
        """Control how many readings the buffer stores (int strictly from 1 to 2000; 6487 p. 6-5: up to 3000).""",
        validator=strict_range,
        values=[1, 2000],
        get_process=reply_whole,
    )

    buffer_count = Instrument.measurement(
        ":TRAC:ACT?",
        """Get how many readings the buffer holds (int from 0; 6487 p. 6-5).""",
        get_process=reply_whole,
    )

    def load_timed_acquisition(self, n_samples: int, interval_s: float) -> None:
        """One reading at once and then every `interval_s` (s), into an empty buffer."""
        self.write(":ARM:SOUR TIM")  # 6487 p. 7-5: the first pass at once, each further one after the interval
        self.timer_interval = interval_s
        self.arm_count = n_samples
        self.write(":TRIG:SOUR IMM")
        self.write(":TRIG:COUN 1")  # code
        self.write(":TRIG:DEL 0")  # code
        self.write(":FORM:ELEM " + ",".join(self.elements))  # 6487 p. 6-7: in the order of this list
        self.write(":TRAC:FEED:CONT NEV")
        self.write(":TRAC:CLE")  # 6487 p. 6-5
        self.buffer_points = n_samples
        self.write(":TRAC:FEED SENS")  # 6487 p. 6-6
        self.write(":TRAC:TST:FORM ABS")  # 6487 p. 6-6: 0 at the first reading
        self.write(":TRAC:FEED:CONT NEXT")  # 6487 p. 6-6

    def read_buffer(self, n_samples: int) -> MeterReadings:
        """Reads the whole buffer: times (s, 0 at the first), currents (A), flags."""
        table = number_table(str(self.ask(":TRAC:DATA?")), len(self.elements), n_samples, "Keithley 648x buffer")
        current_A, time_s, status = table[:, 0], table[:, 1], table[:, 2].astype(np.int64)
        if np.any(np.diff(time_s) <= 0):
            raise InstrumentError("Keithley 648x buffer: the timestamps do not increase")
        overflow = (np.abs(current_A) >= OVERFLOW_A) | ((status & STATUS_OVERFLOW) > 0)
        limited = table[:, 3] == IN_COMPLIANCE_V if "VSO" in self.elements else np.zeros(n_samples, dtype=bool)
        flags = overflow * int(ReadingFlag.OVERFLOW) + limited * int(ReadingFlag.COMPLIANCE)
        return MeterReadings(time_s, np.where(overflow, np.nan, current_A), flags.astype(np.uint8))


class Keithley6487(Keithley6485):
    """A 6485 with a voltage source."""

    elements: tuple[str, ...] = ("READ", "TIME", "STAT", "VSO")

    def __init__(self, adapter: Any, name: str = "Keithley 6487", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    source_range = Instrument.control(
        ":SOUR:VOLT:RANG?",
        ":SOUR:VOLT:RANG %.9g",
        """Control the range of the source in V (float strictly from 10 to 500: 10, 50 or 500; 6487 p. 14-10).""",
        validator=strict_range,
        values=[10, 500],
        get_process=reply_number,
    )

    source_voltage = Instrument.control(
        ":SOUR:VOLT?",
        ":SOUR:VOLT %.9g",
        """Control the sourced voltage in V (float strictly from -500 to 500; 6487 p. 14-10).""",
        validator=strict_range,
        values=[-500, 500],
        get_process=reply_number,
    )

    current_limit = Instrument.control(
        ":SOUR:VOLT:ILIM?",
        ":SOUR:VOLT:ILIM %.9g",
        """Control the current limit of the source in A (float strictly from 2.5e-5 to 2.5e-2: 25 uA, 250 uA, 2.5 mA,
        and 25 mA on the 10 V range; the nearest is taken; 6487 p. 14-10).""",
        validator=strict_range,
        values=[2.5e-5, 2.5e-2],
        get_process=reply_number,
    )

    output_enabled = Instrument.control(
        ":SOUR:VOLT:STAT?",
        ":SOUR:VOLT:STAT %d",
        """Control whether the source is in operate (bool); off, it is 0 V at a low impedance (6487 p. 3-20).""",
        set_process=int,
        get_process=reply_switch,
    )

    interlock_tripped = Instrument.measurement(
        ":SOUR:VOLT:INT:FAIL?",
        """Get whether the interlock keeps the source off (bool; 6487 p. 14-10).""",
        get_process=reply_switch,
    )
