"""One take, before and after the instruments: limits, settings, and the trace. Pure: no instrument is touched."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Trace
from otters_lab.core.quantity import format_quantity
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.grids import Grid, kept
from otters_lab.instruments.limits import SLACK, outside, over, pulse_outside, pulse_over
from otters_lab.instruments.roles import MeterReadings, MeterSettings, ReadingFlag


@dataclass(frozen=True)
class TraceRequest:
    """One take: `dark_s` of baseline, a light pulse of `width_s`, `decay_s` after its edge, sampled every `interval_s`.

    The current is averaged over `aperture_s` from the beginning of each interval, on a fixed range. `gate_V` and
    `temperature_K` are for a bench that has a gate source and a stage; None leaves them off. `rest_s` of dark follow.
    Of the readings a `grid` keeps about `grid_points` after the edge (`grids.py`).
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

    @property
    def duration_s(self) -> float:
        """From the trigger to the end of the decay."""
        return self.dark_s + self.width_s + self.decay_s

    @property
    def n_samples(self) -> int:
        """How many whole apertures fit into the duration."""
        return math.floor((self.duration_s - self.aperture_s) / self.interval_s + SLACK) + 1


def violations(request: TraceRequest, bench: BenchFile) -> list[str]:
    """Everything that speaks against a take, as sentences that name limit and value; empty if nothing does."""
    numbers = {field.name: getattr(request, field.name) for field in fields(request)}
    bad = [name for name, value in numbers.items() if isinstance(value, float) and not math.isfinite(value)]
    if bad:
        return [f"{name} is not a finite number" for name in bad]
    meter, light, limits = bench.meter.known, bench.light.known, bench.limits
    nplc = request.aperture_s * bench.line_frequency
    problems: list[str] = []

    problems += over("bias", abs(request.bias_V), limits.bias, "V")
    problems += over("range", request.range_A, limits.current, "A")
    problems += pulse_over(request.drive_V, request.width_s, request.duration_s + request.rest_s, bench)
    if request.device not in bench.devices:
        known = ", ".join(str(device) for device in bench.devices)
        problems.append(f"device {request.device} is not on the switch (switch.channels has {known})")
    if not any(math.isclose(request.range_A, known, rel_tol=1e-6) for known in meter.ranges_A):
        ranges = ", ".join(format_quantity(known, "A") for known in meter.ranges_A)
        problems.append(f"range is {format_quantity(request.range_A, 'A')}, the meter has {ranges}")
    elif limits.compliance <= meter.compliance_over_range * request.range_A:
        problems.append(
            f"compliance is {format_quantity(limits.compliance, 'A')}, too small for the range of "
            f"{format_quantity(request.range_A, 'A')}"
        )
    source, bias_V = (meter, meter.bias_V) if bench.drain is None else (bench.drain.known, bench.drain.known.bias_V)
    if bias_V == 0 and request.bias_V != 0:
        asked = format_quantity(request.bias_V, "V")
        problems.append(f"bias is {asked}, but the {source.model} has no source: the bias must be 0 V")
    problems += outside(
        "bias", abs(request.bias_V), 0.0, bias_V or math.inf, "V", "meter" if bench.drain is None else "drain"
    )
    if request.gate_V is not None:
        if bench.gate is None or limits.gate is None:
            problems.append(f"gate is {format_quantity(request.gate_V, 'V')}, and the bench has no [gate]")
        else:
            problems += over("gate", abs(request.gate_V), limits.gate, "V")
            problems += outside("gate", abs(request.gate_V), 0.0, bench.gate.known.bias_V, "V", "gate source")
    if request.temperature_K is not None:
        if bench.temperature is None or limits.temperature is None:
            problems.append(f"temperature is {request.temperature_K:g} K, and the bench has no [temperature] stage")
        else:
            low_K, high_K = limits.temperature
            problems += outside("temperature", request.temperature_K, low_K, high_K, "K", "bench (limits.temperature)")
            problems += outside(
                "temperature", request.temperature_K, *bench.temperature.known.temperature_K, "K", "stage"
            )
    if meter.aperture_s:
        problems += outside("aperture", request.aperture_s, *meter.aperture_s, "s", "meter")
    else:
        problems += outside("aperture in power-line cycles", nplc, *meter.nplc, "1", "meter")
    problems += outside("interval", request.interval_s, *meter.interval_s, "s", "meter")
    problems += pulse_outside(request.drive_V, request.width_s, bench)
    problems += outside("dark time", request.dark_s, *light.delay_s, "s", "light source's trigger delay")
    busy_s = request.aperture_s * bench.meter.filter + meter.dead_s
    if request.aperture_s <= request.interval_s * (1 + SLACK) < busy_s:
        problems.append(
            f"interval is {format_quantity(request.interval_s, 's')}, the meter is busy for "
            f"{format_quantity(busy_s, 's')} with each reading"
        )
    if request.aperture_s > request.interval_s * (1 + SLACK):
        problems.append(
            f"aperture is {format_quantity(request.aperture_s, 's')}, longer than the interval of "
            f"{format_quantity(request.interval_s, 's')}"
        )
    if request.decay_s < request.interval_s * (1 - SLACK):
        problems.append(
            f"decay is {format_quantity(request.decay_s, 's')}, shorter than the interval of "
            f"{format_quantity(request.interval_s, 's')}"
        )
    amplifier = bench.meter.amplifier
    if amplifier and amplifier.rise_time_s > request.interval_s * (1 + SLACK):
        problems.append(
            f"interval is {format_quantity(request.interval_s, 's')}, shorter than the amplifier's rise time of "
            f"{format_quantity(amplifier.rise_time_s, 's')} (bandwidth {format_quantity(amplifier.bandwidth, 'Hz')})"
        )
    if light.sync == "software" and light.sync_uncertainty_s >= request.decay_s:
        problems.append(
            f"decay is {format_quantity(request.decay_s, 's')}, but the light is started by software and its edge "
            f"known to {format_quantity(light.sync_uncertainty_s, 's')}"
        )
    if not problems and not meter.samples[0] <= request.n_samples <= meter.samples[1]:
        problems.append(f"{request.n_samples} samples, the meter takes {meter.samples[0]} to {meter.samples[1]}")
    return problems


