"""Commands on the lab's side: init, check, sweep, import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otters_lab.cli.show import print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile
    from otters_lab.instruments.timing import Timing
    from otters_lab.sweeps.plan import Plan

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to lay out the workspace.")],
    as_json: JsonOption = False,
) -> None:
    """Lay out a workspace: bench files, recipes, a reference capture and its calibration. Nothing is overwritten."""
    from otters_lab.workflows.workspace import lay_out

    written, kept = lay_out(folder)
    if as_json:
        return print_json({"folder": str(folder), "written": written, "kept": kept})
    for name in written:
        print_line(f"wrote {folder / name}")
    for name in kept:
        print_line(f"kept  {folder / name}, which was there")
    print_line(f"next: otters-lab sweep {folder}/sweeps/decay.toml --bench {folder}/instruments/virtual.toml --chip A1")
    return None


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Bench, recipe, capture, calibration ...")],
    bench: Annotated[Path | None, typer.Option("--bench", help="Hold recipes against this bench's limits.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Validate files of any kind of ours. Touches no instrument and runs no code from a workspace."""
    from otters_lab.workflows.checking import check_file

    found = [check_file(path, bench) for path in files]
    if as_json:
        return print_json([{"file": str(path), **facts} for path, facts in zip(files, found, strict=True)])
    for path, facts in zip(files, found, strict=True):
        print_line(f"{path}: ok, {facts['kind']}: {facts['summary']}")
    return None


