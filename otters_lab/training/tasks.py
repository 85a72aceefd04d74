"""Tasks: what a network learns, with fixed splits. Adding one is one small object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel

from otters_lab.core.errors import InputError, closest
from otters_lab.core.tomlfile import line_of, load_model, read_toml
from otters_lab.training.config import TrainingConfig
from otters_lab.training.digits import Digits
from otters_lab.training.examples import Splits
from otters_lab.training.glue import GLUE, own_task
from otters_lab.training.taskfile import TaskFile


class Task(Protocol):
    """What a task is. `labels` outputs, 1 for a score; the first of `metrics` is the main one."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> int: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    @property
    def recorded(self) -> str | TaskFile:
        """What a checkpoint says of it; `find_task` finds it by that."""

    def splits(self, config: TrainingConfig) -> Splits:
        """The data, cut the same way each time."""

    def new_teacher(self, config: TrainingConfig) -> PreTrainedModel:
        """The full-precision network before it has learnt the task."""

    def freeze(self, model: PreTrainedModel) -> None:
        """Marks what training leaves as it is, in a teacher or student read from a file."""

    def defaults(self) -> TrainingConfig:
        """What it is trained with where nothing else is asked for."""

    def save_tokenizer(self, folder: Path, config: TrainingConfig) -> None:
        """Writes what else a network needs to read its inputs."""

    def augment(self, inputs: dict[str, Tensor], config: TrainingConfig, step: int) -> dict[str, Tensor]:
        """A training batch as step `step` sees it."""


DIGITS = Digits()
TASKS: Mapping[str, Task] = {DIGITS.name: DIGITS, **GLUE}


def find_task(name: str | TaskFile) -> Task:
    """The task of that name, or of a task file: its path (it ends with .toml) or its content.

    Raises
    ------
    InputError
        if there is none, or the file is not valid or names a task that we have.
    """
    if isinstance(name, TaskFile):
        return own_task(name)
    path = Path(name)
    if path.suffix == ".toml":
        source = read_toml(path)
        found = load_model(TaskFile, source)
        if found.name in TASKS:
            raise InputError("a task of ours has this name", file=path, line=line_of(source.text, ("name",)),
                             key="name", found=found.name, expected="another one")  # fmt: skip
        return own_task(found, path.parent.resolve())
    if name not in TASKS:
        known = ", ".join(sorted(TASKS))
        raise InputError(
            "no such task",
            found=name,
            expected=f"one of {known}, or a task file (.toml)",
            suggestion=closest(name, TASKS),
        )
    return TASKS[name]
