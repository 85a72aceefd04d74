"""Commands on the model's side: fit, train, evaluate, energy, and the demo of it all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otters_lab.cli.show import print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.calibration.file import Calibration
    from otters_lab.energy.report import EnergyReport, NetworkEnergy

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]


class LawChoice(StrEnum):
    """Laws of `fit`; an exponential and two of them describe traces and give no device model."""

    auto = "auto"
    unified = "unified"
    kww = "kww"
    exp = "exp"
    biexp = "biexp"
    power = "power"


_LAW_HELP = "Curvature free (auto, unified), held to a KWW, none (power); exp, biexp: traces only, no device model."


def fit(
    captures: Annotated[list[Path], typer.Argument(metavar="CAPTURE...", help="Sealed captures; several are pooled.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="CALIBRATION", help="The calibration (.json).")],
    window: Annotated[str | None, typer.Option("--window", help='The window W, like "1 s".')] = None,
    law: Annotated[LawChoice, typer.Option("--law", help=_LAW_HELP)] = LawChoice.auto,
    point: Annotated[int | None, typer.Option("--point", help="Use this setting of the sweep alone.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a stochastic device model. Exit code 1 if a gate fails; the file is written all the same."""
    from otters_lab.workflows.fitting import fit_files

    calibration = fit_files(captures, out, window=window, law=law.value, point=point)
    if as_json:
        print_json({"calibration": str(out), "passed": calibration.passed, **calibration.model_dump(mode="json")})
    else:
        _show_calibration(calibration, out)
    if not calibration.passed:
        raise typer.Exit(1)


def _show_calibration(calibration: Calibration, out: Path) -> None:
    from otters_lab.core.quantity import format_quantity

    if calibration.device is None:
        _show_trace_verdicts(calibration)
    else:
        device = calibration.device
        runs, devices = device.run_to_run, device.device_to_device
        constants = device.constants
        print_line(
            f"chip {calibration.chip}: window {format_quantity(constants.window_s, 's')}, current {constants.polarity} "
            f"from {format_quantity(constants.I_edge_A, 'A', 6)} to {format_quantity(constants.I_end_A, 'A', 6)}"
        )
        print_line(f"law: {device.law.formula}; {device.law.because}")
        rows = [
            (name, _interval(runs.sd[name], runs.interval[name]), _interval(devices.sd[name], devices.interval[name]))
            for name in runs.sd
        ]
        print_table(("parameter", "run-to-run sd (95 %)", "device-to-device sd (95 %)"), rows)
    gates = [(g.name, _number(g.value), f"{g.rule} {g.limit:g}", g.verdict) for g in calibration.gates]
    print_table(("gate", "value", "limit", "verdict"), gates)
    preferred = ", ".join(f"{law} {count}" for law, count in calibration.laws_preferred.items())
    print_line(f"laws preferred by single traces: {preferred}")
    print_line(f"{out}: {'all gates passed' if calibration.passed else 'gates failed; not fit for training'}")


def _show_trace_verdicts(calibration: Calibration) -> None:
    """One line a trace: what it prefers, and what it cannot tell."""
    columns = calibration.traces.columns
    rows = []
    for row in (dict(zip(columns, entry, strict=True)) for entry in calibration.traces.rows):
        shape = (row["parameters"] or {}).get("beta")
        notes = "; ".join(row["notes"] or []) or "-"
        tau = next(
            (row["parameters"][n] for n in ("tau", "tau1") if row["parameters"] and n in row["parameters"]), None
        )
        law = row["law"] if row["rival"] is None else f"{row['law']} (or {row['rival']})"
        place = f"{row['device']}/{row['point']}/{row['repeat']}"
        rows.append((place, row["polarity"], law, _number(tau, "-"), _number(shape, "-"), notes))
    print_table(("device/point/repeat", "current", "law", "tau (s)", "beta", "verdict"), rows)
    polarities = [row[1] for row in rows]
    print_line(f"{polarities.count('falls')} currents fall after the light goes off, {polarities.count('rises')} rise")
    print_line("correlated residuals are 1/f noise or a mode that no law has: standard errors are too small")


def _number(value: float | None, absent: str = "unknown") -> str:
    return absent if value is None else f"{value:.3g}"


def _interval(sd: float | None, interval: tuple[float, float] | None) -> str:
    if sd is None or interval is None:
        return "not resolved"
    return f"{sd:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"


