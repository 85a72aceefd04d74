"""Reading captures: one call for a sealed file or a spool, and one that checks and loads everything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import xarray as xr

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import read_json, sha256_file
from otters_lab.core.protocols import Array
from otters_lab.core.provenance import Header, parse_header, sidecar_header, sidecar_path
from otters_lab.measurements.digest import dataset_digest
from otters_lab.measurements.layout import FORMAT, PER_TRACE, SAMPLED, SCHEMA_VERSION
from otters_lab.measurements.seal_line import check_seal_line, has_seal_line
from otters_lab.measurements.spool import spool_path
from otters_lab.measurements.spool_view import open_spool

_HDF5 = b"\x89HDF\r\n\x1a\n"
_SQLITE = b"SQLite format 3\x00"

# What the HDF5 stack raises for a file that it cannot make sense of.
_UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError)


@dataclass(frozen=True)
class Capture:
    """A sealed capture in memory.

    `time_s` and `current_A` are [trace, sample], NaN beyond a trace's `n_samples`, and read-only. `table` has one row a
    trace: chip, device, point, repeat, kind, point_id, status, start_utc, n_samples, aperture_s, edge_uncertainty_s,
    pulse_width_s, range_A, baseline_A, plateau_A, the parameters by name in the units of `parameter_units`, and what
    other instruments said in those of `reading_units`. `seams`: where the sweep stood still (trace, UTC, why).
    `recipe` and `bench` are the files' text as it was, `planned` how many traces were to be taken, None if not known.
    """

    path: Path
    header: Header
    origin: str
    attributes: dict[str, Any]
    time_s: Array
    current_A: Array
    table: pd.DataFrame
    parameter_units: dict[str, str]
    reading_units: dict[str, str]
    sha256: str
    note: str
    recipe: str
    bench: str
    planned: int | None

    @property
    def seams(self) -> list[dict[str, Any]]:
        """Where the sweep stood still: number of the first trace after it, UTC, and why."""
        return list(self.header.config.get("seams", []))


def open_capture(path: Path | str, *, verify: bool = True) -> xr.Dataset:
    """Opens a sealed capture or a spool; samples are read when they are used. Close it, or use it in a `with`.

    With `verify` the bytes of a sealed file are first checked against its sidecar or, without one, its seal line.

    Raises
    ------
    InputError
        for a missing file, and for one that is no capture.
    DamagedFileError
        for a file that is damaged or altered.
    """
    path = Path(path)
    if _is_spool(path):
        return open_spool(path)
    if verify:
        check_bytes(path)
    return _open_sealed(path)


def load_capture(path: Path | str, *, verify: bool = True) -> Capture:
    """Loads a sealed capture.

    With `verify` it is checked three times over: the file's bytes against the sidecar (or the seal line), the sidecar's
    header against the one inside, and the payload against the digest in that header.

    Raises
    ------
    InputError
        for a missing file, a spool that is not sealed yet, and a file that is no capture.
    DamagedFileError
        for a file that is damaged or altered, or does not match its sidecar.
    """
    path = Path(path)
    if _is_spool(path):
        raise InputError("is a spool, not sealed yet", file=path, expected="a sealed capture")
    if verify:
        check_bytes(path)
    with _open_sealed(path) as dataset:
        header = _header(path, dataset)
        try:
            dataset.load()
        except _UNREADABLE as error:
            raise DamagedFileError(path, f"cannot be read ({error})") from error
    if verify:
        _check_payload(path, dataset, header)
    return _capture(path, dataset, header)


def check_capture(path: Path) -> Header:
    """Checks a sealed capture as `load_capture` does, a block of traces at a time; returns its header.

    Raises
    ------
    InputError, DamagedFileError
        as `load_capture`.
    """
    with open_capture(path) as dataset:
        if "header" not in dataset.attrs:
            raise InputError("is a spool, not sealed yet", file=path, expected="a sealed capture")
        header = _header(path, dataset)
        try:
            _check_payload(path, dataset, header)
        except _UNREADABLE as error:
            raise DamagedFileError(path, f"cannot be read ({error})") from error
    return header


def load_header(path: Path) -> tuple[Header, int]:
    """Header and number of traces of a sealed capture whose bytes match its seal line; no sidecar is asked for.

    Raises
    ------
    InputError
        for a file that is no capture.
    DamagedFileError
        for a damaged one.
    """
    _signature(path)
    check_seal_line(path)
    with _open_sealed(path) as dataset:
        return _header(path, dataset), int(dataset.sizes["trace"])


def is_capture(path: Path) -> bool:
    """Whether a file begins like a sealed capture or a spool, or bears the name of one; nothing else of it is read."""
    try:
        _signature(path)
    except DamagedFileError:
        return True
    except InputError:
        return path.suffix in (".h5", ".spool")
    return True


def _is_spool(path: Path) -> bool:
    return _signature(path) == _SQLITE


def _signature(path: Path) -> bytes:
    """The signature of an HDF5 or an SQLite file, as found; anything else is an error."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        spool = spool_path(path)
        hint = f"; its sweep has not been sealed, the traces are in {spool.name}" if spool.exists() else ""
        raise InputError(f"no such file{hint}", file=path) from None
    except IsADirectoryError:
        raise InputError("is a folder", file=path, expected="a capture") from None
    except OSError as error:
        raise InputError(error.strerror or str(error), file=path) from None
    if start.startswith(_SQLITE):
        return _SQLITE
    if start.startswith(_HDF5):
        return _HDF5
    if path.suffix in (".h5", ".spool") or has_seal_line(path):
        raise DamagedFileError(path, "is not an HDF5 file: its first bytes are damaged, or it never was a capture")
    raise InputError("is no capture", file=path, expected="a sealed capture (.h5) or a spool")


