"""Source-meters at a terminal of the device that they do not measure: a gate, a drain beside a meter without a source.

The twins are those that also serve as meters; here their world is one terminal. No current flows into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.drivers.entries import load
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class Terminal:
    """What a source-meter's twin asks of its world, at a terminal that draws no current and has no trigger wire."""

    meter_latency_s = 0.0

    def __init__(self, world: World) -> None:
        self.clock = world.clock
        self._world = world

    @property
    def now_s(self) -> float:
        """The clock's seconds."""
        return self._world.now_s

    def trigger(self, at_s: float) -> None:
        """Nothing is wired to its trigger output."""

    def currents_A(self, start_s: Array, stop_s: Array) -> Array:
        """No leakage."""
        return np.zeros_like(start_s)


class TerminalTwin:
    """A twin whose level the world is told of after every message."""

    def __init__(self, world: World, role: str, twin: Any) -> None:
        self._world = world
        self._role = role
        self._twin = twin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._twin, name)

    def handle(self, message: bytes) -> bytes | None:
        """The twin's reply."""
        reply: bytes | None = self._twin.handle(message)
        self._world.set_level(self._role, self._twin.bias_V)
        return reply


def terminal_twin(world: World, bench: BenchFile, role: str) -> TerminalTwin:
    """The twin of a gate or a drain source."""
    entry = bench.instruments[role]
    # A source-meter's twin looks its model up in the place where it usually stands.
    standing_in = bench.model_copy(update={"meter": entry})
    return TerminalTwin(world, role, load(entry.known.twin)(Terminal(world), standing_in))
