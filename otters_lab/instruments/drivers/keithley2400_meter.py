"""A Keithley 2400 in the role of the meter, through PyMeasure's own Keithley2400, unmodified.

Pages are those of the 2400 Series User's Manual, 2400S-900-01 Rev. K. What PyMeasure 0.16 has right is used: settings,
`is_buffer_full`, `start_buffer`, `stop_buffer`, `buffer_data`. What it has wrong is worked around here:
`buffer_points` (and with it `config_buffer`) silently cuts the buffer to 1024 of the 2400's 2500 readings;
`config_buffer` reads the error queue away and only logs it; `wait_for_buffer` sleeps on the machine's clock;
`current_range` reads back full scale, 1.05 times what was set. No instrument was at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pymeasure.instruments.keithley import Keithley2400

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.core.protocols import Array
from otters_lab.instruments.drivers.options import MeterOptions, set_and_read_back
from otters_lab.instruments.drivers.replies import OVERFLOW_A, confirm, finite, link_errors
from otters_lab.instruments.drivers.timed_meter import POLL_S, TimedMeter
from otters_lab.instruments.roles import MeterReadings, MeterSettings, ReadingFlag

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

# Status word, p. 18-50: over-range; real compliance and range compliance.
OVER_RANGE, COMPLIANCE = 1 << 0, (1 << 3) | (1 << 16)

# A range query answers with full scale, 105 % of the range (p. 18-11: 1.05e-4 for 100 uA).
FULL_SCALE = 1.05

# Between an aperture's end and the next trigger delay: trigger latency 100 us (p. A-8, case VI), A/D conversion 185 us
# and firmware 300 us (p. A-6), all maxima; rounded up to the trigger delay's step of 0.1 ms (p. A-3).
DEAD_S = 0.6e-3
DELAY_STEP_S = 1e-4

# The clock ticks at 8192 Hz / 8 but each tick counts as 1 ms, hence a second of the timestamp lasts 0.9765625 s
# (Keithley, "Using the Model 2400 Internal Timestamp Feature").
TICK_S = 1 / 1024
STAMP_S = 1e-3

_OFF = {"normal": "normal", "high impedance": "disconnected", "zero": "zero", "guard": "guard"}


class Keithley2400Meter(TimedMeter):
    """Sources a bias and records the current, each reading a trigger delay after the one before.

    No timer keeps the grid: what a recipe's interval becomes is the delay, the aperture and the instrument's own dead
    time, and the timestamps say it. The trigger link's line 2 goes low when the acquisition begins, for 10 us or more;
    a generator that waits for the rising edge sees its end: add that to the bench's [sync] light_latency.
    """

    def __init__(
        self, instrument: Any, clock: Clock, line_frequency_Hz: float, options: MeterOptions | None = None
    ) -> None:
        super().__init__(instrument, clock, line_frequency_Hz)
        self._options = options or MeterOptions()
        self._delay_s = 0.0

    def reset(self) -> None:
        """*RST, and the line frequency of the bench file against the set one."""
        smu = self._instrument
        with link_errors("meter"):
            smu.write("*RST")
            smu.write("*CLS")
            confirm("meter", "line frequency (Hz)", self._line_frequency_Hz, _number(smu.line_frequency, "frequency"))
            smu.reset_data_format()
            smu.write(":TRAC:TST:FORM ABS")  # p. 18-116: from the first reading on
            smu.auto_output_off_enabled = False  # the bias stays on between readings (p. A-8, case VI)
            self._check_errors("after the reset")

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a timed acquisition with the output off; returns what the instrument reads back."""
        smu = self._instrument
        busy_s = settings.aperture_s * self._options.filter + DEAD_S
        delay_s = round((settings.interval_s - busy_s) / DELAY_STEP_S) * DELAY_STEP_S
        with link_errors("meter"):
            smu.source_enabled = False
            smu.write(":TRAC:FEED:CONT NEV")  # the buffer cannot be set while it fills (p. 18-115)
            smu.source_mode = "voltage"
            smu.source_voltage_range = settings.bias_V
            smu.source_delay = 0
            smu.write(":SENS:FUNC:CONC 0")
            smu.write(":SENS:FUNC 'CURR'")
            set_and_read_back(smu, self._option_pairs())
            smu.current_nplc = settings.aperture_s * self._line_frequency_Hz
            smu.compliance_current = settings.compliance_A  # before the range: it bounds the range (p. 18-62)
            smu.current_range = settings.range_A
            smu.source_voltage = settings.bias_V
            smu.auto_zero_once()  # reference readings now, none inside the trace
            smu.auto_zero_enabled = False
            smu.arm_count = 1
            smu.trigger_count = settings.n_samples
            smu.arm_source, smu.trigger_source = "immediate", "immediate"
            smu.trigger_delay = delay_s
            smu.trigger_output_event = "none"  # one trigger an acquisition, not one a reading
            smu.arm_output_event, smu.arm_output_line = "trigger_enter", 2
            smu.write(":TRAC:CLE")
            smu.write(f":TRAC:POIN {settings.n_samples:d}")
            smu.write(":TRAC:FEED SENS")
            smu.write(":STAT:PRES;:STAT:MEAS:ENAB 512;*SRE 1")  # buffer full, for is_buffer_full
            self._check_errors("after the settings")
            found = _number(smu.trigger_delay, "trigger delay")
            confirm("meter", "trigger delay (s)", delay_s, found)
            self._delay_s = found
            self._settings = MeterSettings(
                bias_V=_number(smu.source_voltage, "source voltage"),
                compliance_A=_number(smu.compliance_current, "compliance"),
                range_A=_number(smu.current_range, "range") / FULL_SCALE,
                aperture_s=_number(smu.current_nplc, "NPLC") / self._line_frequency_Hz,
                interval_s=settings.interval_s,  # kept by no timer: the timestamps say what became of it
                n_samples=int(min(_number(smu.trigger_count, "count"), _number(smu.buffer_points, "buffer size"))),
            )
            if smu.auto_zero_enabled or smu.auto_output_off_enabled or smu.arm_output_event != "trigger_enter":
                raise InstrumentError("meter: autozero, auto output-off or trigger output is not as it was set")
        return self._settings

    def bias_on(self) -> None:
        """Output on, confirmed."""
        with link_errors("meter"):
            self._instrument.source_enabled = True
            if not self._instrument.source_enabled:
                raise InstrumentError("meter: the output did not switch on (interlock?)")

    def start(self) -> None:
        """Emits the trigger and begins the acquisition; returns at once."""
        settings = self._ready()
        with link_errors("meter"):
            self._instrument.write(":TRAC:FEED:CONT NEXT")
            self._instrument.start_buffer()
        self._due_s = self._clock.monotonic_s() + settings.n_samples * settings.interval_s

    def fetch(self) -> MeterReadings:
        """Waits until the buffer is full, then reads it and the error queue."""
        settings, smu = self._ready(), self._instrument
        with link_errors("meter"):
            deadline_s = self._sleep_until_due()
            while not smu.is_buffer_full():
                if self._clock.monotonic_s() > deadline_s:
                    raise InstrumentError("meter: the acquisition did not end, the buffer is not full")
                self._clock.sleep(POLL_S)
            table = np.atleast_1d(smu.buffer_data)
            self._check_errors("after the acquisition")
        if table.size != settings.n_samples * 5 or not np.all(np.isfinite(table)):
            raise InstrumentError(f"meter: {table.size} numbers in the buffer, expected {settings.n_samples} x 5")
        _, current_A, _, stamp, status = table.reshape(-1, 5).T
        word = status.astype(np.int64)
        overflow = (np.abs(current_A) >= OVERFLOW_A) | ((word & OVER_RANGE) > 0)
        flags = overflow * int(ReadingFlag.OVERFLOW) + ((word & COMPLIANCE) > 0) * int(ReadingFlag.COMPLIANCE)
        start_s = self._delay_s + grid_of_stamps(stamp)
        return MeterReadings(start_s, np.where(overflow, np.nan, current_A), flags.astype(np.uint8))

    def make_safe(self) -> None:
        """Stops the trigger model, output off, confirmed."""
        with link_errors("meter"):
            self._instrument.stop_buffer()
            self._instrument.source_enabled = False
            if self._instrument.source_enabled:
                raise InstrumentError("meter: the output is still on")

    def _option_pairs(self) -> list[tuple[str, Any]]:
        options = self._options
        pairs: list[tuple[str, Any]] = [
            ("wires", options.wires),
            ("front_terminals_enabled", options.terminals == "front"),
            ("output_off_state", _OFF[options.output_off]),
            *options.filter_pairs("repeat_filter_enabled", True),
        ]
        guard = {"ohms": "OHMS"}.get(options.guard or "cable", "CABL")
        self._instrument.write(f":SYST:GUAR {guard}")  # p. 2-13; PyMeasure has no property for it
        found = str(self._instrument.ask(":SYST:GUAR?")).strip().upper()
        if found != guard:
            raise InstrumentError(f"meter: guard: asked for {guard}, the instrument says {found}")
        return pairs