def check_bytes(path: Path) -> None:
    """Checks every byte of a sealed capture against its sidecar or, without one, its seal line.

    Raises
    ------
    InputError, DamagedFileError
        as `open_capture`.
    """
    _signature(path)
    beside = sidecar_path(path)
    if not beside.exists():
        if not has_seal_line(path):
            check_is_ours(path)  # either another program's HDF5 file, or ours and damaged: only the file can tell
        check_seal_line(path)
        return
    record = read_json(beside)
    recorded = record.get("file_sha256") if isinstance(record, dict) else None
    actual = sha256_file(path)
    if recorded != actual:
        known = f"{str(recorded)[:12]}... in {beside.name}"
        raise DamagedFileError(path, f"sha256 {actual[:12]}... does not match the {known}")


def check_is_ours(path: Path) -> None:
    """Checks that an HDF5 file is a capture of this schema.

    Raises
    ------
    InputError
        if it is another program's, or of another schema.
    DamagedFileError
        if it cannot be read.
    """
    try:
        with h5py.File(path, "r") as file:
            form, schema = str(file.attrs.get("format")), np.ravel(file.attrs.get("schema_version", 0)).tolist()
    except _UNREADABLE as error:
        raise DamagedFileError(path, f"cannot be read as HDF5 ({' '.join(str(error).split())})") from error
    if form != FORMAT:
        raise InputError("is an HDF5 file, but no capture of ours (another program's measurements?)", file=path)
    if schema != [SCHEMA_VERSION]:
        raise InputError("has another schema version", file=path, found=schema[0], expected=str(SCHEMA_VERSION))


def _open_sealed(path: Path) -> xr.Dataset:
    check_is_ours(path)
    try:
        return xr.open_dataset(path, engine="h5netcdf")
    except _UNREADABLE as error:
        raise DamagedFileError(path, f"cannot be read as netCDF ({error})") from error


def _header(path: Path, dataset: xr.Dataset) -> Header:
    try:
        record = json.loads(dataset.attrs["header"])
    except (KeyError, ValueError):
        raise DamagedFileError(path, "has no readable provenance header") from None
    return parse_header(path, record)


def _check_payload(path: Path, dataset: xr.Dataset, header: Header) -> None:
    beside = sidecar_path(path)
    if beside.exists() and sidecar_header(path) != header:
        raise DamagedFileError(beside, f"is not the header that stands in {path.name}")
    digest = dataset_digest(dataset)
    if digest != header.payload_digest:
        known = f"{header.payload_digest[:12]}... in its header"
        raise DamagedFileError(path, f"payload digest {digest[:12]}... does not match the {known}")


def _capture(path: Path, dataset: xr.Dataset, header: Header) -> Capture:
    # Only variables of a capture are named here: a digest that matches says they are all there.
    missing = [name for name in (*SAMPLED, *PER_TRACE) if name not in dataset.variables]
    if missing:
        raise DamagedFileError(path, f"lacks the variable {missing[0]}")
    reading_units: dict[str, str] = json.loads(dataset.attrs["readings"])
    named_elsewhere = {*SAMPLED, *PER_TRACE, *reading_units}
    parameters = [str(name) for name in dataset.variables if name not in named_elsewhere]
    named = {name: name if unit == "1" else f"{name}_{unit}" for name, unit in PER_TRACE.items()}
    columns = {named.get(name, name): dataset[name].to_numpy() for name in (*PER_TRACE, *parameters, *reading_units)}
    time_s, current_A = (dataset[name].to_numpy() for name in SAMPLED)
    for samples in (time_s, current_A):
        samples.setflags(write=False)
    return Capture(
        path=path,
        header=header,
        origin=str(dataset.attrs["origin"]),
        attributes=json.loads(dataset.attrs["attributes"]),
        time_s=time_s,
        current_A=current_A,
        table=pd.DataFrame(columns),
        parameter_units={name: str(dataset[name].attrs["units"]) for name in parameters},
        reading_units=reading_units,
        sha256=sha256_file(path),
        note=str(dataset.attrs["note"]),
        recipe=str(dataset.attrs["recipe"]),
        bench=str(dataset.attrs["bench"]),
        planned=json.loads(dataset.attrs["plan"])["traces"],
    )
