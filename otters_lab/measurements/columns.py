"""What a capture says of itself and of its traces, the same for a sealed file and for a spool."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from otters_lab.core.files import canonical_json
from otters_lab.measurements.layout import (
    COORDINATES,
    DESCRIPTIONS,
    FORMAT,
    PER_TRACE,
    SAMPLED,
    SCHEMA_VERSION,
    Row,
    column,
)
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.spool import Spool

BLOCK = 4096  # traces whose columns are in memory as Python objects at a time

Arrays = dict[str, npt.NDArray[Any]]


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
        "readings": canonical_json(meta.reading_units).decode(),
    }


def variable_attributes(name: str, units: str, meta: CaptureMeta) -> dict[str, str]:
    """What every variable says of itself; the sampled ones also name their coordinates (CF conventions, 5)."""
    said = {"units": units, "long_name": DESCRIPTIONS.get(name, name)}
    if name in SAMPLED:
        said["coordinates"] = " ".join([*COORDINATES, *meta.parameter_units])
    return said


def units_of(meta: CaptureMeta) -> dict[str, str]:
    """Every per-trace variable with its unit: those of all captures, then parameters, then readings."""
    return {**PER_TRACE, **meta.parameter_units, **meta.reading_units}


def arrays_of(rows: Iterable[tuple[Row, dict[str, float]]], units: dict[str, str]) -> Arrays:
    """Variable -> values [trace] of some traces, each given as its row and its named numbers; what one lacks is NaN."""
    values: dict[str, list[float | int | str]] = {name: [] for name in units}
    for row, numbers in rows:
        for name, found in values.items():
            found.append(row[name] if name in row else numbers.get(name, np.nan))
    return {name: column(name, found) for name, found in values.items()}


def column_blocks(spool: Spool) -> Iterator[Arrays]:
    """The per-trace variables of a spool, a block of traces at a time, read without its samples."""
    units, records = units_of(spool.meta), spool.records()
    while block := list(itertools.islice(records, BLOCK)):
        yield arrays_of(((record.row, {**record.parameters, **record.readings}) for record in block), units)


def all_columns(spool: Spool) -> Arrays:
    """The per-trace variables of all traces."""
    blocks = list(column_blocks(spool)) or [arrays_of((), units_of(spool.meta))]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
