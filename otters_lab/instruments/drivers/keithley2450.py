"""Keithley 2450 and 2460 SourceMeters in their own SCPI command set: source voltage, measure current into the buffer.

PyMeasure has a Keithley2450 too, but its buffer handling is that of the 2400 and its own note says that the 2450's
default command set is unsupported. Sources: Model 2450 Reference Manual, 2450-901-01 Rev. B (September 2013), whose
page stands beside each command; where only the subsystem stands, the page itself was not at hand and the syntax is
that of the sister manuals (2461-901-01, 2470-901-01). No instrument was at hand. The 2460 has the
same command set; its own reference manual was not at hand, its ranges are those of the 2461's (2461-901-01 p. 8-166,
1 uA to 7 A) and of its data sheet (105 V, 7.35 A).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymeasure.instruments import Instrument, SCPIMixin
from pymeasure.instruments.validators import strict_discrete_set, strict_range

from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import OVERFLOW_A, finite, number_table
from otters_lab.instruments.roles import MeterReadings, ReadingFlag

MIN_BUFFER = 10  # 2461-901-01 p. 8-14

# Bit 5 of the source status, p. 8-29: "Source function was limited because the complementary function would be
# over the source limit".
SOURCE_LIMITED = 32


def _number(value: Any) -> float:
    return finite(value, "Keithley 2450")


class Keithley2450(SCPIMixin, Instrument):
    """The commands of a Keithley 2450 that a timed current measurement needs."""

    def __init__(self, adapter: Any, name: str = "Keithley 2450", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    line_frequency = Instrument.measurement(
        ":SYST:LFR?",
        """Get the power-line frequency in Hz (50 or 60), detected at power-on (SYSTem subsystem).""",
        get_process=_number,
    )

    source_function = Instrument.control(
        ":SOUR:FUNC?",
        ":SOUR:FUNC %s",
        """Control what is sourced (string, strictly 'VOLT' or 'CURR'; p. 6-72).""",
        validator=strict_discrete_set,
        values=["VOLT", "CURR"],
        cast=str,
    )

    source_voltage = Instrument.control(
        ":SOUR:VOLT?",
        ":SOUR:VOLT %.9g",
        """Control the sourced voltage in V (float strictly from -210 to 210; p. 6-70).""",
        validator=strict_range,
        values=[-210, 210],
        get_process=_number,
        dynamic=True,
    )

    source_readback_enabled = Instrument.control(
        ":SOUR:VOLT:READ:BACK?",
        ":SOUR:VOLT:READ:BACK %d",
        """Control whether the source is measured with each reading, which slows it (bool; p. 6-77).""",
        values={True: 1, False: 0},
        map_values=True,
    )

    current_limit = Instrument.control(
        ":SOUR:VOLT:ILIM?",
        ":SOUR:VOLT:ILIM %.9g",
        """Control the current limit of the voltage source in A (float strictly from 1e-9 to 1.05; p. 6-71).""",
        validator=strict_range,
        values=[1e-9, 1.05],
        get_process=_number,
        dynamic=True,
    )

    output_enabled = Instrument.control(
        ":OUTP?",
        ":OUTP %d",
        """Control whether the output is on (bool; p. 6-34).""",
        validator=strict_discrete_set,
        values={True: 1, False: 0},
        map_values=True,
    )

    sense_function = Instrument.control(
        ":SENS:FUNC?",
        ':SENS:FUNC "%s"',
        """Control what is measured (string, strictly 'CURR:DC' or 'VOLT:DC'; SENSe subsystem).""",
        validator=strict_discrete_set,
        values=["CURR:DC", "VOLT:DC"],
        cast=str,
        get_process=lambda reply: reply.strip('"'),
    )

    current_range = Instrument.control(
        ":SENS:CURR:RANG?",
        ":SENS:CURR:RANG %.9g",
        """Control the fixed current range in A (float strictly from 1e-8 to 1); setting it switches the autorange
        off (p. 6-53).""",
        validator=strict_range,
        values=[1e-8, 1.0],
        get_process=_number,
        dynamic=True,
    )

    current_nplc = Instrument.control(
        ":SENS:CURR:NPLC?",
        ":SENS:CURR:NPLC %.9g",
        """Control the aperture of a current reading in power-line cycles (float strictly from 0.01 to 10; p. 6-48).""",
        validator=strict_range,
        values=[0.01, 10],
        get_process=_number,
    )

    current_autozero_enabled = Instrument.control(
        ":SENS:CURR:AZER?",
        ":SENS:CURR:AZER %d",
        """Control whether reference readings are slipped in between readings, which breaks a time grid
        (bool; p. 6-46).""",
        values={True: 1, False: 0},
        map_values=True,
    )

    wires = Instrument.control(
        ":SENS:CURR:RSEN?",
        ":SENS:CURR:RSEN %d",
        """Control the number of wires to the device (int, strictly 2 or 4; p. 6-58).""",
        validator=strict_discrete_set,
        values={2: 0, 4: 1},
        map_values=True,
    )

    terminals = Instrument.control(
        ":ROUT:TERM?",
        ":ROUT:TERM %s",
        """Control the terminals in use (string, strictly 'front' or 'rear'; ROUTe subsystem).""",
        validator=strict_discrete_set,
        values={"front": "FRON", "rear": "REAR"},
        map_values=True,
    )

    output_off = Instrument.control(
        ":OUTP:VOLT:SMOD?",
        ":OUTP:VOLT:SMOD %s",
        """Control what the voltage source does while off (string, strictly 'normal', 'high impedance', 'zero' or
        'guard'; p. 6-31).""",
        validator=strict_discrete_set,
        values={"normal": "NORM", "high impedance": "HIMP", "zero": "ZERO", "guard": "GUAR"},
        map_values=True,
    )

    filter_type = Instrument.control(
        ":SENS:CURR:AVER:TCON?",
        ":SENS:CURR:AVER:TCON %s",
        """Control the averaging filter's kind (string, strictly 'repeat' or 'moving'; p. 6-45).""",
        validator=strict_discrete_set,
        values={"repeat": "REP", "moving": "MOV"},
        map_values=True,
    )

    filter_count = Instrument.control(
        ":SENS:CURR:AVER:COUN?",
        ":SENS:CURR:AVER:COUN %d",
        """Control how many conversions the filter averages into a reading (int strictly from 1 to 100; p. 6-43).""",
        validator=strict_range,
        values=[1, 100],
        get_process=lambda reply: int(_number(reply)),
    )

    filter_enabled = Instrument.control(
        ":SENS:CURR:AVER?",
        ":SENS:CURR:AVER %d",
        """Control whether the averaging filter is on (bool; p. 6-44).""",
        validator=strict_discrete_set,
        values={True: 1, False: 0},
        map_values=True,
    )

    buffer_points = Instrument.control(
        ':TRAC:POIN? "defbuffer1"',
        ':TRAC:POIN %d, "defbuffer1"',
        """Control how many readings defbuffer1 holds (int strictly from 10 to 100000); setting it empties the buffer
        (p. 6-115).""",
        validator=strict_range,
        values=[MIN_BUFFER, 100_000],
        get_process=lambda reply: int(_number(reply)),
    )

    buffer_count = Instrument.measurement(
        ':TRAC:ACT? "defbuffer1"',
        """Get how many readings defbuffer1 holds now (int from 0 to 100000; p. 6-107).""",
        get_process=lambda reply: int(_number(reply)),
    )

    timer_delay = Instrument.control(
        ":TRIG:TIM1:DEL?",
        ":TRIG:TIM1:DEL %.9g",
        """Control the period of trigger timer 1 in s (float strictly from 8e-6 to 1e5; TRIGger subsystem).""",
        validator=strict_range,
        values=[8e-6, 1e5],
        get_process=_number,
    )

    trigger_state = Instrument.measurement(
        ":TRIG:STAT?",
        """Get the state of the trigger model (string: 'IDLE', 'RUNNING', 'WAITING', 'FAILED', ...; p. 6-166).""",
        cast=str,
        separator=";",  # the reply is state;state;block
        get_process_list=lambda fields: fields[0].strip(),
    )

    def prepare_trigger_out(self) -> None:
        """Makes digital line 1 give a rising edge on the event NOTIFY1."""
        self.write(":DIG:LINE1:MODE TRIG, OUT")  # p. 6-19
        self.write(":TRIG:DIG1:OUT:LOG POS")  # p. 6-151
        self.write(":TRIG:DIG1:OUT:STIM NOT1")  # p. 6-153

    def load_timed_acquisition(self, n_samples: int, interval_s: float) -> None:
        """Loads the trigger model: empty the buffer, give the trigger, take a reading every `interval_s` (s).

        Timer 1 starts with the trigger, gives its first event at once and runs for ever, so the grid does not
        drift with the time a block takes.
        """
        self.write(":TRIG:TIM1:STAT 0")  # p. 6-173
        self.write(":TRIG:TIM1:CLE")  # p. 6-166
        self.timer_delay = interval_s
        self.write(":TRIG:TIM1:COUN 0")  # 0 is for ever; 2461-901-01 p. 6-236
        self.write(":TRIG:TIM1:STAR:GEN 1")  # p. 6-170: an event at the start too
        self.write(":TRIG:TIM1:STAR:STIM NOT1")  # p. 6-171
        self.write(":TRIG:TIM1:STAT 1")
        self.write(':TRIG:LOAD "Empty"')  # 2461-901-01 p. 6-187
        self.write(':TRIG:BLOC:BUFF:CLE 1, "defbuffer1"')  # p. 6-144, example
        self.write(":TRIG:BLOC:NOT 2, 1")  # p. 6-146
        self.write(":TRIG:BLOC:WAIT 3, TIM1")  # p. 6-148
        self.write(':TRIG:BLOC:MEAS 4, "defbuffer1"')  # p. 6-144
        self.write(f":TRIG:BLOC:BRAN:COUN 5, {n_samples:d}, 3")  # p. 6-128

    def read_buffer(self, n_samples: int) -> MeterReadings:
        """Reads the first `n_samples` readings of defbuffer1: times (s, 0 at the first), currents (A), flags."""
        reply = self.ask(f':TRAC:DATA? 1, {n_samples:d}, "defbuffer1", REL, READ, SOURSTAT')  # p. 6-109
        time_s, current_A, source = number_table(reply, 3, n_samples, "Keithley 2450 buffer").T
        if np.any(np.diff(time_s) <= 0):
            raise InstrumentError("Keithley 2450 buffer: the timestamps do not increase")
        overflow = np.abs(current_A) >= OVERFLOW_A
        limited = (source.astype(np.int64) & SOURCE_LIMITED) > 0
        flags = overflow * int(ReadingFlag.OVERFLOW) + limited * int(ReadingFlag.COMPLIANCE)
        return MeterReadings(time_s, np.where(overflow, np.nan, current_A), flags.astype(np.uint8))


class Keithley2460(Keithley2450):
    """The 2450's command set on the ranges of a Keithley 2460: 105 V, 1 uA to 7 A."""

    source_voltage_values = (-105, 105)
    current_limit_values = (1e-7, 7.35)
    current_range_values = (1e-6, 7.0)

    def __init__(self, adapter: Any, name: str = "Keithley 2460", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)
