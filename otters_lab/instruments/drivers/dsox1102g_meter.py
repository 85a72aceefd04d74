"""A Keysight DSOX1102G in the role of the meter.

Eight bits over eight divisions, offset 0: full scale is four up, four down, and a step of the converter 1/128 of the
range. A decay that is a small part of the current under light may be no more than a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.dsox1102g import DSOX1102G
from otters_lab.instruments.drivers.replies import confirm, finite, link_errors
from otters_lab.instruments.drivers.scope_meter import (
    TRIGGER_LEVEL_V,
    TRIGGER_SCALE_V,
    VERTICAL_DIVISIONS,
    Samples,
    ScopeMeter,
    of_bench,
)
from otters_lab.instruments.drivers.timebase import DIVISIONS, Record
from otters_lab.instruments.roles import MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

CLIPPED = (1, 255)  # 4000 X-Series Programmer's Guide p. 1243


class DSOX1102GMeter(ScopeMeter):
    """Records through the bytes of :WAVeform:DATA?, in the points of PyMeasure's `waveform_points`."""

    def reset(self) -> None:
        """*RST, both channels DC at 1:1 with the bandwidth limited, an edge on channel 2, normal acquisition."""
        scope = self._instrument
        with link_errors("meter"):
            scope.write("*RST")
            scope.write("*CLS")
            for channel in (scope.ch1, scope.ch2):
                channel.display = True
                channel.coupling = "dc"
                channel.probe_attenuation = 1
                channel.offset = 0
                channel.invert = False
            scope.ch1.bwlimit = True
            scope.ch2.range = VERTICAL_DIVISIONS * TRIGGER_SCALE_V
            scope.write(":TRIG:MODE EDGE")
            scope.trigger_source = "CHAN2"
            scope.trigger_slope = "POS"
            scope.write(":TRIG:EDGE:COUP DC")
            scope.trigger_level = TRIGGER_LEVEL_V
            scope.trigger_sweep = "NORM"
            scope.timebase_mode = "main"
            scope.write(":TIM:REF CENT")
            scope.acquisition_mode = "realtime"
            scope.acquisition_type = "normal"
            scope.waveform_source = "channel1"
            scope.waveform_format = "byte"
            scope.write(":WAV:UNS 1")
            scope.waveform_points_mode = "normal"
            self._check_errors("after the reset")

    def _set_record(self, record: Record, range_V: float, settings: MeterSettings) -> tuple[float, float]:
        scope = self._instrument
        position_s = record.scale_s * DIVISIONS / 2 - settings.before_s
        scope.ch1.range = 2 * range_V
        scope.timebase_scale = record.scale_s
        scope.timebase_position = position_s
        scope.waveform_points = record.points
        self._check_errors("after the settings")
        confirm("meter", "time base position (s)", position_s, scope.timebase_position)
        confirm("meter", "trigger level (V)", TRIGGER_LEVEL_V, scope.trigger_level)
        trigger = (scope.trigger_source, scope.trigger_slope, scope.trigger_sweep)
        if trigger != ("CHAN2", "POS", "NORM"):
            raise InstrumentError(f"meter: the trigger is {trigger}, expected a rising edge on channel 2")
        channel = scope.ch1
        if (channel.coupling, channel.invert, scope.acquisition_type) != ("dc", False, "normal"):
            raise InstrumentError("meter: not DC coupled, inverted, or not in normal acquisition")
        confirm("meter", "probe attenuation", 1, finite(channel.probe_attenuation, "meter: probe"))
        confirm("meter", "offset (V)", 0, finite(channel.offset, "meter: offset"))
        return finite(channel.range, "meter: range") / 2, scope.timebase_scale * DIVISIONS / record.points

    def _arm(self) -> None:
        _ = self._instrument.armed  # what is left of an earlier arming is read away
        self._instrument.single()

    def _armed(self) -> bool:
        return bool(self._instrument.armed)

    def _stopped(self) -> bool:
        return not self._instrument.running

    def _stop(self) -> None:
        self._instrument.stop()

    def _read_record(self, record: Record, settings: MeterSettings) -> Samples:
        scope = self._instrument
        preamble = scope.read_preamble()
        if (preamble.format, preamble.type, preamble.x_reference) != (0, 0, 0):
            raise InstrumentError("meter: the waveform is not in bytes of normal acquisition")
        confirm("meter", "points", record.points, preamble.points)
        confirm("meter", "sample interval (s)", settings.interval_s, preamble.x_increment_s)
        if abs(preamble.x_origin_s + settings.before_s) > settings.interval_s * (1 + 1e-6):
            asked = f"{-settings.before_s:g} s from the trigger, asked for"
            raise InstrumentError(f"meter: the record begins {preamble.x_origin_s:g} s, not {asked}")
        codes = scope.read_codes(record.points)[: settings.n_samples].astype(np.float64)
        self._check_errors("after the acquisition")
        voltage_V = (codes - preamble.y_reference) * preamble.y_increment_V + preamble.y_origin_V
        time_s = preamble.x_origin_s + np.arange(codes.size) * preamble.x_increment_s
        return Samples(time_s, voltage_V, np.isin(codes, CLIPPED), preamble.y_increment_V)


def build(adapter: Any, bench: BenchFile, clock: Clock) -> DSOX1102GMeter:
    """For the registry."""
    return DSOX1102GMeter(DSOX1102G(adapter), *of_bench(bench), clock)
