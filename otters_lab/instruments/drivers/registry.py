"""Drivers by the short names that bench files use. Adding one is adding an entry.

The numbers stand here, apart from the drivers, so that a recipe can be checked without importing one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from otters_lab.instruments.drivers.entries import Entry, LightDriver, MeterDriver, SwitchDriver, load
from otters_lab.instruments.drivers.options import FILTER_COUNTS
from otters_lab.instruments.drivers.own import load_own
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
    # DC2200 Operation Manual v1.8, section 4.3.2: pulse mode has no trigger input. The uncertainty of a software start
    # is no figure of the manual: it is a bound we assume for a USB link and the instrument's own delay, measured by
    # nobody here. 0.1 % of brightness is the finest step that is taken for granted.
    "thorlabs-dc2200": LightDriver(
        model="Thorlabs DC2200",
        validated="none",
        evidence="Operation Manual v1.8 as quoted by public code; the manual was not at hand",
        build=f"{_DRIVERS}.dc2200:build",
        twin=f"{_TWINS}.dc2200:twin",
        width_s=(1e-6, 10.0),
        delay_s=(0.0, 1000.0),
        drive_V={"high impedance": (0.01, 10.0)},
        sync="software",
        sync_uncertainty_s=10e-3,
        full_scale_A=(0.01, 10.0),
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
    # 707B-901-01 p. 2-87: slot, row, column. 3700AS-901-01 p. 5-11: slot, number.
    "keithley-707b": SwitchDriver(
        model="Keithley 707B",
        validated="manual",
        evidence="707B-901-01 Rev. B; the error queue as public code reads it",
        build=f"{_DRIVERS}.tsp_switch:build",
        twin=f"{_TWINS}.tsp_switch:twin_707b",
        channel=r"[1-6][A-H]\d\d",
    ),
    "keithley-3706a": SwitchDriver(
        model="Keithley 3706A",
        validated="manual",
        evidence="3700AS-901-01 Rev. D, 3700S-901-01 Rev. C; the error queue as public code reads it",
        build=f"{_DRIVERS}.tsp_switch:build",
        twin=f"{_TWINS}.tsp_switch:twin_3706a",
        channel=r"[1-6]\d{3}",
    ),
}


def build_meter(adapter: Any, bench: BenchFile, clock: Clock) -> Meter:
    """The meter of a bench on an open PyMeasure adapter."""
    meter: Meter = _builder(bench, bench.meter.driver, METERS, Meter)(adapter, bench, clock)
    return meter


def build_light(adapter: Any, bench: BenchFile, clock: Clock) -> LightSource:
    """The light source of a bench on an open PyMeasure adapter."""
    light: LightSource = _builder(bench, bench.light.driver, LIGHTS, LightSource)(adapter, bench, clock)
    return light


def build_switch(adapter: Any, bench: BenchFile, clock: Clock) -> Switch:
    """The switch of a bench on an open PyMeasure adapter."""
    switch: Switch = _builder(bench, bench.switch.driver, SWITCHES, Switch)(adapter, bench, clock)
    return switch


def preload(bench: BenchFile) -> None:
    """Imports the drivers of a bench, so that what is wrong with one shows before anything is switched on.

    Raises
    ------
    InputError, RefusedError
        for a lab's own driver that is missing, broken, or not allowed to run.
    """
    _builder(bench, bench.meter.driver, METERS, Meter)
    _builder(bench, bench.light.driver, LIGHTS, LightSource)
    _builder(bench, bench.switch.driver, SWITCHES, Switch)


def _builder(bench: BenchFile, driver: str, ours: Mapping[str, Entry], role: type) -> Callable[..., Any]:
    """Ours by its short name; a lab's own from a file beside the bench file, with the user's consent."""
    return load(ours[driver].build) if driver in ours else load_own(driver, bench.path.parent, role)
