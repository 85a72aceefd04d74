"""The command `report`: one page of a capture, a calibration or a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line


def report(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A capture, a calibration, a checkpoint's folder or packed student.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="HTML", help="The page; one that is there is replaced.")
    ],
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="Write every figure there too, as SVG and PNG.")
    ] = None,
    capture: Annotated[
        list[Path] | None,
        typer.Option(
            "--capture", metavar="H5", help="What the calibration was fitted to; else looked for by its hash."
        ),
    ] = None,
    search: Annotated[
        list[Path] | None, typer.Option("--search", metavar="DIR", help="Look for the capture here too, and below.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one self-contained page: figures with what to look for, numbers, verdicts, provenance."""
    from otters_lab.workflows.reporting import report_file

    done = report_file(file, out, figures=figures, captures=capture or (), search=search or ())
    if as_json:
        return print_json(
            {
                "report": str(done.written.page),
                "kind": done.kind,
                "bytes": done.written.size,
                "verdicts": [{"state": verdict.state, "text": verdict.text} for verdict in done.report.verdicts],
                "figures": [drawing.name for drawing in done.report.drawings],
                "files": [str(path) for path in done.written.figures],
            }
        )
    for verdict in done.report.verdicts:
        print_line(verdict.line)
    written = f", {len(done.written.figures)} files in {figures}" if figures is not None else ""
    size = f"{done.written.size / 1000:.0f} kB"
    print_line(f"{done.written.page}: {done.kind}, {len(done.report.drawings)} figures, {size}{written}")
    return None


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command("report")(report)
