"""What each part of hybrid training buys: arms that branch from one trunk, with equal steps, batches and devices."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from otters_lab.core.errors import InputError
from otters_lab.core.files import pretty_json, read_json, write_atomically
from otters_lab.core.log import logger
from otters_lab.core.protocols import LevelReader
from otters_lab.core.provenance import validated_json
from otters_lab.core.tomlfile import StrictModel
from otters_lab.training.checkpoint import Checkpoint
from otters_lab.training.config import once_more
from otters_lab.training.distill import Lesson, distil
from otters_lab.training.evaluate import NoisyScore, score_under
from otters_lab.training.loop import Log
from otters_lab.training.measure import score, torch_threads
from otters_lab.training.parallel import alone
from otters_lab.ttfs.code import IdealReader
from otters_lab.ttfs.config import NoiseConfig, Place

MEASURED, GAUSSIAN, IDEAL = "measured", "gaussian", "ideal"
QNN = "QNN"


@dataclass(frozen=True)
class Arm:
    """One way to go on from the trunk: under which devices (None: as a quantised network), at which place."""

    reader: str | None
    place: Place = "layer"


ARMS: Mapping[str, Arm] = {
    QNN: Arm(None),
    "hybrid, ideal device": Arm(IDEAL),
    "hybrid, measured noise a layer": Arm(MEASURED),
    "hybrid, measured noise a line": Arm(MEASURED, "line"),
    "hybrid, measured noise a synapse": Arm(MEASURED, "synapse"),
    "hybrid, Gaussian noise on each level (HAT)": Arm(GAUSSIAN),
}


class ArmResult(StrictModel):
    """One arm's network on the private test part: as a quantised network, under the measured device, and under what it
    learnt with where that is another (null else). `trunk` is the uid of the network it branched from (empty in results
    of before it was told).
    """

    arm: str
    trunk: str = ""
    seed: int
    steps: int
    seconds: float
    metric: str
    clean: float
    under: NoisyScore
    under_own: NoisyScore | None = None


def ablate(
    trunk: Checkpoint,
    readers: Mapping[str, LevelReader],
    folder: Path,
    *,
    steps: int = 500,
    lr: float = 2e-4,
    runs: int = 20,
    seed: int = 0,
    arms: Mapping[str, Arm] = ARMS,
) -> list[ArmResult]:
    """Goes on from a trunk by each arm, and scores all under the same draws of `readers["measured"]`.

    The trunk itself, "QNN converted", is scored too. Arms are as the trunk's last stage but for noise, steps and rate.
    Each result is a JSON file in `folder`; arms that have theirs are not run again. `seed` decides batches, training
    noise and the devices that are scored.

    Raises
    ------
    InputError
        if the task's data is not there, several processes were started, or an arm that lies in `folder` branched from
        another trunk, or took other steps or runs.
    """
    alone("an ablation")
    section = trunk.section
    task, data = trunk.task, trunk.splits()
    known = {**readers, IDEAL: IdealReader(section.code.bits)}
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, arm in {"QNN converted (the trunk)": None, **arms}.items():
        path, taken = folder / f"{_slug(name)}-{seed}.json", 0 if arm is None else steps
        if path.exists():
            found.append(_known(path, trunk.header.uid, taken, runs))
            continue
        student, began_s = copy.deepcopy(trunk.student), time.monotonic()
        with torch_threads(trunk.training.threads):
            if arm is not None:
                noisy = 0.0 if arm.reader is None else 1.0
                stage = once_more(trunk.training, name=name, steps=steps, lr=lr, noise=noisy)
                noise = section.code.noise.model_copy(update={"run_place": arm.place})
                code = section.code.model_copy(update={"noise": noise})
                config = trunk.training.model_copy(update={"stages": [stage], "code": code, "seed": seed})
                reader = known[arm.reader or IDEAL]
                lesson = Lesson(task, student, trunk.model_teacher, data, reader, config, (True, True, True))
                with tempfile.TemporaryDirectory() as scratch:
                    distil(lesson, Log(Path(scratch) / "log"))
            seconds = time.monotonic() - began_s

            def under(reader: LevelReader, student: PreTrainedModel = student, name: str = name) -> NoisyScore:
                metric = task.metrics[0]
                return score_under(student, data.test, metric, reader, NoiseConfig(), runs=runs, seed=seed, name=name)

            own = None if arm is None or arm.reader in (None, IDEAL, MEASURED) else known[str(arm.reader)]
            result = ArmResult(
                arm=name,
                trunk=trunk.header.uid,
                seed=seed,
                steps=taken,
                seconds=round(seconds, 1),
                metric=task.metrics[0],
                clean=score(student, data.test, task.metrics),
                under=under(readers[MEASURED]),
                under_own=None if own is None else under(own),
            )
        write_atomically(path, pretty_json(result.model_dump()))
        logger.info("%s: %.4f clean, %.4f under the measured device", name, result.clean, result.under.mean)
        found.append(result)
    return found


def _known(path: Path, trunk: str, steps: int, runs: int) -> ArmResult:
    """An arm that was run before, if it was so in this way: arms are compared with each other."""
    found = validated_json(ArmResult, path, read_json(path))
    asked = {"trunk": trunk, "steps": steps, "runs": runs}
    for key, had in {"trunk": found.trunk, "steps": found.steps, "runs": len(found.under.runs)}.items():
        if had != asked[key]:
            raise InputError("an arm of another ablation lies here", file=path, key=key, found=had,
                             expected=f"{asked[key]}, or another folder")  # fmt: skip
    return found


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
