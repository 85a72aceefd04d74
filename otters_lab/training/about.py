"""What a checkpoint or a packed student says of itself, and what lies beside it; no network is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import read_bytes, read_json
from otters_lab.core.provenance import Header, check_sidecar, validated, validated_json
from otters_lab.training.ablation import ArmResult
from otters_lab.training.checkpoint import Section, read_section, read_sites
from otters_lab.training.checkpoint_files import (
    CALIBRATION,
    LOG,
    check_files,
    evaluation_path,
    read_log,
    require_checkpoint,
)
from otters_lab.training.evaluate import EvaluationResult
from otters_lab.training.packed import packed_about
from otters_lab.training.tasks import Task, find_task
from otters_lab.ttfs.summary import SiteSummary


@dataclass(frozen=True)
class About:
    """A network without its weights.

    log : lines of the training log, in order; none of a packed student. calibration : the embedded file's bytes.
    evaluation : what `evaluate` left beside it, with its header; None where there is none. arms : results of `ablate`
        that lie in the folder, or in one within it. notes : files there that are left out, and why.
    """

    path: Path
    section: Section
    sites: list[SiteSummary]
    header: Header
    log: list[dict[str, Any]] = field(default_factory=list)
    calibration: bytes | None = None
    evaluation: tuple[Header, EvaluationResult] | None = None
    arms: list[ArmResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> Task:
        """What the network learnt."""
        return find_task(self.section.task)


def about_checkpoint(path: Path) -> About:
    """Reads what stands in and beside a checkpoint's folder, or a packed student.

    Raises
    ------
    InputError
        if there is no such thing, or it is no checkpoint.
    DamagedFileError
        if a file of it is missing, altered or not what it should be.
    """
    notes: list[str] = []
    if path.is_file():
        packed, section, sites, _ = packed_about(path)
        header = packed.header
        found = _evaluation(evaluation_path(path), header, notes)
        return About(path, section, sites, header, evaluation=found, notes=notes)
    if not path.exists():
        raise InputError("no such file", file=path)
    require_checkpoint(path)
    header = check_files(path)
    return About(
        path,
        read_section(path)[1],
        read_sites(path),
        header,
        _log(path),
        read_bytes(path / CALIBRATION) if (path / CALIBRATION).exists() else None,
        _evaluation(evaluation_path(path), header, notes),
        _arms(path, notes),
        notes,
    )


def _log(folder: Path) -> list[dict[str, Any]]:
    try:
        return read_log(folder)
    except ValueError as error:
        raise DamagedFileError(folder / LOG, f"is not a training log ({error})") from None


def _evaluation(path: Path, of: Header, notes: list[str]) -> tuple[Header, EvaluationResult] | None:
    """An evaluation, if it is of this very checkpoint."""
    if not path.exists():
        return None
    check_sidecar(path)
    record = read_json(path)
    if not isinstance(record, Mapping) or not isinstance(record.get("header"), Mapping):
        raise DamagedFileError(path, "is not an evaluation")
    header = validated(Header, path, record["header"])
    if header.config.get("checkpoint") != of.uid:
        notes.append(f"{path.name} is of another checkpoint, and left out: run evaluate again")
        return None
    return header, validated_json(
        EvaluationResult, path, {name: part for name, part in record.items() if name != "header"}
    )


def _arms(folder: Path, notes: list[str]) -> list[ArmResult]:
    found = []
    for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        try:
            record = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if not isinstance(record, dict) or not {"arm", "steps", "under"} <= set(record):
            continue
        try:
            found.append(validated_json(ArmResult, path, record))
        except DamagedFileError as error:
            notes.append(str(error))
    return found
