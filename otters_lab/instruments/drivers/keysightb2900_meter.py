"""Channel 1 of a Keysight B2901A or B2902A in the role of the meter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.instruments.drivers.keysightb2900 import KeysightB2900
from otters_lab.instruments.drivers.options import set_and_read_back
from otters_lab.instruments.drivers.replies import confirm, link_errors
from otters_lab.instruments.drivers.timed_meter import SourceMeter
from otters_lab.instruments.roles import MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class KeysightB2900Meter(SourceMeter):
    """Sources a bias and records the current on a grid that the instrument's own timer keeps."""

    _abort = ":ABOR:ACQ"

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

    def start(self) -> None:
        """Emits the trigger and begins the acquisition; returns at once."""
        self._begin(":INIT:ACQ", self._ready().aperture_s)


def build(adapter: Any, bench: BenchFile, clock: Clock) -> KeysightB2900Meter:
    """For the registry."""
    return KeysightB2900Meter(KeysightB2900(adapter), clock, bench.line_frequency, bench.meter.options)
