"""The mapping file of an import (TOML): what the columns of somebody's CSV are, and what is not in the file at all.

delimiter = ";"
decimal = ","
skip_lines = 3

[columns]
time = { name = "Zeit", unit = "ms" }
current = { name = "Strom [nA]" }
light = { name = "LED", unit = "V", threshold = "500 mV" }

[constants]
chip = "A7"
drive = "5 V"
aperture = "2 ms"
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from otters_lab.core.errors import closest
from otters_lab.core.quantity import UNITS, Amperes, Seconds
from otters_lab.core.tomlfile import StrictModel, TomlText, load_model, read_toml
from otters_lab.measurements.csvfile import CsvForm, parse_setting
from otters_lab.measurements.meta import is_parameter_name
from otters_lab.measurements.recording import Given, Options


class ColumnEntry(StrictModel):
    """A column by its name in the file's heading, or by its number as text ("3") where there is no heading.

    `unit` where the heading states none, or one that is not ours.
    """

    name: str
    unit: str | None = None

    @field_validator("unit")
    @classmethod
    def _is_known(cls, unit: str | None) -> str | None:
        if unit is None or (unit in UNITS and UNITS[unit][0] != "temperature"):
            return unit
        near = closest(unit, UNITS)
        raise ValueError(f"found the unit {unit!r}" + (f' (did you mean "{near}"?)' if near else ", which is not ours"))


class LightColumn(ColumnEntry):
    """The light's column; lit where its size is above `threshold`, by default a tenth of the largest reading."""

    threshold: str | None = None

    @property
    def threshold_si(self) -> float | None:
        """The threshold in the SI unit of the column."""
        read = None if self.threshold is None else parse_setting(self.threshold)
        return None if read is None else read[0]

    @model_validator(mode="after")
    def _threshold_is_of_its_unit(self) -> LightColumn:
        if self.threshold is None:
            return self
        _, _, unit = self.threshold.partition(" ")
        dimension = None if self.unit is None else UNITS[self.unit][0]
        if parse_setting(self.threshold) is None or (dimension and (unit not in UNITS or UNITS[unit][0] != dimension)):
            raise ValueError(f"found the threshold {self.threshold!r}, expected a number with a unit of the column's")
        return self


class Columns(StrictModel):
    """Which columns are used; all others are left out, and that is said."""

    time: ColumnEntry
    current: ColumnEntry
    light: LightColumn | None = None


class Constants(StrictModel):
    """What holds for every trace of every file. `drive`, like all of `parameters`, is any quantity."""

    chip: str | None = None
    device: Annotated[int, Field(ge=1)] | None = None
    drive: str | None = None
    pulse_width: Seconds | None = None
    aperture: Seconds | None = None
    edge_uncertainty: Seconds | None = None
    range: Amperes | None = None
    edges: list[Seconds] = Field(default_factory=list)
    parameters: dict[str, str] = Field(default_factory=dict)

    @field_validator("pulse_width", "aperture", "range")
    @classmethod
    def _is_positive(cls, value: float | None) -> float | None:
        if value is not None and value <= 0:
            raise ValueError(f"found {value:g}, expected more than 0")
        return value

    @field_validator("edge_uncertainty")
    @classmethod
    def _is_not_negative(cls, value: float | None) -> float | None:
        if value is not None and value < 0:
            raise ValueError(f"found {value:g}, expected 0 or more")
        return value

    @field_validator("drive")
    @classmethod
    def _is_quantity(cls, text: str | None) -> str | None:
        if text is not None and parse_setting(text) is None:
            raise ValueError(f'found {text!r}, expected a quantity like "5 V"')
        return text

    @field_validator("parameters")
    @classmethod
    def _are_quantities(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not is_parameter_name(name) or name in ("drive", "light_level"):
                raise ValueError(f"found the name {name!r}, expected a word that no column of a capture has")
            if parse_setting(text) is None:
                raise ValueError(f'{name}: found {text!r}, expected a number or a quantity like "5 V"')
        return value

    @model_validator(mode="after")
    def _edges_fit(self) -> Constants:
        if any(after <= before for before, after in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges do not rise")
        if len(self.edges) > 1 and self.pulse_width is None:
            raise ValueError("several edges need pulse_width: else nobody knows where a decay ends in the next pulse")
        return self


class MappingFile(StrictModel):
    """A mapping file."""

    delimiter: Literal[",", ";", "\t", "|", " "] | None = None
    decimal: Literal[".", ","] = "."
    skip_lines: Annotated[int, Field(ge=0)] = 0
    comment: str = "#"
    headings: bool = True
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"
    columns: Columns
    constants: Constants = Constants()

    @model_validator(mode="after")
    def _is_consistent(self) -> MappingFile:
        if self.decimal == self.delimiter:
            raise ValueError('delimiter and decimal mark are both ","')
        if (self.columns.light is None) != bool(self.constants.edges):
            raise ValueError("expected either columns.light or constants.edges: one of them says when the light fell")
        return self

    def options(self) -> Options:
        """What the importer is told."""
        columns, constants = self.columns, self.constants
        named = {"time": columns.time, "current": columns.current, "light": columns.light}
        settings = dict(constants.parameters) | ({} if constants.drive is None else {"drive": constants.drive})
        read = {name: parse_setting(text) for name, text in settings.items()}
        numbers = {
            "aperture_s": constants.aperture,
            "edge_uncertainty_s": constants.edge_uncertainty,
            "pulse_width_s": constants.pulse_width,
            "range_A": constants.range,
        }
        return Options(
            time=columns.time.name,
            current=columns.current.name,
            light=None if columns.light is None else columns.light.name,
            light_threshold=None if columns.light is None else columns.light.threshold_si,
            form=CsvForm(
                self.delimiter, self.decimal, self.skip_lines, self.comment, self.headings, encoding=self.encoding
            ),
            units={role: entry.unit for role, entry in named.items() if entry is not None and entry.unit is not None},
            given=Given(
                chip=constants.chip,
                device=constants.device,
                edges_s=tuple(constants.edges),
                parameters={name: value for name, value in read.items() if value is not None},
                **{name: value for name, value in numbers.items() if value is not None},
            ),
        )


def load_mapping(path: Path) -> tuple[Options, TomlText]:
    """Reads a mapping file: what the importer is told, and the text for the capture.

    Raises
    ------
    InputError
        for the first thing wrong, with file, line and key.
    """
    source = read_toml(path)
    return load_model(MappingFile, source).options(), source
