"""What commands print: one JSON document, or lines and tables for people; and the option that chooses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]


def print_json(document: Any) -> None:
    """The one JSON document of a `--json` run; unknown values are null."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False, default=str) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table; None is shown as "unknown". Not squeezed where stdout is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for row in rows:
        table.add_row(*("unknown" if cell is None else str(cell) for cell in row))
    console = Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 240, highlight=False)
    console.print(table, markup=False)


def print_line(text: str) -> None:
    """One line for people."""
    sys.stdout.write(text + "\n")
