"""One take, before and after the instruments: what is asked for, settings, the trace. No instrument is touched."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from otters_lab.core.protocols import Trace
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.grids import Grid, kept
from otters_lab.instruments.limits import SLACK
from otters_lab.instruments.roles import MeterReadings, MeterSettings, ReadingFlag


@dataclass(frozen=True)
class TraceRequest:
    """One take: `dark_s` of baseline, a light pulse of `width_s`, `decay_s` after its edge, sampled every `interval_s`.

    The current is averaged over `aperture_s` from the beginning of each interval, on a fixed range. `gate_V` and
    `temperature_K` are for a bench that has a gate source and a stage; None leaves them off. `rest_s` of dark follow.
    Of the readings a `grid` keeps about `grid_points` after the edge (`grids.py`). Without `light` it stays dark: a
    record as long, whose time 0 is its end.
    """

    device: int
    drive_V: float
    width_s: float
    bias_V: float
    dark_s: float
    decay_s: float
    interval_s: float
    aperture_s: float
    range_A: float
    gate_V: float | None = None
    temperature_K: float | None = None
    rest_s: float = 0.0
    grid: Grid = "linear"
    grid_points: int | None = None
    light: bool = True

    @property
    def duration_s(self) -> float:
        """From the trigger to the end of the decay."""
        return self.dark_s + self.width_s + self.decay_s

    @property
    def n_samples(self) -> int:
        """How many whole apertures fit into the duration."""
        return math.floor((self.duration_s - self.aperture_s) / self.interval_s + SLACK) + 1


def meter_settings(request: TraceRequest, bench: BenchFile) -> MeterSettings:
    """What the meter is to be set to."""
    return MeterSettings(
        bias_V=request.bias_V if bench.drain is None else 0.0,
        compliance_A=bench.limits.compliance,
        range_A=request.range_A,
        aperture_s=request.aperture_s,
        interval_s=request.interval_s,
        n_samples=request.n_samples,
        before_s=request.dark_s if bench.meter.known.triggered_by_light else 0.0,
    )


def start_uncertainty_s(bench: BenchFile) -> float:
    """What a start of the light by software adds; nothing where the light's own edge triggers the meter."""
    light = bench.light.known
    return light.sync_uncertainty_s if light.sync == "software" and not bench.meter.known.triggered_by_light else 0.0


def edge_uncertainty_s(bench: BenchFile) -> float:
    """How well the light's edge is known on the meter's axis: the bench's own, and that of a start by software."""
    return math.hypot(bench.sync.edge_uncertainty, start_uncertainty_s(bench))


def light_edge_s(request: TraceRequest, bench: BenchFile) -> float:
    """The light's falling edge (s) after the trigger: the meter's own, or the light's at the beginning of the pulse.

    Without light it is the end of the record.
    """
    if not request.light:
        return request.duration_s
    dark_s = 0.0 if bench.meter.known.triggered_by_light else request.dark_s
    return bench.sync.light_latency + dark_s + request.width_s


def make_trace(
    request: TraceRequest, settings: MeterSettings, readings: MeterReadings, bench: BenchFile, start_utc: str
) -> Trace:
    """Puts readings on the light's time axis.

    Times are mid-aperture; 0 is the falling edge, which comes light latency + dark + pulse width after the trigger, or
    without the dark time after the light's own.
    Overflowed readings have no value and are left out. Status: "overflow" before "compliance" before "late" (a
    reading began more than half an interval off its place; its timestamp is true all the same). Statuses look at all
    readings, also at those that the request's grid drops.
    """
    edge_s = light_edge_s(request, bench)
    aperture_s = settings.aperture_s * bench.meter.filter  # a repeat filter averages that many conversions in a row
    middle_s = bench.sync.meter_latency + readings.start_s + aperture_s / 2
    grid_s = readings.start_s[:1] + settings.interval_s * np.arange(readings.start_s.size)
    good = (readings.flags & int(ReadingFlag.OVERFLOW)) == 0
    status = "ok"
    if not np.all(good):
        status = "overflow"
    elif np.any(readings.flags & int(ReadingFlag.COMPLIANCE)):
        status = "compliance"
    elif np.any(np.abs(readings.start_s - grid_s) > settings.interval_s / 2):
        status = "late"
    time_s, current_A = (middle_s - edge_s)[good], readings.current_A[good]
    chosen = kept(time_s, settings.interval_s, request.decay_s, request.grid, request.grid_points)
    return Trace(
        time_s=time_s[chosen],
        current_A=current_A[chosen],
        aperture_s=aperture_s,
        edge_uncertainty_s=edge_uncertainty_s(bench),
        pulse_width_s=request.width_s if request.light else 0.0,
        range_A=settings.range_A,
        start_utc=start_utc,
        status=status,
    )
