"""Recipes: what to vary, how often, in which order, written in TOML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from otters_lab.core.quantity import Amperes, Seconds, parse_quantity
from otters_lab.core.tomlfile import StrictModel, TomlText, load_model, read_toml


def _one_or_many(dimension: str) -> Any:
    """A field that takes one quantity or a list of them; a list is swept."""

    def parse(value: object) -> list[float]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError(f"found an empty list, expected at least one quantity of {dimension}")
        return [parse_quantity(item, dimension) for item in values]

    return BeforeValidator(parse)


SweptVolts = Annotated[list[float], _one_or_many("voltage")]
SweptIrradiance = Annotated[list[float], _one_or_many("irradiance")]
SweptSeconds = Annotated[list[float], _one_or_many("time")]


def parse_devices(text: object) -> list[int]:
    """Device numbers from ``"1-8"``, ``"1,3,5-7"``.

    Raises
    ------
    ValueError
        for anything else, a backward range or a number given twice.
    """
    expected = 'device numbers like "1-8" or "1,3,5-7"'
    if not isinstance(text, str):
        raise ValueError(f"found {text!r}, expected {expected}")
    devices: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise ValueError(f"found {part.strip()!r} in {text!r}, expected {expected}")
        low, high = int(first), int(last or first)
        if high < low:
            raise ValueError(f"found the backward range {part.strip()!r} in {text!r}, expected {expected}")
        devices += range(low, high + 1)
    if len(set(devices)) != len(devices):
        raise ValueError(f"found a device twice in {text!r}, expected each once")
    return devices


class LightSection(StrictModel):
    """The light pulse: how long it shines, and how strong: the drive of the light source, or the irradiance.

    An irradiance becomes a drive by the bench's light calibration.
    """

    drive: SweptVolts | None = None
    irradiance: SweptIrradiance | None = None
    width: SweptSeconds

    @model_validator(mode="after")
    def _one_strength(self) -> LightSection:
        if (self.drive is None) == (self.irradiance is None):
            found = "neither" if self.drive is None else "both"
            raise ValueError(f"found {found} of drive and irradiance, expected exactly one")
        return self


class BiasSection(StrictModel):
    """The voltage across the device while it is read."""

    voltage: SweptVolts


class SamplingSection(StrictModel):
    """When the meter samples: before the light (`dark`), through it, and `decay` after it."""

    dark: Seconds
    decay: Seconds
    interval: Seconds
    aperture: Seconds
    range: Amperes


class OrderSection(StrictModel):
    """Repeats are outermost and devices shuffled anew in each, so that drift does not pass for device spread."""

    seed: Annotated[int, Field(ge=0)] = 0
    shuffle_devices: bool = True


class RecoverySection(StrictModel):
    """Dark time after each trace."""

    dark_time: Seconds


class RecipeModel(StrictModel):
    """A recipe as it stands in the file; lists are swept, in nested loops."""

    title: str = ""
    devices: Annotated[list[int], BeforeValidator(parse_devices)]
    repeats: Annotated[int, Field(ge=1)]
    window: Seconds
    light: LightSection
    bias: BiasSection
    sampling: SamplingSection
    order: OrderSection = OrderSection()
    recovery: RecoverySection


@dataclass(frozen=True)
class Recipe:
    """A validated recipe and the text it came from."""

    path: Path
    text: str
    model: RecipeModel


def load_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises
    ------
    InputError
        naming file, line and key of the first thing wrong.
    """
    return recipe_from(read_toml(path))


def recipe_from(source: TomlText) -> Recipe:
    """A recipe from TOML that was read already."""
    return Recipe(source.path, source.text, load_model(RecipeModel, source))
