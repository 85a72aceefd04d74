"""A training run as its log tells it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from otters_lab.reports.monitor.recent import Recent
from otters_lab.training.checkpoint_files import LOG, PROVENANCE, RUNNING
from otters_lab.training.config import WARM_UP

MAX_BYTES = 8_000_000  # of a log's end; a line is about 200 bytes
_SHORT = 10  # steps
_NOT_CURVES = ("stage", "step")


@dataclass
class Stage:
    """One stage of a training: what was logged, by name: steps and values; and how many steps were taken so far."""

    name: str
    curves: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    taken: int = 0
    first_share: float | None = None  # of the learning rate, at the first step

    @property
    def planned(self) -> int | None:
        """How many steps the stage is to take, as soon as the log tells."""
        long_enough = self.taken > _SHORT  # of a shorter one the first step lies beyond the rise
        return planned_steps(self.first_share) if self.first_share and long_enough else None

    def last(self, name: str) -> float | None:
        """The last value of a curve."""
        _, values = self.curves.get(name, ([], []))
        return values[-1] if values else None


@dataclass(frozen=True)
class Training:
    """A training's log. `unreadable` lines are told, not fatal; `cut`: its beginning was left out."""

    stages: list[Stage]
    unreadable: int
    cut: bool

    @property
    def names(self) -> list[str]:
        """Of all curves, in the order in which they came."""
        return list(dict.fromkeys(name for stage in self.stages for name in stage.curves))


def changed_utc(folder: Path) -> datetime:
    """When a training in this folder wrote last: its log, or its state."""
    files = [folder / LOG, *(folder / RUNNING).glob("*/*.safetensors")]
    times = []
    for file in files:
        try:
            times.append(file.stat().st_mtime)
        except OSError:  # replaced meanwhile
            continue
    return datetime.fromtimestamp(max(times, default=0.0), UTC)


def is_finished(folder: Path) -> bool:
    """Whether the checkpoint is whole: its record is written last."""
    return (folder / PROVENANCE).exists()


def read_training(log: Path) -> Training:
    """Reads a log, which may be written meanwhile: a last line that has no end yet is left for the next look.

    Raises
    ------
    OSError
        if it cannot be read.
    """
    with log.open("rb") as file:
        size = file.seek(0, 2)
        first = file.seek(max(0, size - MAX_BYTES))
        data = file.read(MAX_BYTES)
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.splitlines()[1 if first else 0 :]
    stages: dict[str, Stage] = {}
    unreadable = 0
    for line in lines:
        try:
            _take(json.loads(line), stages)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            unreadable += 1
    return Training(list(stages.values()), unreadable, cut=first > 0)


class Trainings:
    """The trainings that were read last."""

    def __init__(self, many: int) -> None:
        self._recent = Recent[Training](many)

    def read(self, log: Path) -> tuple[Training | None, str]:
        """A training; or None, and why its log cannot be read."""
        try:
            found = log.stat()
            stamp = (found.st_size, found.st_mtime_ns)
            return self._recent.get(str(log), stamp, lambda: read_training(log)), ""
        except OSError as error:
            return None, error.strerror or str(error)


def _take(entry: dict[str, object], stages: dict[str, Stage]) -> None:
    """Sorts one line of the log into its stage."""
    name = str(entry["stage"])
    values = {key: float(value) for key, value in entry.items() if key not in _NOT_CURVES}  # type: ignore[arg-type]
    stage = stages.setdefault(name, Stage(name))
    if "step" in entry:
        stage.taken = int(entry["step"]) + 1  # type: ignore[call-overload]
    step = max(0, stage.taken - 1)
    for key, value in values.items():
        steps, curve = stage.curves.setdefault(key, ([], []))
        steps.append(step)
        curve.append(value)
    if step == 0 and "lr_share" in values:
        stage.first_share = values["lr_share"]


def planned_steps(first_share: float) -> int:
    """How many steps a stage is to take, by the learning rate's share at its first one.

    The share rises linearly over the first twentieth of the steps (`training.loop.rate_share`), of which the first
    step's middle has half a step behind it.
    """
    return round(0.5 / (WARM_UP * first_share))
