"""Keithley DMM6500 digitising volts into its reading buffer at up to a million samples a second.

PyMeasure has a KeithleyDMM6500 that does not digitise. The DMM6500's own manual (DMM6500-901-01) was not at hand;
sources are the DMM7510's, DMM7510-901-01 Rev. B (7510), and the 2461's, 2461-901-01 (2461), of the same command family,
and public code that drives a DMM6500, which settles the spelling where they differ (the block is called MDIG here).
No instrument was at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymeasure.instruments import Instrument, SCPIMixin
from pymeasure.instruments.validators import strict_range

from otters_lab.core.errors import InstrumentError
from otters_lab.core.protocols import Array
from otters_lab.instruments.drivers.replies import finite, number_table

MIN_BUFFER = 10  # 2461 p. 8-14


def _number(value: Any) -> float:
    return finite(value, "Keithley DMM6500")


class KeithleyDMM6500(SCPIMixin, Instrument):
    """The commands of a DMM6500 that a digitised record of a voltage needs."""

    def __init__(self, adapter: Any, name: str = "Keithley DMM6500", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    line_frequency = Instrument.measurement(
        ":SYST:LFR?",
        """Get the power-line frequency in Hz (50 or 60), detected at power-on (SYSTem subsystem).""",
        get_process=_number,
    )

    digitize_function = Instrument.control(
        ":DIG:FUNC?",
        ':DIG:FUNC "%s"',
        """Control what is digitised (string, 'VOLT' or 'CURR'; 7510 p. 6-123).""",
        cast=str,
        get_process=lambda reply: str(reply).strip().strip('"').upper()[:4],
    )

    voltage_range = Instrument.control(
        ":DIG:VOLT:RANG?",
        ":DIG:VOLT:RANG %.9g",
        """Control the fixed range of digitised volts in V (float strictly from 0.1 to 1000; SENSe:DIGitize).""",
        validator=strict_range,
        values=[0.1, 1000],
        get_process=_number,
    )

    sample_rate = Instrument.control(
        ":DIG:VOLT:SRAT?",
        ":DIG:VOLT:SRAT %d",
        """Control the sample rate in 1/s (int strictly from 1000 to 1000000; SENSe:DIGitize).""",
        validator=strict_range,
        values=[1000, 1_000_000],
        get_process=_number,
    )

    aperture = Instrument.control(
        ":DIG:VOLT:APER?",
        ":DIG:VOLT:APER %.9g",
        """Control the aperture of a sample in s (float strictly from 1e-6 to 1e-3, in steps of 1e-6 and no longer than
        the sample interval, so the rate is set first; 7510 p. 8-83).""",
        validator=strict_range,
        values=[1e-6, 1e-3],
        get_process=_number,
    )

    buffer_points = Instrument.control(
        ':TRAC:POIN? "defbuffer1"',
        ':TRAC:POIN %d, "defbuffer1"',
        """Control how many readings defbuffer1 holds (int strictly from 10 to 100000; TRACe subsystem).""",
        validator=strict_range,
        values=[MIN_BUFFER, 100_000],
        get_process=lambda reply: int(_number(reply)),
    )

    buffer_count = Instrument.measurement(
        ':TRAC:ACT? "defbuffer1"',
        """Get how many readings defbuffer1 holds now (int from 0; TRACe subsystem).""",
        get_process=lambda reply: int(_number(reply)),
    )

    trigger_state = Instrument.measurement(
        ":TRIG:STAT?",
        """Get the state of the trigger model (string: 'IDLE', 'RUNNING', 'WAITING', 'FAILED', ...; TRIGger).""",
        cast=str,
        separator=";",  # the reply is state;state;block
        get_process_list=lambda fields: fields[0].strip(),
    )

    def prepare_trigger_out(self) -> None:
        """Makes the EXT TRIG OUT socket rise on the event NOTIFY1."""
        self.write(":TRIG:EXT:OUT:LOG POS")
        self.write(":TRIG:EXT:OUT:STIM NOT1")

    def load_record(self, n_samples: int) -> None:
        """Loads the trigger model: empty the buffer, give the trigger, digitise `n_samples` at the sample rate."""
        self.write(':TRIG:LOAD "Empty"')  # 2461 p. 6-202, example
        self.write(':TRIG:BLOC:BUFF:CLE 1, "defbuffer1"')
        self.write(":TRIG:BLOC:NOT 2, 1")
        self.write(f':TRIG:BLOC:MDIG 3, "defbuffer1", {n_samples:d}')  # 2461 p. 6-202, there DIG

    def read_buffer(self, n_samples: int) -> tuple[Array, Array]:
        """Reads the first `n_samples` readings of defbuffer1: times (s, 0 at the first) and volts (V, 9.9E37 stays)."""
        reply = self.ask(f':TRAC:DATA? 1, {n_samples:d}, "defbuffer1", REL, READ')  # 7510 p. 6-155
        time_s, voltage_V = number_table(reply, 2, n_samples, "Keithley DMM6500 buffer").T
        if np.any(np.diff(time_s) <= 0):
            raise InstrumentError("Keithley DMM6500 buffer: the timestamps do not increase")
        return time_s, voltage_V
