"""Constants: value, SI unit, node, range and source; what has no source is unknown, never guessed.

Ranges are read as log-uniform by whoever draws from them. They come from the source where it gives one; else from one
rule, which is a choice: half to twice the value (`FACTOR`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from otters_lab.core.errors import InputError, closest

Status = Literal["sourced", "fitted", "unknown"]
FACTOR = 2.0


@dataclass(frozen=True)
class Constant:
    """One constant in SI units.

    value : None where nothing published gives it
    unit, per : "J" a "conversion", "J" a "bit and hop", "m" ...
    low, high : what the value may be; None where it is unknown
    source : where it stands, or the rule it was made by

    Raises
    ------
    ValueError
        unless value, low and high are all known and in order, or all unknown as `status` says.
    """

    name: str
    value: float | None
    unit: str
    per: str
    node: str
    low: float | None
    high: float | None
    source: str
    status: Status

    def __post_init__(self) -> None:
        if self.value is None or self.low is None or self.high is None:
            if self.status != "unknown" or (self.value, self.low, self.high) != (None, None, None):
                raise ValueError(f"{self.name}: value and range are known together, or unknown together")
        elif self.status == "unknown" or not 0 <= self.low <= self.value <= self.high < math.inf:
            raise ValueError(f"{self.name}: found {self.low}, {self.value}, {self.high}, expected them in order")


def sourced(
    name: str,
    value: float,
    unit: str,
    per: str,
    node: str,
    source: str,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Constant:
    """A constant with a source; a range that it does not give is half to twice the value."""
    low, high = value / FACTOR if low is None else low, value * FACTOR if high is None else high
    return Constant(name, value, unit, per, node, low, high, source, "sourced")


def unknown(name: str, unit: str, per: str, node: str = "-") -> Constant:
    """A constant that nothing published gives."""
    return Constant(name, None, unit, per, node, None, None, "no published value found", "unknown")


def given(name: str, value: float, unit: str, per: str) -> Constant:
    """A constant that the user gives, without a range."""
    return Constant(name, value, unit, per, "-", value, value, "given by the user", "sourced")


def light_pulse_J(irradiance_W_m2: float, area_m2: float, width_s: float, efficiency: float) -> float:
    """Electrical energy of a light pulse on one device: irradiance x area x width / efficiency of the source.

    Raises
    ------
    ValueError
        for an efficiency outside (0, 1], or anything negative.
    """
    if not 0 < efficiency <= 1 or min(irradiance_W_m2, area_m2, width_s) < 0:
        raise ValueError("expected an efficiency in (0, 1], and irradiance, area and width that are not negative")
    return irradiance_W_m2 * area_m2 * width_s / efficiency


LIGHT, READ, PITCH, STATIC = "light pulse", "device read", "device pitch", "static power"
ADD = "accumulate or compare"
DENSE, EVENT = "dense movement", "event movement"
STATE_MEMORY = "SRAM read 1 MiB"
STATE_WRITE = "SRAM write 1 MiB"


def memory_read(memory: str) -> str:
    """Name of the constant that a bit read costs, from "DRAM" or an SRAM of a size like "1 MiB"."""
    return "DRAM read" if memory == "DRAM" else f"SRAM read {memory}"


def conversion(bits: int) -> str:
    """Name of the constant that a conversion of an ADC of so many bits costs."""
    return f"ADC {bits} bit"


_P = 1e-12
_MESH = "arXiv 2409.08290"
_SURVEY = "ADC survey bound, hwcomponents-adc 1.0.21"
_CACTI = "CACTI, hwcomponents-cacti 1.0.40"
_ALADDIN = "Aladdin, 8/16/32 bit adder"
_HOROWITZ = "Horowitz, ISSCC 2014"

MEAN_HOPS = 4.75
_HOPS = sourced("mean hops", MEAN_HOPS, "1", "message of a transformer on a mesh", "-", _MESH)

_DEVICE = (unknown(LIGHT, "J", "device and pulse"), unknown(READ, "J", "level read"), unknown(PITCH, "m", "device"))


# Horowitz's arithmetic at 22 nm and 0.80 V: energy goes with C*V^2, C with the feature size.
_TO_22 = 22 / 45 * (0.80 / 0.90) ** 2
_ARITHMETIC_45 = {  # pJ an operation, 45 nm, 0.9 V
    "fp32 multiply-accumulate": 4.6,
    "fp32 add": 0.9,
    "fp16 multiply-accumulate": 1.5,
    "fp16 add": 0.4,
    "int8 multiply": 0.2,
}


def _scaled(name: str) -> Constant:
    """Horowitz's value at 22 nm: the point by C*V^2, up to the value as it was measured."""
    at_45 = _ARITHMETIC_45[name] * _P
    node, source = "45 nm, scaled to 22 nm, 0.80 V", f"{_HOROWITZ}, times {_TO_22:.3f} = 22/45 (0.80/0.90)^2"
    return sourced(name, at_45 * _TO_22, "J", "operation", node, source, high=at_45)


