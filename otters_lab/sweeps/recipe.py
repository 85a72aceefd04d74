"""Recipes: what to vary, how often, in which order, written in TOML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from otters_lab.core.errors import InputError
from otters_lab.core.quantity import Fraction, Seconds, Volts, parse_quantity
from otters_lab.core.tomlfile import StrictModel, TomlText, load_model, read_toml
from otters_lab.instruments.grids import Grid
from otters_lab.sweeps.values import (
    DIMENSIONS,
    SweptAmperes,
    SweptIrradiance,
    SweptKelvin,
    SweptSeconds,
    SweptVolts,
    parse_devices,
)

_Positive = Field(gt=0)
_NotNegative = Field(ge=0)


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


class VoltageSection(StrictModel):
    """A voltage while the device is read: across it (bias), or at its gate."""

    voltage: SweptVolts


class TemperatureSection(StrictModel):
    """The set point of the temperature stage."""

    setpoint: SweptKelvin


class SamplingSection(StrictModel):
    """When the meter samples: before the light (`dark`), through it, and `decay` after it.

    Of the readings every `interval` a `grid` keeps about `points` after the light; "linear" keeps all.
    """

    dark: Seconds
    decay: Seconds
    interval: Seconds
    aperture: Seconds
    range: SweptAmperes
    grid: Grid = "linear"
    points: Annotated[int, Field(ge=10)] | None = None

    @model_validator(mode="after")
    def _grid_has_points(self) -> SamplingSection:
        if (self.grid == "linear") != (self.points is None):
            raise ValueError(f'grid is "{self.grid}": points go with "quadratic" and "log", and with them alone')
        return self


class ReferenceSection(StrictModel):
    """Every so many decays one of the same device and point, by which a slow drift can be told."""

    every: Annotated[int, Field(ge=1)]
    device: int
    point: Annotated[int, Field(ge=0)] = 0


class OrderSection(StrictModel):
    """Repeats are outermost and devices shuffled anew in each, so that drift does not pass for device spread.

    `nesting`: swept parameters from the outermost loop to the innermost. A temperature that is outermost stays put
    through all repeats.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    shuffle_devices: bool = True
    repeats: Literal["outermost", "innermost"] = "outermost"
    nesting: list[str] = Field(default_factory=list)
    reference: ReferenceSection | None = None


class NoiseSection(StrictModel):
    """Every so many decays a record in the dark and one in steady light, for the meter's noise spectrum."""

    every: Annotated[int, Field(ge=1)]
    dark: bool = True
    lit: bool = True


class RecoverySection(StrictModel):
    """Dark time after each trace; and before each, waiting for the device's dark current to come back.

    `baseline_within`: of the step that light makes; `cap`: the longest wait; `poll`: between two looks.
    """

    dark_time: Annotated[Seconds, _NotNegative]
    baseline_within: Annotated[Fraction, _Positive] | None = None
    cap: Annotated[Seconds, _Positive] | None = None
    poll: Annotated[Seconds, _Positive] = 1.0

    @model_validator(mode="after")
    def _capped(self) -> RecoverySection:
        if (self.baseline_within is None) != (self.cap is None):
            raise ValueError("baseline_within and cap go together: what does not come back must not be waited for")
        return self


class PreconditionSection(StrictModel):
    """What a device goes through before its first trace, or before each: time in the dark, a pulse on its gate."""

    when: Literal["device", "trace"] = "device"
    dark_time: Annotated[Seconds, _NotNegative] = 0.0
    gate_pulse: Volts | None = None
    gate_width: Annotated[Seconds, _Positive] | None = None

    @model_validator(mode="after")
    def _whole_pulse(self) -> PreconditionSection:
        if (self.gate_pulse is None) != (self.gate_width is None):
            raise ValueError("gate_pulse and gate_width go together")
        return self


class AdaptiveSection(StrictModel):
    """Stops repeating a device's point once the drop's standard error is below `error` of it, after `least` repeats.

    Choosing when to stop by the scatter itself biases the standard deviation low; the capture says so.
    """

    error: Annotated[Fraction, _Positive]
    least: Annotated[int, Field(ge=3)] = 10


class TableSection(StrictModel):
    """Points listed one by one: `columns` are keys like "light.drive", each row has a quantity for each."""

    columns: Annotated[list[str], Field(min_length=1)]
    rows: Annotated[list[list[str]], Field(min_length=1)]


