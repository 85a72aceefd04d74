"""A Siglent SDS1000X HD in the role of the meter.

Twelve bits, offset 0: full scale is four divisions up, four down, and a step of the converter some 1/2000 of the range.

The trigger stays in the middle of the record (delay 0): the sign of a delay is told differently from source to source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import confirm, finite, link_errors
from otters_lab.instruments.drivers.scope_meter import (
    TRIGGER_LEVEL_V,
    TRIGGER_SCALE_V,
    VERTICAL_DIVISIONS,
    Samples,
    ScopeMeter,
    of_bench,
)
from otters_lab.instruments.drivers.sds1000xhd import SiglentSDS1000XHD
from otters_lab.instruments.drivers.timebase import Record
from otters_lab.instruments.roles import MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

DEPTHS = {10_000: "10K", 100_000: "100K", 1_000_000: "1M"}  # as PyMeasure spells them
SETTLE_S = 0.5  # after a new time base, as public code waits


class SDS1000XHDMeter(ScopeMeter):
    """Records through the words of :WAVeform:DATA?, of which only those that were asked for are transferred."""

    def reset(self) -> None:
        """*RST, both channels DC at 1:1, an edge on channel 2, normal acquisition."""
        scope = self._instrument
        with link_errors("meter"):
            scope.write("*RST")
            scope.ask("*OPC?")
            for number, channel, bandwidth in ((1, scope.channel_1, "20M"), (2, scope.channel_2, "FULL")):
                scope.prepare_channel(number, bandwidth)
                channel.coupling = "DC"
                channel.offset = 0
                channel.invert = False
            scope.channel_2.scale = TRIGGER_SCALE_V
            scope.write(":TRIG:TYPE EDGE")
            scope.trigger.edge_source = "C2"
            scope.trigger.edge_slope = "RISing"
            scope.trigger.edge_coupling = "DC"
            scope.trigger.edge_level = TRIGGER_LEVEL_V
            scope.acquisition.plot_mode = "YT"
            scope.acquisition.type = "NORMal"
            scope.wf_C1.source = "C1"
            scope.wf_C1.width = "WORD"

    def _set_record(self, record: Record, range_V: float, settings: MeterSettings) -> tuple[float, float]:
        scope, channel, acquisition = self._instrument, self._instrument.channel_1, self._instrument.acquisition
        depth = DEPTHS[record.points]
        channel.scale = 2 * range_V / VERTICAL_DIVISIONS
        scope.trigger.mode = "AUTO"  # a scope that is stopped drops the next three
        acquisition.memory_management = "FMDepth"
        acquisition.memory_depth = depth
        scope.timebase.scale = record.scale_s
        scope.timebase.delay = 0
        self._clock.sleep(SETTLE_S)
        if (found := str(acquisition.memory_depth).upper()) != depth:
            raise InstrumentError(f"meter: memory depth: asked for {depth}, the scope says {found}")
        confirm("meter", "time base (s)", record.scale_s, finite(scope.timebase.scale, "meter: time base"))
        confirm("meter", "trigger delay (s)", 0, finite(scope.timebase.delay, "meter: trigger delay"))
        level_V = finite(scope.trigger.edge_level, "meter: trigger level")
        if abs(level_V - TRIGGER_LEVEL_V) > TRIGGER_SCALE_V / 20:  # set in steps of 1/60 division, as public code found
            raise InstrumentError(
                f"meter: trigger level: asked for {TRIGGER_LEVEL_V:g} V, the scope says {level_V:g} V"
            )
        trigger = (str(scope.trigger.edge_source).upper(), str(scope.trigger.edge_slope).upper()[:3])
        if trigger != ("C2", "RIS"):
            raise InstrumentError(f"meter: the trigger is {trigger}, expected a rising edge on channel 2")
        shape = (str(channel.coupling).upper(), channel.invert, str(acquisition.type).upper()[:4])
        if shape != ("DC", False, "NORM"):
            raise InstrumentError(f"meter: coupling, inversion and acquisition are {shape}")
        confirm("meter", "offset (V)", 0, finite(channel.offset, "meter: offset"))
        range_V = finite(channel.scale, "meter: scale") * VERTICAL_DIVISIONS / 2
        return range_V, 1 / finite(acquisition.sample_rate, "meter: sample rate")

    def _arm(self) -> None:
        self._instrument.trigger.stop()
        self._instrument.trigger.mode = "SINGle"

    def _armed(self) -> bool:
        return self._state() == "READY"

    def _stopped(self) -> bool:
        return self._state() == "STOP"

    def _stop(self) -> None:
        self._instrument.trigger.stop()

    def _state(self) -> str:
        state = str(self._instrument.trigger.status).strip().upper()
        if state not in ("ARM", "READY", "AUTO", "TRIG'D", "STOP", "ROLL"):
            raise InstrumentError(f"meter: the trigger's status is {state!r}")
        return state

    def _read_record(self, record: Record, settings: MeterSettings) -> Samples:
        scope = self._instrument
        if settings.n_samples > finite(scope.wf_C1.max_point, "meter: longest piece"):
            raise InstrumentError(f"meter: the scope does not transfer {settings.n_samples} points in one piece")
        found = scope.read_descriptor()
        if (found.word, found.big_endian, found.bits) != (1, 0, 12):
            raise InstrumentError("meter: the waveform is not in little-endian words of 12 bits")
        confirm("meter", "points", record.points, found.frame_points)
        confirm("meter", "probe attenuation", 1, found.probe)
        confirm("meter", "sample interval (s)", settings.interval_s, found.interval_s, 1e-6)
        range_V = settings.range_A * self._amplifier.gain
        confirm("meter", "range (V)", range_V, found.scale_V * VERTICAL_DIVISIONS / 2)
        if abs(found.delay_s) > settings.interval_s:
            raise InstrumentError(f"meter: the trigger lies {found.delay_s:g} s off the middle of the record")
        step_V = found.scale_V / found.codes_per_division
        first = record.n_before - round(settings.before_s / settings.interval_s)
        voltage_V = scope.read_codes(first, settings.n_samples) * step_V - found.offset_V
        time_s = found.delay_s + (np.arange(settings.n_samples) + first - record.points / 2) * settings.interval_s
        # The converter reaches a little beyond the screen; which code it stops at no source says.
        return Samples(time_s, voltage_V, np.abs(voltage_V) >= range_V, range_V / 2**11)


def build(adapter: Any, bench: BenchFile, clock: Clock) -> SDS1000XHDMeter:
    """For the registry."""
    return SDS1000XHDMeter(SiglentSDS1000XHD(adapter), *of_bench(bench), clock)