def grid_of_stamps(stamp: Array) -> Array:
    """Times (s, 0 at the first reading) from timestamps that count ticks of 1/1024 s as milliseconds.

    Readings at a fixed range without autozero come evenly; their period is the line through the stamps. Stamps that
    stray from it by more than a tick are given as they are.
    """
    ticks_s = stamp / STAMP_S * TICK_S
    if np.any(np.diff(ticks_s) < 0):
        raise InstrumentError("meter: the timestamps decrease")
    index = np.arange(stamp.size)
    if stamp.size < 3:
        return ticks_s - ticks_s[0]
    slope, offset = np.polyfit(index, ticks_s, 1)
    if np.max(np.abs(ticks_s - offset - slope * index)) > TICK_S:
        return ticks_s - ticks_s[0]
    even: Array = slope * index
    return even


def _number(value: Any, what: str) -> float:
    return finite(value, f"Keithley 2400 {what}")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2400Meter:
    """For the registry. PyMeasure's class sets the data format as soon as it is made: it is made on first use."""
    return Keithley2400Meter(_Late(adapter), clock, bench.line_frequency, bench.meter.options)


class _Late:
    """PyMeasure's Keithley2400, made when it is first used: making it sends a command, which building must not."""

    def __init__(self, adapter: Any) -> None:
        self.__dict__["_adapter"] = adapter

    def _made(self) -> Any:
        if "_instrument" not in self.__dict__:
            self.__dict__["_instrument"] = Keithley2400(self.__dict__["_adapter"])
        return self.__dict__["_instrument"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._made(), name, value)
