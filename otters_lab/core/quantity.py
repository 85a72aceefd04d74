"""Quantities with units: ``"10 ms"`` in, SI floats out, and nothing else accepted.

The parser takes ``number space unit`` only: finite, decimal point, no comma, no arithmetic, and only the
units a field allows. A general unit library is too generous for instrument limits: such parsers have been
seen to read "1,5 V" as 15 V, to evaluate "2*3 V" and to accept "nan V".
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator

from otters_lab.core.errors import closest

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)

_PREFIXES = {"f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9}


def _prefixed(dimension: str, symbol: str) -> dict[str, tuple[str, Decimal]]:
    return {prefix + symbol: (dimension, Decimal(10) ** power) for prefix, power in _PREFIXES.items()}


# unit -> (dimension, factor to SI). Irradiance is W/m^2 inside, W/cm^2 in most labs.
UNITS: dict[str, tuple[str, Decimal]] = {
    **_prefixed("time", "s"),
    "min": ("time", Decimal(60)),
    "h": ("time", Decimal(3600)),
    **_prefixed("current", "A"),
    **_prefixed("voltage", "V"),
    **_prefixed("frequency", "Hz"),
    **_prefixed("power", "W"),
    **_prefixed("energy", "J"),
    **_prefixed("length", "m"),
    **{
        prefix + "W/cm^2": ("irradiance", Decimal(10) ** (power + 4))
        for prefix, power in _PREFIXES.items()
        if power <= 0
    },
    "W/m^2": ("irradiance", Decimal(1)),
    **_prefixed("current noise density", "A/sqrt(Hz)"),
    **_prefixed("transimpedance", "V/A"),
    "%": ("ratio", Decimal("0.01")),
    "%/h": ("rate", Decimal("0.01") / Decimal(3600)),
    **_prefixed("voltage ramp", "V/s"),
    "K/s": ("temperature ramp", Decimal(1)),
    "K/min": ("temperature ramp", Decimal(1) / Decimal(60)),
    "mK": ("temperature", Decimal("0.001")),
    "K": ("temperature", Decimal(1)),
    "degC": ("temperature", Decimal(1)),
}

_DEGC_OFFSET_K = Decimal("273.15")

SI_UNIT = {
    "time": "s",
    "current": "A",
    "voltage": "V",
    "frequency": "Hz",
    "power": "W",
    "energy": "J",
    "length": "m",
    "irradiance": "W/m^2",
    "current noise density": "A/sqrt(Hz)",
    "transimpedance": "V/A",
    "ratio": "1",
    "rate": "1/s",
    "voltage ramp": "V/s",
    "temperature ramp": "K/s",
    "temperature": "K",
}


def parse_quantity(text: object, dimension: str) -> float:
    """Reads ``"number unit"`` as a float in the SI unit of `dimension` (a key of `SI_UNIT`).

    The conversion is done in decimal, so "0.1 ms" is exactly ``1e-4``.

    Raises
    ------
    ValueError
        for anything but a finite number, one space and a unit of the dimension.
    """
    allowed = [unit for unit, (dim, _) in UNITS.items() if dim == dimension]
    example = f'a quantity of {dimension} written like "10 {_example_unit(dimension)}"'
    if not isinstance(text, str):
        raise ValueError(f"found {text!r}, expected {example}")
    number, _, unit = text.partition(" ")
    if not _NUMBER.fullmatch(number):
        hint = " (write a decimal point, not a comma)" if "," in number else ""
        raise ValueError(f"found {text!r}, expected {example}{hint}")
    if not unit:
        raise ValueError(f"found {text!r} without a unit, expected {example}")
    if unit not in UNITS or UNITS[unit][0] != dimension:
        near = closest(unit, allowed)
        hint = f' (did you mean "{near}"?)' if near else ""
        raise ValueError(f"found the unit {unit!r} in {text!r}, expected {example}{hint}")
    value = Decimal(number) * UNITS[unit][1]
    if unit == "degC":
        value += _DEGC_OFFSET_K
    result = float(value)
    if not math.isfinite(result):
        raise ValueError(f"found {text!r}, which is not finite, expected {example}")
    return result


def offset_of(unit: str) -> float:
    """What is added to a value in `unit`, once it is scaled, to give the SI value: 273.15 K for degrees Celsius."""
    return float(_DEGC_OFFSET_K) if unit == "degC" else 0.0


def _example_unit(dimension: str) -> str:
    return {"time": "ms", "irradiance": "mW/cm^2", "ratio": "%", "rate": "%/h"}.get(dimension, SI_UNIT[dimension])


def format_quantity(value: float | None, unit: str, digits: int = 4) -> str:
    """Shows an SI value with an engineering prefix: ``format_quantity(2e-3, "s") == "2 ms"``.

    None and NaN are shown as "unknown"; units without prefixes ("1", "K", ...) are shown plainly.
    """
    if value is None or math.isnan(value):
        return "unknown"
    if unit not in ("s", "A", "V", "Hz", "W", "J", "m") or value == 0 or not math.isfinite(value):
        return f"{value:.{digits}g} {unit}".removesuffix(" 1")
    power = min(9, max(-15, 3 * math.floor(math.log10(abs(value)) / 3)))
    prefix = next(p for p, n in _PREFIXES.items() if n == power)
    return f"{value / 10.0**power:.{digits}g} {prefix}{unit}"


def _field(dimension: str) -> Any:
    return BeforeValidator(lambda text: parse_quantity(text, dimension))


def _difference(text: object) -> float:
    """A difference of temperatures: in degrees Celsius it would be taken for a temperature, 273.15 K too large."""
    if isinstance(text, str) and text.endswith("degC"):
        raise ValueError(f'found {text!r}, expected a difference of temperatures, written like "100 mK"')
    return parse_quantity(text, "temperature")


# Types for pydantic models of files that people write: text with a unit in, SI float out.
Seconds = Annotated[float, _field("time")]
Amperes = Annotated[float, _field("current")]
Volts = Annotated[float, _field("voltage")]
Hertz = Annotated[float, _field("frequency")]
Watts = Annotated[float, _field("power")]
Joules = Annotated[float, _field("energy")]
Metres = Annotated[float, _field("length")]
WattsPerSquareMetre = Annotated[float, _field("irradiance")]
AmperesPerRootHertz = Annotated[float, _field("current noise density")]
VoltsPerAmpere = Annotated[float, _field("transimpedance")]
VoltsPerSecond = Annotated[float, _field("voltage ramp")]
KelvinPerSecond = Annotated[float, _field("temperature ramp")]
KelvinDifference = Annotated[float, BeforeValidator(_difference)]
Kelvin = Annotated[float, _field("temperature")]
Fraction = Annotated[float, _field("ratio")]
PerSecond = Annotated[float, _field("rate")]
