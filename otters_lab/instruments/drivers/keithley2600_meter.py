"""Channel A of a Keithley 2600B in the role of the meter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keithley2600 import Keithley2600, Keithley2611, Keithley2635
from otters_lab.instruments.drivers.options import set_and_read_back
from otters_lab.instruments.drivers.replies import confirm, link_errors
from otters_lab.instruments.drivers.timed_meter import SourceMeter
from otters_lab.instruments.roles import MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class Keithley2600Meter(SourceMeter):
    """Sources a bias and records the current on a grid that the instrument's own timer keeps."""

    _abort = "smua.abort()"

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

    def start(self) -> None:
        """Emits the trigger and begins the acquisition; returns at once."""
        self._begin("smua.trigger.initiate()", self._ready().aperture_s * self._options.filter)

    def _next_error(self) -> str | None:
        error: str | None = self._instrument.next_error
        return error


def build(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2600Meter:
    """For the registry: 2601B, 2602B."""
    return Keithley2600Meter(Keithley2600(adapter), clock, bench.line_frequency, bench.meter.options)


def build_2611(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2600Meter:
    """For the registry: 2611B, 2612B."""
    return Keithley2600Meter(Keithley2611(adapter), clock, bench.line_frequency, bench.meter.options)


def build_2635(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2600Meter:
    """For the registry: 2635B, 2636B."""
    return Keithley2600Meter(Keithley2635(adapter), clock, bench.line_frequency, bench.meter.options)
