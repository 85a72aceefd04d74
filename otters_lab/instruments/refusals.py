"""What a bench refuses: its own limits, and what its instruments cannot do. Checked before any of them is touched."""

from __future__ import annotations

import math
from dataclasses import fields

from otters_lab.core.errors import InputError
from otters_lab.core.quantity import format_quantity
from otters_lab.instruments.acquire import TraceRequest, meter_settings, start_uncertainty_s
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.limits import SLACK, outside, over, pulse_outside, pulse_over


def violations(request: TraceRequest, bench: BenchFile) -> list[str]:
    """Everything that speaks against a take, as sentences that name limit and value; empty if nothing does."""
    numbers = {field.name: getattr(request, field.name) for field in fields(request)}
    bad = [name for name, value in numbers.items() if isinstance(value, float) and not math.isfinite(value)]
    if bad:
        return [f"{name} is not a finite number" for name in bad]
    against = _device_and_bias(request, bench) + _conditions(request, bench)
    if request.light:
        against += _light(request, bench)
    elif bench.meter.known.triggered_by_light:
        against.append(f"a record in the dark is asked for, and only light triggers the {bench.meter.known.model}")
    against += _range(request, bench) + _times(request, bench)
    return against or _record(request, bench)


def _but(name: str, value: float, unit: str, why: str) -> list[str]:
    """A value, and what is wrong with it."""
    return [f"{name} is {format_quantity(value, unit)}, {why}"]


def _device_and_bias(request: TraceRequest, bench: BenchFile) -> list[str]:
    meter, drain = bench.meter.known, bench.drain
    against = []
    if request.device not in bench.devices:
        known = ", ".join(str(device) for device in bench.devices)
        against.append(f"device {request.device} is not on the switch (switch.channels has {known})")
    bias_V = abs(request.bias_V)
    against += over("bias", bias_V, bench.limits.bias, "V")
    model, most_V = (meter.model, meter.bias_V) if drain is None else (drain.known.model, drain.known.bias_V)
    if most_V == 0 and bias_V != 0:
        against += _but("bias", request.bias_V, "V", f"but the {model} has no source: the bias must be 0 V")
    against += outside("bias", bias_V, 0.0, most_V or math.inf, "V", "meter" if drain is None else "drain")
    for limit_A, reach_V in zip(meter.compliances_A, meter.compliance_bias_V, strict=False):
        limited = drain is None and math.isclose(bench.limits.compliance, limit_A)
        if limited and reach_V * (1 + SLACK) < bias_V <= meter.bias_V:
            why = f"limits the current to {format_quantity(limit_A, 'A')} up to {format_quantity(reach_V, 'V')} only"
            against += _but("bias", bias_V, "V", f"the {meter.model} {why}")
    return against


def _conditions(request: TraceRequest, bench: BenchFile) -> list[str]:
    limits = bench.limits
    against: list[str] = []
    if request.gate_V is not None:
        if bench.gate is None or limits.gate is None:
            against += _but("gate", request.gate_V, "V", "and the bench has no [gate]")
        else:
            against += over("gate", abs(request.gate_V), limits.gate, "V")
            against += outside("gate", abs(request.gate_V), 0.0, bench.gate.known.bias_V, "V", "gate source")
    if request.temperature_K is not None:
        if bench.temperature is None or limits.temperature is None:
            against += _but("temperature", request.temperature_K, "K", "and the bench has no [temperature] stage")
        else:
            low_K, high_K = limits.temperature
            against += outside("temperature", request.temperature_K, low_K, high_K, "K", "bench (limits.temperature)")
            against += outside(
                "temperature", request.temperature_K, *bench.temperature.known.temperature_K, "K", "stage"
            )
    return against


def _light(request: TraceRequest, bench: BenchFile) -> list[str]:
    against = pulse_over(request.drive_V, request.width_s, request.duration_s + request.rest_s, bench)
    against += pulse_outside(request.drive_V, request.width_s, bench)
    delay_s = bench.light.known.delay_s
    against += outside("dark time", request.dark_s, *delay_s, "s", "light source's trigger delay")
    start_s = start_uncertainty_s(bench)
    if start_s and start_s >= request.decay_s:
        known = f"but the light is started by software and its edge known to {format_quantity(start_s, 's')}"
        against += _but("decay", request.decay_s, "s", known)
    return against


