"""Signals while a bench is open: the first one ends the run, none of them stops the bench from being made safe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from otters_lab.instruments.console import closed_console

# SIGHUP: the terminal went away. SIGBREAK: Ctrl-Break on Windows; of a console that is closed there, see `console`.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Interrupts:
    """What came, and whether it may be raised now."""

    def __init__(self) -> None:
        self.came: str | None = None
        self.pause_wanted = False
        self._holds = 0
        self._pause: Callable[[], None] | None = None

    def pause_first(self, say: Callable[[], None] | None) -> None:
        """From now on the first Ctrl-C only asks for a pause, calling `say`; None: it ends the run again."""
        self._pause = say
        self.pause_wanted = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The first signal raises KeyboardInterrupt, unless held; later ones find the run on its way out already."""
        if self.came is not None:
            return
        if number == signal.SIGINT and self._pause and not self.pause_wanted:
            self.pause_wanted = True
            self._pause()
            return
        self.came = signal.Signals(number).name
        if not self._holds:
            raise KeyboardInterrupt(self.came)

    @contextmanager
    def held(self) -> Iterator[None]:
        """In here no signal interrupts; what comes is remembered."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal came, whoever may have swallowed it."""
        if self.came is not None:
            raise KeyboardInterrupt(self.came)


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handles the signals that end a process, and a closed console; what was ignored before (nohup) stays ignored.

    A signal that was held until the end is raised there. In a thread other than the main one signals cannot be
    handled, and nothing is changed.
    """
    guard = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield guard
        return
    before = {}
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, guard.handle)
    try:
        with closed_console():
            yield guard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    guard.check()
