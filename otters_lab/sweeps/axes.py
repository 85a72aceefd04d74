"""Nested loops over a recipe's swept parameters: which setting is point number n, without listing them all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from otters_lab.sweeps.recipe import RecipeModel

# From the outermost loop to the innermost, where the recipe says nothing else: what settles slowest comes first.
NESTING = (
    "temperature.setpoint",
    "gate.voltage",
    "light.drive",
    "light.irradiance",
    "light.width",
    "bias.voltage",
    "sampling.range",
)


class Axis(NamedTuple):
    """One loop: parameters that step together, and their values [step][parameter] in SI units."""

    keys: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


class Grid(NamedTuple):
    """All loops of a recipe, outermost first. `slow` of them stay put through all repeats."""

    axes: tuple[Axis, ...]
    slow: int

    def __len__(self) -> int:  # a NamedTuple's own length is no use to anybody
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def blocks(self) -> int:
        """How often the slow loops step."""
        return math.prod(len(axis.values) for axis in self.axes[: self.slow])

    def setting(self, number: int) -> dict[str, float]:
        """The values of point `number` by key."""
        found: dict[str, float] = {}
        for axis in reversed(self.axes):
            number, step = divmod(number, len(axis.values))
            found.update(zip(axis.keys, axis.values[step], strict=True))
        return found

    def settings(self) -> Iterator[dict[str, float]]:
        """Every point's values, in order."""
        return (self.setting(number) for number in range(len(self)))

    def column(self, key: str) -> tuple[float, ...]:
        """The values that a parameter takes, each as often as any other."""
        for axis in self.axes:
            if key in axis.keys:
                return tuple(step[axis.keys.index(key)] for step in axis.values)
        raise KeyError(key)


def grid_of(model: RecipeModel) -> Grid:
    """The loops of a recipe: as `order.nesting` says, then as `NESTING` does; a temperature not named comes first."""
    swept = model.swept
    named = list(model.order.nesting)
    rest = [key for key in NESTING if key in swept and key not in named]
    first = ["temperature.setpoint"] if "temperature.setpoint" in rest else []
    ranks = {key: rank for rank, key in enumerate([*first, *named, *(key for key in rest if key not in first)])}
    together = [tuple(group) for group in model.zip]
    alone = [(key,) for key in swept if not any(key in group for group in together)]
    groups = sorted([*together, *alone], key=lambda group: min(ranks[key] for key in group))
    axes = tuple(Axis(keys, tuple(zip(*(swept[key] for key in keys), strict=True))) for keys in groups)
    slow = 0
    if model.order.repeats == "outermost" and "temperature.setpoint" in axes[0].keys:
        slow = 1
    return Grid(axes, slow)
