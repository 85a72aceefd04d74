"""The fast chain in the role of the meter: a transimpedance amplifier, set by hand, read by a Keithley DMM6500.

It sources nothing, so its bias is 0 V and there is no output to switch off; what bias the amplifier's own knob may put
on the device is out of reach. The current limit of the settings cannot be set and is handed back as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.dmm6500 import MIN_BUFFER, KeithleyDMM6500
from otters_lab.instruments.drivers.replies import OVERFLOW_A, confirm, link_errors
from otters_lab.instruments.drivers.timed_meter import TimedMeter
from otters_lab.instruments.roles import MeterReadings, MeterSettings, ReadingFlag
from otters_lab.instruments.setups import AmplifierTable

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class AmplifiedDigitizer(TimedMeter):
    """Records the current on a grid that the digitiser's own clock keeps: volts over the gain, with its sign."""

    def __init__(
        self, instrument: KeithleyDMM6500, amplifier: AmplifierTable, clock: Clock, line_frequency_Hz: float
    ) -> None:
        super().__init__(instrument, clock, line_frequency_Hz)
        self._amplifier = amplifier

    def reset(self) -> None:
        """*RST, and the line frequency of the bench file against the detected one."""
        with link_errors("meter"):
            self._instrument.write("*RST")
            self._instrument.write("*CLS")
            confirm("meter", "line frequency (Hz)", self._line_frequency_Hz, self._instrument.line_frequency)
            self._instrument.write(":FORM:ASC:PREC 10")  # ten significant digits, FORMat subsystem
            self._instrument.prepare_trigger_out()
            self._check_errors("after the reset")

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a record; returns what the digitiser reads back, in amperes through the amplifier."""
        meter, gain = self._instrument, self._amplifier.gain
        if settings.bias_V != 0:
            raise InstrumentError(f"meter: asked for a bias of {settings.bias_V:g} V, but there is no source")
        with link_errors("meter"):
            meter.digitize_function = "VOLT"
            meter.voltage_range = settings.range_A * gain
            meter.sample_rate = round(1 / settings.interval_s)
            meter.aperture = settings.aperture_s
            meter.buffer_points = max(settings.n_samples, MIN_BUFFER)
            meter.load_record(settings.n_samples)
            self._check_errors("after the settings")
            if meter.digitize_function != "VOLT":
                raise InstrumentError("meter: the digitize function is not as it was set")
            self._settings = MeterSettings(
                bias_V=0.0,
                compliance_A=settings.compliance_A,
                range_A=meter.voltage_range / gain,
                aperture_s=meter.aperture,
                interval_s=1 / meter.sample_rate,
                n_samples=min(settings.n_samples, meter.buffer_points),
            )
        return self._settings

    def bias_on(self) -> None:
        """Nothing: there is no source."""

    def start(self) -> None:
        """Starts the trigger model, whose second block gives the trigger."""
        self._begin(":INIT", self._ready().aperture_s)

    def fetch(self) -> MeterReadings:
        """Waits until the trigger model is idle, then reads the buffer and the error queue."""
        with link_errors("meter"):
            self._await_trigger_model()
            time_s, voltage_V = self._instrument.read_buffer(self._ready().n_samples)
            self._check_errors("after the acquisition")
        # A clipped amplifier gives a voltage that the digitiser takes for good.
        overflow = (np.abs(voltage_V) >= OVERFLOW_A) | (np.abs(voltage_V) >= self._amplifier.output_limit)
        current_A = np.where(overflow, np.nan, voltage_V / self._amplifier.signed_gain_V_per_A)
        return MeterReadings(time_s, current_A, (overflow * int(ReadingFlag.OVERFLOW)).astype(np.uint8))

    def make_safe(self) -> None:
        """Stops the trigger model. There is no output; the answer shows that the digitiser is still there."""
        with link_errors("meter"):
            self._instrument.write(":ABOR")
            if self._instrument.trigger_state in ("RUNNING", "WAITING"):
                raise InstrumentError("meter: the trigger model is still running")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> AmplifiedDigitizer:
    """For the registry."""
    if bench.meter.amplifier is None:
        raise InstrumentError("meter: the bench file says nothing of the amplifier ([meter.amplifier])")
    return AmplifiedDigitizer(KeithleyDMM6500(adapter), bench.meter.amplifier, clock, bench.line_frequency)