def _at_22(name: str, pJ: float, per: str, source: str, node: str = "22 nm") -> Constant:
    return sourced(name, pJ * _P, "J", per, node, source)


def _at_45(name: str, pJ: float, per: str = "operation", high_pJ: float | None = None) -> Constant:
    high = None if high_pJ is None else high_pJ * _P
    return sourced(name, pJ * _P, "J", per, "45 nm, 0.9 V", _HOROWITZ, low=high and pJ * _P, high=high)


OPEN22 = (
    _at_22(ADD, 0.05448, "operation", f"{_MESH} (accumulate, compare, subtract)", "22 nm, 0.80 V"),
    _at_22("int8 add", 0.018, "operation", _ALADDIN),
    _at_22("int16 add", 0.036, "operation", _ALADDIN),
    _at_22("int32 add", 0.071, "operation", _ALADDIN),
    *(_scaled(name) for name in _ARITHMETIC_45),
    _at_22("SRAM read 32 KiB", 0.059, "bit", _CACTI),
    _at_22("SRAM read 256 KiB", 0.185, "bit", _CACTI),
    _at_22("SRAM read 1 MiB", 0.367, "bit", _CACTI),
    _at_22(STATE_WRITE, 0.273, "bit", _CACTI),
    _at_22("DRAM read", 1300 / 64, "bit", f"{_MESH}: 1300 pJ per 64 bit", "-"),
    _at_22(DENSE, 0.25, "bit and hop", _MESH),
    _at_22(EVENT, 3.0, "bit and hop", _MESH, "normalised to Loihi"),
    _at_22("router", 0.036, "bit", "ISAAC", "-"),
    _at_22(conversion(4), 0.457, "conversion", _SURVEY),
    _at_22(conversion(5), 0.463, "conversion", _SURVEY),
    _at_22(conversion(6), 0.527, "conversion", _SURVEY),
    _at_22(conversion(7), math.sqrt(0.527 * 0.847), "conversion", f"{_SURVEY}, between 6 and 8 bit"),
    _at_22(conversion(8), 0.847, "conversion", _SURVEY),
    _HOPS,
    *_DEVICE,
)

HOROWITZ45 = (
    _at_45(ADD, 0.03),
    _at_45("int8 add", 0.03),
    unknown("int16 add", "J", "operation", "45 nm"),
    _at_45("int32 add", 0.1),
    *(_at_45(name, pJ) for name, pJ in _ARITHMETIC_45.items()),
    _at_45("SRAM read 32 KiB", 20 / 64, "bit"),
    unknown("SRAM read 256 KiB", "J", "bit", "45 nm"),
    _at_45("SRAM read 1 MiB", 100 / 64, "bit"),
    unknown(STATE_WRITE, "J", "bit", "45 nm"),
    _at_45("DRAM read", 1300 / 64, "bit", high_pJ=2600 / 64),
    unknown(DENSE, "J", "bit and hop", "45 nm"),
    unknown(EVENT, "J", "bit and hop", "45 nm"),
    unknown("router", "J", "bit", "45 nm"),
    *(unknown(conversion(bits), "J", "conversion", "45 nm") for bits in range(4, 9)),
    _HOPS,
    *_DEVICE,
)

PRESETS: dict[str, Mapping[str, Constant]] = {
    name: {constant.name: constant for constant in table}
    for name, table in (("open22", OPEN22), ("horowitz45", HOROWITZ45))
}


def find_preset(name: str) -> Mapping[str, Constant]:
    """The constants of a preset by name.

    Raises
    ------
    InputError
        for a preset that does not exist.
    """
    if name not in PRESETS:
        raise InputError(
            "no such preset", found=name, expected=f"one of {', '.join(PRESETS)}", suggestion=closest(name, PRESETS)
        )
    return PRESETS[name]
