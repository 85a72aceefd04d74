"""Scores of a checkpoint: teacher, quantised network, spiking network under every kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.stats import t as student_t
from torch import Tensor
from transformers import PreTrainedModel

from otters_lab.core.log import progress
from otters_lab.core.protocols import LevelReader
from otters_lab.core.tomlfile import StrictModel
from otters_lab.training.checkpoint import Checkpoint
from otters_lab.training.compare import Comparison, paired_bootstrap
from otters_lab.training.conditions import CLEAN, IDEAL, QUANTISED, TEACHER
from otters_lab.training.examples import Examples
from otters_lab.training.loop import EVALUATION_NOISE
from otters_lab.training.measure import logits, torch_threads
from otters_lab.training.metrics import predictions, scores
from otters_lab.training.tolerance import Tolerated
from otters_lab.ttfs.code import IdealReader, top_level
from otters_lab.ttfs.config import NoiseConfig
from otters_lab.ttfs.device import Devices, check_levels
from otters_lab.ttfs.plain_noise import PlainNoise

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
    """Scores on one part of a task's data, by metric where nothing is drawn, the main metric under noise.

    share_of_teacher compares the main metric of every condition but the teacher, by name, with the teacher's on the
    same examples; it and `teacher` are empty where the teacher's answers are not known. `noise` is when and where noise
    was drawn (a bench's once a run). The last three fields came later: they have defaults, so that results written
    before can be read.
    """

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
    noise: NoiseConfig | None = None
    share_of_teacher: dict[str, Comparison] = Field(default_factory=dict)
    tolerated: dict[str, Tolerated] = Field(default_factory=dict)


@dataclass(frozen=True)
class Outputs:
    """What a checkpoint's networks say of each example: logits [runs, n, outputs] by condition.

    Conditions are `TEACHER` (where it is known), `QUANTISED` and `IDEAL`, a single row each as nothing is drawn, and
    every kind of device.
    """

    task: str
    metrics: tuple[str, ...]
    part: Part
    examples: Examples
    logits: Mapping[str, Tensor]
    noise: NoiseConfig
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
    """Scores a checkpoint on one part of its task (see `outputs` and `judge`).

    Raises
    ------
    InputError
        as `outputs`.
    """
    return judge(outputs(checkpoint, readers, runs=runs, seed=seed, threads=threads, part=part, noise=noise))


def outputs(
    checkpoint: Checkpoint,
    readers: Mapping[str, LevelReader],
    *,
    runs: int = 20,
    seed: int = 0,
    threads: int = 1,
    part: Part = "test",
    noise: NoiseConfig | None = None,
) -> Outputs:
    """Runs a checkpoint on one part of its task; each reader is a kind of device, by name.

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
    drawn = noise or section.code.noise
    ideal = Devices(IdealReader(section.code.bits), (seed, EVALUATION_NOISE, 0))
    with torch_threads(threads):
        found = {QUANTISED: logits(student, examples)[None], IDEAL: logits(student, examples, ideal)[None]}
        if checkpoint.teacher is not None:
            found = {TEACHER: logits(checkpoint.teacher, examples)[None], **found}
        elif part in checkpoint.answers:
            found = {TEACHER: checkpoint.answers[part][None], **found}
        for name, reader in readers.items():
            found[name] = logits_under(student, examples, reader, drawn, runs=runs, seed=seed, name=name)
    return Outputs(task.name, task.metrics, part, examples, found, drawn, seed)


def judge(found: Outputs) -> EvaluationResult:
    """Scores of what the networks said, and every condition compared with the teacher."""
    metric, y = found.metrics[0], found.examples.y
    clean = {name: scores(found.metrics, found.logits[name][0], y) for name in CLEAN if name in found.logits}
    drawn = {name: logits for name, logits in found.logits.items() if name not in CLEAN}
    predicted = {name: np.stack([predictions(run) for run in logits]) for name, logits in found.logits.items()}
    wanted = np.asarray(y.double().cpu().numpy(), dtype=np.float64)
    return EvaluationResult(
        task=found.task,
        part=found.part,
        metric=metric,
        examples=len(found.examples),
        teacher=clean.get(TEACHER, {}),
        quantised=clean[QUANTISED],
        ttfs_ideal=clean[IDEAL],
        ideal_equals_quantised=torch.equal(found.logits[QUANTISED], found.logits[IDEAL]),
        under={name: noisy_score(metric, logits, y) for name, logits in drawn.items()},
        seed=found.seed,
        noise=found.noise,
        share_of_teacher={
            name: paired_bootstrap(one, predicted[TEACHER], wanted, metric, seed=found.seed)
            for name, one in predicted.items()
            if TEACHER in predicted and name != TEACHER
        },
    )


def logits_under(
    model: PreTrainedModel,
    examples: Examples,
    reader: LevelReader,
    noise: NoiseConfig,
    *,
    runs: int,
    seed: int,
    name: str = "device",
) -> Tensor:
    """Logits [runs, n, outputs] in `runs` draws of a kind of device; run r is drawn by (seed, r).

    Of plain noise of size 0 there is one run, unless the configuration draws something else: all would be the same.
    """
    silent = isinstance(reader, PlainNoise) and not reader.sd
    if silent and not (noise.threshold_offset or noise.stuck_low or noise.stuck_high):
        runs = 1
    found = []
    with progress(f"evaluate, {name}", runs) as advance:
        for run in range(runs):
            found.append(logits(model, examples, Devices(reader, (seed, EVALUATION_NOISE, run), noise)))
            advance(1)
    return torch.stack(found)


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
    found = logits_under(model, examples, reader, noise, runs=runs, seed=seed, name=name)
    return noisy_score(metric, found, examples.y)


def noisy_score(metric: str, logits: Tensor, y: Tensor) -> NoisyScore:
    """Mean, sd and interval of the scores of logits [runs, n, outputs] against targets y [n]."""
    found = [scores((metric,), run, y)[metric] for run in logits]
    n, mean = len(found), float(np.mean(found))
    sd = float(np.std(found, ddof=1)) if n > 1 else None
    half = None if sd is None else float(student_t.ppf(0.975, n - 1)) * sd / n**0.5
    interval = None if half is None else (mean - half, mean + half)
    return NoisyScore(mean=mean, sd=sd, interval=interval, minimum=min(found), runs=found)