def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to learn: digits.")],
    calibration: Annotated[Path, typer.Option("--calibration", metavar="C", help="Device model (.json).")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the checkpoint goes.")],
    config: Annotated[Path | None, typer.Option("--config", metavar="TOML", help="Shape, stages, seed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train teacher and student: distilled, spiking forward under the calibration's noise, quantised backward."""
    from otters_lab.workflows.networks import train_on_calibration

    result = train_on_calibration(task, calibration, out, config)
    if as_json:
        return print_json(
            {
                "checkpoint": str(result.folder),
                "uid": result.header.uid,
                "payload_digest": result.header.payload_digest,
                "validation": {"teacher": result.teacher_validation, **result.stage_validation},
                "teacher_s": result.teacher_s,
                "student_s": result.student_s,
            }
        )
    rows = [("teacher", f"{result.teacher_validation:.2%}")]
    rows += [(f"student, after {stage}", f"{value:.2%}") for stage, value in result.stage_validation.items()]
    print_table(("network", "validation accuracy"), rows)
    print_line(
        f"{result.folder}: trained in {result.teacher_s + result.student_s:.0f} s; the test part was not touched"
    )
    return None


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="A trained checkpoint.")],
    calibration: Annotated[
        Path | None, typer.Option("--calibration", metavar="C", help="Other devices than it was trained on.")
    ] = None,
    capture: Annotated[
        Path | None, typer.Option("--capture", metavar="H5", help="Also read levels off these recorded traces.")
    ] = None,
    noise: Annotated[
        float, typer.Option("--noise", metavar="R", help="Multiple of the calibration's sd.", min=0)
    ] = 1.0,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Draws of devices and noise.", min=1)] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Accuracy on the test part: teacher, quantised, spiking ideal, under sampled noise, on recorded traces."""
    from otters_lab.workflows.networks import accuracies, evaluate_checkpoint

    result = evaluate_checkpoint(
        checkpoint, calibration_path=calibration, capture_path=capture, noise=noise, runs=runs, seed=seed
    )
    if as_json:
        return print_json(result.model_dump())
    title = f"{result.task}, {result.examples} test examples"
    print_table(("network", "accuracy"), accuracies(result).items(), title=title)
    return None


def energy(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="A trained checkpoint.")],
    preset: Annotated[str, typer.Option("--preset", metavar="P", help="open22 or horowitz45.")] = "open22",
    hops: Annotated[float | None, typer.Option("--hops", help="Mean hops of a message; default 4.75.", min=0)] = None,
    as_json: JsonOption = False,
) -> None:
    """Energy of one inference, term by term, every constant with its source, the unknown left open."""
    from otters_lab.workflows.networks import checkpoint_energy

    report = checkpoint_energy(checkpoint, preset, hops)
    if as_json:
        return print_json(energy_json(report))
    for network in report.networks:
        rows = [
            (t.name, f"{t.count:.4g}", _joules(t.constant.value_J), _joules(t.energy_J), t.constant.source)
            for t in network.terms
        ]
        known = "sum of the known terms" if network.unknown else "sum"
        rows.append((known, "", "", _joules(network.known_J), ""))
        print_table(("term", "count", "each", "energy", "source"), rows, title=network.network)
    print_line(break_even_line(report))
    return None


def _joules(value: float | None) -> str:
    from otters_lab.core.quantity import format_quantity

    return format_quantity(value, "J")


def break_even_line(report: EnergyReport) -> str:
    """What the device may cost, in one sentence."""
    value = report.break_even_read_J
    if value is None:
        return f"preset {report.preset}: no break-even, since it leaves digital terms unknown"
    start = f"preset {report.preset}, {report.hops:g} hops:"
    if value <= 0:
        return f"{start} even with a free device the spiking network takes more than the same network run densely"
    limit = f"light and device read together cost less than {_joules(value)} a level read"
    return f"{start} the spiking network takes less than the same network run densely if {limit}"


def energy_json(report: EnergyReport) -> dict[str, Any]:
    """The report as a JSON document."""
    return {
        "preset": report.preset,
        "hops": report.hops,
        "break_even_read_J": report.break_even_read_J,
        "networks": [
            {
                "network": network.network,
                "known_J": network.known_J,
                "unknown": network.unknown,
                "terms": [
                    {
                        "name": term.name,
                        "count": term.count,
                        "constant_J": term.constant.value_J,
                        "per": term.constant.per,
                        "node": term.constant.node,
                        "source": term.constant.source,
                        "energy_J": term.energy_J,
                    }
                    for term in network.terms
                ],
            }
            for network in report.networks
        ],
    }


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the demo's workspace goes.")] = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """The whole road on the virtual bench: sweep, fit, train, evaluate, energy. About two minutes."""
    import sys

    from otters_lab.core.quantity import format_quantity
    from otters_lab.workflows.demo import run_demo
    from otters_lab.workflows.networks import accuracies

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
                "energy": [energy_json(report) for report in result.energy],
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
        rows += [(f"digits: {name}", value) for name, value in accuracies(result.evaluation).items()]
        rows += [
            (f"energy: {network.network}, {report.hops:g} hops", _energy_cell(network))
            for report in result.energy
            for network in report.networks
        ]
        rows.append(("time", ", ".join(f"{name} {format_quantity(s, 's', 3)}" for name, s in result.seconds.items())))
        rows += [(name, str(path)) for name, path in result.files.items()]
        print_table(("demo", "result"), rows)
        for report in result.energy:
            print_line(break_even_line(report))
    if failed:
        raise typer.Exit(1)


def _energy_cell(network: NetworkEnergy) -> str:
    """Energy per inference, with what it leaves out."""
    if not network.unknown:
        return f"{_joules(network.known_J)} an inference"
    return f"{_joules(network.known_J)} an inference, without {', '.join(network.unknown)} (no published value)"


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("fit")(fit)
    app.command("train")(train)
    app.command("evaluate")(evaluate)
    app.command("energy")(energy)
    app.command("demo")(demo)
