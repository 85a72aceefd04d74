"""Any artefact of ours by its header: what kind it is, whether it is whole, and what it was made from. Runs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import check_form, read_json
from otters_lab.core.provenance import (
    SIDECAR,
    Header,
    check_sidecar,
    parse_header,
    payload_digest,
    sidecar_header,
    sidecar_path,
    stated_kind,
)
from otters_lab.training.checkpoint_files import PROVENANCE, check_files, require_checkpoint
from otters_lab.training.packed_file import is_packed, is_sealed, read_packed


def checked_header(path: Path) -> Header | None:
    """The header of an artefact, every hash in and beside it checked; None for a file that carries none.

    A checkpoint is a folder. What other programs read (an export) has its header beside it; alone, what stands in it
    is taken. Records are held against the form in which they are written: not a byte of them may differ.

    Raises
    ------
    InputError
        if there is no such file, or it is no artefact although its place says so.
    DamagedFileError
        if a payload digest, a file's hash or a sidecar does not match.
    """
    if path.is_dir():
        require_checkpoint(path)
        header = check_files(path)
        check_form(path / PROVENANCE)
        return header
    if not path.exists():
        raise InputError("no such file", file=path)
    has_sidecar = check_sidecar(path) is not None
    inside = _inside(path)
    if not has_sidecar:
        return _of_lone_export(path) if inside is None else inside
    check_form(sidecar_path(path))
    beside = sidecar_header(path)
    if inside is not None and inside != beside:
        raise DamagedFileError(sidecar_path(path), f"is not the header that stands in {path.name}")
    return beside


def is_vouched_for(path: Path, header: Header) -> bool:
    """Whether a hash of an artefact's bytes stands in it or beside it: without one, nothing could be checked."""
    if path.is_dir() or path.suffix == ".h5" or sidecar_path(path).exists():
        return True
    return is_sealed(path) if is_packed(path) else path.suffix == ".json" and header.payload_digest != ""


def header_beside(path: Path) -> Header | None:
    """The header in the sidecar of a file, or of a checkpoint, as it stands there; None without one.

    Raises
    ------
    DamagedFileError
        if it is not a header.
    """
    if not path.is_dir():
        return sidecar_header(path) if sidecar_path(path).exists() else None
    record = read_json(path / PROVENANCE) if (path / PROVENANCE).exists() else None
    if not isinstance(record, dict):
        return None
    return parse_header(path / PROVENANCE, {key: value for key, value in record.items() if key != "files"})


def target_of(path: Path) -> Path:
    """The artefact that a path means: of a sidecar the file it belongs to, of a checkpoint's record the folder."""
    if path.name == PROVENANCE:
        return path.parent
    return path.with_name(path.name.removesuffix(SIDECAR)) if path.name.endswith(SIDECAR) else path


def _inside(path: Path) -> Header | None:
    if path.suffix == ".h5":
        from otters_lab.measurements.capture import check_capture

        return check_capture(path)
    if path.suffix == ".json":
        return _in_json(path)
    return read_packed(path).header if is_packed(path) else None


def _in_json(path: Path) -> Header | None:
    from otters_lab.calibration.file import calibration_from
    from otters_lab.instruments.lightcal import KIND, read_light_calibration

    record: Any = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("header"), dict):
        return None
    check_form(path)
    kind = stated_kind(record)
    if kind == "calibration":
        return calibration_from(path, record).header
    if kind == KIND:
        return read_light_calibration(path).header
    found = parse_header(path, record["header"])
    if found.payload_digest and payload_digest(record) != found.payload_digest:
        raise DamagedFileError(path, "its contents do not match its payload digest: it was altered")
    return found


def _of_lone_export(path: Path) -> Header | None:
    """What an export says of itself where its sidecar is gone; of a netCDF file, what its capture says."""
    text: Any = None
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            text = (pq.read_schema(path).metadata or {}).get(b"otters_lab")
        if path.suffix == ".nc":
            import h5py

            with h5py.File(path, "r") as file:
                text = file.attrs.get("header")
        record = None if text is None else json.loads(text)
    except (ImportError, OSError, ValueError):
        return None
    return None if record is None else parse_header(path, record)
