"""Channel 1 of a Keysight B2901A or B2902A in the role of the meter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keysightb2900 import KeysightB2900
from otters_lab.instruments.drivers.options import MeterOptions, set_and_read_back
from otters_lab.instruments.drivers.replies import confirm, first_error, link_errors
from otters_lab.instruments.drivers.waiting import wait_for_readings
from otters_lab.instruments.roles import MeterReadings, MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class KeysightB2900Meter:
    """Sources a bias and records the current on a grid that the instrument's own timer keeps."""

    def __init__(
        self, instrument: KeysightB2900, clock: Clock, line_frequency_Hz: float, options: MeterOptions | None = None
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
            return str(self._instrument.id)

    def reset(self) -> None:
        """*RST, no output but on command, and the line frequency of the bench file against the set one."""
        smu = self._instrument
        with link_errors("meter"):
            smu.write("*RST")
            smu.write("*CLS")
            set_and_read_back(smu, [("output_auto_on_enabled", False)])
            confirm("meter", "line frequency (Hz)", self._line_frequency_Hz, smu.line_frequency)
            smu.prepare_trigger_out()
            self._check_errors("after the reset")

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a timed acquisition with the output off; returns what the instrument reads back."""
        smu = self._instrument
        with link_errors("meter"):
            smu.output_enabled = False
            smu.source_function = "VOLT"
            set_and_read_back(smu, [("wires", self._options.wires), ("output_off", self._options.output_off)])
            smu.write(':SENS:FUNC "CURR"')
            smu.current_limit = settings.compliance_A
            set_and_read_back(smu, [("current_autorange_enabled", False)])
            smu.current_range = settings.range_A
            smu.current_aperture = settings.aperture_s
            smu.source_voltage = settings.bias_V
            smu.load_timed_acquisition(settings.n_samples, settings.interval_s)
            self._check_errors("after the settings")
            self._settings = MeterSettings(
                bias_V=smu.source_voltage,
                compliance_A=smu.current_limit,
                range_A=smu.current_range,
                aperture_s=smu.current_aperture,
                interval_s=smu.acquire_timer,
                n_samples=min(smu.acquire_count, smu.buffer_points),
            )
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
            self._instrument.write(":INIT:ACQ")
        duration_s = (settings.n_samples - 1) * settings.interval_s + settings.aperture_s
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
        """Stops the acquisition, output off, confirmed."""
        with link_errors("meter"):
            self._instrument.write(":ABOR:ACQ")
            self._instrument.output_enabled = False
            if self._instrument.output_enabled:
                raise InstrumentError("meter: the output is still on")

    def _ready(self) -> MeterSettings:
        if self._settings is None:
            raise InstrumentError("meter: started or read before it was configured")
        return self._settings

    def _check_errors(self, when: str) -> None:
        error = first_error(str(self._instrument.ask(":SYST:ERR?")), "meter error queue")
        if error:
            raise InstrumentError(f"meter: error queue {when}: {error}")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> KeysightB2900Meter:
    """For the registry."""
    return KeysightB2900Meter(KeysightB2900(adapter), clock, bench.line_frequency, bench.meter.options)
