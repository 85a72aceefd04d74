"""A Keithley 6485 or 6487 in the role of the meter.

The grid is kept by the arm layer's timer. Its output trigger would come at every reading and none marks the start
alone, so these meters need a light that software starts. A 6485 has no source: its bias is 0 V and no current limit
can be set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keithley648x import Keithley6485, Keithley6487
from otters_lab.instruments.drivers.replies import confirm, link_errors
from otters_lab.instruments.drivers.zero_checked_meter import ZeroCheckedMeter
from otters_lab.instruments.roles import MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

SOURCE_RANGES_V = (10.0, 50.0, 500.0)


class PicoammeterMeter(ZeroCheckedMeter):
    """Records the current on a fixed range; biases the device where the instrument can."""

    def __init__(self, instrument: Keithley6485, clock: Clock, line_frequency_Hz: float) -> None:
        source = instrument if isinstance(instrument, Keithley6487) else None
        super().__init__(instrument, clock, line_frequency_Hz, source)

    def reset(self) -> None:
        """*RST, the line frequency against the bench file's, and the zero corrected; the input stays shunted."""
        meter = self._instrument
        with link_errors("meter"):
            meter.write("*RST")
            meter.write("*CLS")
            confirm("meter", "line frequency (Hz)", self._line_frequency_Hz, meter.line_frequency)
            self._correct_zero()

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a timed acquisition with the source off; returns what the instrument reads back."""
        meter, source = self._instrument, self._source
        if source is None and settings.bias_V != 0:
            raise InstrumentError(f"meter: asked for a bias of {settings.bias_V:g} V, but there is no source")
        bias_V, compliance_A = 0.0, settings.compliance_A
        with link_errors("meter"):
            if source:
                source.output_enabled = False
                source.source_range = next((r for r in SOURCE_RANGES_V if abs(settings.bias_V) <= r), 500.0)
                source.current_limit = settings.compliance_A
                source.source_voltage = settings.bias_V
            meter.write(":SENS:AVER 0")  # no digital filter; code
            meter.write(":SENS:MED 0")  # no median filter
            meter.current_range = settings.range_A
            meter.current_nplc = settings.aperture_s * self._line_frequency_Hz
            meter.autozero_enabled = False
            meter.load_timed_acquisition(settings.n_samples, settings.interval_s)
            meter.zero_check_enabled = False
            self._check_errors("after the settings")
            if source:
                bias_V, compliance_A = source.source_voltage, source.current_limit
            if meter.autozero_enabled or meter.zero_check_enabled:
                raise InstrumentError("meter: autozero or zero check is still on")
            self._settings = MeterSettings(
                bias_V=bias_V,
                compliance_A=compliance_A,
                range_A=meter.current_range,
                aperture_s=meter.current_nplc / self._line_frequency_Hz,
                interval_s=meter.timer_interval,
                n_samples=min(meter.arm_count, meter.buffer_points),
            )
        return self._settings


def build_6485(adapter: Any, bench: BenchFile, clock: Clock) -> PicoammeterMeter:
    """For the registry."""
    return PicoammeterMeter(Keithley6485(adapter), clock, bench.line_frequency)


def build_6487(adapter: Any, bench: BenchFile, clock: Clock) -> PicoammeterMeter:
    """For the registry."""
    return PicoammeterMeter(Keithley6487(adapter), clock, bench.line_frequency)
