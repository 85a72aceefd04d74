"""Settings of a real bench beyond the common ones: wires, terminals, output-off state, filter, guard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from otters_lab.core.errors import InstrumentError

NAMES = ("wires", "terminals", "output_off", "filter", "guard")

# What a registry entry's `options` says of a repeat filter.
FILTER_COUNTS = tuple(str(count) for count in range(1, 101))


@dataclass(frozen=True)
class MeterOptions:
    """The [meter] table's settings. `filter`: conversions averaged into one reading, 1 for none."""

    wires: int = 2
    terminals: str = "front"
    output_off: str = "normal"
    filter: int = 1
    guard: str | None = None

    def pairs(self) -> list[tuple[str, Any]]:
        """What to set, by the attribute names that our own drivers share, in order; the filter's count before it."""
        pairs: list[tuple[str, Any]] = [("wires", self.wires), ("terminals", self.terminals)]
        return [*pairs, ("output_off", self.output_off), *self.filter_pairs("filter_type", "repeat")]

    def filter_pairs(self, kind: str, repeat: Any) -> list[tuple[str, Any]]:
        """What to set for the filter alone; `kind` is the attribute that takes `repeat` for a repeat average."""
        if self.filter == 1:
            return [("filter_enabled", False)]
        return [(kind, repeat), ("filter_count", self.filter), ("filter_enabled", True)]


def set_and_read_back(instrument: Any, pairs: Iterable[tuple[str, Any]]) -> None:
    """Sets each attribute and asks the instrument for it.

    Raises
    ------
    InstrumentError
        if the instrument says something else than was asked for.
    """
    for name, value in pairs:
        setattr(instrument, name, value)
        found = getattr(instrument, name)
        if found != value:
            raise InstrumentError(f"meter: {name}: asked for {value!r}, the instrument says {found!r}")


def not_offered(asked: Mapping[str, Any], offered: Mapping[str, tuple[str, ...]], model: str) -> list[str]:
    """What a model cannot do of the settings asked for, as sentences; `offered` is the registry's `options`."""
    problems = []
    for name, value in asked.items():
        values = offered.get(name, ())
        if str(value) in values:
            continue
        if not values:
            problems.append(f"{name} is {value!r}, the {model} has no such setting")
        else:
            known = f"{values[0]} to {values[-1]}" if values == FILTER_COUNTS else ", ".join(values)
            problems.append(f"{name} is {value!r}, the {model} takes {known}")
    return problems
