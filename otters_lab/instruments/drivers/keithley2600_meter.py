"""Channel A of a Keithley 2600B in the role of the meter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keithley2600 import Keithley2600, Keithley2611, Keithley2635
from otters_lab.instruments.drivers.options import MeterOptions, set_and_read_back
from otters_lab.instruments.drivers.replies import confirm, link_errors
from otters_lab.instruments.drivers.waiting import wait_for_readings
from otters_lab.instruments.roles import MeterReadings, MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class Keithley2600Meter:
    """Sources a bias and records the current on a grid that the instrument's own timer keeps."""

    def __init__(
        self, instrument: Keithley2600, clock: Clock, line_frequency_Hz: float, options: MeterOptions | None = None
    ) -> None:
        self._instrument = instrument
        self._clock = clock
        self._line_frequency_Hz = line_frequency_Hz
        self._options = options or MeterOptions()
        self._settings: MeterSettings | None = None
        self._due_s = 0.0

    def identify(self) -> str:
        """The *IDN? reply."""
        with link_errors("meter"):
            return self._instrument.id

    def reset(self) -> None:
        """reset(), and the line frequency of the bench file against the set one."""
        smu = self._instrument
        with link_errors("meter"):
            smu.write("reset()")
            smu.write("errorqueue.clear()")
            confirm("meter", "line frequency (Hz)", self._line_frequency_Hz, smu.line_frequency)
            smu.write("format.data = format.ASCII")
            smu.write("format.asciiprecision = 10")  # significant digits
            smu.prepare_trigger_out()
            self._check_errors("after the reset")

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a timed acquisition with the output off; returns what the instrument reads back."""
        smu, options = self._instrument, self._options
        with link_errors("meter"):
            smu.output_enabled = False
            smu.source_function = "VOLT"
            pairs = [("wires", options.wires), ("output_off", options.output_off)]
            set_and_read_back(smu, [*pairs, *options.filter_pairs("filter_type", "repeat")])
            smu.write("smua.measure.count = 1")
            smu.write("smua.measure.delay = 0")
            smu.current_range = settings.range_A
            smu.current_nplc = settings.aperture_s * self._line_frequency_Hz
            smu.autozero = "once"  # reference readings now, none inside the trace
            smu.current_limit = settings.compliance_A
            smu.source_voltage = settings.bias_V
            smu.load_timed_acquisition(settings.n_samples, settings.interval_s)
            self._check_errors("after the settings")
            self._settings = MeterSettings(
                bias_V=smu.source_voltage,
                compliance_A=smu.current_limit,
                range_A=smu.current_range,
                aperture_s=smu.current_nplc / self._line_frequency_Hz,
                interval_s=smu.timer_delay,
                n_samples=int(smu.trigger_count),
            )
            if smu.autozero == "auto" or smu.current_autorange_enabled or smu.source_function != "VOLT":
                raise InstrumentError("meter: autozero, autorange or source function is not as it was set")
        return self._settings

    def bias_on(self) -> None:
        """Output on, confirmed."""
        with link_errors("meter"):
            self._instrument.output_enabled = True
            if not self._instrument.output_enabled:
                raise InstrumentError("meter: the output did not switch on (interlock?)")

    def start(self) -> None:
        """Emits the trigger and begins the acquisition; returns at once."""
        settings = self._ready()
        with link_errors("meter"):
            self._instrument.write("smua.trigger.initiate()")
        duration_s = (settings.n_samples - 1) * settings.interval_s + settings.aperture_s * self._options.filter
        self._due_s = self._clock.monotonic_s() + duration_s

    def fetch(self) -> MeterReadings:
        """Waits until the buffer holds every reading, then reads it and the error queue."""
        settings, smu = self._ready(), self._instrument
        with link_errors("meter"):
            wait_for_readings(self._clock, self._due_s, settings, lambda: smu.buffer_count)
            readings = smu.read_buffer(settings.n_samples)
            self._check_errors("after the acquisition")
        return readings

    def make_safe(self) -> None:
        """Stops the trigger model, output off, confirmed."""
        with link_errors("meter"):
            self._instrument.write("smua.abort()")
            self._instrument.output_enabled = False
            if self._instrument.output_enabled:
                raise InstrumentError("meter: the output is still on")

    def _ready(self) -> MeterSettings:
        if self._settings is None:
            raise InstrumentError("meter: started or read before it was configured")
        return self._settings

    def _check_errors(self, when: str) -> None:
        error = self._instrument.next_error
        if error:
            raise InstrumentError(f"meter: error queue {when}: {error}")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2600Meter:
    """For the registry: 2601B, 2602B."""
    return Keithley2600Meter(Keithley2600(adapter), clock, bench.line_frequency, bench.meter.options)


def build_2611(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2600Meter:
    """For the registry: 2611B, 2612B."""
    return Keithley2600Meter(Keithley2611(adapter), clock, bench.line_frequency, bench.meter.options)


def build_2635(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2600Meter:
    """For the registry: 2635B, 2636B."""
    return Keithley2600Meter(Keithley2635(adapter), clock, bench.line_frequency, bench.meter.options)
