"""A capture as plain tables: one row a trace, or one row a sample, a block of traces at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import AnyArray, Array
from otters_lab.measurements.layout import PER_TRACE, SAMPLED, TEXTS

BLOCK_SAMPLES = 1 << 18  # in memory at a time

# Of the per-trace variables, those that stand in every row of samples; the others are in the table of traces.
_WITH_SAMPLES = ("chip", "device", "point", "repeat", "kind", "status")


@dataclass(frozen=True)
class Form:
    """Which columns a table has: variable -> column name, which states the unit (``drive`` in V: "drive_V").

    The first columns are `trace`, the number of the trace in the capture, and `origin`, since a table has no header to
    say that its numbers are synthetic.
    """

    columns: dict[str, str]
    units: dict[str, str]  # by column name
    sampled: bool
    origin: str

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return ["trace", "origin", *self.columns.values()]


@dataclass(frozen=True)
class Block:
    """Some traces in a row: `columns` by name, each [trace in block]; `time_s`, `current_A` [trace in block, sample]
    are None in a table of traces. Padding beyond `n_samples` is NaN.
    """

    first: int
    columns: dict[str, AnyArray]
    n_samples: AnyArray
    time_s: Array | None
    current_A: Array | None


def form_of(dataset: xr.Dataset, *, sampled: bool) -> Form:
    """The columns of an open capture, one row a trace, or (`sampled`) one a sample.

    Raises
    ------
    InputError
        if two variables would share a column name.
    """
    readings = list(json.loads(dataset.attrs["readings"]))
    known = {*SAMPLED, *PER_TRACE, *readings}
    parameters = [str(name) for name in dataset.variables if name not in known]
    whole = [name for name in PER_TRACE if not sampled or name in _WITH_SAMPLES]
    variables = [*whole, *parameters, *readings, *(SAMPLED if sampled else ())]
    units = {name: str(dataset[name].attrs["units"]) for name in variables}
    columns = {name: _named(name, unit) for name, unit in units.items()}
    names = ["trace", "origin", *columns.values()]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError("two columns would have the same name", found=twice[0])
    by_column = {columns[name]: unit for name, unit in units.items()}
    return Form(columns, by_column, sampled, str(dataset.attrs["origin"]))


def blocks_of(dataset: xr.Dataset, form: Form) -> Iterator[Block]:
    """All traces of an open capture, in order."""
    size = max(1, BLOCK_SAMPLES // dataset.sizes["sample"])
    for first in range(0, dataset.sizes["trace"], size):
        part = dataset.isel(trace=slice(first, first + size))
        values = {column: part[name].to_numpy() for name, column in form.columns.items() if name not in SAMPLED}
        samples = [part[name].to_numpy() if form.sampled else None for name in SAMPLED]
        yield Block(first, values, part["n_samples"].to_numpy(), *samples)


def is_text(form: Form, column: str) -> bool:
    """Whether a column holds text."""
    return column == "origin" or column in TEXTS


def of_samples(block: Block, values: AnyArray) -> AnyArray:
    """Per-trace `values` [trace in block] repeated for every sample that is no padding: [sample of block]."""
    return np.repeat(values, block.n_samples)


def unpadded(block: Block, samples: Array) -> Array:
    """Samples [trace in block, sample] one after the other, without the padding: [sample of block]."""
    here: Array = samples[np.arange(samples.shape[1]) < block.n_samples[:, np.newaxis]]
    return here


def _named(name: str, unit: str) -> str:
    return name if unit == "1" else f"{name}_{unit.replace('/', '_').replace('^', '')}"
