"""The final evaluation on the test part: teacher, quantised network, spiking network under every kind of device."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from otters_lab.core.log import progress
from otters_lab.core.protocols import LevelReader
from otters_lab.core.tomlfile import StrictModel
from otters_lab.training.checkpoint import Checkpoint
from otters_lab.training.loop import EVALUATION_NOISE
from otters_lab.training.measure import accuracy, logits, torch_threads
from otters_lab.training.tasks import Examples, find_task
from otters_lab.ttfs.code import IdealReader, top_level
from otters_lab.ttfs.device import Devices, check_levels


class NoisyAccuracy(StrictModel):
    """Accuracies of several runs; a run is one draw of the devices and of every example's noise."""

    mean: float
    sd: float | None  # between runs, n - 1; null for a single run
    minimum: float
    runs: list[float]


class EvaluationResult(StrictModel):
    """Accuracies (0..1) on the task's test part."""

    task: str
    examples: int
    teacher: float
    quantised: float
    ttfs_ideal: float
    ideal_equals_quantised: bool  # all logits bit for bit
    under: dict[str, NoisyAccuracy]
    seed: int


def evaluate(
    checkpoint: Checkpoint, readers: Mapping[str, LevelReader], *, runs: int = 20, seed: int = 0, threads: int = 1
) -> EvaluationResult:
    """Scores a checkpoint on the test part; each reader is a kind of device, by name.

    Run-to-run noise and devices have the place and time of the network's `code.noise`. The draws of run r are decided
    by (seed, r, site, example) alone.

    Raises
    ------
    InputError
        if a reader has another number of levels than the network.
    """
    student = checkpoint.student
    test = find_task(checkpoint.section.task).splits().test
    bits = checkpoint.section.code.bits
    for reader in readers.values():
        check_levels(reader, top_level(bits))
    ideal = Devices(IdealReader(bits), (seed, EVALUATION_NOISE, 0))
    with torch_threads(threads):
        teacher = accuracy(checkpoint.teacher, test)
        quantised_logits, ideal_logits = logits(student, test), logits(student, test, ideal)
        under = {name: _noisy(checkpoint, test, name, reader, runs, seed) for name, reader in readers.items()}
    return EvaluationResult(
        task=checkpoint.section.task,
        examples=len(test),
        teacher=teacher,
        quantised=_share_right(quantised_logits, test),
        ttfs_ideal=_share_right(ideal_logits, test),
        ideal_equals_quantised=torch.equal(quantised_logits, ideal_logits),
        under=under,
        seed=seed,
    )


def _noisy(
    checkpoint: Checkpoint, examples: Examples, name: str, reader: LevelReader, runs: int, seed: int
) -> NoisyAccuracy:
    scores = []
    with progress(f"evaluate, {name}", runs) as advance:
        for run in range(runs):
            key = (seed, EVALUATION_NOISE, run)
            devices = Devices(reader, key, checkpoint.section.code.noise)
            scores.append(accuracy(checkpoint.student, examples, devices))
            advance(1)
    return NoisyAccuracy(
        mean=float(np.mean(scores)),
        sd=float(np.std(scores, ddof=1)) if runs > 1 else None,
        minimum=min(scores),
        runs=scores,
    )


def _share_right(found: torch.Tensor, examples: Examples) -> float:
    return float((found.argmax(dim=-1) == examples.y).double().mean())
