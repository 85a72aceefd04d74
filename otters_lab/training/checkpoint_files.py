"""The files of a checkpoint and their hashes; needs nothing that loads a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import canonical_json, read_bytes, read_json, sha256_bytes, sha256_file
from otters_lab.core.provenance import FOLDER_RECORD, Header, parse_header

CONFIG, WEIGHTS, CALIBRATION, SITES = "config.json", "model.safetensors", "calibration.json", "sites.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "merges.txt")
TEACHER, LOG, PROVENANCE, RUNNING = "teacher", "training.jsonl", FOLDER_RECORD, ".running"
EVALUATION = "evaluation.json"


def evaluation_path(checkpoint: Path) -> Path:
    """Where the evaluation of a checkpoint goes: into its folder, of a packed student to NAME.evaluation.json."""
    return checkpoint / EVALUATION if checkpoint.is_dir() else checkpoint.with_name(f"{checkpoint.stem}.{EVALUATION}")


def require_checkpoint(folder: Path) -> None:
    """Refuses a folder that is not, or not yet, a checkpoint: the record is written last.

    Raises
    ------
    InputError
        if it has no record.
    """
    if not (folder / PROVENANCE).exists():
        raise InputError(f"is not a checkpoint: it has no {PROVENANCE}", file=folder)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a training log in order; a last one that has no end yet is being written. None without a log.

    Raises
    ------
    ValueError
        for a line that is not JSON.
    """
    if not (folder / LOG).exists():
        return []
    lines = read_bytes(folder / LOG).splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def recorded_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that a checkpoint's record names, by its name; the record itself is not among them.

    Raises
    ------
    DamagedFileError
        if there is no such list.
    """
    record = read_json(folder / PROVENANCE)
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict):
        raise DamagedFileError(folder / PROVENANCE, "has no list of files")
    return {str(name): str(sha256) for name, sha256 in files.items()}


def check_files(folder: Path) -> Header:
    """Compares every file of a checkpoint with its recorded hash; returns the header.

    Raises
    ------
    DamagedFileError
        if one is missing or altered, or a file stands there that the record does not know.
    """
    path = folder / PROVENANCE
    record = read_json(path)
    files = record.pop("files", None) if isinstance(record, dict) else None
    header = parse_header(path, record)
    if not isinstance(files, dict) or sha256_bytes(canonical_json(files)) != header.payload_digest:
        raise DamagedFileError(path, "its list of files does not match its payload digest")
    for name, recorded in files.items():
        if not (folder / name).is_file():
            raise DamagedFileError(folder / name, f"is missing, but recorded in {PROVENANCE}")
        actual = sha256_file(folder / name)
        if actual != recorded:
            raise DamagedFileError(
                folder / name, f"sha256 {actual[:12]}... does not match the {str(recorded)[:12]}... in {PROVENANCE}"
            )
    if CALIBRATION not in files and (folder / CALIBRATION).exists():
        raise DamagedFileError(folder / CALIBRATION, f"is not recorded in {PROVENANCE}: it was put there later")
    return header
