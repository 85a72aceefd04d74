"""What `test_parallel` runs in one process, and again under torchrun: FOLDER, the encoder's, the texts', and for the
students a folder of teachers that all runs share.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import PreTrainedModel

import otters_lab.training.train as training
from otters_lab.cli.main import app
from otters_lab.core.errors import InputError
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.parallel import is_first
from otters_lab.training.tasks import Task, find_task
from otters_lab.ttfs.plain_noise import PlainNoise

SHAPE = ShapeConfig(hidden=16, layers=1, heads=2, feed_forward=16)
# Everything on from the start: scales are set once, from a teacher that is the same bits in all runs.
# In the second stage some sites fire more than they may in one half of a batch, and less in the other.
STAGES = [
    StageConfig(name="all", steps=8, lr=2e-3, weights=True, states=True, rail_rate=0.1),
    StageConfig(name="hybrid", steps=22, lr=2e-3, weights=True, states=True, noise=1.0, rail_rate=0.44),
]


class Wide:
    """A task in float64, where the order of sums decides next to nothing: any other difference shows.

    Biases begin away from 0. Those of keys have no gradient but rounding (softmax does not see them), and would decide
    by it what sign a key has whose spikes add up to 0.
    """

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def new_teacher(self, config: TrainingConfig) -> PreTrainedModel:
        model, rng = self._task.new_teacher(config).double(), torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(".bias"):
                    parameter += 0.05 * torch.randn(parameter.shape, generator=rng)
        return model


def run(folder: Path, base: Path, texts: Path, teachers: Path) -> None:
    reader = PlainNoise("curve", 0.1, 16)
    last = STAGES[1].model_copy(update={"steps": 1})
    digits = TrainingConfig(shape=SHAPE, batch=16, teacher=TeacherConfig(steps=41), stages=[last])
    # Lengths differ within a batch, and the teacher learns with dropout.
    text = digits.model_copy(
        update={"data": str(texts), "max_tokens": 16, "teacher": TeacherConfig(base=str(base), steps=21)}
    )
    with mock.patch.object(training, "find_task", lambda name: Wide(find_task(name))):
        for name, config in (("digits", digits), ("sst2", text)):
            training.train(name, reader, folder / f"{name} teacher", config)
            teacher = config.teacher.model_copy(update={"trained": str(teachers / f"{name} teacher")})
            student = config.model_copy(update={"teacher": teacher, "stages": STAGES})
            training.train(name, reader, folder / f"{name} student", student)
    training.train("digits", reader, folder / "float32", digits)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    run(here, *map(Path, sys.argv[2:]))
    try:
        training.train("digits", PlainNoise("curve", 0.1, 16), here / "odd", TrainingConfig(batch=15))
    except InputError as error:
        (here / f"odd {is_first()}").write_text(str(error))
    (here / "one step.toml").write_text(
        "teacher.steps = 1\nstages = [{name = 'all', steps = 1, lr = 1e-3, weights = true, states = true}]\n"
    )
    calibration = Path(__file__).parents[2] / "calibration" / "reference.json"
    options = ["--calibration", calibration, "--config", here / "one step.toml", "-o", here / "command", "--json"]
    app(["train", "digits", *map(str, options)], standalone_mode=False)
