"""Any artefact of ours by its header: what kind it is, whether it is whole, and what it was made from. Runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import read_json
from otters_lab.core.provenance import SIDECAR, Header, check_sidecar, parse_header, sidecar_path
from otters_lab.training.checkpoint_files import PROVENANCE, check_files


def checked_header(path: Path) -> Header | None:
    """The header of an artefact, every hash in and beside it checked; None for a file that carries none.

    A checkpoint is a folder. What other programs read (an export) has its header beside it alone.

    Raises
    ------
    InputError
        if there is no such file, or it is no artefact although its place says so.
    DamagedFileError
        if a payload digest, a file's hash or a sidecar does not match.
    """
    if path.is_dir():
        if not (path / PROVENANCE).exists():
            raise InputError(f"is not a checkpoint: it has no {PROVENANCE}", file=path)
        return check_files(path)
    if not path.exists():
        raise InputError("no such file", file=path)
    if path.suffix == ".h5":
        from otters_lab.measurements.capture import check_capture

        return check_capture(path)
    header = _inside(path) if path.suffix == ".json" else None
    if check_sidecar(path) is None:
        return header
    beside = header_beside(path)
    if header is not None and header != beside:
        raise DamagedFileError(sidecar_path(path), f"is not the header that stands in {path.name}")
    return beside


def header_beside(path: Path) -> Header | None:
    """The header in the sidecar of a file, or of a checkpoint, as it stands there; None without one.

    Raises
    ------
    DamagedFileError
        if it is not a header.
    """
    beside = path / PROVENANCE if path.is_dir() else sidecar_path(path)
    if not beside.exists():
        return None
    record = read_json(beside)
    if not isinstance(record, dict):
        raise DamagedFileError(beside, "is not a provenance record")
    return parse_header(beside, {key: value for key, value in record.items() if key not in ("file_sha256", "files")})


def target_of(path: Path) -> Path:
    """The artefact that a path means: of a sidecar the file it belongs to, of a checkpoint's record the folder."""
    if path.name == PROVENANCE:
        return path.parent
    return path.with_name(path.name.removesuffix(SIDECAR)) if path.name.endswith(SIDECAR) else path


def _inside(path: Path) -> Header | None:
    from otters_lab.calibration.file import calibration_from
    from otters_lab.instruments.lightcal import KIND, read_light_calibration

    record: Any = read_json(path)
    header = record.get("header") if isinstance(record, dict) else None
    if not isinstance(header, dict):
        return None
    if header.get("kind") == "calibration":
        return calibration_from(path, record).header
    if header.get("kind") == KIND:
        return read_light_calibration(path).header
    return parse_header(path, header)
