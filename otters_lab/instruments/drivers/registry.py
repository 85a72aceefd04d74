"""Drivers by the short names that bench files use. Adding one is adding an entry.

The numbers stand here, apart from the drivers, so that a recipe can be checked without importing one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from otters_lab.instruments.drivers.conditions import BIASES, POWER_METERS, STAGES
from otters_lab.instruments.drivers.entries import Entry, LightDriver, SwitchDriver, load
from otters_lab.instruments.drivers.mapped import load_class
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.drivers.own import is_own, load_own
from otters_lab.instruments.roles import BiasSource, LightSource, Meter, PowerMeter, Switch, TemperatureStage

if TYPE_CHECKING:
    from otters_lab.core.clock import Clock
    from otters_lab.instruments.benchfile import BenchFile

_DRIVERS = "otters_lab.instruments.drivers"
_TWINS = "otters_lab.instruments.virtual"

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
        sync_uncertainty_s=10e-3,  # of *TRG; a bound we assume, as for the DC2200 below
        sync_out=True,
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
        error_query="print(errorqueue.next())",
        channel=r"[1-6][A-H]\d\d",
    ),
    "keithley-3706a": SwitchDriver(
        model="Keithley 3706A",
        validated="manual",
        evidence="3700AS-901-01 Rev. D, 3700S-901-01 Rev. C; the error queue as public code reads it",
        build=f"{_DRIVERS}.tsp_switch:build",
        twin=f"{_TWINS}.tsp_switch:twin_3706a",
        error_query="print(errorqueue.next())",
        channel=r"[1-6]\d{3}",
    ),
}


DRIVERS: Mapping[str, Mapping[str, Entry]] = {
    "meter": METERS,
    "light": LIGHTS,
    "switch": SWITCHES,
    "gate": BIASES,
    "drain": BIASES,
    "temperature": STAGES,
    "power": POWER_METERS,
}
_PROTOCOLS: Mapping[str, type] = {
    "meter": Meter,
    "light": LightSource,
    "switch": Switch,
    "gate": BiasSource,
    "drain": BiasSource,
    "temperature": TemperatureStage,
    "power": PowerMeter,
}


def build(role: str, adapter: Any, bench: BenchFile, clock: Clock) -> Any:
    """An instrument of a bench in its role, on an open PyMeasure adapter; it satisfies the role's Protocol."""
    entry = bench.instruments[role]
    if is_own(entry.driver):
        # Ours by its short name; a lab's own from a file beside the bench file, with the user's consent.
        return load_own(entry.driver, bench.path.parent, _PROTOCOLS[role])(adapter, bench, clock)
    map_ = entry.known.map
    if map_ is not None:
        from otters_lab.instruments.drivers.mapped_roles import build_mapped

        return build_mapped(role, adapter, bench, map_, clock)
    return load(entry.known.build)(adapter, bench, clock)


def preload(bench: BenchFile, roles: Iterable[str] | None = None) -> None:
    """Imports the drivers of a bench, or of some of its roles: what is wrong with one shows before anything is on.

    Raises
    ------
    InputError, RefusedError
        for a lab's own driver that is missing, broken, or not allowed to run, and for a class that PyMeasure lacks.
    """
    chosen = list(bench.instruments if roles is None else roles)
    if "meter" in chosen and "amplifier" in bench.addresses:
        load(f"{_DRIVERS}.sr570:ListeningAmplifier")
    for role in chosen:
        entry = bench.instruments[role]
        map_ = entry.known.map
        if is_own(entry.driver):
            load_own(entry.driver, bench.path.parent, _PROTOCOLS[role])
        elif map_ is not None:
            load_class(map_.instrument)
        else:
            load(entry.known.build)
