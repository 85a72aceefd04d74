"""Sealing: a spool becomes an immutable capture, or stays as it is."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import h5netcdf
import xarray as xr

from otters_lab.core.clock import Clock
from otters_lab.core.errors import DamagedFileError, InputError, RefusedError
from otters_lab.core.files import canonical_json, fsync_dir
from otters_lab.core.provenance import Header, new_header, write_sidecar
from otters_lab.measurements.capture import load_header
from otters_lab.measurements.digest import dataset_digest
from otters_lab.measurements.seal_line import append_seal_line
from otters_lab.measurements.spool import Spool
from otters_lab.measurements.writer import Extent, extent_of, write_traces

_SPARE_BYTES = 1 << 20


def seal(
    spool_path: Path,
    capture_path: Path,
    *,
    keep_spool: bool = False,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> Header:
    """Writes `capture_path` and its sidecar from a spool, reads it back, and drops the spool.

    A sealing that was cut short is finished or begun anew by calling this again: until the capture stands under
    its name, whole and synced, the spool is kept.

    Raises
    ------
    InputError
        if there is no such spool, or another capture stands at `capture_path` (unless `overwrite`).
    RefusedError
        if the spool is empty or being written, or the disk is full or fails; the spool is kept.
    DamagedFileError
        if the spool is damaged, or the file does not read back as it was written; the spool is kept.
    """
    with Spool.open(spool_path) as spool:
        if not len(spool):
            raise RefusedError(f"{spool_path}: holds no trace yet, so there is nothing to seal")
        header = None if overwrite or not capture_path.exists() else _already_sealed(spool, capture_path)
        try:
            if header is None:
                header = _write(spool, capture_path, clock)
            write_sidecar(capture_path, header)
        except (OSError, RuntimeError) as error:  # h5py reports a full disk as either
            reason = " ".join(str(error).split())
            raise RefusedError(f"{capture_path}: could not be written ({reason}); {_kept(spool)}") from error
        if not keep_spool:
            spool.drop()
    return header


def _already_sealed(spool: Spool, capture_path: Path) -> Header:
    """The header of a capture that holds just this spool: its sealing was cut short after the rename."""
    try:
        header, n_traces = load_header(capture_path)
    except DamagedFileError:
        header, n_traces = None, 0
    if header is None or header.uid != spool.uid or n_traces != len(spool):
        raise InputError("a capture stands here already and is never overwritten", file=capture_path)
    return header


def _write(spool: Spool, capture_path: Path, clock: Clock | None) -> Header:
    capture_path.parent.mkdir(parents=True, exist_ok=True)
    extent = extent_of(spool)
    _refuse_if_full(spool, capture_path, extent)
    partial = capture_path.with_name(capture_path.name + ".partial")
    meta = spool.meta
    with h5netcdf.File(partial, "w", libver="latest") as file:
        digest = write_traces(file, spool, extent)
        header = new_header(
            "capture",
            clock=clock,
            command=meta.command,
            origin=meta.origin,
            inputs=meta.inputs,
            config={**meta.config, "seams": spool.seams(), **_transcript(spool)},
            instruments=meta.instruments,
            seeds=meta.seeds,
            payload_digest=digest,
        ).model_copy(update={"uid": spool.uid})
        file.attrs["header"] = text = canonical_json(header.model_dump()).decode()
    append_seal_line(partial)
    with xr.open_dataset(partial, engine="h5netcdf") as written:
        same = dataset_digest(written) == digest and written.attrs["header"] == text
    if not same:
        raise DamagedFileError(partial, f"does not read back as it was written; {_kept(spool)}")
    partial.replace(capture_path)
    fsync_dir(capture_path.parent)
    return header


def _transcript(spool: Spool) -> dict[str, Any]:
    """Lines and SHA-256 of the messages that came with the traces: which transcript a capture belongs to."""
    digest, count = hashlib.sha256(), 0
    for line in spool.messages():
        digest.update(line.encode() + b"\n")
        count += 1
    return {"transcript": {"lines": count, "sha256": digest.hexdigest()}} if count else {}


def _refuse_if_full(spool: Spool, capture_path: Path, extent: Extent) -> None:
    # HDF5 does not survive a full disk (it may crash as the process ends), so it is not let near one.
    needed = 2 * 8 * extent.n_traces * extent.n_samples + _SPARE_BYTES
    free = shutil.disk_usage(capture_path.parent).free
    if free < needed:
        raise RefusedError(
            f"{capture_path}: sealing may take {needed / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free;"
            f" {_kept(spool)}"
        )


def _kept(spool: Spool) -> str:
    return f"all {len(spool)} traces are safe in {spool.path.name}"
