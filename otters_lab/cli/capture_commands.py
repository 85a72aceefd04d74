"""Commands on captures that are there: export, captures, trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otters_lab.cli.show import print_json, print_line

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]


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


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("export")(export)
