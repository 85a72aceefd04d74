"""Commands on the model's side: train, evaluate, and the demo of it all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from otters_lab.cli.energy_command import energy_cell
from otters_lab.cli.show import JsonOption, print_json, print_line, print_table


class SamplerChoice(StrEnum):
    """Where a sampled run comes from."""

    parametric = "parametric"
    empirical = "empirical"


class PlaceChoice(StrEnum):
    """What shares a draw of noise, or a device."""

    network = "network"
    layer = "layer"
    line = "line"
    synapse = "synapse"


class TimeChoice(StrEnum):
    """When noise is drawn anew."""

    run = "run"
    sentence = "sentence"
    token = "token"


class PartChoice(StrEnum):
    """Parts of a task's data."""

    validation = "validation"
    test = "test"
    dev = "dev"


_TASKS_HELP = (
    "What to learn: digits, or of GLUE sst2, mrpc, stsb, cola, rte, qnli, qqp, mnli, wnli; or a task file (.toml)."
)


def train(
    calibration: Annotated[Path, typer.Option("--calibration", metavar="C", help="Device model (.json).")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the checkpoint goes.")],
    task: Annotated[str | None, typer.Argument(metavar="TASK", help=_TASKS_HELP)] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Refit this trained network to the calibration's chip instead."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", help="Of a refit: 300.", min=1)] = None,
    weights: Annotated[bool, typer.Option("--weights", help="A refit learns weights too, not scales alone.")] = False,
    runs: Annotated[
        int | None, typer.Option("--runs", metavar="N", help="Draws for each score of a refit: 20.", min=1)
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="TOML", help="Shape, stages, seed.")] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of the tasks' data.")] = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", metavar="NAME|DIR", help="Pre-trained encoder; default minilm.")
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option("--noise", metavar="KIND:SD", help="relative:0.1, curve:0.1 or level:0.1 for the device's."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train teacher and student: distilled, spiking forward under the calibration's noise, quantised backward."""
    from otters_lab.core.errors import InputError
    from otters_lab.training.parallel import is_first
    from otters_lab.workflows.networks import train_on_calibration

    if (task is None) == (start is None):
        raise InputError("train what?", expected="a TASK, or --from DIR")
    of_refit = {"--steps": steps, "--weights": weights, "--runs": runs}
    of_task = {"--config": config, "--teacher": teacher, "--noise": noise}
    said = "of a TASK's training; with --from the network says it" if start else "of a refit (--from DIR)"
    for option, value in (of_task if start else of_refit).items():
        if value:
            raise InputError(f"{option} is {said}", found=str(value), expected=f"no {option} here")
    if start is not None:
        given = {name: value for name, value in (("steps", steps), ("runs", runs)) if value is not None}
        return _refit(start, calibration, out, weights=weights, data=data, as_json=as_json, **given)
    assert task is not None
    result = train_on_calibration(task, calibration, out, config, data=data, teacher=teacher, noise=noise)
    if not is_first():
        return None
    if as_json:
        return print_json(
            {
                "checkpoint": str(result.folder),
                "uid": result.header.uid,
                "payload_digest": result.header.payload_digest,
                "metric": result.metric,
                "validation": {"teacher": result.teacher_validation, **result.stage_validation},
                "teacher_s": result.teacher_s,
                "student_s": result.student_s,
            }
        )
    rows = [("teacher", f"{result.teacher_validation:.2%}")]
    rows += [(f"student, after {stage}", f"{value:.2%}") for stage, value in result.stage_validation.items()]
    print_table(("network", f"validation {result.metric}"), rows)
    print_line(
        f"{result.folder}: trained in {result.teacher_s + result.student_s:.0f} s; the test part was not touched"
    )
    return None


def _refit(
    start: Path, calibration: Path, out: Path, *, weights: bool, data: Path | None, as_json: bool, **given: int
) -> None:
    from otters_lab.workflows.networks import refit_checkpoint

    result = refit_checkpoint(start, calibration, out, weights=weights, data=data, **given)
    if as_json:
        return print_json(
            {
                "checkpoint": str(result.folder),
                "metric": result.metric,
                "scores": {name: found.model_dump() for name, found in result.scores.items()},
                "gain": result.gain,
                "steps": result.steps,
                "seconds": result.seconds,
            }
        )
    rows = [
        (name, f"{found.mean:.2%}" + ("" if found.sd is None else f" +- {found.sd:.2%}"), f"{found.minimum:.2%}")
        for name, found in result.scores.items()
    ]
    print_table(("read", result.metric, "worst run"), rows)
    print_line(f"{result.folder}: adapting gains {result.gain:+.2%}, in {result.steps} steps, {result.seconds:.0f} s")
    return None


def ablate(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="A trained checkpoint: the trunk of all arms.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="A JSON file an arm and seed.")],
    calibration: Annotated[
        Path | None, typer.Option("--calibration", metavar="C", help="Other devices than it was trained on.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Further steps of each arm.", min=1)] = 500,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Draws of devices and noise.", min=1)] = 20,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Seeds 0 to N - 1.", min=1)] = 1,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise", metavar="KIND:SD", help="A further arm, that learns under plain noise; again for more."
        ),
    ] = None,
    price: Annotated[bool, typer.Option("--price", help="Only QNN and the arms of --noise: what noise costs.")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the tasks' data; default as trained.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What hybrid training buys: arms branch from one trunk, with equal steps, and meet the same devices."""
    from otters_lab.workflows.networks import ablate_checkpoint

    found = ablate_checkpoint(
        checkpoint,
        out,
        calibration_path=calibration,
        steps=steps,
        runs=runs,
        seeds=range(seeds),
        plain=noise or (),
        price_alone=price,
        data=data,
    )
    if as_json:
        return print_json({"arms": [result.model_dump() for result in found]})
    rows = [
        (
            result.arm,
            str(result.seed),
            f"{result.clean:.2%}",
            f"{result.under.mean:.2%}" + ("" if result.under.sd is None else f" +- {result.under.sd:.2%}"),
            f"{result.seconds:.0f} s",
        )
        for result in found
    ]
    print_table(("arm", "seed", f"{found[0].metric}, clean", "under the device", "training"), rows)
    return None


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="A trained checkpoint, or a packed student.")],
    calibration: Annotated[
        Path | None, typer.Option("--calibration", metavar="C", help="Other devices than it was trained on.")
    ] = None,
    capture: Annotated[
        Path | None, typer.Option("--capture", metavar="H5", help="Also read levels off these recorded traces.")
    ] = None,
    bench: Annotated[
        Path | None, typer.Option("--bench", metavar="B", help="Device in the loop: this bench measures the levels.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="R", help="How --bench measures: a recipe of one point.")
    ] = None,
    part: Annotated[
        PartChoice, typer.Option("--part", help="Of the task's data; dev is for final configurations alone.")
    ] = PartChoice.test,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the tasks' data; default as trained.")
    ] = None,
    plain: Annotated[
        list[str] | None,
        typer.Option("--plain", metavar="KIND:SD", help="Also under relative:, curve: or level:SD; again for more."),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also under relative, curve and level noise of each of --sizes.")
    ] = False,
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="SD,SD,...", help="Of --sweep, from 0 to 1.")
    ] = "0,0.02,0.05,0.1,0.2",
    place: Annotated[
        PlaceChoice | None, typer.Option("--place", help="What shares a draw of noise; default as trained.")
    ] = None,
    time: Annotated[
        TimeChoice | None, typer.Option("--time", help="When noise is drawn anew; default as trained.")
    ] = None,
    device_place: Annotated[
        PlaceChoice | None, typer.Option("--device-place", help="What shares a device; default as trained.")
    ] = None,
    tolerance: Annotated[
        bool,
        typer.Option("--tolerance", help="Find the multiple of the calibration's covariance that the network bears."),
    ] = False,
    examples: Annotated[
        Path | None, typer.Option("--examples", metavar="PARQUET", help="Write what was said of each example.")
    ] = None,
    noise: Annotated[
        float, typer.Option("--noise", metavar="R", help="Multiple of the calibration's sd.", min=0)
    ] = 1.0,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Draws of devices and noise.", min=1)] = 20,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the draws.", min=0)] = 0,
    sampler: Annotated[
        SamplerChoice | None, typer.Option("--sampler", help="Gaussian runs or recorded ones; default as trained.")
    ] = None,
    first_read: Annotated[
        str | None,
        typer.Option("--first-read", metavar="TIME", help="Delay of the read of level 0; default as trained."),
    ] = None,
    read_noise: Annotated[
        bool | None,
        typer.Option("--read-noise/--no-read-noise", help="With the lab meter's noise; default as trained."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score on a part of the data: teacher, quantised, spiking ideal, sampled noise, recorded traces, a live device."""
    from otters_lab.core.errors import InputError
    from otters_lab.core.quantity import parse_quantity
    from otters_lab.workflows.networks import evaluate_checkpoint, score_lines

    try:
        first_read_s = None if first_read is None else parse_quantity(first_read, "time")
    except ValueError as error:
        raise InputError(f"--first-read: {error}") from None
    try:
        swept = [float(size) for size in sizes.split(",")] if sweep else []
    except ValueError:
        raise InputError(key="--sizes", found=sizes, expected="numbers with commas between, like 0,0.05,0.1") from None
    asked = {
        "sampler": sampler and sampler.value,
        "first_read_s": first_read_s,
        "read_noise": read_noise,
    }
    drawn = {
        "run_place": place and place.value,
        "run_time": time and time.value,
        "device_place": device_place and device_place.value,
    }
    if (bench is None) != (recipe is None):
        raise InputError("--bench and --recipe go together", expected="both or none")
    result = evaluate_checkpoint(
        checkpoint,
        part=part.value,
        data=data,
        plain=plain or (),
        sweep=swept,
        drawn={name: value for name, value in drawn.items() if value is not None},
        tolerance=tolerance,
        examples=examples,
        bench=None if bench is None or recipe is None else (bench, recipe),
        calibration_path=calibration,
        capture_path=capture,
        noise=noise,
        runs=runs,
        seed=seed,
        reading={name: value for name, value in asked.items() if value is not None},
    )
    if as_json:
        return print_json(result.model_dump())
    title = f"{result.task}, {result.examples} examples of the {result.part} part"
    print_table(("network", result.metric), score_lines(result).items(), title=title)
    if examples is not None:
        print_line(f"{examples}: what every condition and run said of each example")
    return None


def pack(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="A trained checkpoint of a text task.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the packed student goes.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the tasks' data; default as trained.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a student as a file of a few megabytes that evaluate and energy take: 1-bit weights, and no teacher."""
    from otters_lab.workflows.networks import pack_checkpoint

    size = pack_checkpoint(checkpoint, out, data)
    if as_json:
        return print_json({"file": str(out), "bytes": size})
    print_line(f"{out}: {size / 1e6:.1f} MB")
    return None


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the demo's workspace goes.")] = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """The whole road on the virtual bench: sweep, fit, train, evaluate, energy, reports. About two minutes."""
    import sys

    from otters_lab.core.quantity import format_quantity
    from otters_lab.energy.networks import FP32, OTTERS_PP, QNN
    from otters_lab.energy.report import break_even_sentence, report_document
    from otters_lab.workflows.demo import run_demo
    from otters_lab.workflows.networks import score_lines

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    result = run_demo(folder, say)
    statuses = {str(k): int(v) for k, v in result.capture.table["status"].value_counts().items()}
    failed = [gate.name for gate in result.calibration.gates if gate.verdict == "fail"]
    if as_json:
        print_json(
            {
                "traces": statuses,
                "gates": {gate.name: gate.verdict for gate in result.calibration.gates},
                "evaluation": result.evaluation.model_dump(),
                "energy": [report_document(report) for report in result.energy],
                "seconds": result.seconds,
                "files": {name: str(path) for name, path in result.files.items()},
            }
        )
    else:
        counted = ", ".join(f"{count} {status}" for status, count in statuses.items())
        gates = len(result.calibration.gates)
        rows = [("traces captured", f"{counted} (origin {result.capture.origin})")]
        rows.append(
            ("fit gates", f"{gates - len(failed)} of {gates} passed" + "".join(f"; failed: {f}" for f in failed))
        )
        rows += [(f"digits: {name}", value) for name, value in score_lines(result.evaluation).items()]
        rows += [
            (f"energy: {energy.network.name}, {report.settings.hops:g} hops", energy_cell(energy))
            for report in result.energy
            for energy in report.networks
            if energy.network in (OTTERS_PP, QNN, FP32)
        ]
        rows.append(("time", ", ".join(f"{name} {format_quantity(s, 's', 3)}" for name, s in result.seconds.items())))
        rows += [(name, str(path)) for name, path in result.files.items()]
        print_table(("demo", "result"), rows)
        for report in result.energy:
            for one in report.break_even:
                if (one.network, one.baseline, one.encoding) == (OTTERS_PP.name, QNN.name, report.settings.encoding):
                    print_line(f"{report.settings.hops:g} hops: {break_even_sentence(one)}")
    if failed:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)
    app.command("ablate")(ablate)
    app.command("pack")(pack)
    app.command("demo")(demo)
