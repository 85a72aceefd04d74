"""The command `monitor`: a live page on loopback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line


def monitor(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What to watch, with all folders below.")] = Path(),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On 127.0.0.1; 0: a free one.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show the runs of a folder live in a browser, until Ctrl-C. Reads only: no sweep is disturbed."""
    from otters_lab.reports.monitor.server import serve

    def tell(address: str) -> None:
        if as_json:
            print_json({"address": address, "folder": str(folder)})
        else:
            print_line(address)
            print_line(f"watching {folder}, for a browser on this machine; Ctrl-C ends it")
        sys.stdout.flush()

    try:
        serve(folder, port, tell)
    except KeyboardInterrupt:
        return


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command("monitor")(monitor)
