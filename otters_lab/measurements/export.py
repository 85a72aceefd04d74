"""Export: a capture for other programs, as netCDF, Parquet or CSV, with its provenance beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InputError, RefusedError, closest
from otters_lab.core.files import canonical_json, fsync_dir
from otters_lab.core.provenance import Header, new_header, reference, sidecar_path, write_sidecar
from otters_lab.measurements.capture import open_capture
from otters_lab.measurements.longform import form_of
from otters_lab.measurements.netcdf import write_netcdf
from otters_lab.measurements.tables import require_pyarrow, write_csv, write_parquet

FORMATS = (".nc", ".parquet", ".csv")

# A spool grows while it is read, so its hash says nothing later; its uid stays that of the capture it becomes.
SPOOL_ROLE = "spool"


@dataclass(frozen=True)
class Exported:
    """What was written: rows of a table, or traces of a netCDF file."""

    path: Path
    header: Header
    traces: int
    rows: int


def export_capture(source: Path, out: Path, *, table: bool = False, clock: Clock | None = None) -> Exported:
    """Writes a sealed capture, or what a spool holds so far, as `out`, in the format that its suffix names.

    ".nc" holds everything, and xarray opens it equal to the capture but for the attribute `format`. ".parquet" and
    ".csv" have one row a sample, units in the column names; with `table` one row a trace, with all that is known of
    it. Column `trace` numbers the traces in both. No more than a block of traces is in memory.

    Raises
    ------
    InputError
        if `source` is no capture, `out` exists or has another suffix, or the library for Parquet is not installed.
    DamagedFileError
        if the capture is damaged.
    RefusedError
        if the disk is full or fails; nothing is left then.
    """
    suffix = out.suffix.lower()
    if suffix not in FORMATS:
        expected = f"a name that ends in {', '.join(FORMATS)}"
        raise InputError(file=out, found=suffix, expected=expected, suggestion=closest(suffix, FORMATS))
    if table and suffix == ".nc":
        raise InputError("--table is for .parquet and .csv; a netCDF file holds the table of traces too", file=out)
    if out.exists():
        raise InputError("a file stands here already and is never overwritten", file=out)
    if suffix == ".parquet":
        require_pyarrow(out)
    with open_capture(source) as dataset:
        uid, origin, sealed = str(dataset.attrs["uid"]), str(dataset.attrs["origin"]), "header" in dataset.attrs
        header = new_header(
            "export",
            clock=clock,
            origin=origin,
            inputs=[reference(source, "capture" if sealed else SPOOL_ROLE, uid)],
            config={"format": suffix.removeprefix("."), "table": table},
        )
        traces = int(dataset.sizes["trace"])
        rows = _write(dataset, out, table, {"otters_lab": canonical_json(header.model_dump()).decode()})
    write_sidecar(out, header)
    return Exported(out, header, traces, rows)


def _write(dataset: xr.Dataset, out: Path, table: bool, about: Mapping[str, str]) -> int:
    """Writes under another name, syncs, renames; nothing is left of a file that could not be written."""
    partial = out.with_name(out.name + ".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        match out.suffix.lower():
            case ".nc":
                rows = write_netcdf(dataset, partial)
            case ".parquet":
                rows = write_parquet(dataset, form_of(dataset, sampled=not table), partial, about)
            case _:
                rows = write_csv(dataset, form_of(dataset, sampled=not table), partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(out)
        sidecar_path(out).unlink(missing_ok=True)  # of a file that stood here once
    except (OSError, RuntimeError) as error:  # h5py reports a full disk as either
        reason = " ".join(str(error).split())
        raise RefusedError(f"{out}: could not be written ({reason})") from error
    finally:
        partial.unlink(missing_ok=True)
    fsync_dir(out.parent)
    return rows
