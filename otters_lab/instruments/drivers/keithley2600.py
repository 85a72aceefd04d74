"""Keithley 2600B series SourceMeters by TSP: source voltage, measure current into a reading buffer with timestamps.

PyMeasure has a Keithley2600 too, but its `measure_nplc` reads 1.0 back as 25 and cannot be set but to its bounds (a
range taken for a list of choices), it writes currents with six decimals, and it has no buffer.
Source: Series 2600B Reference Manual, 2600BS-901-01 Rev. F (August 2021), pages where they were at hand; else the
attribute's own entry in its section 9. No instrument was at hand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pymeasure.instruments import Instrument
from pymeasure.instruments.validators import strict_discrete_set, strict_range

from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import finite, number_table
from otters_lab.instruments.roles import MeterReadings, ReadingFlag

# TSP's overflow and not-a-number.
TSP_OVERFLOW_A = 9.9e37

# smuX.nvbufferY.statuses: bit 6, the source was in compliance.
COMPLIANCE = 64

# Timestamps are counted in 32 bits of the resolution, 71 minutes at 1 us; it comes in powers of two (p. 9-36).
_UNIQUE = 2.0**32
_FINEST_S = 1e-6


def _number(value: Any) -> float:
    return finite(value, "Keithley 2600")


def _attribute(path: str, docs: str, low: float, high: float) -> Any:
    """A numeric attribute of channel A."""
    return Instrument.control(
        f"print({path})",
        f"{path} = %.9g",
        docs,
        validator=strict_range,
        values=[low, high],
        get_process=_number,
        dynamic=True,
    )


def _choice(path: str, docs: str, values: dict[Any, int]) -> Any:
    """An attribute of channel A that takes one of some numbers."""
    return Instrument.control(
        f"print({path})", f"{path} = %d", docs, validator=strict_discrete_set, values=values, map_values=True
    )


class Keithley2600(Instrument):
    """Channel A of a 2601B or 2602B (40 V, 3 A), for a timed current measurement."""

    def __init__(self, adapter: Any, name: str = "Keithley 2600B", **kwargs: Any) -> None:
        super().__init__(adapter, name, includeSCPI=False, **kwargs)

    line_frequency = Instrument.measurement(
        "print(localnode.linefreq)",
        """Get the power-line frequency in Hz (50 or 60; localnode.linefreq).""",
        get_process=_number,
    )

    source_function = _choice(
        "smua.source.func", """Control what is sourced (string, 'VOLT' or 'CURR').""", {"VOLT": 1, "CURR": 0}
    )
    source_voltage = _attribute(
        "smua.source.levelv", """Control the sourced voltage in V (float strictly from -40.4 to 40.4).""", -40.4, 40.4
    )
    current_limit = _attribute(
        "smua.source.limiti", """Control the current limit in A (float strictly from 1e-8 to 3.03).""", 1e-8, 3.03
    )
    output_enabled = _choice("smua.source.output", """Control whether the output is on (bool).""", {True: 1, False: 0})
    output_off = _choice(
        "smua.source.offmode",
        """Control what the output does while off (string, 'normal', 'zero' or 'high impedance').""",
        {"normal": 0, "zero": 1, "high impedance": 2},
    )
    wires = _choice("smua.sense", """Control the number of wires to the device (int, 2 or 4).""", {2: 0, 4: 1})
    current_range = _attribute(
        "smua.measure.rangei",
        """Control the fixed current range in A (float strictly from 1e-7 to 3); it ends the autorange.""",
        1e-7,
        3.0,
    )
    current_autorange_enabled = _choice(
        "smua.measure.autorangei", """Control whether the current range is automatic (bool).""", {True: 1, False: 0}
    )
    current_nplc = _attribute(
        "smua.measure.nplc",
        """Control the aperture in power-line cycles (float strictly from 0.001 to 25).""",
        0.001,
        25,
    )
    autozero = _choice(
        "smua.measure.autozero",
        """Control reference readings (string, 'off', 'once' for now and never again, or 'auto').""",
        {"off": 0, "once": 1, "auto": 2},
    )
    filter_type = _choice(
        "smua.measure.filter.type",
        """Control the filter's kind (string, 'moving', 'repeat' or 'median').""",
        {"moving": 0, "repeat": 1, "median": 2},
    )
    filter_count = _attribute(
        "smua.measure.filter.count", """Control how many conversions are averaged (int from 1 to 100).""", 1, 100
    )
    filter_enabled = _choice(
        "smua.measure.filter.enable", """Control whether the filter is on (bool).""", {True: 1, False: 0}
    )
    timer_delay = _attribute(
        "trigger.timer[1].delay", """Control the period of timer 1 in s (float from 8e-6 to 1e5).""", 8e-6, 1e5
    )
    trigger_count = _attribute(
        "smua.trigger.count", """Control the readings of an acquisition (int from 1 to 60000).""", 1, 60_000
    )
    buffer_count = Instrument.measurement(
        "print(smua.nvbuffer1.n)",
        """Get how many readings nvbuffer1 holds (int from 0 to 60000).""",
        get_process=lambda value: int(_number(value)),
    )

    @property
    def id(self) -> str:
        """Get the *IDN? reply (string)."""
        return str(self.ask("*IDN?")).strip()

    @property
    def next_error(self) -> str | None:
        """Get the next entry of the error queue (string: code and message; None for an empty queue)."""
        code, _, rest = str(self.ask("print(errorqueue.next())")).partition("\t")
        if _number(code) == 0:
            return None
        return f"{_number(code):.0f} {rest.split(chr(9))[0].strip()}"

    def prepare_trigger_out(self) -> None:
        """Makes digital line 1 give a rising edge when the SMU passes through the arm layer."""
        self.write("digio.trigger[1].mode = digio.TRIG_RISINGM")
        self.write("digio.trigger[1].stimulus = smua.trigger.ARMED_EVENT_ID")  # p. 9-62, 9-256

    def load_timed_acquisition(self, n_samples: int, interval_s: float) -> None:
        """Sets trigger model and buffer: the trigger, then a reading every `interval_s` (s).

        Timer 1 starts as the SMU is armed, gives its first event at once (passthrough), and paces the rest.
        """
        resolution_s = timestamp_resolution_s(n_samples * interval_s)
        self.write("smua.nvbuffer1.clear()")  # what follows needs an empty buffer (p. 9-36)
        self.write("smua.nvbuffer1.collecttimestamps = 1")
        self.write(f"smua.nvbuffer1.timestampresolution = {resolution_s:.9g}")
        self.timer_delay = interval_s
        self.write(f"trigger.timer[1].count = {max(n_samples - 1, 1):d}")
        self.write("trigger.timer[1].passthrough = true")
        self.write("trigger.timer[1].stimulus = smua.trigger.ARMED_EVENT_ID")  # p. 9-256, example
        self.write("smua.trigger.arm.count = 1")
        self.write("smua.trigger.arm.stimulus = 0")  # armed at once (p. 9-255)
        self.write("smua.trigger.source.action = smua.DISABLE")  # the bias stays as it is
        self.write("smua.trigger.measure.action = smua.ENABLE")
        self.write("smua.trigger.measure.stimulus = trigger.timer[1].EVENT_ID")  # p. 9-267, example
        self.write("smua.trigger.measure.i(smua.nvbuffer1)")  # p. 9-268
        self.trigger_count = n_samples

    def read_buffer(self, n_samples: int) -> MeterReadings:
        """Reads the first `n_samples` readings of nvbuffer1: times (s, 0 at the first), currents (A), flags."""
        columns = ", ".join(f"smua.nvbuffer1.{name}" for name in ("timestamps", "readings", "statuses"))
        reply = self.ask(f"printbuffer(1, {n_samples:d}, {columns})")
        time_s, current_A, status = number_table(reply, 3, n_samples, "Keithley 2600 buffer").T
        if np.any(np.diff(time_s) <= 0):
            raise InstrumentError("Keithley 2600 buffer: the timestamps do not increase")
        overflow = np.abs(current_A) >= TSP_OVERFLOW_A
        limited = (status.astype(np.int64) & COMPLIANCE) > 0
        flags = overflow * int(ReadingFlag.OVERFLOW) + limited * int(ReadingFlag.COMPLIANCE)
        return MeterReadings(time_s - time_s[0], np.where(overflow, np.nan, current_A), flags.astype(np.uint8))


class Keithley2611(Keithley2600):
    """Channel A of a 2611B or 2612B: 200 V, 1.5 A."""

    source_voltage_values = (-202, 202)
    current_limit_values = (1e-8, 1.515)
    current_range_values = (1e-7, 1.5)


class Keithley2635(Keithley2600):
    """Channel A of a 2635B or 2636B: 200 V, 1.5 A, ranges from 1 nA on."""

    source_voltage_values = (-202, 202)
    current_limit_values = (1e-10, 1.515)
    current_range_values = (1e-9, 1.5)


def timestamp_resolution_s(duration_s: float) -> float:
    """The finest timestamp resolution (s) that stays unique for `duration_s` (s): 1 us times a power of two."""
    return _FINEST_S * 2.0 ** max(0, math.ceil(math.log2(duration_s / (_FINEST_S * _UNIQUE))))
