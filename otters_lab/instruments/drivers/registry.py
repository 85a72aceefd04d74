"""Drivers by the short names that bench files use, with what their instruments can do at all.

The numbers are here, apart from the drivers, so that a recipe can be checked without importing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otters_lab.instruments.roles import LightSource, Meter, Switch

if TYPE_CHECKING:
    from otters_lab.core.clock import Clock
    from otters_lab.instruments.benchfile import BenchFile


@dataclass(frozen=True)
class MeterAbilities:
    """Fixed ranges (A), apertures (power-line cycles), sample intervals (s), samples in one acquisition."""

    ranges_A: tuple[float, ...]
    nplc: tuple[float, float]
    interval_s: tuple[float, float]
    samples: tuple[int, int]
    bias_V: float
    # The current limit must exceed this share of the measuring range.
    compliance_over_range: float


@dataclass(frozen=True)
class LightAbilities:
    """Pulse widths (s), trigger delays (s), and drive levels (V) by load."""

    width_s: tuple[float, float]
    delay_s: tuple[float, float]
    drive_V: dict[str, tuple[float, float]]


METERS = {
    # Model 2450 Reference Manual, 2450-901-01 Rev. B: p. 6-53, 6-48, TRIGger:TIMer, 6-115, 6-70, 6-71. The buffer takes
    # more than 100 000 readings; more than that in one reply is more than we ask of a link.
    "keithley-2450": MeterAbilities(
        ranges_A=(10e-9, 100e-9, 1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0),
        nplc=(0.01, 10.0),
        interval_s=(8e-6, 1e5),
        samples=(1, 100_000),
        bias_V=210.0,
        compliance_over_range=1e-3,
    ),
}

LIGHTS = {
    # 33500 Series Operating and Service Guide: FUNCtion:PULSe:WIDTh, TRIGger:DELay, output ratings. The period is twice
    # the width, hence half of its 1e6 s.
    "agilent-33500": LightAbilities(
        width_s=(16e-9, 5e5),
        delay_s=(0.0, 1000.0),
        drive_V={"high impedance": (2e-3, 10.0), "50 ohm": (1e-3, 5.0)},
    ),
}


def build_meter(adapter: Any, bench: BenchFile, clock: Clock) -> Meter:
    """The meter of a bench on an open PyMeasure adapter."""
    from otters_lab.instruments.drivers.keithley2450 import Keithley2450
    from otters_lab.instruments.drivers.keithley2450_meter import Keithley2450Meter

    return Keithley2450Meter(Keithley2450(adapter), clock, bench.line_frequency)


def build_light(adapter: Any, bench: BenchFile) -> LightSource:
    """The light source of a bench on an open PyMeasure adapter."""
    from pymeasure.instruments.agilent import Agilent33500

    from otters_lab.instruments.drivers.agilent33500 import Agilent33500Light

    low_V, high_V = LIGHTS[bench.light.driver].drive_V[bench.light.load]
    return Agilent33500Light(Agilent33500(adapter), bench.light.load, (low_V, high_V))


def build_switch(adapter: Any, bench: BenchFile) -> Switch:
    """The switch of a bench on an open PyMeasure adapter."""
    from pymeasure.instruments.keithley import Keithley2700

    from otters_lab.instruments.drivers.keithley2700 import Keithley2700Switch

    return Keithley2700Switch(lambda: Keithley2700(adapter), bench.switch.channels)
