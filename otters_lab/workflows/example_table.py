"""What networks said of each example, as Parquet for other programs, with its provenance beside the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from otters_lab.core.errors import InputError
from otters_lab.core.files import canonical_json, write_atomically
from otters_lab.core.provenance import Header, write_sidecar
from otters_lab.measurements.tables import require_pyarrow
from otters_lab.training.conditions import CLEAN
from otters_lab.training.evaluate import Outputs
from otters_lab.training.metrics import predictions


def check_example_table(path: Path) -> None:
    """Refuses a file that `write_example_table` could not write, before anything is computed for it.

    Raises
    ------
    InputError
        if the name does not end in .parquet, a file stands there, or the library for Parquet is not installed.
    """
    if path.suffix.lower() != ".parquet":
        raise InputError(file=path, found=path.suffix, expected="a name that ends in .parquet")
    if path.exists():
        raise InputError("a file stands here already and is never overwritten", file=path)
    require_pyarrow(path)


def write_example_table(path: Path, found: Outputs, header: Header) -> None:
    """A row for each condition, run and example, a row group a condition; the examples' own inputs are not stored.

    Columns: `example` (number in its part), `condition`, `run` (null where nothing is drawn), `target`, `prediction`
    (class numbers, or values) and `logits` (a list).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("example", pa.int64()),
            ("condition", pa.string()),
            ("run", pa.int64()),
            ("target", pa.float64()),
            ("prediction", pa.float64()),
            ("logits", pa.list_(pa.float64())),
        ],
        metadata={"otters_lab": canonical_json(header.model_dump()).decode()},
    )
    target = found.examples.y.double().cpu().numpy()
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for name, logits in found.logits.items():
            runs, n, _ = logits.shape
            run = np.repeat(np.arange(runs), n)
            columns = [
                pa.array(np.tile(np.arange(n), runs)),
                pa.array([name] * (runs * n)),
                pa.nulls(n, pa.int64()) if name in CLEAN else pa.array(run),
                pa.array(np.tile(target, runs)),
                pa.array(np.concatenate([predictions(one) for one in logits])),
                _lists(logits),
            ]
            writer.write_table(pa.table(columns, schema=schema))
    write_atomically(path, sink.getvalue().to_pybytes())
    write_sidecar(path, header)


def _lists(logits: Tensor) -> object:
    import pyarrow as pa

    values = logits.double().cpu().numpy()
    return pa.ListArray.from_arrays(np.arange(0, values.size + 1, values.shape[-1], dtype=np.int32), values.ravel())