def sweep(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="What to measure: a recipe (TOML).")],
    bench: Annotated[Path, typer.Option("--bench", metavar="B", help="Bench file (TOML).")],
    chip: Annotated[str, typer.Option("--chip", metavar="ID", help="Which chip is on the bench.")],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="A remark kept in the capture.")] = "",
    out: Annotated[Path | None, typer.Option("-o", "--output", metavar="CAPTURE", help="The capture (.h5).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the spool of an unfinished sweep.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, check limits, measure nothing.")] = False,
    trial: Annotated[bool, typer.Option("--try", help="Take one trace and judge range, noise, hum.")] = False,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Write every message to and from the instruments.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure: run a recipe on a bench and seal the traces into a capture."""
    from otters_lab.core.errors import InputError, InterruptedRunError
    from otters_lab.instruments.benchfile import load_bench
    from otters_lab.sweeps.plan import Plan
    from otters_lab.sweeps.recipe import load_recipe
    from otters_lab.sweeps.sweep import default_capture_path
    from otters_lab.workflows.sweeping import sweep_bench

    bench_file, plan = load_bench(bench), Plan(load_recipe(recipe))
    if dry_run and trial:
        raise InputError("--dry-run and --try exclude each other")
    if dry_run:
        return _show_plan(plan, bench_file, as_json)
    if trial:
        return _show_trial(plan, bench_file, record, as_json)
    if resume and out is None:
        raise InputError("--resume needs -o CAPTURE, the capture that the unfinished sweep was to become")
    capture = out or default_capture_path(plan, chip)
    try:
        result = sweep_bench(plan, bench_file, chip=chip, note=note, capture=capture, resume=resume, record=record)
    except KeyboardInterrupt:
        raise InterruptedRunError(_how_to_go_on(capture)) from None
    if as_json:
        return print_json(
            {
                "capture": str(result.path),
                "uid": result.header.uid,
                "origin": result.header.origin,
                "payload_digest": result.header.payload_digest,
                "traces": sum(result.statuses.values()),
                "statuses": result.statuses,
                "resumed_from": result.resumed_from,
            }
        )
    counted = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    print_line(f"{result.path}: {sum(result.statuses.values())} traces ({counted}), origin {result.header.origin}")
    return None


def _how_to_go_on(capture: Path) -> str:
    """What an interrupted sweep has left."""
    from otters_lab.measurements.spool import spool_path

    place = spool_path(capture)
    if not place.exists():
        return "interrupted before the first trace"
    return f"interrupted; the traces so far are safe in {place}, go on with --resume -o {capture}"


def _show_plan(plan: Plan, bench: BenchFile, as_json: bool) -> None:
    from dataclasses import asdict

    from otters_lab.core.quantity import format_quantity
    from otters_lab.workflows.sweeping import check_sweep

    check_sweep(plan, bench)
    plan = plan.on(bench)
    model = plan.recipe.model
    timings = plan.timings(bench)
    warnings = sorted({warning for timing in timings for warning in timing.warnings()})
    order = [planned.device for planned, _ in zip(plan.traces(), model.devices, strict=False)]
    facts = {
        "traces": len(plan),
        "points": len(plan.points()),
        "devices": len(model.devices),
        "repeats": model.repeats,
        "samples": plan.samples,
        "duration_s": plan.duration_s,
        "bytes": plan.bytes,
        "first_devices": order,
        "limits": "kept",
        "timing": [asdict(timing) for timing in timings],
        "warnings": warnings,
        "plan_digest": plan.digest,
    }
    if as_json:
        return print_json(facts)
    print_line(f"{plan.recipe.path}: {model.title}".rstrip(": "))
    print_line(f"{len(plan)} traces: {facts['points']} points x {len(model.devices)} devices x {model.repeats} repeats")
    print_line(f"{plan.samples} samples a trace, about {plan.bytes / 1e6:.1f} MB before compression")
    print_line(f"about {format_quantity(plan.duration_s / 60, '1')} minutes on the bench's clock")
    print_line(f"first devices: {', '.join(map(str, order))}")
    print_line(f"limits of {bench.path}: kept")
    for number, (drive, width, bias, irradiance) in enumerate(plan.points()):
        settings = f"drive {format_quantity(drive, 'V')}, width {format_quantity(width, 's')}"
        if irradiance is not None:
            settings = f"irradiance {format_quantity(irradiance, 'W/m^2')}{_spread(plan, drive)}, {settings}"
        print_line(f"point {number}: {settings}, bias {format_quantity(bias, 'V')}")
    _show_timing(max(timings, key=lambda timing: timing.first_sample_s or 0.0))
    for warning in warnings:
        print_line(f"warning: {warning}")
    return None


def _spread(plan: Plan, drive_V: float) -> str:
    """How far repeats of the light calibration lie apart, where it has any."""
    sd_W = plan.light.power_sd_at(drive_V) if plan.light else None
    return "" if plan.light is None or sd_W is None else f" (sd of repeats {sd_W / plan.light.power_at(drive_V):.1%})"


def _show_timing(timing: Timing) -> None:
    """The point whose first sample comes latest."""
    from otters_lab.core.quantity import format_quantity

    def seconds(value: float | None) -> str:
        return format_quantity(value, "s")

    print_line(
        f"sampling: every {seconds(timing.interval_s)} over {seconds(timing.aperture_s)} "
        f"(the meter can every {seconds(timing.shortest_interval_s)})"
    )
    print_line(
        f"settling of the {format_quantity(timing.range_A, 'A')} range: {seconds(timing.settling_s)}, "
        f"shortest settled interval {seconds(timing.shortest_settled_s)}"
    )
    print_line(
        f"timestamps: resolution {seconds(timing.timestamp_resolution_s)}, jitter {seconds(timing.timestamp_jitter_s)}"
    )
    print_line(f"light's edge: by {timing.sync}, known to {seconds(timing.edge_uncertainty_s)}")
    print_line(f"first sample after the edge: {seconds(timing.first_sample_s)}")


def _show_trial(plan: Plan, bench: BenchFile, record: Path | None, as_json: bool) -> None:
    from dataclasses import asdict

    from otters_lab.core.quantity import format_quantity
    from otters_lab.workflows.sweeping import try_bench

    report = try_bench(plan, bench, record)
    warnings = report.warnings()
    if as_json:
        print_json({**asdict(report), "warnings": warnings})
    else:
        ratio = None if report.signal_to_noise is None else f"{report.signal_to_noise:.3g}"
        rows = [
            ("status", report.status),
            ("samples", report.samples),
            ("range in use", f"{report.range_use:.1%}"),
            ("dark baseline", format_quantity(report.baseline_A, "A")),
            ("lit plateau", format_quantity(report.plateau_A, "A")),
            ("drop over the decay", format_quantity(report.drop_A, "A")),
            ("noise of a reading", format_quantity(report.noise_A, "A")),
            ("signal to noise", ratio),
            ("hum at the line frequency", format_quantity(report.hum_A, "A")),
            ("edge known to", format_quantity(report.edge_uncertainty_s, "s")),
        ]
        print_table(("one trace", "value"), rows)
        for warning in warnings:
            print_line(f"warning: {warning}")
    if warnings:
        raise typer.Exit(1)


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="PyMeasure CSV or plain CSV recordings.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="CAPTURE", help="The capture to write (.h5).")],
    chip: Annotated[str | None, typer.Option("--chip", metavar="ID", help="Chip, if the files do not name it.")] = None,
    device: Annotated[int | None, typer.Option("--device", help="All files are this one device.")] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="A remark kept in the capture.")] = "",
    time_column: Annotated[str | None, typer.Option("--time", help='Time column, like "t (s)".')] = None,
    current_column: Annotated[str | None, typer.Option("--current", help='Current column, like "I (A)".')] = None,
    light_column: Annotated[str | None, typer.Option("--light", help='Light column, like "VL (V)".')] = None,
    line_frequency: Annotated[
        str | None, typer.Option("--line-frequency", help='Mains frequency, "50 Hz": gives apertures from NPLC.')
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a capture of other people's recordings. What is left out is said."""
    from otters_lab.core.errors import InputError
    from otters_lab.core.quantity import parse_quantity
    from otters_lab.measurements.importers import import_files
    from otters_lab.measurements.recording import Options

    try:
        line_Hz = None if line_frequency is None else parse_quantity(line_frequency, "frequency")
    except ValueError as error:
        raise InputError(f"--line-frequency: {error}") from None
    options = Options(time_column, current_column, light_column, line_Hz)
    result = import_files(files, out, chip=chip, device=device, options=options, note=note)
    if as_json:
        return print_json(
            {"capture": str(result.path), "uid": result.header.uid, "traces": result.traces, "notes": result.notes}
        )
    for remark in result.notes:
        print_line(f"note: {remark}")
    print_line(f"{result.path}: {result.traces} traces from {len(files)} files, origin imported")
    return None


def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A driver of the workspace's own (Python).")],
    as_json: JsonOption = False,
) -> None:
    """Allow a workspace's own driver to run, as the file is now. Read it first."""
    from otters_lab.core.consent import trust as allow

    digest = allow(file)
    if as_json:
        return print_json({"file": str(file), "sha256": digest})
    print_line(f"{file}: allowed to run as it is now (sha256 {digest[:12]}...)")
    return None


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("init")(init)
    app.command("check")(check)
    app.command("sweep")(sweep)
    app.command("import")(import_)
    app.command("trust")(trust)
