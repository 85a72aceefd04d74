"""Commands on the lab's side: init, check, import, trust."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line


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
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Bench, recipe, capture, calibration ...")],
    bench: Annotated[
        Path | None, typer.Option("--bench", metavar="B", help="Hold recipes against this bench's limits.")
    ] = None,
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


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="PyMeasure CSV, any CSV, or captures.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="CAPTURE", help="The capture to write (.h5).")],
    chip: Annotated[str | None, typer.Option("--chip", metavar="ID", help="Chip, if the files do not name it.")] = None,
    device: Annotated[int | None, typer.Option("--device", metavar="N", help="All files are this one device.")] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="A remark kept in the capture.")] = "",
    time_column: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help='Time column, like "t (s)".')
    ] = None,
    current_column: Annotated[
        str | None, typer.Option("--current", metavar="COLUMN", help='Current column, like "I (A)".')
    ] = None,
    light_column: Annotated[
        str | None, typer.Option("--light", metavar="COLUMN", help='Light column, like "VL (V)".')
    ] = None,
    line_frequency: Annotated[
        str | None,
        typer.Option(
            "--line-frequency", metavar="FREQUENCY", help='Mains frequency, "50 Hz": gives apertures from NPLC.'
        ),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", metavar="TOML", help="What the columns are, and what no file says.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a capture of other people's recordings, or of captures. What is left out is said."""
    from otters_lab.core.errors import InputError
    from otters_lab.core.quantity import parse_quantity
    from otters_lab.measurements.importers import import_files
    from otters_lab.measurements.recording import Options

    try:
        line_Hz = None if line_frequency is None else parse_quantity(line_frequency, "frequency")
    except ValueError as error:
        raise InputError(f"--line-frequency: {error}") from None
    if mapping is not None and any((time_column, current_column, light_column)):
        raise InputError("--mapping says which columns are which; --time, --current and --light are for going without")
    options = Options(time_column, current_column, light_column, line_Hz)
    result = import_files(files, out, chip=chip, device=device, options=options, mapping=mapping, note=note)
    if as_json:
        return print_json(
            {
                "capture": str(result.path),
                "uid": result.header.uid,
                "origin": result.header.origin,
                "traces": result.traces,
                "notes": result.notes,
            }
        )
    for remark in result.notes:
        print_line(f"note: {remark}")
    print_line(f"{result.path}: {result.traces} traces from {len(files)} files, origin {result.header.origin}")
    return None


def trust(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A driver (Python), or a file whose [notify] runs a command.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Allow a workspace's own driver, or the [notify] command of a file, to run as the file is now. Read it first."""
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
    app.command("import")(import_)
    app.command("trust")(trust)