def check_limits(request: TraceRequest, bench: BenchFile) -> None:
    """Refuses a take that the bench's limits or its instruments do not allow.

    Raises
    ------
    InputError
        with the first of `violations` and the bench file.
    """
    problems = violations(request, bench)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"the bench refuses: {problems[0]}{more}", file=bench.path)


def meter_settings(request: TraceRequest, bench: BenchFile) -> MeterSettings:
    """What the meter is to be set to."""
    return MeterSettings(
        bias_V=request.bias_V if bench.drain is None else 0.0,
        compliance_A=bench.limits.compliance,
        range_A=request.range_A,
        aperture_s=request.aperture_s,
        interval_s=request.interval_s,
        n_samples=request.n_samples,
    )


def edge_uncertainty_s(bench: BenchFile) -> float:
    """How well the light's edge is known on the meter's axis: the bench's own, and that of a start by software."""
    light = bench.light.known
    return math.hypot(bench.sync.edge_uncertainty, light.sync_uncertainty_s if light.sync == "software" else 0.0)


def make_trace(
    request: TraceRequest, settings: MeterSettings, readings: MeterReadings, bench: BenchFile, start_utc: str
) -> Trace:
    """Puts readings on the light's time axis.

    Times are mid-aperture; 0 is the falling edge, which comes light latency + dark + pulse width after the trigger.
    Overflowed readings have no value and are left out. Status: "overflow" before "compliance" before "late" (a
    reading began more than half an interval off its place; its timestamp is true all the same). Statuses look at all
    readings, also at those that the request's grid drops.
    """
    edge_s = bench.sync.light_latency + request.dark_s + request.width_s
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
        pulse_width_s=request.width_s,
        range_A=settings.range_A,
        start_utc=start_utc,
        status=status,
    )
