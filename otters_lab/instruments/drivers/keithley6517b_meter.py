"""A Keithley 6517B in the role of the meter.

The grid is kept by the measure layer's timer. Its output trigger would come at every reading and none that marks the
start alone is known to us, so it needs a light that software starts. Between takes the input is shunted.

What `limits.compliance` means here: the source's current limit cannot be set, it comes with the source's range, 10 mA
up to 100 V and 1 mA up to 1000 V. So the bench says 10 mA or 1 mA and thereby which range is used, whatever the bias;
anything else is refused, and with 10 mA a bias beyond 100 V. The resistive limit, a resistor in series, is kept off:
the bias would not be what is asked for.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keithley6517b import Keithley6517B
from otters_lab.instruments.drivers.options import set_and_read_back
from otters_lab.instruments.drivers.replies import confirm, finite, link_errors
from otters_lab.instruments.drivers.zero_checked_meter import ZeroCheckedMeter
from otters_lab.instruments.roles import MeterReadings, MeterSettings, ReadingFlag

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

LIMIT_OF_RANGE_A = {100.0: 10e-3, 1000.0: 1e-3}  # by range of the source (V); as public code quotes the manual


class ElectrometerMeter(ZeroCheckedMeter):
    """Biases a device from the V-source and records its current on a fixed range."""

    def __init__(self, instrument: Keithley6517B, clock: Clock, line_frequency_Hz: float) -> None:
        super().__init__(instrument, clock, line_frequency_Hz, source=instrument)
        self._limited_at_start = False

    def reset(self) -> None:
        """*RST, the line frequency against the bench file's, and the zero corrected; the input stays shunted."""
        meter = self._instrument
        with link_errors("meter"):
            meter.write("*RST")
            meter.write("*CLS")
            meter.write(":STAT:PRES")  # every event of the measurement register is caught
            meter.write(":FORM:DATA ASC")
            meter.write(":SENS:FUNC 'CURR'")
            meter.current_nplc = 1
            # There is no query for the line frequency, but an aperture of one cycle is its period (p. 14-59).
            confirm("meter", "line frequency (Hz)", self._line_frequency_Hz, 1 / meter.aperture, relative=1e-3)
            self._correct_zero()

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a timed acquisition with the source off; returns what the instrument reads back."""
        meter = self._instrument
        range_V = _source_range(settings)
        with link_errors("meter"):
            meter.output_enabled = False
            meter.source_voltage = 0  # within any range and limit
            meter.source_range = range_V
            meter.voltage_limit = max(1, math.ceil(abs(settings.bias_V)))
            meter.source_voltage = settings.bias_V
            meter.current_range = settings.range_A
            meter.current_nplc = settings.aperture_s * self._line_frequency_Hz
            set_and_read_back(
                meter,
                [
                    ("voltage_limit_enabled", True),
                    ("source_connected", True),
                    ("resistive_limit_enabled", False),
                    ("average_enabled", False),
                    ("median_enabled", False),
                    ("line_synchronised", False),
                    ("digits", 7),
                ],
            )
            meter.load_timed_acquisition(settings.n_samples, settings.interval_s)
            set_and_read_back(meter, [("zero_check_enabled", False)])
            self._check_errors("after the settings")
            if meter.output_enabled or meter.autorange_enabled or not meter.zero_correct_enabled:
                raise InstrumentError("meter: source or autorange is still on, or zero correct is off")
            bias_V = finite(meter.source_voltage, "meter: source voltage")
            if meter.voltage_limit < abs(bias_V):
                raise InstrumentError(f"meter: the source's voltage limit is {meter.voltage_limit:g} V")
            self._settings = MeterSettings(
                bias_V=bias_V,
                compliance_A=LIMIT_OF_RANGE_A.get(meter.source_range, math.nan),
                range_A=meter.current_range,
                aperture_s=meter.aperture,
                interval_s=meter.timer_interval,
                n_samples=min(meter.trigger_count, meter.buffer_points),
            )
        return self._settings

    def start(self) -> None:
        """Leaves the idle state: the first reading begins at once. What the source limited before is forgotten."""
        meter = self._instrument
        with link_errors("meter"):
            meter.ask(":STAT:MEAS?")  # events are forgotten by reading them
            self._limited_at_start = meter.in_compliance
        super().start()

    def fetch(self) -> MeterReadings:
        """Waits until the buffer is full, then reads it, the error queue, and what the source did meanwhile.

        The instrument does not say at which readings its source was limiting: all of them are flagged.
        """
        readings = super().fetch()
        with link_errors("meter"):
            if not self._instrument.output_enabled:
                raise InstrumentError("meter: the source went to standby during the acquisition (interlock?)")
            limited = self._instrument.compliance_event or self._limited_at_start
        if not limited:
            return readings
        return replace(readings, flags=readings.flags | np.uint8(ReadingFlag.COMPLIANCE))


def _source_range(settings: MeterSettings) -> float:
    """The range (V) of the source whose current limit is the compliance asked for."""
    for range_V, limit_A in LIMIT_OF_RANGE_A.items():
        if math.isclose(settings.compliance_A, limit_A):
            if abs(settings.bias_V) > range_V:
                raise InstrumentError(
                    f"meter: asked for a bias of {settings.bias_V:g} V with {limit_A:g} A, which the source gives up "
                    f"to {range_V:g} V"
                )
            return range_V
    known = " or ".join(f"{limit_A:g} A" for limit_A in LIMIT_OF_RANGE_A.values())
    raise InstrumentError(f"meter: asked for a current limit of {settings.compliance_A:g} A, the source has {known}")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> ElectrometerMeter:
    """For the registry."""
    return ElectrometerMeter(Keithley6517B(adapter), clock, bench.line_frequency)
