"""What a recipe may write where a quantity can be swept: one, a list, or evenly spaced steps; and device numbers."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from otters_lab.core.quantity import parse_quantity

MAX_STEPS = 1_000_000
_STEPS = {"from", "to", "points", "scale"}


def parse_swept(value: object, dimension: str) -> list[float]:
    """SI values of ``"5 V"``, ``["1 V", "2 V"]`` or ``{from = "1 V", to = "5 V", points = 5, scale = "log"}``.

    Steps include both ends; `scale` is "linear" unless it says "log", which wants ends of one sign.

    Raises
    ------
    ValueError
        for anything else.
    """
    if isinstance(value, dict):
        return _steps(value, dimension)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"found an empty list, expected at least one quantity of {dimension}")
    return [parse_quantity(item, dimension) for item in values]


def _steps(table: Mapping[str, Any], dimension: str) -> list[float]:
    strange = sorted(set(table) - _STEPS)
    missing = sorted({"from", "to", "points"} - set(table))
    if strange or missing:
        raise ValueError(f"found the keys {', '.join(sorted(table))}, expected from, to, points and perhaps scale")
    first, last = parse_quantity(table["from"], dimension), parse_quantity(table["to"], dimension)
    points, scale = table["points"], table.get("scale", "linear")
    if not isinstance(points, int) or isinstance(points, bool) or not 2 <= points <= MAX_STEPS:
        raise ValueError(f"found points = {points!r}, expected a number from 2 to {MAX_STEPS}")
    if scale not in ("linear", "log"):
        raise ValueError(f'found scale = {scale!r}, expected "linear" or "log"')
    if scale == "log" and not first * last > 0:
        raise ValueError(f"found {table['from']!r} to {table['to']!r} on a log scale, expected both above or below 0")
    if scale == "linear":
        return [float(v) for v in np.linspace(first, last, points)]
    sign = math.copysign(1.0, first)
    return [float(sign * v) for v in np.geomspace(abs(first), abs(last), points)]


def _swept(dimension: str) -> Any:
    return BeforeValidator(lambda value: parse_swept(value, dimension))


SweptVolts = Annotated[list[float], _swept("voltage")]
SweptIrradiance = Annotated[list[float], _swept("irradiance")]
SweptSeconds = Annotated[list[float], _swept("time")]
SweptKelvin = Annotated[list[float], _swept("temperature")]
SweptAmperes = Annotated[list[float], _swept("current")]

# Every parameter that can be swept, by the key it has in a recipe, and its dimension.
DIMENSIONS = {
    "light.drive": "voltage",
    "light.irradiance": "irradiance",
    "light.width": "time",
    "bias.voltage": "voltage",
    "gate.voltage": "voltage",
    "temperature.setpoint": "temperature",
    "sampling.range": "current",
}


def parse_devices(value: object) -> list[int | str]:
    """Device numbers from ``"1-8"``, ``"1,3,5-7"`` or ``[1, 3]``; parts with a * are left for the bench's switch.

    Raises
    ------
    ValueError
        for anything else, a backward range or a number given twice.
    """
    expected = 'device numbers like "1-8", "1,3,5-7" or [1, 3], or channels like "1A*"'
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"found {value!r}, expected {expected}")
    devices: list[int | str] = []
    for part in parts:
        if isinstance(part, int) and not isinstance(part, bool):
            devices.append(part)
            continue
        if not isinstance(part, str):
            raise ValueError(f"found {part!r} in {value!r}, expected {expected}")
        text = part.strip()
        if "*" in text:
            devices.append(text)
            continue
        first, dash, last = text.partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise ValueError(f"found {text!r} in {value!r}, expected {expected}")
        low, high = int(first), int(last or first)
        if high < low:
            raise ValueError(f"found the backward range {text!r} in {value!r}, expected {expected}")
        devices += range(low, high + 1)
    if len(set(devices)) != len(devices):
        raise ValueError(f"found a device twice in {value!r}, expected each once")
    return devices


def resolve_devices(chosen: Sequence[int | str], channels: Mapping[int, int | str]) -> tuple[int, ...]:
    """Device numbers on a bench: a pattern stands for the devices whose channel's name it fits, in their order.

    Raises
    ------
    ValueError
        for a pattern that fits none, and a device that is chosen twice.
    """
    found: list[int] = []
    for item in chosen:
        if isinstance(item, int):
            found.append(item)
            continue
        fitting = [device for device in sorted(channels) if fnmatch.fnmatchcase(str(channels[device]), item)]
        if not fitting:
            raise ValueError(f"{item!r} fits no channel of the switch")
        found += fitting
    if len(set(found)) != len(found):
        raise ValueError("a device is chosen twice")
    return tuple(found)
