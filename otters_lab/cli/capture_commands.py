"""Commands on artefacts that are there: export, trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line

if TYPE_CHECKING:
    from otters_lab.core.provenance import Software
    from otters_lab.workflows.tracing import Step


def export(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A capture or spool; with --ro-crate, any artefact.")],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="What to write: .nc, .parquet or .csv; a crate.")
    ],
    table: Annotated[
        bool, typer.Option("--table", help="One row a trace, with all that is known of it, instead of one a sample.")
    ] = False,
    ro_crate: Annotated[
        bool, typer.Option("--ro-crate", help="FILE with everything behind it as an RO-Crate: a folder, or a .zip.")
    ] = False,
    search: Annotated[
        list[Path] | None, typer.Option("--search", metavar="DIR", help="With --ro-crate: look for inputs here too.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="URL", help="With --ro-crate: the licence of its contents.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a capture for other programs, or an artefact with its whole provenance. Nothing is overwritten.

    A crate's files keep their names, bytes and hashes, and `trace` works in it. Exit code 1 if a file of the chain was
    not found (the crate says so), 4 if one is damaged (no crate then).
    """
    from otters_lab.core.errors import InputError

    if ro_crate:
        if table:
            raise InputError("--table and --ro-crate exclude each other")
        return _export_crate(source, out, search or [], licence, as_json)
    if search or licence:
        raise InputError("--search and --license need --ro-crate")
    from otters_lab.measurements.export import export_capture

    done = export_capture(source, out, table=table)
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


def _export_crate(source: Path, out: Path, search: list[Path], licence: str | None, as_json: bool) -> None:
    from otters_lab.core.errors import EXIT_SAYS_NO
    from otters_lab.workflows.crate import write_crate

    done = write_crate(source, out, search, licence)
    if as_json:
        missing = [{"role": step.role, "name": step.name, "sha256": step.sha256} for step in done.missing]
        print_json({"crate": str(done.path), "files": done.files, "missing": missing})
    else:
        for step in done.missing:
            print_line(f"missing: {step.role} {step.name}: {step.reason}")
        print_line(f"{done.path}: {len(done.files)} files and their provenance")
    if done.missing:
        raise typer.Exit(EXIT_SAYS_NO)


def trace(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Any artefact of ours: a file, or the folder of a checkpoint.")
    ],
    search: Annotated[
        list[Path] | None, typer.Option("--search", metavar="DIR", help="Look for inputs here too, and below.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Walk the provenance of a file back to the bench, and check every hash. Runs no code of a workspace.

    Exit code 4 if a file is damaged or altered, 1 if one is not found. A lone file is checked by what stands in it.
    """
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
    app.command("trace")(trace)
