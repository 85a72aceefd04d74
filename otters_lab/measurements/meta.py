"""What is known of a capture before its first trace: where it comes from, and what it was to hold."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from otters_lab.core.files import canonical_json
from otters_lab.core.provenance import InputRef, Origin
from otters_lab.measurements.layout import RESERVED

_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*", re.ASCII)


class CaptureMeta(BaseModel):
    """Written once, when the spool is created; the same for every trace.

    `parameter_units` names every parameter that a trace may carry, with its SI unit ("1" for plain numbers);
    `reading_units` what other instruments may have said at it.
    `attributes` is any JSON value that readers may need, such as the truth behind a synthetic chip.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    origin: Origin
    chip: str
    note: str = ""
    recipe_text: str = ""
    bench_text: str = ""
    instruments: dict[str, str] = Field(default_factory=dict)  # role -> *IDN? reply
    parameter_units: dict[str, str] = Field(default_factory=dict)
    reading_units: dict[str, str] = Field(default_factory=dict)
    attributes: dict[str, Any] = Field(default_factory=dict)
    plan_digest: str = ""
    planned_traces: int | None = None
    inputs: list[InputRef] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    command: list[str] = Field(default_factory=list)

    @field_validator("attributes", "config")
    @classmethod
    def _as_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        # What is compared on resume and hashed on sealing must be what a file gives back: lists, not tuples; no NaN.
        plain: dict[str, Any] = json.loads(canonical_json(value))
        return plain

    @field_validator("parameter_units", "reading_units")
    @classmethod
    def _names_fit_a_file(cls, value: dict[str, str]) -> dict[str, str]:
        for name, unit in value.items():
            if not is_parameter_name(name):
                raise ValueError(f"found the parameter name {name!r}, expected a word that no column of a capture has")
            if not unit:
                raise ValueError(f'found no unit for {name!r}, expected an SI unit, "1" for plain numbers')
        return value

    def differences(self, other: CaptureMeta) -> list[str]:
        """Names of the fields that differ, what a resumed run may have otherwise aside: command line, files' names."""
        mine, others = ({**meta.model_dump(exclude={"command"}), "inputs": meta.hashes} for meta in (self, other))
        return [name for name in mine if mine[name] != others[name]]

    @property
    def hashes(self) -> list[tuple[str, str]]:
        """Role and SHA-256 of each input."""
        return [(reference.role, reference.sha256) for reference in self.inputs]


def is_parameter_name(name: str) -> bool:
    """Whether a parameter or a reading may be called this: a word that no column of a capture has."""
    return _PARAMETER.fullmatch(name) is not None and name not in RESERVED
