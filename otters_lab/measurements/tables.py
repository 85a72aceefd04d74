"""Writes the tables of a capture as CSV and as Parquet, a block of traces at a time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import AnyArray
from otters_lab.measurements.longform import Block, Form, blocks_of, is_text, of_samples, unpadded


def write_csv(dataset: xr.Dataset, form: Form, path: Path) -> int:
    """Comma-separated, UTF-8, every float in the fewest digits that read back the same, empty where nothing is known.

    Returns the number of rows.
    """
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(_line(form.names))
        for block in blocks_of(dataset, form):
            columns = [[_cell(value) for value in values.tolist()] for values in block.columns.values()]
            for index, cells in enumerate(zip(*columns, strict=True)):
                start = [block.first + index, form.origin, *cells]
                if block.time_s is None or block.current_A is None:
                    file.write(_line(start))
                    rows += 1
                    continue
                # What all samples of a trace have in common is made text once.
                before, n = _line(start).removesuffix("\n"), int(block.n_samples[index])
                pairs = zip(block.time_s[index, :n].tolist(), block.current_A[index, :n].tolist(), strict=True)
                file.writelines(f"{before},{time_s!r},{current_A!r}\n" for time_s, current_A in pairs)
                rows += n
    return rows


def _line(cells: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def require_pyarrow(path: Path) -> None:
    """Says what to install where the library that writes Parquet is not there.

    Raises
    ------
    InputError
        if it is not.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        hint = "Parquet needs the package pyarrow, which is not installed: pip install 'otters-lab[parquet]'"
        raise InputError(hint, file=path) from None


def write_parquet(dataset: xr.Dataset, form: Form, path: Path, about: Mapping[str, str]) -> int:
    """Parquet, a row group a block; units stand in the metadata of each column, `about` in that of the file.

    What is not known is null. Returns the number of rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [pa.field(name, _type(pa, dataset, form, name), metadata=_unit(form, name)) for name in form.names]
    schema = pa.schema(fields, metadata=dict(about))
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in blocks_of(dataset, form):
            arrays = [_array(pa, block, form, name) for name in form.names]
            writer.write_table(pa.table(arrays, schema=schema))
            rows += len(arrays[0])
    return rows


def _type(pa: Any, dataset: xr.Dataset, form: Form, column: str) -> Any:
    if is_text(form, column):
        return pa.string()
    if column == "trace":
        return pa.int64()
    variable = next(name for name, named in form.columns.items() if named == column)
    return pa.int64() if dataset[variable].dtype.kind == "i" else pa.float64()


def _unit(form: Form, column: str) -> dict[str, str] | None:
    return {"units": form.units[column]} if column in form.units else None


def _array(pa: Any, block: Block, form: Form, column: str) -> Any:
    if column == "time_s" and block.time_s is not None:
        return pa.array(unpadded(block, block.time_s))
    if column == "current_A" and block.current_A is not None:
        return pa.array(unpadded(block, block.current_A))
    count = len(block.n_samples)
    if column == "trace":
        values: AnyArray = np.arange(block.first, block.first + count)
    elif column == "origin":
        values = np.full(count, form.origin, dtype=object)
    else:
        values = block.columns[column]
    if is_text(form, column):
        # Each text once, and numbers that say which: a million samples have a handful of texts.
        texts, which = np.unique(values.astype(str), return_inverse=True)
        which = of_samples(block, which) if form.sampled else which
        return pa.DictionaryArray.from_arrays(pa.array(which), pa.array(texts.tolist())).cast(pa.string())
    return pa.array(of_samples(block, values) if form.sampled else values, from_pandas=True)
