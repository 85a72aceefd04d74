"""Networks on calibrations: training, evaluation under sampled and replayed devices, what they fire."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from otters_lab.calibration.file import Calibration, calibration_from, read_calibration
from otters_lab.calibration.model import DeviceModel
from otters_lab.calibration.readers import SampledLevels
from otters_lab.calibration.replay import RecordedLevels, recorded_levels
from otters_lab.core.errors import DamagedFileError, InputError, RefusedError
from otters_lab.core.files import pretty_json, write_atomically
from otters_lab.core.notify import Notifier
from otters_lab.core.protocols import LevelReader
from otters_lab.core.provenance import Header, new_header, payload_digest, reference, write_sidecar
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.capture import load_capture
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.sweeps.sweep import read_inputs
from otters_lab.training.ablation import ARMS, GAUSSIAN, MEASURED, QNN, Arm, ArmResult, ablate
from otters_lab.training.checkpoint import Checkpoint
from otters_lab.training.checkpoint_files import CALIBRATION, evaluation_path
from otters_lab.training.conditions import IDEAL, IN_THE_LOOP, REPLAYED, RUN_TO_RUN, WITH_DEVICES
from otters_lab.training.config import ReadingConfig, read_config
from otters_lab.training.evaluate import EvaluationResult, Outputs, Part, judge, outputs, score_under
from otters_lab.training.measure import torch_threads
from otters_lab.training.packed import load_student, pack
from otters_lab.training.parallel import is_first
from otters_lab.training.refit import LEARNING, OLD_CHIP, OLD_TIMES, RETIMED, Refit, refit
from otters_lab.training.tasks import find_task
from otters_lab.training.tolerance import Tolerated, tolerated
from otters_lab.training.train import TrainResult, train
from otters_lab.ttfs.config import NoiseConfig
from otters_lab.ttfs.plain_noise import NoiseKind, plain_noise
from otters_lab.ttfs.summary import SiteSummary
from otters_lab.workflows.example_table import check_example_table, write_example_table
from otters_lab.workflows.in_the_loop import bench_levels


def usable_calibration(path: Path) -> Calibration:
    """A calibration that may be trained and evaluated on.

    Raises
    ------
    InputError, DamagedFileError
        as `read_calibration`.
    RefusedError
        if a gate failed.
    """
    return _usable(read_calibration(path), path)


def _usable(calibration: Calibration, path: Path) -> Calibration:
    failed = [gate.name for gate in calibration.gates if gate.verdict == "fail"]
    if failed:
        raise RefusedError(f"{path}: this calibration failed its gates: {', '.join(failed)}")
    return calibration


def train_on_calibration(
    task: str,
    calibration_path: Path,
    out: Path,
    config_path: Path | None = None,
    *,
    data: Path | None = None,
    teacher: str | None = None,
    noise: str | None = None,
) -> TrainResult:
    """Trains a task with a calibration's run-to-run noise in the forward pass.

    data : folder of the task's data; teacher : pre-trained encoder; both over what the configuration says. `noise`
    (KIND:SD, see `plain_noise`) takes the place of the calibration's, for comparison. Whom the configuration's
    `[notify]` names is told how the run ended.

    Raises
    ------
    InputError, DamagedFileError, RefusedError
        as `usable_calibration`, `Notifier` and `train`.
    """
    model = usable_calibration(calibration_path).device_model()
    config = find_task(task).defaults()
    if config_path is not None:
        config = read_config(config_path, config)
    if config.learn_devices:
        model = pooled(model)
    if data is not None:
        config = config.model_copy(update={"data": str(data)})
    if teacher is not None:
        config = config.model_copy(update={"teacher": config.teacher.model_copy(update={"base": teacher})})
    levels = 2**config.code.bits
    sampled = sampled_readers(model, levels, config.reading)[RUN_TO_RUN]
    reader = sampled if noise is None else plain_noise(noise, levels)
    notifier = Notifier(config.notify, config_path or Path())
    facts = {"task": task, "checkpoint": str(out)}
    try:
        result = train(task, reader, out, config, calibration_path)
    except BaseException as error:
        if is_first():
            notifier.tell_of(error, facts)
        raise
    if is_first():
        notifier.tell("finished", {**facts, "metric": result.metric, "validation": result.stage_validation})
    return result


def refit_checkpoint(
    folder: Path,
    calibration_path: Path,
    out: Path,
    *,
    steps: int = 300,
    weights: bool = False,
    runs: int = 20,
    data: Path | None = None,
) -> Refit:
    """Adapts a trained network to the chip of a new calibration (see `training.refit`).

    The network is scored with the old chip, with the new one read at the old level times in the old constants, with
    the new one read as its own calibration says, and once it has adapted to that.

    Raises
    ------
    InputError, DamagedFileError, RefusedError
        for a checkpoint or calibration that cannot be used, or data that is not there.
    """
    checkpoint = _loaded(folder, data)
    old, new = embedded_calibration(checkpoint), usable_calibration(calibration_path)
    levels, how = 2**checkpoint.section.code.bits, checkpoint.training.reading
    readers: dict[str, LevelReader] = {
        OLD_CHIP: sampled_readers(old.device_model(), levels, how)[WITH_DEVICES],
        OLD_TIMES: at_old_times(old, new, levels, how.first_read_s),
        RETIMED: sampled_readers(new.device_model(), levels, how)[WITH_DEVICES],
    }
    if checkpoint.training.learn_devices:
        readers[LEARNING] = sampled_readers(pooled(new.device_model()), levels, how)[RUN_TO_RUN]
    told = reference(calibration_path, "calibration", new.header.uid)
    return refit(checkpoint, readers, (calibration_path, told), out, steps=steps, weights=weights, runs=runs)


def ablate_checkpoint(
    folder: Path,
    out: Path,
    *,
    calibration_path: Path | None = None,
    steps: int = 500,
    runs: int = 20,
    seeds: Sequence[int] = (0,),
    plain: Sequence[str] = (),
    price_alone: bool = False,
    data: Path | None = None,
) -> list[ArmResult]:
    """Branches the arms of `training.ablation` from a trained network, once a seed; results lie in `out`, a file each.

    The measured device is the calibration given, else the one the network was trained on, with its devices drawn.
    Gaussian noise has 10 % of the full scale on each level, as the first paper's hardware-aware training. Each of
    `plain` (KIND:SD) is a further arm that learns under that noise; with `price_alone` they and QNN are all arms: what
    learning under noise costs where there is none, by its size.

    Raises
    ------
    InputError, DamagedFileError, RefusedError
        for a checkpoint or calibration that cannot be used, data that is not there, or `price_alone` without `plain`.
    """
    checkpoint = _loaded(folder, data)
    calibration = usable_calibration(calibration_path) if calibration_path else embedded_calibration(checkpoint)
    levels = 2**checkpoint.section.code.bits
    sampled = sampled_readers(calibration.device_model(), levels, checkpoint.training.reading)
    readers: dict[str, LevelReader] = {MEASURED: sampled[WITH_DEVICES], GAUSSIAN: plain_noise("level:0.1", levels)}
    readers |= {text: plain_noise(text, levels) for text in plain}
    if price_alone and not plain:
        raise InputError("a price needs noise to be learnt under", expected="--noise KIND:SD, once or more")
    standard = {QNN: ARMS[QNN]} if price_alone else ARMS
    arms = {**standard, **{f"hybrid, {text}": Arm(text) for text in plain}}
    return [
        result
        for seed in seeds
        for result in ablate(checkpoint, readers, out, steps=steps, runs=runs, seed=seed, arms=arms)
    ]


def _loaded(folder: Path, data: Path | None) -> Checkpoint:
    """A checkpoint or packed student, as if it had been trained on data in another folder where one is given."""
    checkpoint = load_student(folder)
    return checkpoint if data is None else checkpoint.with_data(data)


def at_old_times(old: Calibration, new: Calibration, n_levels: int, first_read_s: float = 0.0) -> SampledLevels:
    """A new chip read as if it were the old one: at the old level times, currents made levels by the old constants.

    With a = (I_end - I_end_old)/swing_old and b = swing/swing_old, O0 becomes a + b*O0 and D becomes b*D.

    Raises
    ------
    RefusedError
        if one of them holds no device model.
    """
    before, model = old.device_model(), new.device_model()
    assert old.device is not None
    assert new.device is not None
    past, now = old.device.constants, new.device.constants
    swing = past.I_edge_A - past.I_end_A
    b = (now.I_edge_A - now.I_end_A) / swing
    a = (now.I_end_A - past.I_end_A) / swing
    scale = np.diag([b, b, *[1.0] * (len(model.mean) - 2)])
    modes = model.modes and replace(model.modes, legendre=b * model.modes.legendre, tangent=b * model.modes.tangent)
    moved = replace(
        model,
        run_to_run=scale @ model.run_to_run @ scale,
        device_to_device=scale @ model.device_to_device @ scale,
        modes=modes,
    )
    u = before.level_times(n_levels, first_read_s) * past.window_s / now.window_s
    return SampledLevels(moved, u, scale @ model.mean + np.array([a, *[0.0] * (len(model.mean) - 1)]), devices=True)


def evaluate_checkpoint(
    folder: Path,
    *,
    calibration_path: Path | None = None,
    capture_path: Path | None = None,
    noise: float = 1.0,
    runs: int = 20,
    seed: int = 0,
    reading: Mapping[str, Any] | None = None,
    part: Part = "test",
    plain: Sequence[str] = (),
    sweep: Sequence[float] = (),
    bench: tuple[Path, Path] | None = None,
    data: Path | None = None,
    drawn: Mapping[str, Any] | None = None,
    tolerance: bool = False,
    examples: Path | None = None,
) -> EvaluationResult:
    """Scores a checkpoint under sampled devices, and on a capture's recorded traces if one is given.

    The calibration is the one given, else the one the network was trained on. `noise` multiplies its sd. `reading` has
    the entries of `ReadingConfig` that are to differ from those the network was trained with. `part` of the task's
    data is scored; `data` is their folder, if not that of training. `plain` are further kinds of noise (KIND:SD), and
    `sweep` sizes of all kinds of it. `drawn` has the entries of `NoiseConfig` that are to differ from the network's.
    `bench` (bench file, recipe) puts a device in the loop: for each batch of examples it measures every site's levels
    anew. `tolerance` looks for the multiple of the calibration's own covariance (whatever `noise`) that the network
    bears. The result goes into the folder of the checkpoint as ``evaluation.json`` (beside a packed student, as
    NAME.evaluation.json); what was said of each example into the file `examples`.

    Raises
    ------
    InputError
        if there is no calibration at all, the capture does not reach the levels, or `examples` cannot be written.
    DamagedFileError, RefusedError
        for damaged files and failed gates.
    """
    if examples is not None:
        check_example_table(examples)
    checkpoint = _loaded(folder, data)
    levels = 2**checkpoint.section.code.bits
    calibration = usable_calibration(calibration_path) if calibration_path else embedded_calibration(checkpoint)
    how = ReadingConfig(**{**checkpoint.header.config.get("reading", {}), **(reading or {})})
    readers = sampled_readers(scaled(calibration.device_model(), noise), levels, how)
    inputs = [reference(checkpoint.record, "checkpoint", checkpoint.header.uid)]
    if capture_path is not None:
        readers[REPLAYED] = replayed_reader(capture_path, calibration, levels, how.first_read_s)
        inputs.append(reference(capture_path, "capture"))
    if calibration_path is not None:
        inputs.append(reference(calibration_path, "calibration", calibration.header.uid))
    swept = [f"{kind}:{sd:g}" for kind in get_args(NoiseKind) for sd in sweep]
    readers |= {text: plain_noise(text, levels) for text in (*plain, *swept)}
    own = checkpoint.section.code.noise
    where = NoiseConfig(**{**own.model_dump(), **(drawn or {})})
    found = outputs(checkpoint, readers, runs=runs, seed=seed, part=part, noise=where)
    if bench is not None:
        live = where.model_copy(update={"run_time": "run"})
        with bench_levels(*bench, calibration, levels, how.first_read_s) as reader:
            measured = outputs(checkpoint, {IN_THE_LOOP: reader}, runs=1, seed=seed, part=part, noise=live)
        found = replace(found, logits={**found.logits, **measured.logits})
        inputs += read_inputs(load_recipe(bench[1]), load_bench(bench[0]))
    result = judge(found)
    if tolerance:
        model, ideal = calibration.device_model(), result.ttfs_ideal[result.metric]
        kinds = (RUN_TO_RUN, WITH_DEVICES)
        borne = {name: _tolerated(name, checkpoint, found, ideal, model, how, runs) for name in kinds}
        result = result.model_copy(update={"tolerated": borne})
    config = {
        "noise": noise,
        "runs": runs,
        "part": part,
        "plain": list(plain),
        "sweep": list(sweep),
        "drawn": where.model_dump(),
        "tolerance": tolerance,
        "checkpoint": checkpoint.header.uid,
        "reading": how.model_dump(),
    }

    def header(kind: str) -> Header:
        origin = calibration.header.origin
        return new_header(kind, origin=origin, inputs=inputs, config=config, seeds={"evaluation": seed})

    if examples is not None:
        write_example_table(examples, found, header("examples"))
    path, record = evaluation_path(folder), result.model_dump()
    about = header("evaluation").model_copy(update={"payload_digest": payload_digest(record)})
    write_atomically(path, pretty_json({"header": about.model_dump(), **record}))
    write_sidecar(path, about)
    return result


def _tolerated(
    name: str, checkpoint: Checkpoint, found: Outputs, ideal: float, model: DeviceModel, how: ReadingConfig, runs: int
) -> Tolerated:
    """What a network bears of one kind of sampled device, with the draws of its evaluation."""
    student, examples, metric = checkpoint.student, found.examples, found.metrics[0]

    def score_at(multiple: float) -> float:
        # The model's covariance is scaled, and not all that levels are off by: a late read is no noise.
        reader = sampled_readers(scaled(model, multiple**0.5), 2**checkpoint.section.code.bits, how)[name]
        title = f"{multiple:.3g} x the covariance, {name}"
        with torch_threads(1):
            scored = score_under(student, examples, metric, reader, found.noise, runs=runs, seed=found.seed, name=title)
        return scored.mean

    return tolerated(score_at, ideal)


def embedded_calibration(checkpoint: Checkpoint) -> Calibration:
    """The calibration that a network was trained on.

    Raises
    ------
    InputError
        if the checkpoint holds none.
    """
    if checkpoint.calibration is None:
        raise InputError("holds no calibration", file=checkpoint.folder, expected="--calibration C")
    path = checkpoint.folder / CALIBRATION
    try:
        record = json.loads(checkpoint.calibration)
    except ValueError as error:
        raise DamagedFileError(path, f"is not JSON ({error})") from None
    return _usable(calibration_from(path, record), path)


def scaled(model: DeviceModel, noise: float) -> DeviceModel:
    """The model with every sd multiplied by `noise`."""
    return replace(model, run_to_run=model.run_to_run * noise**2, device_to_device=model.device_to_device * noise**2)


def pooled(model: DeviceModel) -> DeviceModel:
    """A model whose runs differ as much as runs of different devices do."""
    both = model.run_to_run + model.device_to_device
    return replace(model, run_to_run=both, device_to_device=np.zeros_like(both))


def sampled_readers(model: DeviceModel, n_levels: int, reading: ReadingConfig) -> dict[str, LevelReader]:
    """The two kinds of sampled device by name.

    Raises
    ------
    InputError, RefusedError
        if the calibration cannot be read that way.
    """
    return {
        name: model.reader(
            n_levels,
            devices=devices,
            kind=reading.sampler,
            **reading.model_dump(exclude={"sampler"}),
        )
        for name, devices in ((RUN_TO_RUN, False), (WITH_DEVICES, True))
    }


def replayed_reader(
    capture_path: Path, calibration: Calibration, n_levels: int, first_read_s: float = 0.0
) -> RecordedLevels:
    """Levels read off a capture's good traces, in the constants of `calibration`.

    Raises
    ------
    InputError
        if the capture was taken at several settings or has no good trace.
    """
    capture = load_capture(capture_path)
    device = calibration.device
    good = (capture.table["status"] == "ok").to_numpy()
    if device is None or not good.any() or capture.table["point"].nunique() > 1:
        raise InputError("cannot be replayed", file=capture_path, expected="good traces of one setting")
    constants = device.constants
    return recorded_levels(
        capture.time_s[good],
        capture.current_A[good],
        calibration.device_model(),
        constants.I_edge_A,
        constants.I_end_A,
        n_levels,
        first_read_s,
    )


def checkpoint_sites(folder: Path) -> list[SiteSummary]:
    """What the sites of a trained network, or of a packed student, fire on its own validation data.

    Raises
    ------
    InputError, DamagedFileError
        for a folder that is no checkpoint, or a damaged one.
    """
    return _loaded(folder, None).sites


def pack_checkpoint(folder: Path, out: Path, data: Path | None = None) -> int:
    """Writes a text task's student as a small file (see `training.packed`); returns its size in bytes.

    Raises
    ------
    InputError, DamagedFileError
        for a folder that is no checkpoint of a text task, a damaged one, a base or data that are not there.
    """
    return pack(_loaded(folder, data), out)


def score_lines(result: EvaluationResult) -> Mapping[str, str]:
    """An evaluation as lines for people: what was scored -> the main metric, with spread where there were runs."""
    teacher = result.teacher.get(result.metric)
    lines = {
        "teacher, full precision": "not known" if teacher is None else f"{teacher:.2%}",
        "quantised network (QNN)": f"{result.quantised[result.metric]:.2%}",
        "TTFS, ideal device": f"{result.ttfs_ideal[result.metric]:.2%}{_share(result, IDEAL)}",
    }
    for name, scores in result.under.items():
        sd = "" if scores.sd is None else f" +- {scores.sd:.2%}"
        least = f"min {scores.minimum:.2%} of {len(scores.runs)}"
        lines[f"TTFS, {name}"] = f"{scores.mean:.2%}{sd}, {least}{_share(result, name)}"
    for name, borne in result.tolerated.items():
        lines[f"covariance at {borne.share:.0%} of the ideal device, {name}"] = f"{borne} times the calibration's"
    return lines


def _share(result: EvaluationResult, name: str) -> str:
    """A condition's share of the teacher in words; nothing where it is not known."""
    found = result.share_of_teacher.get(name)
    if found is None or found.share is None:
        return ""
    interval = found.share_interval and f" [{100 * found.share_interval[0]:.1f}, {100 * found.share_interval[1]:.1f}]"
    return f"; {found.share:.1%}{interval or ''} of the teacher"
