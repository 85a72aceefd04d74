"""Progress and logs: on stderr, and quiet when stderr is no terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger("otters_lab")


def configure_logging(verbose: bool = False) -> None:
    """Sends our log to stderr; warnings always, the rest with `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False


class Bar:
    """A bar with ETA; without one (`bar` None) it shows nothing."""

    def __init__(self, bar: Any = None, task: Any = None) -> None:
        self._bar = bar
        self._task = task

    def __call__(self, n: int) -> None:
        """`n` more are done."""
        if self._bar is not None:
            self._bar.advance(self._task, n)

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """In here the terminal is as it was before the bar: a live bar swallows a prompt that ends in no newline."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


@contextmanager
def progress(description: str, total: int) -> Iterator[Bar]:
    """A bar with ETA on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield Bar(bar, task)
