"""Commands that list what a folder holds: captures, calibrations, runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.calibration.listing import CalibrationSummary
    from otters_lab.core.listing import E, Listing, When
    from otters_lab.measurements.summary import Summary
    from otters_lab.workflows.run_summary import RunSummary


class OriginChoice(StrEnum):
    """Where measured numbers come from."""

    measured = "measured"
    replayed = "replayed"
    synthetic = "synthetic"
    imported = "imported"


class TraceStatusChoice(StrEnum):
    """How a take went."""

    ok = "ok"
    overflow = "overflow"
    compliance = "compliance"
    late = "late"
    failed = "failed"


class TraceKindChoice(StrEnum):
    """What a trace is a record of."""

    decay = "decay"
    reference = "reference"
    dark = "dark"
    lit = "lit"


class GatesChoice(StrEnum):
    """Whether a gate failed."""

    passed = "passed"
    failed = "failed"


class RunKindChoice(StrEnum):
    """Kinds of run."""

    checkpoint = "checkpoint"
    packed = "packed"
    evaluation = "evaluation"
    training = "training"


class RunStatusChoice(StrEnum):
    """Whether a run is done."""

    finished = "finished"
    unfinished = "unfinished"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, with all folders below.")]
Chip = Annotated[str | None, typer.Option("--chip", metavar="ID", help="Of this chip.")]
Since = Annotated[str | None, typer.Option("--since", metavar="DATE", help="Begun or made that day (UTC) or later.")]
Until = Annotated[str | None, typer.Option("--until", metavar="DATE", help="Begun or made that day or earlier.")]
Origin = Annotated[OriginChoice | None, typer.Option("--origin", help="What is known of where the data come from.")]
Verify = Annotated[bool, typer.Option("--verify", help="Check every byte anew, whatever the index says.")]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Throw the folder's index away first; files are the truth.")]


def captures(
    folder: Folder = Path(),
    chip: Chip = None,
    device: Annotated[int | None, typer.Option("--device", metavar="N", help="With a trace of this device.")] = None,
    since: Since = None,
    until: Until = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="TEXT", help='With a trace taken so: "drive=5 V", "drive>1 V".'),
    ] = None,
    origin: Origin = None,
    status: Annotated[TraceStatusChoice | None, typer.Option("--status", help="With a trace of this status.")] = None,
    kind: Annotated[TraceKindChoice | None, typer.Option("--kind", help="With a trace of this kind.")] = None,
    verify: Verify = False,
    rebuild: Rebuild = False,
    as_json: JsonOption = False,
) -> None:
    """List the captures and unfinished spools of a folder, and search among them.

    Damaged files are always told; then the exit code is 4.
    """
    from otters_lab.measurements.catalogue import Query, catalogue, parse_condition

    query = Query(
        chip=chip,
        device=device,
        when=_when(since, until),
        origin=origin and origin.value,
        status=status and status.value,
        kind=kind and kind.value,
        parameters=tuple(parse_condition(text) for text in parameter or ()),
    )
    listed = catalogue(folder, query, verify=verify, rebuild=rebuild)
    columns = ("capture", "uid", "chip", "devices", "traces", "origin", "start (UTC)", "duration", "window", "status")
    _show(folder, listed, columns, _capture_row, as_json)


def calibrations(
    folder: Folder = Path(),
    chip: Chip = None,
    gates: Annotated[GatesChoice | None, typer.Option("--gates", help="Of which no gate failed, or one did.")] = None,
    origin: Origin = None,
    since: Since = None,
    until: Until = None,
    verify: Verify = False,
    rebuild: Rebuild = False,
    as_json: JsonOption = False,
) -> None:
    """List the calibrations of a folder, and search among them.

    Copies inside of checkpoints are left out. Damaged files are always told; then the exit code is 4.
    """
    from otters_lab.calibration.listing import Query
    from otters_lab.calibration.listing import calibrations as listing

    query = Query(
        chip=chip,
        gates=gates and gates.value,  # type: ignore[arg-type]  # the words are the same
        origin=origin and origin.value,
        when=_when(since, until),
    )
    listed = listing(folder, query, verify=verify, rebuild=rebuild)
    columns = ("calibration", "uid", "chip", "origin", "made (UTC)", "window", "law", "traces", "sd of D: run, device",
               "gates")  # fmt: skip
    _show(folder, listed, columns, _calibration_row, as_json)


def runs(
    folder: Folder = Path(),
    task: Annotated[str | None, typer.Option("--task", metavar="NAME", help="Of this task.")] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="TEXT", help='Scored so: "accuracy", "accuracy>0.9".')
    ] = None,
    status: Annotated[
        RunStatusChoice | None, typer.Option("--status", help="Done, or a training under way or stopped.")
    ] = None,
    kind: Annotated[RunKindChoice | None, typer.Option("--kind", help="Of this kind.")] = None,
    chip: Annotated[str | None, typer.Option("--chip", metavar="ID", help="Checkpoints trained on this chip.")] = None,
    origin: Origin = None,
    since: Since = None,
    until: Until = None,
    verify: Verify = False,
    rebuild: Rebuild = False,
    as_json: JsonOption = False,
) -> None:
    """List the trained networks, packed students, evaluations and trainings under way of a folder, and search.

    The score is the student's: of a checkpoint on the validation part, of an evaluation the mean under the hardest
    kind of device. Damaged ones are always told; then the exit code is 4.
    """
    from otters_lab.measurements.catalogue import parse_condition
    from otters_lab.workflows.runs import Query
    from otters_lab.workflows.runs import runs as listing

    asks = metric is not None and any(sign in metric for sign in "<>=")
    query = Query(
        task=task,
        metric=None if asks else metric,
        score=parse_condition(metric, key="--metric", like='"accuracy" or "accuracy>0.9"') if metric and asks else None,
        status=status and status.value,  # type: ignore[arg-type]  # the words are the same
        kind=kind and kind.value,  # type: ignore[arg-type]
        chip=chip,
        origin=origin and origin.value,
        when=_when(since, until),
    )
    listed = listing(folder, query, verify=verify, rebuild=rebuild)
    columns = ("run", "kind", "uid", "task", "score", "chip", "origin", "made or last written (UTC)", "status")
    _show(folder, listed, columns, _run_row, as_json)


def _when(since: str | None, until: str | None) -> When:
    from otters_lab.core.listing import When, parse_date

    return When(
        None if since is None else parse_date(since),
        None if until is None else parse_date(until, end=True),
    )


def _show(
    folder: Path, listed: Listing[E], columns: Sequence[str], row: Callable[[E], Iterable[object]], as_json: bool
) -> None:
    from otters_lab.core.errors import EXIT_DAMAGED

    if as_json:
        print_json({"folder": str(folder), **asdict(listed)})
    else:
        told = [*listed.damaged, *listed.unreadable]
        rows = [tuple(row(entry)) for entry in listed.found]
        rows += [(entry.path, *[""] * (len(columns) - 2), f"{entry.state}: {entry.reason}") for entry in told]
        print_table(columns, rows)
        print_line(f"{len(listed.found)} of {listed.files} files")
    if listed.damaged:
        raise typer.Exit(EXIT_DAMAGED)


def _minute(utc: str) -> str | None:
    return utc[:16].replace("T", " ") or None


def _capture_row(summary: Summary) -> tuple[object, ...]:
    from otters_lab.core.quantity import format_quantity

    counted = ", ".join(f"{count} {status}" for status, count in summary.statuses.items())
    unfinished = summary.state == "unfinished"
    duration = None if summary.duration_s is None else str(timedelta(seconds=round(summary.duration_s)))
    return (
        summary.path,
        summary.uid[:8],
        summary.chip,
        _ranges(summary.devices),
        f"{summary.traces} of {summary.planned}" if unfinished and summary.planned else summary.traces,
        summary.origin,
        _minute(summary.start_utc),
        duration,
        format_quantity(summary.window_s, "s"),
        f"unfinished: {counted}" if unfinished else counted,
    )


def _ranges(numbers: list[int]) -> str:
    """``[1, 2, 3, 7]`` as "1-3, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _calibration_row(summary: CalibrationSummary) -> tuple[object, ...]:
    from otters_lab.core.quantity import format_quantity

    def relative(sd: float | None) -> str:
        return "unknown" if sd is None else f"{sd:.2%}"

    several = f"{summary.settings} settings"
    failed = f"failed: {', '.join(summary.failed_gates)}"
    return (
        summary.path,
        summary.uid[:8],
        summary.chip,
        summary.origin,
        _minute(summary.created_utc),
        several if summary.window_s is None and summary.settings > 1 else format_quantity(summary.window_s, "s"),
        summary.law,
        summary.traces,
        f"{relative(summary.run_to_run_sd)}, {relative(summary.device_to_device_sd)}",
        failed if summary.failed_gates else f"none of {summary.gates} failed",
    )


def _run_row(run: RunSummary) -> tuple[object, ...]:
    at = f"unfinished: {run.stage}, step {run.step}" if run.step is not None else "unfinished"
    return (
        run.path,
        run.kind,
        run.uid[:8],
        run.task,
        _score(run),
        run.chip,
        run.origin,
        _minute(run.created_utc or run.updated_utc),
        at if run.state == "unfinished" else run.state,
    )


def _score(run: RunSummary) -> Any:
    if run.score is None:
        return None
    under = f", {run.under}" if run.under else ""
    return f"{run.metric or 'score'} {run.score:.2%} ({run.part}{under})"


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("captures")(captures)
    app.command("calibrations")(calibrations)
    app.command("runs")(runs)
