"""A trained network on a new chip: its scales, or all of it, adapted in a few hundred steps."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from otters_lab.core.files import read_bytes, sha256_bytes
from otters_lab.core.protocols import LevelReader
from otters_lab.core.provenance import Header, InputRef, new_header, reference
from otters_lab.training.checkpoint import Checkpoint, write_checkpoint
from otters_lab.training.checkpoint_files import LOG
from otters_lab.training.config import once_more
from otters_lab.training.distill import Lesson, distil
from otters_lab.training.evaluate import NoisyScore, score_under
from otters_lab.training.loop import Log
from otters_lab.training.measure import score, torch_threads
from otters_lab.training.parallel import alone
from otters_lab.ttfs.device import counting, summaries

OLD_CHIP, OLD_TIMES, RETIMED, ADAPTED = "old chip", "new chip, old times", "new chip, re-timed", "re-timed and adapted"
LEARNING = "learning"


@dataclass(frozen=True)
class Refit:
    """A network adapted to another chip; the scores (private test part) before and after, by what was read."""

    folder: Path
    metric: str
    scores: Mapping[str, NoisyScore]
    steps: int
    seconds: float
    header: Header

    @property
    def gain(self) -> float:
        """What adapting adds to re-timing."""
        return self.scores[ADAPTED].mean - self.scores[RETIMED].mean


def refit(
    checkpoint: Checkpoint,
    readers: Mapping[str, LevelReader],
    calibration: tuple[Path, InputRef],
    out: Path,
    *,
    steps: int = 300,
    weights: bool = False,
    lr: float = 1e-4,
    runs: int = 20,
    seed: int = 0,
) -> Refit:
    """Adapts a checkpoint to the chip of a calibration and writes the checkpoint `out`.

    readers : by name, `OLD_CHIP`, `OLD_TIMES` and `RETIMED`; the student learns under `LEARNING`, else under the last.
    weights : learns them too, not the scales alone.

    Raises
    ------
    InputError
        if the task's data is not there, or several processes were started.
    """
    alone("a refit")
    section, config = checkpoint.section, checkpoint.training
    task, data = checkpoint.task, checkpoint.splits()
    learn = "all" if weights else "scales"
    stage = once_more(config, name="refit", steps=steps, lr=lr, scale_lr=1e-3, noise=1.0, ramp=0.2, learn=learn)
    config = config.model_copy(update={"stages": [stage]})

    def under(model: PreTrainedModel, reader: LevelReader) -> NoisyScore:
        return score_under(model, data.test, task.metrics[0], reader, section.code.noise, runs=runs, seed=seed)

    with torch_threads(config.threads):
        found = {name: under(checkpoint.student, readers[name]) for name in (OLD_CHIP, OLD_TIMES, RETIMED)}
        student = copy.deepcopy(checkpoint.student)
        log, began_s = Log(out / LOG), time.monotonic()
        learnt_under, quantised = readers.get(LEARNING, readers[RETIMED]), (True, True, True)
        distil(Lesson(task, student, checkpoint.model_teacher, data, learnt_under, config, quantised), log)
        seconds = time.monotonic() - began_s
        found[ADAPTED] = under(student, readers[RETIMED])
        with counting(student):
            score(student, data.validation, task.metrics)
            sites = summaries(student)
    log.close()
    path, told = calibration
    header = new_header(
        "checkpoint",
        origin=checkpoint.header.origin,
        inputs=[reference(checkpoint.record, "checkpoint", checkpoint.header.uid), told],
        config={
            "task": task.name,
            "metric": task.metrics[0],
            **config.model_dump(),
            "refit": {"scores": {name: one.model_dump() for name, one in found.items()}, "seconds": seconds},
        },
        seeds={"training": config.seed, "evaluation": seed},
    )
    new = read_bytes(path)
    section = section.model_copy(update={"calibration_sha256": sha256_bytes(new)})
    task.save_tokenizer(out, config)
    header = write_checkpoint(out, student, checkpoint.model_teacher, section, sites, new, header)
    return Refit(out, task.metrics[0], found, steps, seconds, header)
