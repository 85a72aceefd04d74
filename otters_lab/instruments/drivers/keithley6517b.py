"""Keithley 6517B electrometer: PyMeasure's own class, and what a timed reading of a biased device needs besides.

Sources: Model 6517B Reference Manual, 6517B-901-01 Rev. C, whose page stands beside a command; "6517A" is the table of
the sister model's User's Manual, 6517A-900-01; "code" marks what public code for a 6517B sends, or says of the manual,
the page not being at hand. No instrument was at hand.

Of PyMeasure 0.16's Keithley6517B `current_nplc` and `source_voltage` are used. It lacks zero check, zero correct, the
connection of source and ammeter, timed triggers and timestamps. Set anew here is what it has wrong: `current_range`
cuts a value to 20 mA without a word, `source_voltage_range` begins with a SOUR:VOLT:RANG:AUTO that the 6517A's table
does not have, `source_current_resistance_limit` lacks the table's :STATe, `buffer_points` goes to 6 875 000 instead of
50 000; and any reply, of whatever kind, passes for a number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pymeasure.instruments import Instrument
from pymeasure.instruments.keithley import Keithley6517B as Upstream
from pymeasure.instruments.validators import strict_discrete_set, strict_range

from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import OVERFLOW_A, number_table
from otters_lab.instruments.drivers.zero_check import ZeroChecked, reply_number, reply_switch, reply_whole
from otters_lab.instruments.roles import MeterReadings, ReadingFlag

RANGES_A = (2e-11, 2e-10, 2e-9, 2e-8, 2e-7, 2e-6, 2e-5, 2e-4, 2e-3, 2e-2)
FULL_SCALE = 1.05  # p. 14-63: 21 mA on the 20 mA range
UNDER_ZERO_CHECK = 9.905e37  # p. 14-53: overflow reads 9.9E37, a reading under zero check 9.91E37
IN_COMPLIANCE = 1 << 14  # measurement status register; code


def _range_of(reply: Any) -> float:
    """The range (A) that a reply means: which of range and full scale the instrument says, no page at hand tells."""
    value = reply_number(reply)
    for known in RANGES_A:
        if math.isclose(value, known, rel_tol=1e-3) or math.isclose(value, FULL_SCALE * known, rel_tol=1e-3):
            return known
    raise InstrumentError(f"Keithley 6517B: the range is {value:g} A, which is none of its ranges")


class Keithley6517B(ZeroChecked, Upstream):
    """The commands of a 6517B that a timed current measurement needs."""

    lowest_range_A = RANGES_A[0]

    def __init__(self, adapter: Any, name: str = "Keithley 6517B", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    # --- the ammeter --------------------------------------------------------------------------------------------------

    current_range = Instrument.control(
        ":SENS:CURR:RANG?",
        ":SENS:CURR:RANG:AUTO 0;:SENS:CURR:RANG %.9g",
        """Control the fixed current range in A (float strictly from 2e-11 to 2e-2), with the autorange off
        (p. 14-63).""",
        validator=strict_range,
        values=[2e-11, 2e-2],
        get_process=_range_of,
    )

    autorange_enabled = Instrument.measurement(
        ":SENS:CURR:RANG:AUTO?",
        """Get whether the range follows the signal (bool; as PyMeasure sends it).""",
        get_process=reply_switch,
    )

    aperture = Instrument.measurement(
        ":SENS:CURR:APER?",
        """Get the integration period of a reading in s (float): power-line cycles over line frequency
        (p. 14-59).""",
        get_process=reply_number,
    )

    digits = Instrument.control(
        ":SENS:CURR:DIG?",
        ":SENS:CURR:DIG %d",
        """Control how many digits a reading has (int strictly from 4 to 7, which is 6 1/2; code); readings are no
        finer than that (p. 14-53).""",
        validator=strict_range,
        values=[4, 7],
        get_process=reply_whole,
    )

    average_enabled = Instrument.control(
        ":SENS:CURR:AVER?",
        ":SENS:CURR:AVER %d",
        """Control the digital filter (bool; code).""",
        set_process=int,
        get_process=reply_switch,
    )

    median_enabled = Instrument.control(
        ":SENS:CURR:MED?",
        ":SENS:CURR:MED %d",
        """Control the median filter (bool; p. 14-81), which *RST leaves on (code).""",
        set_process=int,
        get_process=reply_switch,
    )

    line_synchronised = Instrument.control(
        ":SYST:LSYN:STAT?",
        ":SYST:LSYN:STAT %d",
        """Control whether each reading waits for the mains to cross zero, which breaks a time grid (bool; code).""",
        set_process=int,
        get_process=reply_switch,
    )

    # --- the voltage source -------------------------------------------------------------------------------------------

    output_enabled = Instrument.control(
        "OUTPUT?",
        "OUTPUT %d",
        """Control whether the source is in operate (bool; as PyMeasure sends it); in standby it is 0 V (p. 14-54).""",
        set_process=int,
        get_process=reply_switch,
    )

    source_range = Instrument.control(
        ":SOUR:VOLT:RANG?",
        ":SOUR:VOLT:RANG %d",
        """Control the range of the source in V (float strictly 100 or 1000; 6517A, table 3-11): up to 10 mA and up to
        1 mA (code).""",
        validator=strict_discrete_set,
        values=[100, 1000],
        get_process=reply_number,
    )

    voltage_limit = Instrument.control(
        ":SOUR:VOLT:LIM?",
        ":SOUR:VOLT:LIM %d",
        """Control the largest voltage that the source takes in V (float strictly from 0 to 1000; 6517A, table
        3-11).""",
        validator=strict_range,
        values=[0, 1000],
        get_process=reply_number,
    )

    voltage_limit_enabled = Instrument.control(
        ":SOUR:VOLT:LIM:STAT?",
        ":SOUR:VOLT:LIM:STAT %d",
        """Control whether `voltage_limit` holds (bool; 6517A, table 3-11).""",
        set_process=int,
        get_process=reply_switch,
    )

    source_connected = Instrument.control(
        ":SOUR:VOLT:MCON?",
        ":SOUR:VOLT:MCON %d",
        """Control whether the source's LO is connected to the ammeter's LO, without which no bias drives a current
        through the input (bool; p. 5-3, command: 6517A, table 3-11).""",
        set_process=int,
        get_process=reply_switch,
    )

    resistive_limit_enabled = Instrument.control(
        ":SOUR:CURR:RLIM:STAT?",
        ":SOUR:CURR:RLIM:STAT %d",
        """Control whether a resistor (1 MOhm; code) is in series with the source (bool; 6517A, table 3-11).""",
        set_process=int,
        get_process=reply_switch,
    )

    interlock_tripped = Instrument.measurement(
        ":SYST:INT?",
        """Get whether the interlock keeps the source off (bool): the reply is 0 for a fixture whose lid is open, 1 for
        one that is closed, and 1 too where no interlock cable is plugged in (code).""",
        get_process=lambda reply: not reply_switch(reply),
    )

    compliance_event = Instrument.measurement(
        ":STAT:MEAS?",
        """Get whether the source has gone into compliance since this was last asked (bool; 6517A Getting Started Manual
        p. 3-17, the bit: code).""",
        get_process=lambda reply: bool(reply_whole(reply) & IN_COMPLIANCE),
    )

    in_compliance = Instrument.measurement(
        ":SOUR:CURR:LIM?",
        """Get whether the source is in compliance now (bool; 6517A, table 3-11).""",
        get_process=reply_switch,
    )

    # --- trigger and buffer -------------------------------------------------------------------------------------------

    timer_interval = Instrument.control(
        ":TRIG:TIM?",
        ":TRIG:TIM %.9g",
        """Control the interval of the measure layer's timer in s (float strictly from 1e-3 to 99999.999; p. 11-12, the
        range: code).""",
        validator=strict_range,
        values=[1e-3, 99999.999],
        get_process=reply_number,
    )

    trigger_count = Instrument.control(
        ":TRIG:COUN?",
        ":TRIG:COUN %d",
        """Control how many readings an acquisition takes (int strictly from 1 to 99999; code).""",
        validator=strict_range,
        values=[1, 99999],
        get_process=reply_whole,
    )

    buffer_points = Instrument.control(
        ":TRAC:POIN?",
        ":TRAC:POIN %d",
        """Control how many readings the buffer stores (int strictly from 1 to 50000; p. 8-4).""",
        validator=strict_range,
        values=[1, 50_000],
        get_process=reply_whole,
    )

    buffer_count = Instrument.measurement(
        ":TRAC:POIN:ACT?",
        """Get how many readings the buffer holds (int; 6517A p. 3-138).""",
        get_process=reply_whole,
    )

    def load_timed_acquisition(self, n_samples: int, interval_s: float) -> None:
        """One reading at once and then every `interval_s` (s), into an empty buffer.

        Two elements a reading, and no units: numbers alone, so that nothing of the text's form has to be known.
        """
        for layer in (":ARM", ":ARM:LAY2"):  # code
            self.write(f"{layer}:COUN 1")
            self.write(f"{layer}:SOUR IMM")
        self.write(":ARM:LAY2:DEL 0")
        self.write(":TRIG:SOUR TIM")  # the first pass at once, as in the 6487's model
        self.timer_interval = interval_s
        self.trigger_count = n_samples
        self.write(":TRIG:DEL 0")
        self.write(":TRAC:FEED:CONT NEV")  # p. 14-142
        self.write(":SYST:TST:TYPE REL")  # p. 8-5: changing it clears the buffer
        self.write(":TRAC:TST:FORM ABS")  # p. 8-5: 0 at the first reading
        self.write(":TRAC:ELEM TST")  # p. 14-142: must be the elements of FORM:ELEM
        self.write(":FORM:ELEM READ,TST")  # p. 14-53; without STAT: overflow and zero check show in the reading
        self.write(":TRAC:CLE")  # code
        self.buffer_points = n_samples
        self.write(":TRAC:FEED:CONT NEXT")  # p. 14-142

    def read_buffer(self, n_samples: int) -> MeterReadings:
        """Reads the whole buffer: times (s, 0 at the first), currents (A), flags.

        Raises
        ------
        InstrumentError
            for a reading under zero check, which is none of the device, and for timestamps that do not increase.
        """
        table = number_table(str(self.ask(":TRAC:DATA?")), 2, n_samples, "Keithley 6517B buffer")
        current_A, time_s = table[:, 0], table[:, 1]
        if np.any(np.abs(current_A) >= UNDER_ZERO_CHECK):
            raise InstrumentError("Keithley 6517B buffer: a reading was taken under zero check, with the input shunted")
        if np.any(np.diff(time_s) <= 0):
            raise InstrumentError("Keithley 6517B buffer: the timestamps do not increase")
        overflow = np.abs(current_A) >= OVERFLOW_A
        flags = (overflow * int(ReadingFlag.OVERFLOW)).astype(np.uint8)
        return MeterReadings(time_s, np.where(overflow, np.nan, current_A), flags)
