"""One training run: teacher, conversion, distillation through all stages, checkpoint."""

from __future__ import annotations

import copy
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import read_bytes, sha256_bytes
from otters_lab.core.protocols import LevelReader
from otters_lab.core.provenance import Header, InputRef, Origin, new_header, parse_header, reference
from otters_lab.training.checkpoint import Checkpoint, Section, load_earlier, write_checkpoint
from otters_lab.training.checkpoint_files import LOG, PROVENANCE, RUNNING
from otters_lab.training.config import TrainingConfig
from otters_lab.training.distill import Lesson, distil, new_student
from otters_lab.training.loop import Log
from otters_lab.training.measure import faster_precision, score, torch_threads
from otters_lab.training.packed import load_student
from otters_lab.training.parallel import from_first, is_first, join, own_slice, processes
from otters_lab.training.runstate import RunState
from otters_lab.training.tasks import Task, find_task
from otters_lab.training.teacher import train_teacher
from otters_lab.ttfs.code import top_level
from otters_lab.ttfs.convert import convert, take_layers
from otters_lab.ttfs.device import check_levels, counting, summaries


@dataclass(frozen=True)
class TrainResult:
    """A finished run. Scores are of the validation part; test and dev were not looked at."""

    folder: Path
    metric: str
    teacher_validation: float
    stage_validation: dict[str, float]  # after each stage, under that stage's noise
    teacher_s: float
    student_s: float
    header: Header


def train(
    task_name: str,
    reader: LevelReader,
    out: Path,
    config: TrainingConfig | None = None,
    calibration_path: Path | None = None,
    *,
    command: list[str] | None = None,
) -> TrainResult:
    """Trains teacher and student of a task (a name, or the path of a task file) and writes the checkpoint `out`.

    `reader` gives the run-to-run noise of the stages that have some; `calibration_path` is the file it was read from,
    which goes into the checkpoint (whoever made the reader has checked it). The same task, reader, configuration,
    machine, versions and number of processes give the same payload digest.

    Processes that torchrun started share every batch: losses are those of one process, up to the order of float sums.
    The first of them writes, all return the same.

    Raises
    ------
    InputError
        for an unknown task, a reader of another number of levels, a patch that does not tile the image, an `out` that
        is a file, a calibration that is not there, a batch that does not divide among the processes, or an earlier
        network that does not fit or learnt the task from other examples.
    """
    join()
    task = find_task(task_name)
    config = config or task.defaults()
    own_slice(config.batch)
    if config.data is None:
        config = config.model_copy(update={"data": task.defaults().data})  # recorded, for evaluation to find
    if config.precision == "auto":  # recorded: the same steps in the other one end elsewhere
        config = config.model_copy(update={"precision": faster_precision()})
    check_levels(reader, top_level(config.code.bits))
    made_from: list[tuple[InputRef, Origin | None]] = []
    # All refuse before any file is touched.
    earlier = _earlier(task, config)
    layers = None if config.layers is None else load_student(Path(config.layers))
    teacher = task.new_teacher(config) if earlier is None else earlier.model_teacher
    if earlier is not None:
        role = "student" if config.student else "teacher"
        made_from.append((reference(earlier.record, role, earlier.header.uid), None))
    if layers is not None:  # tried here, as it is the teacher once trained that gives the student the rest
        take_layers(convert(copy.deepcopy(teacher), config.code), layers.student, layers.folder)
        made_from.append((reference(layers.record, "layers", layers.header.uid), None))
    if out.exists() and not out.is_dir():
        raise InputError("is a file", file=out, expected="a folder to write the checkpoint to")
    calibration = None if calibration_path is None else read_bytes(calibration_path)
    if calibration_path is not None and calibration is not None:
        made_from.append(_reference(calibration_path, calibration))
    data = task.splits(config)  # a bad row leaves the checkpoint that stands there as it is
    for known in (earlier, layers):
        if known is not None and _learnt_from_the_same(known, task, config):
            known.refuse_other(data.train)  # what it has learnt from may stand in this run's test part
    if is_first():
        (out / PROVENANCE).unlink(missing_ok=True)
    log = Log(out / LOG)
    settings = {"task": task.name, **config.model_dump()}
    if processes() > 1:  # which decides the last digits
        settings["processes"] = processes()
    task_said = task.recorded if isinstance(task.recorded, str) else task.recorded.model_dump()
    state = RunState(out / RUNNING, {**settings, "task": task_said, "made from": [ref.sha256 for ref, _ in made_from]})
    with torch_threads(config.threads):
        started_s = time.monotonic()
        if earlier is None:
            train_teacher(task, teacher, data, config, log, state)
        teacher_validation = from_first(lambda: score(teacher, data.validation, task.metrics))
        log.write(stage="teacher", validation=teacher_validation)
        teacher_done_s = time.monotonic()
        if earlier is not None and config.student:
            student, quantised = earlier.student, (True, True, True)
        else:
            student, quantised = new_student(teacher, config.code, data.train), None
            if layers is not None:
                take_layers(student, layers.student, layers.folder)
        reached = distil(Lesson(task, student, teacher, data, reader, config, quantised), log, state)
        student_done_s = time.monotonic()
        log.close()

        def finish() -> Header:
            with counting(student):
                score(student, data.validation, task.metrics)
                sites = summaries(student)
            header = new_header(
                "checkpoint",
                inputs=[ref for ref, _ in made_from],
                origin=next((origin for _, origin in made_from if origin), None),
                config={**settings, "metric": task.metrics[0]},
                seeds={"training": config.seed},
                command=command,
            )
            section = Section(
                task=task.recorded,
                train_sha256=data.train.digest(),
                code=config.code,
                calibration_sha256=None if calibration is None else sha256_bytes(calibration),
            )
            task.save_tokenizer(out, config)
            header = write_checkpoint(out, student, teacher, section, sites, calibration, header)
            shutil.rmtree(out / RUNNING, ignore_errors=True)
            return header

        header = from_first(finish)
    return TrainResult(
        folder=out,
        metric=task.metrics[0],
        teacher_validation=teacher_validation,
        stage_validation=reached,
        teacher_s=teacher_done_s - started_s,
        student_s=student_done_s - teacher_done_s,
        header=header,
    )


def _earlier(task: Task, config: TrainingConfig) -> Checkpoint | None:
    """The checkpoint whose teacher, or student too, is taken over."""
    folder = config.student or config.teacher.trained
    if folder is None:
        return None
    found = load_earlier(Path(folder), task, config.teacher.base)
    made, wanted = (code.model_dump(exclude={"noise"}) for code in (found.section.code, config.code))
    for name in made if config.student else ():
        if made[name] != wanted[name]:
            raise InputError("its student codes otherwise", file=folder, key=f"code.{name}", found=made[name],
                             expected=wanted[name])  # fmt: skip
    return found


def _learnt_from_the_same(known: Checkpoint, task: Task, config: TrainingConfig) -> bool:
    """Whether it is this task, and its texts were made numbers in this way."""
    before = known.training
    same = before.teacher.base == config.teacher.base and before.max_tokens == config.max_tokens
    return same and known.section.task == task.recorded


def _reference(path: Path, data: bytes) -> tuple[InputRef, Origin | None]:
    """The calibration as an input, and its origin: a network trained on synthetic devices stays known as such."""
    try:
        record = json.loads(data)
    except ValueError as error:
        raise DamagedFileError(path, f"is not JSON ({error})") from None
    header = parse_header(path, record.get("header") if isinstance(record, dict) else None)
    return InputRef(role="calibration", name=path.name, uid=header.uid, sha256=sha256_bytes(data)), header.origin
