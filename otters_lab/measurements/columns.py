"""What a capture says of itself and of its traces, the same for a sealed file and for a spool."""

from __future__ import annotations

from typing import Any

import numpy as np

from otters_lab.core.files import canonical_json
from otters_lab.measurements.layout import COORDINATES, DESCRIPTIONS, FORMAT, PER_TRACE, SAMPLED, SCHEMA_VERSION, column
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.spool import Spool


def attributes_of(meta: CaptureMeta, uid: str) -> dict[str, str | int]:
    """Global attributes of a capture; structured ones as canonical JSON."""
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "uid": uid,
        "origin": meta.origin,
        "chip": meta.chip,
        "note": meta.note,
        "recipe": meta.recipe_text,
        "bench": meta.bench_text,
        "instruments": canonical_json(meta.instruments).decode(),
        "attributes": canonical_json(meta.attributes).decode(),
        "seeds": canonical_json(meta.seeds).decode(),
        "plan": canonical_json({"digest": meta.plan_digest, "traces": meta.planned_traces}).decode(),
    }


def variable_attributes(name: str, units: str, meta: CaptureMeta) -> dict[str, str]:
    """What every variable says of itself; the sampled ones also name their coordinates (CF conventions, 5)."""
    said = {"units": units, "long_name": DESCRIPTIONS.get(name, name)}
    if name in SAMPLED:
        said["coordinates"] = " ".join([*COORDINATES, *meta.parameter_units])
    return said


class Columns:
    """The per-trace variables of all traces, parameters included, collected row by row."""

    def __init__(self, meta: CaptureMeta) -> None:
        self.units = {**PER_TRACE, **meta.parameter_units}
        self.values: dict[str, list[float | int | str]] = {name: [] for name in self.units}

    @classmethod
    def of(cls, spool: Spool) -> Columns:
        """Those of a spool, read without its samples."""
        columns = cls(spool.meta)
        for record in spool.records():
            columns.add(record.row, record.parameters)
        return columns

    def add(self, row: dict[str, float | int | str], parameters: dict[str, float]) -> None:
        """One trace; a parameter that it does not carry is NaN."""
        for name, values in self.values.items():
            values.append(row[name] if name in row else parameters.get(name, np.nan))

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Variable -> values [trace]."""
        return {name: column(name, values) for name, values in self.values.items()}
