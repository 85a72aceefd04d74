"""An oscilloscope in the role of the meter: channel 1 on a transimpedance amplifier, channel 2 on the light's sync.

The light's sync output is wired to channel 2, so the edge is known to the scope's own time base; that the pulse was
begun by software does not matter. The dark baseline is the part of the record before the trigger. The scope sources
nothing: its bias is 0 V, the current limit is handed back as it came. Where the trigger lies between two samples is
taken from the scope; if a model does not resolve it, `[sync] edge_uncertainty` must hold half a sample interval.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.core.protocols import Array
from otters_lab.instruments.drivers.replies import link_errors
from otters_lab.instruments.drivers.timebase import POINT_APERTURE_S, Record, Timebase
from otters_lab.instruments.drivers.timed_meter import POLL_S, TimedMeter
from otters_lab.instruments.roles import MeterReadings, MeterSettings, ReadingFlag
from otters_lab.instruments.setups import AmplifierTable

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

VERTICAL_DIVISIONS = 8  # full scale is four of them up, four down: offset 0
TRIGGER_SCALE_V = 1.0  # of channel 2, per division
TRIGGER_LEVEL_V = 1.0  # between low and high of TTL, which the generator's sync output gives
ARMING_S = 5.0  # beyond the time that the part before the trigger takes


@dataclass(frozen=True)
class Samples:
    """A record as it was read: times (s, 0 at the trigger), volts, which were clipped, and the volts of one code."""

    time_s: Array
    voltage_V: Array
    clipped: npt.NDArray[np.bool_]
    step_V: float


def of_bench(bench: BenchFile) -> tuple[AmplifierTable, Timebase]:
    """What a scope of a bench must be told.

    Raises
    ------
    InstrumentError
        if the file says nothing of the amplifier.
    """
    amplifier, timebase = bench.meter.amplifier, bench.meter.known.timebase
    if amplifier is None or timebase is None:
        raise InstrumentError("meter: the bench file says nothing of the amplifier ([meter.amplifier])")
    return amplifier, timebase


class ScopeMeter(TimedMeter):
    """A single-shot record around the light's edge. A model adds `reset` and the methods that raise here."""

    def __init__(self, instrument: Any, amplifier: AmplifierTable, timebase: Timebase, clock: Clock) -> None:
        super().__init__(instrument, clock, line_frequency_Hz=0.0)  # no aperture here follows the mains
        self._amplifier = amplifier
        self._timebase = timebase
        self._record: Record | None = None

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a record; returns what the scope reads back, in amperes through the amplifier."""
        if settings.bias_V != 0:
            raise InstrumentError(f"meter: asked for a bias of {settings.bias_V:g} V, but there is no source")
        record = self._timebase.record(settings.interval_s, settings.n_samples, settings.before_s)
        if record is None:
            asked = f"{settings.n_samples} samples every {settings.interval_s:g} s"
            raise InstrumentError(f"meter: no time base of the scope gives {asked}")
        self._record = record
        with link_errors("meter"):
            range_V, interval_s = self._set_record(record, settings.range_A * self._amplifier.gain, settings)
        self._settings = replace(
            settings, range_A=range_V / self._amplifier.gain, aperture_s=POINT_APERTURE_S, interval_s=interval_s
        )
        return self._settings

    def bias_on(self) -> None:
        """Nothing: there is no source."""

    def start(self) -> None:
        """Arms one acquisition and waits until the part before the trigger is full: then the light may come."""
        settings, record = self._ready(), self._planned()
        with link_errors("meter"):
            self._arm()
            deadline_s = self._clock.monotonic_s() + ARMING_S + record.n_before * settings.interval_s
            while not self._armed():
                if self._clock.monotonic_s() > deadline_s:
                    raise InstrumentError("meter: the scope does not get ready for its trigger")
                self._clock.sleep(POLL_S)
        after_s = (record.points - record.n_before) * settings.interval_s
        self._due_s = self._clock.monotonic_s() + settings.before_s + after_s

    def fetch(self) -> MeterReadings:
        """Waits until the scope has stopped, then reads what was asked for of its record."""
        settings, record = self._ready(), self._planned()
        with link_errors("meter"):
            deadline_s = self._sleep_until_due()
            while not self._stopped():
                if self._clock.monotonic_s() > deadline_s:
                    raise InstrumentError(
                        "meter: no trigger came: is the light's sync output on channel 2, and does the light give one?"
                    )
                self._clock.sleep(POLL_S)
            samples = self._read_record(record, settings)
        limit_V = self._amplifier.output_limit - samples.step_V
        overflow = samples.clipped | (np.abs(samples.voltage_V) >= limit_V)
        current_A = np.where(overflow, np.nan, samples.voltage_V / self._amplifier.signed_gain_V_per_A)
        start_s = samples.time_s - POINT_APERTURE_S / 2
        return MeterReadings(start_s, current_A, (overflow * int(ReadingFlag.OVERFLOW)).astype(np.uint8))

    def make_safe(self) -> None:
        """Stops the acquisition. There is no output; the answer shows that the scope is still there."""
        with link_errors("meter"):
            self._stop()
            if not self._stopped():
                raise InstrumentError("meter: the acquisition is still running")

    def _planned(self) -> Record:
        if self._record is None:
            raise InstrumentError("meter: started or read before it was configured")
        return self._record

    def _set_record(self, record: Record, range_V: float, settings: MeterSettings) -> tuple[float, float]:
        """Sets scales and points; range (V, four divisions) and interval (s) as the scope reads them back."""
        raise NotImplementedError

    def _arm(self) -> None:
        raise NotImplementedError

    def _armed(self) -> bool:
        raise NotImplementedError

    def _stopped(self) -> bool:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError

    def _read_record(self, record: Record, settings: MeterSettings) -> Samples:
        raise NotImplementedError
