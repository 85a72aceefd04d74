"""From a bench file's table to the instrument in its role.

What is known of the drivers stands apart from them (meters.py, lights.py, switches.py, conditions.py), so that a recipe
can be checked without importing one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from otters_lab.instruments.drivers.conditions import BIASES, POWER_METERS, STAGES
from otters_lab.instruments.drivers.entries import Entry, load
from otters_lab.instruments.drivers.lights import LIGHTS
from otters_lab.instruments.drivers.mapped import load_class
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.drivers.own import is_own, load_own
from otters_lab.instruments.drivers.switches import SWITCHES
from otters_lab.instruments.roles import BiasSource, LightSource, Meter, PowerMeter, Switch, TemperatureStage

if TYPE_CHECKING:
    from otters_lab.core.clock import Clock
    from otters_lab.instruments.benchfile import BenchFile

_DRIVERS = "otters_lab.instruments.drivers"
_TWINS = "otters_lab.instruments.virtual"

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
