"""The commands that measure: sweep, and recover for what a dead one left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile
    from otters_lab.instruments.timing import Timing
    from otters_lab.sweeps.plan import Plan, PlannedTrace, Point
    from otters_lab.sweeps.runner import Answer

_SHOWN = 8  # points and traces of a dry run


def sweep(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="What to measure: a recipe (TOML).")],
    bench: Annotated[Path, typer.Option("--bench", metavar="B", help="Bench file (TOML).")],
    chip: Annotated[str, typer.Option("--chip", metavar="ID", help="Which chip is on the bench.")],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="A remark kept in the capture.")] = "",
    out: Annotated[Path | None, typer.Option("-o", "--output", metavar="CAPTURE", help="The capture (.h5).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the spool of an unfinished sweep.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, check limits, measure nothing.")] = False,
    trial: Annotated[
        bool, typer.Option("--try", help="Take one trace and judge range, noise, hum, room light.")
    ] = False,
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
    from otters_lab.sweeps.sweep import SweepOptions, default_capture_path
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
    asked = sys.stdin.isatty() and sys.stderr.isatty()
    options = SweepOptions(resume=resume, note=note, record=record, ask=_ask if asked else None)
    try:
        result = sweep_bench(plan, bench_file, chip=chip, capture=capture, options=options)
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


def _ask(planned: PlannedTrace) -> Answer:
    """At a pause: light and bias are off."""
    place = f"device {planned.device}, point {planned.point}, repeat {planned.repeat}"
    sys.stderr.write(f"\npaused, light and bias are off. Next: {place}.\n")
    while True:
        sys.stderr.write("[c]ontinue, [s]kip this point, [a]bort? ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip().lower()
        if answer in ("c", "continue"):
            return "continue"
        if answer in ("s", "skip"):
            return "skip"
        if answer in ("a", "abort", ""):  # nothing at all: the terminal is gone
            return "abort"


def _how_to_go_on(capture: Path) -> str:
    """What an interrupted sweep has left."""
    from otters_lab.measurements.spool import spool_path

    place = spool_path(capture)
    if not place.exists():
        return "interrupted before the first trace"
    return f"interrupted; the traces so far are safe in {place}, go on with --resume -o {capture}"


def recover(
    spool: Annotated[Path, typer.Argument(metavar="SPOOL", help="The spool of a sweep that will not go on.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="CAPTURE", help="The capture (.h5), else by the name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Seal what an unfinished sweep has measured, and say what is missing."""
    from otters_lab.measurements.recovery import recover_spool

    found = recover_spool(spool, out)
    if as_json:
        return print_json(found.document())
    print_line(f"{found.path}: {found.traces} traces sealed, origin {found.header.origin}")
    print_line(found.missing_line())
    return None


def _show_plan(plan: Plan, bench: BenchFile, as_json: bool) -> None:
    from dataclasses import asdict
    from itertools import islice

    from otters_lab.core.quantity import format_quantity
    from otters_lab.workflows.sweeping import check_sweep

    check_sweep(plan, bench)
    plan = plan.on(bench)
    model = plan.recipe.model
    timings = plan.timings(bench)
    warnings = sorted({warning for timing in timings for warning in timing.warnings()})
    if model.adaptive is not None:
        from otters_lab.sweeps.adaptive import WARNING

        warnings.append(WARNING)
    over = model.budget is not None and plan.duration_s > model.budget
    if over:
        warnings.append(f"the time budget of {format_quantity(model.budget, 's')} ends the sweep before its end")
    order = [planned.device for planned in islice(plan.traces(), len(plan.devices))]
    facts = {
        "traces": len(plan),
        "points": len(plan.grid),
        "devices": len(plan.devices),
        "repeats": model.repeats,
        "samples": plan.samples,
        "kept_samples": plan.kept_samples,
        "duration_s": plan.duration_s,
        "budget_s": model.budget,
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
    extra = len(plan) - plan.decays
    more = f", and {extra} references and records of the noise" if extra else ""
    print_line(
        f"{len(plan)} traces: {len(plan.grid)} points x {len(plan.devices)} devices x {model.repeats} repeats{more}"
    )
    print_line(f"{plan.kept_samples} samples a trace, about {plan.bytes / 1e6:.1f} MB before compression")
    print_line(f"about {format_quantity(plan.duration_s / 60, '1')} minutes on the bench's clock")
    print_line(f"first devices: {', '.join(map(str, order))}")
    print_line(f"limits of {bench.path}: kept")
    for number, point in enumerate(islice(plan.points(), _SHOWN)):
        print_line(f"point {number}: {_point_text(plan, point)}")
    if len(plan.grid) > _SHOWN:
        print_line(f"... and {len(plan.grid) - _SHOWN} more points")
    _show_timing(max(timings, key=lambda timing: timing.first_sample_s or 0.0))
    for warning in warnings:
        print_line(f"warning: {warning}")
    return None


def _point_text(plan: Plan, point: Point) -> str:
    from otters_lab.core.quantity import format_quantity

    shown = [
        ("drive", point.drive_V, "V"),
        ("width", point.width_s, "s"),
        ("bias", point.bias_V, "V"),
        ("gate", point.gate_V, "V"),
        ("temperature", point.temperature_K, "K"),
    ]
    text = ", ".join(f"{name} {format_quantity(value, unit)}" for name, value, unit in shown if value is not None)
    if point.irradiance_W_m2 is None:
        return text
    return f"irradiance {format_quantity(point.irradiance_W_m2, 'W/m^2')}{_spread(plan, point.drive_V)}, {text}"


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
            ("flicker at twice that", format_quantity(report.flicker_A, "A")),
            ("edge known to", format_quantity(report.edge_uncertainty_s, "s")),
        ]
        print_table(("one trace", "value"), rows)
        for warning in warnings:
            print_line(f"warning: {warning}")
    if warnings:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("sweep")(sweep)
    app.command("recover")(recover)
