"""A Keithley 2450 or 2460 in the role of the meter; pages are those of the 2450's manual, 2450-901-01 Rev. B."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keithley2450 import MIN_BUFFER, Keithley2450, Keithley2460
from otters_lab.instruments.drivers.options import set_and_read_back
from otters_lab.instruments.drivers.replies import confirm, link_errors
from otters_lab.instruments.drivers.timed_meter import SourceMeter
from otters_lab.instruments.roles import MeterReadings, MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class Keithley2450Meter(SourceMeter):
    """Sources a bias and records the current on a grid that the instrument's own timer keeps."""

    _abort = ":ABOR"  # TRIGger subsystem

    def reset(self) -> None:
        """*RST, and the line frequency of the bench file against the detected one."""
        with link_errors("meter"):
            self._instrument.write("*RST")
            self._instrument.write("*CLS")
            confirm("meter", "line frequency (Hz)", self._line_frequency_Hz, self._instrument.line_frequency)
            self._instrument.write(":FORM:ASC:PREC 10")  # p. 6-28: ten significant digits
            self._instrument.prepare_trigger_out()
            self._check_errors("after the reset")

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a timed acquisition with the output off; returns what the instrument reads back."""
        smu, nplc = self._instrument, settings.aperture_s * self._line_frequency_Hz
        with link_errors("meter"):
            smu.output_enabled = False
            smu.source_function = "VOLT"
            smu.source_readback_enabled = False
            smu.sense_function = "CURR:DC"
            set_and_read_back(smu, self._options.pairs())
            smu.write(":SENS:COUN 1")  # one reading a measure block (SENSe subsystem)
            smu.current_range = settings.range_A
            smu.current_nplc = nplc
            smu.write(":SENS:AZER:ONCE")  # reference readings now, none inside the trace (p. 6-46)
            smu.current_autozero_enabled = False
            smu.current_limit = settings.compliance_A  # after the range: the range bounds the limit (p. 6-71)
            smu.source_voltage = settings.bias_V
            smu.buffer_points = max(settings.n_samples, MIN_BUFFER)
            smu.load_timed_acquisition(settings.n_samples, settings.interval_s)
            self._check_errors("after the settings")
            self._settings = MeterSettings(
                bias_V=smu.source_voltage,
                compliance_A=smu.current_limit,
                range_A=smu.current_range,
                aperture_s=smu.current_nplc / self._line_frequency_Hz,
                interval_s=smu.timer_delay,
                n_samples=min(settings.n_samples, smu.buffer_points),
            )
            if smu.current_autozero_enabled or smu.source_readback_enabled or smu.sense_function != "CURR:DC":
                raise InstrumentError("meter: autozero, source readback or measure function is not as it was set")
        return self._settings

    def start(self) -> None:
        """Starts the trigger model, whose second block gives the trigger (p. 6-124)."""
        self._begin(":INIT", self._ready().aperture_s * self._options.filter)

    def fetch(self) -> MeterReadings:
        """Waits until the trigger model is idle, then reads the buffer and the error queue."""
        with link_errors("meter"):
            self._await_trigger_model()
            readings: MeterReadings = self._instrument.read_buffer(self._ready().n_samples)
            self._check_errors("after the acquisition")
        return readings


def build(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2450Meter:
    """For the registry."""
    return Keithley2450Meter(Keithley2450(adapter), clock, bench.line_frequency, bench.meter.options)


def build_2460(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2450Meter:
    """For the registry."""
    return Keithley2450Meter(Keithley2460(adapter), clock, bench.line_frequency, bench.meter.options)
