"""Tasks: what a network learns, with fixed splits. Adding one is one small object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel

from otters_lab.core.errors import InputError, closest
from otters_lab.training.config import TrainingConfig
from otters_lab.training.digits import Digits
from otters_lab.training.examples import Splits
from otters_lab.training.glue import GLUE


class Task(Protocol):
    """What a task is. `labels` outputs, 1 for a score; the first of `metrics` is the main one."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> int: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def splits(self, config: TrainingConfig) -> Splits:
        """The data, cut the same way each time."""

    def new_teacher(self, config: TrainingConfig) -> PreTrainedModel:
        """The full-precision network before it has learnt the task."""

    def defaults(self) -> TrainingConfig:
        """What it is trained with where nothing else is asked for."""

    def save_tokenizer(self, folder: Path, config: TrainingConfig) -> None:
        """Writes what else a network needs to read its inputs."""

    def augment(self, inputs: dict[str, Tensor], config: TrainingConfig, step: int) -> dict[str, Tensor]:
        """A training batch as step `step` sees it."""


DIGITS = Digits()
TASKS: Mapping[str, Task] = {DIGITS.name: DIGITS, **GLUE}


def find_task(name: str) -> Task:
    """The task of that name.

    Raises
    ------
    InputError
        if there is none.
    """
    if name not in TASKS:
        known = ", ".join(sorted(TASKS))
        raise InputError("no such task", found=name, expected=f"one of {known}", suggestion=closest(name, TASKS))
    return TASKS[name]
