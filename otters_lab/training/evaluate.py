"""Scores of a checkpoint: teacher, quantised network, spiking network under every kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from scipy.stats import t as student_t
from transformers import PreTrainedModel

from otters_lab.core.log import progress
from otters_lab.core.protocols import LevelReader
from otters_lab.core.tomlfile import StrictModel
from otters_lab.training.checkpoint import Checkpoint
from otters_lab.training.examples import Examples
from otters_lab.training.loop import EVALUATION_NOISE
from otters_lab.training.measure import logits, torch_threads
from otters_lab.training.metrics import scores
from otters_lab.ttfs.code import IdealReader, top_level
from otters_lab.ttfs.device import Devices, NoiseConfig, check_levels

Part = Literal["validation", "test", "dev"]


class NoisyScore(StrictModel):
    """The main metric in several runs; a run is one draw of the devices and of every example's noise.

    sd is that between runs (n - 1), interval the mean's (95 %, Student's t): null for a single run.
    """

    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    minimum: float
    runs: list[float]


class EvaluationResult(StrictModel):
    """Scores on one part of a task's data, by metric where nothing is drawn, the main metric under noise."""

    task: str
    part: Part
    metric: str
    examples: int
    teacher: dict[str, float]
    quantised: dict[str, float]
    ttfs_ideal: dict[str, float]
    ideal_equals_quantised: bool  # all logits bit for bit
    under: dict[str, NoisyScore]
    seed: int


def evaluate(
    checkpoint: Checkpoint,
    readers: Mapping[str, LevelReader],
    *,
    runs: int = 20,
    seed: int = 0,
    threads: int = 1,
    part: Part = "test",
    noise: NoiseConfig | None = None,
) -> EvaluationResult:
    """Scores a checkpoint on one part of its task; each reader is a kind of device, by name.

    Run-to-run noise and devices have the place and time of `noise`, else of the network's own `code.noise`. The draws
    of run r are decided by (seed, r, site, example) alone.

    Raises
    ------
    InputError
        if a reader has another number of levels than the network, or the data is not there.
    """
    section, student = checkpoint.section, checkpoint.student
    for reader in readers.values():
        check_levels(reader, top_level(section.code.bits))
    task = checkpoint.task
    examples: Examples = getattr(checkpoint.splits(), part)
    ideal = Devices(IdealReader(section.code.bits), (seed, EVALUATION_NOISE, 0))
    with torch_threads(threads):
        teacher = logits(checkpoint.teacher, examples)
        quantised, spiking = logits(student, examples), logits(student, examples, ideal)
        under = {
            name: score_under(
                student,
                examples,
                task.metrics[0],
                reader,
                noise or section.code.noise,
                runs=runs,
                seed=seed,
                name=name,
            )
            for name, reader in readers.items()
        }
    return EvaluationResult(
        task=task.name,
        part=part,
        metric=task.metrics[0],
        examples=len(examples),
        teacher=scores(task.metrics, teacher, examples.y),
        quantised=scores(task.metrics, quantised, examples.y),
        ttfs_ideal=scores(task.metrics, spiking, examples.y),
        ideal_equals_quantised=torch.equal(quantised, spiking),
        under=under,
        seed=seed,
    )


def score_under(
    model: PreTrainedModel,
    examples: Examples,
    metric: str,
    reader: LevelReader,
    noise: NoiseConfig,
    *,
    runs: int,
    seed: int,
    name: str = "device",
) -> NoisyScore:
    """A network's score in `runs` draws of a kind of device; run r is drawn by (seed, r)."""
    found = []
    with progress(f"evaluate, {name}", runs) as advance:
        for run in range(runs):
            devices = Devices(reader, (seed, EVALUATION_NOISE, run), noise)
            found.append(scores((metric,), logits(model, examples, devices), examples.y)[metric])
            advance(1)
    return noisy_score(found)


def noisy_score(found: list[float]) -> NoisyScore:
    """Mean, sd and interval of the runs' scores."""
    n, mean = len(found), float(np.mean(found))
    sd = float(np.std(found, ddof=1)) if n > 1 else None
    half = None if sd is None else float(student_t.ppf(0.975, n - 1)) * sd / n**0.5
    interval = None if half is None else (mean - half, mean + half)
    return NoisyScore(mean=mean, sd=sd, interval=interval, minimum=min(found), runs=found)
