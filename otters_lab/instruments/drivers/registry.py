"""Drivers by the short names that bench files use. Adding one is adding an entry.

The numbers stand here, apart from the drivers, so that a recipe can be checked without importing one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otters_lab.instruments.drivers.entries import LightDriver, MeterDriver, SwitchDriver, load
from otters_lab.instruments.drivers.options import FILTER_COUNTS
from otters_lab.instruments.roles import LightSource, Meter, Switch

if TYPE_CHECKING:
    from otters_lab.core.clock import Clock
    from otters_lab.instruments.benchfile import BenchFile

_DRIVERS = "otters_lab.instruments.drivers"
_TWINS = "otters_lab.instruments.virtual"

_OPTIONS_2450 = {
    "wires": ("2", "4"),
    "terminals": ("front", "rear"),
    "output_off": ("normal", "high impedance", "zero", "guard"),
    "filter": FILTER_COUNTS,
}

METERS: Mapping[str, MeterDriver] = {
    # Model 2450 Reference Manual, 2450-901-01 Rev. B: p. 6-53, 6-48, TRIGger:TIMer, 6-115, 6-70, 6-71. The buffer takes
    # more than 100 000 readings; more than that in one reply is more than we ask of a link.
    "keithley-2450": MeterDriver(
        model="Keithley 2450",
        validated="manual",
        evidence="2450-901-01 Rev. B",
        build=f"{_DRIVERS}.keithley2450_meter:build",
        twin=f"{_TWINS}.keithley2450:twin",
        ranges_A=(10e-9, 100e-9, 1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0),
        nplc=(0.01, 10.0),
        interval_s=(8e-6, 1e5),
        samples=(1, 100_000),
        bias_V=210.0,
        compliance_over_range=1e-3,
        options=_OPTIONS_2450,
    ),
    # The 2450's command set; ranges of the 2461's manual (p. 8-166), voltage and current limits of the data sheet.
    "keithley-2460": MeterDriver(
        model="Keithley 2460",
        validated="manual",
        evidence="commands of 2450-901-01 Rev. B, ranges of 2461-901-01 Rev. A; the 2460's own manual was not at hand",
        build=f"{_DRIVERS}.keithley2450_meter:build_2460",
        twin=f"{_TWINS}.keithley2450:twin_2460",
        ranges_A=(1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0, 4.0, 5.0, 7.0),
        nplc=(0.01, 10.0),
        interval_s=(8e-6, 1e5),
        samples=(1, 100_000),
        bias_V=105.0,
        compliance_over_range=1e-3,
        options=_OPTIONS_2450,
    ),
}

LIGHTS: Mapping[str, LightDriver] = {
    # 33500 Series Operating and Service Guide: FUNCtion:PULSe:WIDTh, TRIGger:DELay, output ratings. The period is twice
    # the width, hence half of its 1e6 s.
    "agilent-33500": LightDriver(
        model="Agilent 33500",
        validated="independent driver",
        evidence="PyMeasure's Agilent33500, unmodified on our twin",
        build=f"{_DRIVERS}.agilent33500:build",
        twin=f"{_TWINS}.agilent33500:twin",
        width_s=(16e-9, 5e5),
        delay_s=(0.0, 1000.0),
        drive_V={"high impedance": (2e-3, 10.0), "50 ohm": (1e-3, 5.0)},
    ),
}

SWITCHES: Mapping[str, SwitchDriver] = {
    "keithley-2700": SwitchDriver(
        model="Keithley 2700",
        validated="independent driver",
        evidence="PyMeasure's Keithley2700, unmodified on our twin",
        build=f"{_DRIVERS}.keithley2700:build",
        twin=f"{_TWINS}.keithley2700:twin",
    ),
}


def build_meter(adapter: Any, bench: BenchFile, clock: Clock) -> Meter:
    """The meter of a bench on an open PyMeasure adapter."""
    meter: Meter = load(METERS[bench.meter.driver].build)(adapter, bench, clock)
    return meter


def build_light(adapter: Any, bench: BenchFile, clock: Clock) -> LightSource:
    """The light source of a bench on an open PyMeasure adapter."""
    light: LightSource = load(LIGHTS[bench.light.driver].build)(adapter, bench, clock)
    return light


def build_switch(adapter: Any, bench: BenchFile, clock: Clock) -> Switch:
    """The switch of a bench on an open PyMeasure adapter."""
    switch: Switch = load(SWITCHES[bench.switch.driver].build)(adapter, bench, clock)
    return switch