class RecipeModel(StrictModel):
    """A recipe as it stands in the file; lists are swept, in nested loops; `zip` names those that step together."""

    title: str = ""
    devices: Annotated[list[int | str], BeforeValidator(parse_devices)]
    repeats: Annotated[int, Field(ge=1)]
    window: Annotated[Seconds, _Positive]
    light: LightSection
    bias: VoltageSection
    gate: VoltageSection | None = None
    temperature: TemperatureSection | None = None
    sampling: SamplingSection
    zip: list[Annotated[list[str], Field(min_length=2)]] = Field(default_factory=list)
    order: OrderSection = OrderSection()
    noise: NoiseSection | None = None
    recovery: RecoverySection
    precondition: PreconditionSection = PreconditionSection()
    adaptive: AdaptiveSection | None = None
    budget: Annotated[Seconds, _Positive] | None = None

    @property
    def swept(self) -> dict[str, list[float]]:
        """The values of each parameter (SI) by its key, those of one value included."""
        sections = {"gate": self.gate, "temperature": self.temperature}
        found = {}
        for key in DIMENSIONS:
            section, name = key.split(".")
            holder = sections.get(section, getattr(self, section))
            values = None if holder is None else getattr(holder, name)
            if values is not None:
                found[key] = list(values)
        return found

    @model_validator(mode="after")
    def _zips_fit(self) -> RecipeModel:
        swept, zipped = self.swept, [key for group in self.zip for key in group]
        for key in zipped:
            if key not in swept:
                raise ValueError(f"zip names {key!r}, expected one of {', '.join(swept)}")
            if zipped.count(key) > 1:
                raise ValueError(f"zip names {key!r} twice")
        for group in self.zip:
            lengths = {key: len(swept[key]) for key in group}
            if len(set(lengths.values())) > 1:
                found = ", ".join(f"{key} has {length}" for key, length in lengths.items())
                raise ValueError(f"zip steps through lists of one length together: {found}")
        for key in self.order.nesting:
            if key not in swept:
                raise ValueError(f"order.nesting names {key!r}, expected one of {', '.join(swept)}")
        if len(set(self.order.nesting)) < len(self.order.nesting):
            raise ValueError("order.nesting names a parameter twice")
        return self


@dataclass(frozen=True)
class Recipe:
    """A validated recipe and the text it came from; of one that extends another, the text of both.

    `files` are those that the text came from, its own first, each with its SHA-256.
    """

    path: Path
    text: str
    model: RecipeModel
    files: tuple[tuple[Path, str], ...] = ()


def load_recipe(path: Path) -> Recipe:
    """Reads a recipe, and those that it extends.

    Raises
    ------
    InputError
        naming file, line and key of the first thing wrong.
    """
    return recipe_from(read_toml(path))


def recipe_from(source: TomlText) -> Recipe:
    """A recipe from TOML that was read already."""
    merged = _extended(source, ())
    return Recipe(source.path, merged.text, load_model(RecipeModel, _with_table(merged)), merged.files)


def _extended(source: TomlText, chain: tuple[Path, ...]) -> TomlText:
    """With `extends`, the other recipe's keys where this one says nothing; tables are merged, lists replaced."""
    if "extends" not in source.data:
        return source
    name = source.data["extends"]
    if not isinstance(name, str):
        raise InputError(file=source.path, key="extends", found=name, expected="a file name")
    path = source.path.parent / name
    here = (*chain, source.path.resolve())
    if path.resolve() in here:
        raise InputError("extends itself", file=source.path, key="extends", found=name)
    if not path.is_file():
        raise InputError(f"no such file: {name}", file=source.path, key="extends")
    base = _extended(read_toml(path), here)
    own = {key: value for key, value in source.data.items() if key != "extends"}
    # Its own text first: of a key that stands in both, the line that counts is its own.
    above = f"{source.text}\n# --- extends {name} ---\n"
    first = above.count("\n") + 1
    parts = tuple((file, line + first - 1) for file, line in base.parts or ((base.path, 1),))
    whole, files = _merged(base.data, own), (*source.files, *base.files)
    return TomlText(source.path, above + base.text, whole, ((source.path, 1), *parts), files)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in own.items():
        tables = isinstance(value, dict) and isinstance(base.get(key), dict)
        both[key] = _merged(base[key], value) if tables else value
    return both


def _with_table(source: TomlText) -> TomlText:
    """With `[table]`, its columns as lists in their sections, stepping together."""
    if "table" not in source.data:
        return source
    data = {key: value for key, value in source.data.items() if key != "table"}
    table = load_model(TableSection, TomlText(source.path, source.text, source.data["table"]))
    for number, row in enumerate(table.rows, 1):
        if len(row) != len(table.columns):
            found = f"row {number} has {len(row)} values"
            raise InputError(file=source.path, key="table.rows", found=found, expected=f"{len(table.columns)}")
    for index, key in enumerate(table.columns):
        if key not in DIMENSIONS:
            raise InputError(file=source.path, key="table.columns", found=key, expected=", ".join(DIMENSIONS))
        section, name = key.split(".")
        if name in data.get(section, {}):
            raise InputError("stands in the table too", file=source.path, key=key)
        values = [row[index] for row in table.rows]
        try:
            for value in values:
                parse_quantity(value, DIMENSIONS[key])
        except ValueError as error:
            raise InputError(str(error), file=source.path, key=f"table.rows ({key})") from None
        data[section] = {**data.get(section, {}), name: values}
    if len(table.columns) > 1:
        data["zip"] = [*data.get("zip", []), list(table.columns)]
    return source._replace(data=data)
