"""Commands on captures that are there: export, captures, trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otters_lab.cli.show import print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.core.provenance import Software
    from otters_lab.measurements.summary import Summary
    from otters_lab.workflows.tracing import Step

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
_COLUMNS = ("capture", "uid", "chip", "devices", "traces", "origin", "start (UTC)", "duration", "window", "status")


def export(
    capture: Annotated[Path, typer.Argument(metavar="CAPTURE", help="A sealed capture, or a spool.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="What to write: .nc, .parquet or .csv.")],
    table: Annotated[
        bool, typer.Option("--table", help="One row a trace, with all that is known of it, instead of one a sample.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a capture for other programs: netCDF, Parquet or CSV. Nothing is overwritten."""
    from otters_lab.measurements.export import export_capture

    done = export_capture(capture, out, table=table)
    if as_json:
        return print_json(
            {
                "file": str(done.path),
                "uid": done.header.uid,
                "origin": done.header.origin,
                "traces": done.traces,
                "rows": done.rows,
            }
        )
    rows = "" if out.suffix.lower() == ".nc" else f" in {done.rows} rows"
    print_line(f"{done.path}: {done.traces} traces{rows}, origin {done.header.origin}")
    return None


def captures(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, with all folders below.")] = Path(),
    chip: Annotated[str | None, typer.Option("--chip", metavar="ID", help="Of this chip.")] = None,
    device: Annotated[int | None, typer.Option("--device", help="With a trace of this device.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="Begun that day (UTC) or later.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="Begun that day or earlier.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help='With a trace taken so: "drive=5 V", "drive>1 V".')
    ] = None,
    origin: Annotated[str | None, typer.Option("--origin", help="measured, replayed, synthetic or imported.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="With a trace of this status: ok, late ...")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="With a trace of this kind: decay, dark ...")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check every byte anew, whatever the index says.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the captures and unfinished spools of a folder, and search among them."""
    from otters_lab.core.errors import EXIT_DAMAGED
    from otters_lab.measurements.catalogue import Query, catalogue, parse_condition, parse_date

    query = Query(
        chip=chip,
        device=device,
        since=None if since is None else parse_date(since),
        until=None if until is None else parse_date(until, end=True),
        origin=_one_of("--origin", origin, ("measured", "replayed", "synthetic", "imported")),
        status=_one_of("--status", status, ("ok", "overflow", "compliance", "late", "failed")),
        kind=_one_of("--kind", kind, ("decay", "reference", "dark", "lit")),
        parameters=tuple(parse_condition(text) for text in parameter or ()),
    )
    listed = catalogue(folder, query, verify=verify)
    if as_json:
        print_json({"folder": str(folder), **asdict(listed)})
    else:
        rows = [_row(summary) for summary in (*listed.found, *listed.damaged, *listed.unreadable)]
        columns = (
            "capture",
            "uid",
            "chip",
            "devices",
            "traces",
            "origin",
            "start (UTC)",
            "duration",
            "window",
            "status",
        )
        print_table(columns, rows)
        print_line(f"{len(listed.found)} of {listed.files} files")
    if listed.damaged:
        raise typer.Exit(EXIT_DAMAGED)


def _one_of(option: str, word: str | None, known: tuple[str, ...]) -> str | None:
    from otters_lab.core.errors import InputError, closest

    if word is not None and word not in known:
        expected = f"one of {', '.join(known)}"
        raise InputError(key=option, found=word, expected=expected, suggestion=closest(word, known))
    return word


def _row(summary: Summary) -> tuple[object, ...]:
    from otters_lab.core.quantity import format_quantity

    if summary.state in ("damaged", "unreadable"):
        return (summary.path, *[""] * 8, f"{summary.state}: {summary.reason}")
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
        summary.start_utc[:16].replace("T", " ") or None,
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


def trace(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A capture, calibration, export, or checkpoint folder.")],
    search: Annotated[
        list[Path] | None, typer.Option("--search", metavar="DIR", help="Look for inputs here too, and below.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Walk the provenance of a file back to the bench, and check every hash. Runs no code of a workspace."""
    from otters_lab.workflows.tracing import trace_back

    chain = trace_back(file, search or ())
    if as_json:
        print_json(chain.document())
    else:
        for line in _chain_lines(chain, ""):
            print_line(line)
    if chain.exit_code:
        raise typer.Exit(chain.exit_code)


def _chain_lines(step: Step, indent: str) -> Iterator[str]:
    header = step.header
    what = step.role or (header.kind if header else "file")
    kind = f" ({header.kind})" if header is not None and header.kind != what else ""
    said = step.state if not step.reason else f"{step.state.upper()}: {step.reason}"
    yield f"{indent}{what}{kind} {step.path or step.name}: {said}"
    if header is not None:
        facts = {
            "uid": header.uid,
            "made": header.created_utc,
            "code": _code(header.software),
            "origin": header.origin,
            "instruments": "; ".join(f"{role}: {identity}" for role, identity in header.instruments.items()),
            "seeds": ", ".join(f"{name} {seed}" for name, seed in header.seeds.items()),
            "command": " ".join(header.command),
        }
        yield from (f"{indent}    {name:12}{fact}" for name, fact in facts.items() if fact)
    for below in step.inputs:
        yield from _chain_lines(below, indent + "  ")


def _code(made: Software) -> str:
    """The code that made an artefact: without a git revision only its version is known."""
    revision = "no git revision" if made.revision is None else f"git {made.revision}"
    changes = f", with uncommitted changes (sha256 of the diff {made.dirty[:12]}...)" if made.dirty else ""
    return f"otters-lab {made.otters_lab}, {revision}{changes}, Python {made.python}"


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("export")(export)
    app.command("captures")(captures)
    app.command("trace")(trace)
