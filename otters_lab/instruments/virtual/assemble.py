"""A virtual bench put together from its bench file: the world, a twin a role, and the VISA library they answer on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otters_lab.core.clock import Clock, VirtualClock
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import DecaySource
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.entries import load
from otters_lab.instruments.virtual.chip import SyntheticChip
from otters_lab.instruments.virtual.noise import Hum
from otters_lab.instruments.virtual.sr570 import SR570Twin
from otters_lab.instruments.virtual.terminals import terminal_twin
from otters_lab.instruments.virtual.visalib import TwinLibrary, twin_library
from otters_lab.instruments.virtual.world import WIRED, History, World


@dataclass(frozen=True)
class VirtualBench:
    """The twins by role, and what they share. A twin answers messages; which else it knows depends on its model."""

    world: World
    twins: Mapping[str, Any]
    library: TwinLibrary

    @property
    def meter(self) -> Any:
        """The meter's twin."""
        return self.twins["meter"]

    @property
    def light(self) -> Any:
        """The light source's twin."""
        return self.twins["light"]

    @property
    def switch(self) -> Any:
        """The switch's twin, where there is one."""
        return self.twins["switch"]

    def describe(self) -> dict[str, Any]:
        """True numbers of the world, and of its decays where they can tell."""
        tell = getattr(self.world.decays, "describe", None)
        return {**self.world.describe(), "decays": tell() if tell else {"origin": self.world.decays.origin}}


def build_virtual(
    benchfile: BenchFile,
    decays: DecaySource | None = None,
    clock: Clock | None = None,
    history: History | None = None,
) -> VirtualBench:
    """Builds the virtual bench that a file describes.

    The decays come from `decays`, else from the file's `[virtual.chip]`. The file's read noise is added to decays that
    are computed, not to replayed recordings: these carry their own. Without a clock a virtual one starts at the
    file's time plus the history's.

    Raises
    ------
    InputError
        if there is nothing to take decays from, or the chip lacks a device that the switch leads to.
    """
    table, history = benchfile.virtual, history or History()
    if table is None:
        raise InputError("the virtual bench has no [virtual] table", file=benchfile.path)
    if decays is None:
        if table.decays != "chip":
            raise InputError(f'decays = "{table.decays}", and they were not loaded', file=benchfile.path)
        if table.chip is None:
            raise InputError("there is no chip to measure", file=benchfile.path, expected="[virtual.chip]")
        decays = SyntheticChip(table.chip, table.seed)
    if not set(benchfile.devices) & set(decays.devices):
        raise InputError("the switch leads to no device of the chip", file=benchfile.path, key="switch.channels")
    if clock is None:
        clock = VirtualClock(table.start)
        clock.sleep(history.elapsed_s)
    world = World(
        decays,
        clock,
        seed=table.seed,
        channels=benchfile.channels or {1: WIRED},
        noise=None if decays.origin == "replayed" else table.noise,
        meter_latency_s=table.meter_latency,
        light_latency_s=table.light_latency,
        history=history,
        hum=Hum(table.hum, benchfile.line_frequency) if table.hum else None,
        ambient_A=table.ambient,
        light=table.light,
    )
    twins: dict[str, Any] = {
        role: terminal_twin(world, benchfile, role)
        if role in ("gate", "drain")
        else load(entry.known.twin)(world, benchfile)
        for role, entry in benchfile.instruments.items()
    }
    if "amplifier" in benchfile.addresses:
        twins["amplifier"] = SR570Twin(world)
    devices = {benchfile.addresses[role]: twin for role, twin in twins.items()}
    return VirtualBench(world, twins, twin_library(devices, clock))
