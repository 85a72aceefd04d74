"""What a bench's limits and its light source say against a number, as sentences; empty where nothing does."""

from __future__ import annotations

from otters_lab.core.errors import InputError
from otters_lab.core.quantity import format_quantity
from otters_lab.instruments.benchfile import BenchFile

# Relative slack for sums of decimal quantities in binary floating point.
SLACK = 1e-9


def over(name: str, value: float, limit: float, unit: str) -> list[str]:
    """A value over a limit of the bench."""
    if value <= limit * (1 + SLACK):
        return []
    return [f"{name} is {format_quantity(value, unit)}, over the bench's limit of {format_quantity(limit, unit)}"]


def outside(name: str, value: float, low: float, high: float, unit: str, whose: str) -> list[str]:
    """A value outside what an instrument takes."""
    if low * (1 - SLACK) <= value <= high * (1 + SLACK):
        return []
    between = f"{format_quantity(low, unit)} to {format_quantity(high, unit)}"
    return [f"{name} is {format_quantity(value, unit)}, the {whose} takes {between}"]


def pulse_over(drive_V: float, width_s: float, period_s: float, bench: BenchFile) -> list[str]:
    """A light pulse over the bench's limits; `period_s` (s) from one pulse to the next."""
    limits = bench.limits
    problems = over("drive", drive_V, limits.drive, "V") + over("pulse width", width_s, limits.pulse_width, "s")
    if limits.duty is not None:
        problems += over("duty", width_s / period_s, limits.duty, "1")
    if limits.optical_power is not None and bench.light_calibration is not None:
        try:
            problems += over("optical power", bench.light_calibration.power_at(drive_V), limits.optical_power, "W")
        except InputError as error:
            problems.append(f"the optical power at this drive is not known: {error}")
    return problems


def pulse_outside(drive_V: float, width_s: float, bench: BenchFile) -> list[str]:
    """A light pulse that the light source cannot give."""
    light = bench.light.known
    problems = outside("drive", drive_V, *light.drive_V[bench.light.load], "V", "light source")
    return problems + outside("pulse width", width_s, *light.width_s, "s", "light source")