def _range(request: TraceRequest, bench: BenchFile) -> list[str]:
    meter, limits = bench.meter.known, bench.limits
    against = over("range", request.range_A, limits.current, "A")
    if not any(math.isclose(request.range_A, known, rel_tol=1e-6) for known in meter.ranges_A):
        ranges = ", ".join(format_quantity(known, "A") for known in meter.ranges_A)
        against += _but("range", request.range_A, "A", f"the meter has {ranges}")
    elif limits.compliance <= meter.compliance_over_range * request.range_A:
        why = f"too small for the range of {format_quantity(request.range_A, 'A')}"
        against += _but("compliance", limits.compliance, "A", why)
    return against


def _times(request: TraceRequest, bench: BenchFile) -> list[str]:
    meter, amplifier = bench.meter.known, bench.meter.amplifier
    aperture_s, interval_s = request.aperture_s, request.interval_s
    if meter.aperture_s:
        against = outside("aperture", aperture_s, *meter.aperture_s, "s", "meter")
    else:
        nplc = aperture_s * bench.line_frequency
        against = outside("aperture in power-line cycles", nplc, *meter.nplc, "1", "meter")
    against += outside("interval", interval_s, *meter.interval_s, "s", "meter")
    busy_s = aperture_s * bench.meter.filter + meter.dead_s
    if aperture_s <= interval_s * (1 + SLACK) < busy_s:
        why = f"the meter is busy for {format_quantity(busy_s, 's')} with each reading"
        against += _but("interval", interval_s, "s", why)
    if aperture_s > interval_s * (1 + SLACK):
        against += _but("aperture", aperture_s, "s", f"longer than the interval of {format_quantity(interval_s, 's')}")
    if request.decay_s < interval_s * (1 - SLACK):
        why = f"shorter than the interval of {format_quantity(interval_s, 's')}"
        against += _but("decay", request.decay_s, "s", why)
    if amplifier and amplifier.rise_time_s > interval_s * (1 + SLACK):
        rise, band = format_quantity(amplifier.rise_time_s, "s"), format_quantity(amplifier.bandwidth, "Hz")
        why = f"shorter than the amplifier's rise time of {rise} (bandwidth {band})"
        against += _but("interval", interval_s, "s", why)
    return against


def _record(request: TraceRequest, bench: BenchFile) -> list[str]:
    """Whether the meter has a record of this shape; asked only of a take that nothing else speaks against."""
    meter, samples = bench.meter.known, request.n_samples
    if meter.timebase is not None:
        settings = meter_settings(request, bench)
        if not meter.timebase.record(settings.interval_s, settings.n_samples, settings.before_s):
            return [
                f"no time base of the {meter.model} gives {samples} samples every "
                f"{format_quantity(request.interval_s, 's')} (likeliest: an interval of 1, 2 or 5 times a power of ten)"
            ]
    if not meter.samples[0] <= samples <= meter.samples[1]:
        return [f"{samples} samples, the meter takes {meter.samples[0]} to {meter.samples[1]}"]
    return []


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


def check_gate_pulse(voltage_V: float, bench: BenchFile) -> None:
    """Refuses a pulse on the gate that the bench's limits do not allow, or that has no gate to go to.

    Raises
    ------
    InputError
        with limit and value.
    """
    if bench.gate is None or bench.limits.gate is None:
        raise InputError("a gate pulse is asked for, and the bench has no [gate]", file=bench.path)
    allowed = min(bench.limits.gate, bench.gate.known.bias_V)
    if not abs(voltage_V) <= allowed:
        asked, limit = format_quantity(voltage_V, "V"), format_quantity(allowed, "V")
        raise InputError(f"the bench refuses: gate pulse is {asked}, over the limit of {limit}", file=bench.path)
