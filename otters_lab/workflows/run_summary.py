"""What a list of runs says of a trained network, a packed student, an evaluation, or a training that is not done."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from otters_lab.core.clock import iso_utc
from otters_lab.core.errors import DamagedFileError, OttersError, said_of
from otters_lab.core.files import read_json
from otters_lab.core.listing import State
from otters_lab.core.provenance import FOLDER_RECORD, Header
from otters_lab.training.checkpoint_files import CALIBRATION, CONFIG, LOG, read_log
from otters_lab.training.conditions import IDEAL, IN_THE_LOOP, REPLAYED, RUN_TO_RUN, TEACHER, WITH_DEVICES
from otters_lab.training.packed_file import is_packed, read_packed
from otters_lab.workflows.artefacts import checked_header

RunKind = Literal["checkpoint", "packed", "evaluation", "training"]

# What an evaluation is known by: the hardest of these that it was scored under.
_SCORED = (IN_THE_LOOP, REPLAYED, WITH_DEVICES, RUN_TO_RUN)


@dataclass(frozen=True)
class RunSummary:
    """A run. `score` is its main one, of the metric `metric` (empty where an earlier checkpoint does not name it).

    Of a checkpoint and of a training that goes on it is the student's latest on the validation part; of an evaluation
    the mean under the condition `under`, on the part `part`. `scores` has all that are known by name. `stage` and
    `step` are the last that a training wrote down, at `updated_utc`.
    """

    path: str
    kind: RunKind
    state: State
    reason: str = ""
    uid: str = ""
    task: str = ""
    metric: str = ""
    score: float | None = None
    under: str = ""
    part: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    chip: str = ""
    origin: str = ""
    created_utc: str = ""
    stage: str = ""
    step: int | None = None
    updated_utc: str = ""


def summarise(path: Path, name: str) -> RunSummary | None:
    """The summary of a folder or file, called `name`, every byte of it checked; None for one that is no run."""
    kind = _kind(path)
    if kind is None:
        return None
    try:
        if kind == "training":
            return _of_training(path, name)
        header = checked_header(path)
        assert header is not None  # a file of these kinds has one
        return {"checkpoint": _of_checkpoint, "packed": _of_packed, "evaluation": _of_evaluation}[kind](
            path, name, header
        )
    except DamagedFileError as error:
        return RunSummary(name, kind, "damaged", _without(path, error))
    except (OttersError, KeyError, ValueError, TypeError, AttributeError) as error:
        return RunSummary(name, kind, "unreadable", _without(path, error))


def _kind(path: Path) -> RunKind | None:
    if path.is_dir():
        return "checkpoint" if (path / FOLDER_RECORD).exists() else "training"
    if path.suffix == ".safetensors":
        return "packed" if is_packed(path) else None
    return "evaluation"


def _of_checkpoint(path: Path, name: str, header: Header) -> RunSummary:
    log = read_log(path)
    scores, calibration = _validation(log), path / CALIBRATION
    section = read_json(path / CONFIG)["otters"]
    return RunSummary(
        **_common(path, name, header),
        kind="checkpoint",
        task=_task(section),
        metric=str(header.config.get("metric", "")),
        score=scores.get("student"),
        part="validation" if scores else "",
        scores=scores,
        chip=str(read_json(calibration).get("chip", "")) if calibration.exists() else "",
    )


def _of_packed(path: Path, name: str, header: Header) -> RunSummary:
    section = read_packed(path).about["section"]
    metric = str(header.config.get("metric", ""))
    return RunSummary(**_common(path, name, header), kind="packed", task=_task(section), metric=metric)


def _of_evaluation(path: Path, name: str, header: Header) -> RunSummary:
    record = read_json(path)
    metric, under = record["metric"], {key: found["mean"] for key, found in record["under"].items()}
    clean = {TEACHER: record["teacher"].get(metric), IDEAL: record["ttfs_ideal"][metric]}
    scores = {key: value for key, value in {**clean, **under}.items() if value is not None}
    scored = next((condition for condition in _SCORED if condition in scores), IDEAL)
    return RunSummary(
        **_common(path, name, header),
        kind="evaluation",
        task=record["task"],
        metric=metric,
        score=scores[scored],
        under=scored,
        part=record["part"],
        scores=scores,
    )


def _common(path: Path, name: str, header: Header) -> dict[str, Any]:
    return {
        "path": name,
        "state": "finished",
        "uid": header.uid,
        "origin": header.origin or "",
        "created_utc": header.created_utc,
    }


def _of_training(path: Path, name: str) -> RunSummary:
    """Of a folder with a log and no record: training goes on, or was stopped."""
    log = read_log(path)
    scores, steps = _validation(log), [line for line in log if "step" in line]
    last: dict[str, Any] = steps[-1] if steps else {}
    written = datetime.fromtimestamp((path / LOG).stat().st_mtime, UTC)
    return RunSummary(
        path=name,
        kind="training",
        state="unfinished",
        score=scores.get("student"),
        part="validation" if scores else "",
        scores=scores,
        stage=str(last.get("stage", "")),
        step=last.get("step"),
        updated_utc=iso_utc(written),
    )


def _validation(log: list[dict[str, Any]]) -> dict[str, float]:
    """The latest validation scores of teacher and student."""
    found: dict[str, float] = {}
    for line in log:
        if "validation" in line:
            found["teacher" if line["stage"] == "teacher" else "student"] = line["validation"]
    return found


def _task(section: dict[str, Any]) -> str:
    task = section["task"]
    return str(task["name"] if isinstance(task, dict) else task)


def _without(path: Path, error: Exception) -> str:
    return said_of(path, error).removeprefix(f"{path}/")  # of a folder: which of its files
