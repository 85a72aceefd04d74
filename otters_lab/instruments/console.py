"""A console that is closed on Windows: the run ends as by a signal, and the system waits until the bench is safe.

The C runtime turns the events close, logoff and shutdown into SIGBREAK, but its handler only notes it and returns, and
on that return the system ends the process, before Python has run its own handler (a comment in CPython's pull request
96289). A handler of our own is asked first and does not return until the run has ended. For a closed console the
system waits 5 s (HandlerRoutine in the Windows console documentation) and then ends the process all the same; the
bench's supervisor, which has no console to be closed, does the rest. A process that the `py` launcher or that of a
virtual environment has started may go with its launcher, and sooner; that too is left to the supervisor.

None of this has run on Windows: what is tested is `ClosedConsole`, with the system's part played by the test.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# WinCon.h: CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT. Ctrl-C and Ctrl-Break are Python's own signals.
ENDING = (2, 5, 6)

# Adds (True) or removes (False) a handler that the system calls, in a thread of its own, with the event's number.
Register = Callable[[Callable[[int], bool], bool], None]


class ClosedConsole:
    """The handler: called by the system in another thread than the run's."""

    def __init__(self, end_run: Callable[[], None]) -> None:
        self._end_run = end_run
        self._over = threading.Event()

    def handle(self, event: int) -> bool:
        """False for what is not ours; else ends the run and returns once it is over: then the process ends."""
        if event not in ENDING:
            return False
        if not self._over.is_set():
            self._end_run()
        self._over.wait()
        return True

    def run_is_over(self) -> None:
        """The bench is safe, or as safe as it could be made: the process may end."""
        self._over.set()


@contextmanager
def closed_console(end_run: Callable[[], None] | None = None, register: Register | None = None) -> Iterator[None]:
    """Holds the end of a closed console back for as long as the block lasts; does nothing but on Windows.

    `end_run` makes the main thread leave the block, by SIGINT if it is not given: the one signal that wakes a
    sleeping main thread on Windows. `register` takes the place of the system's SetConsoleCtrlHandler.
    """
    if register is None:
        if sys.platform != "win32":
            yield
            return
        register = windows_register()
    console = ClosedConsole(end_run or (lambda: signal.raise_signal(signal.SIGINT)))
    register(console.handle, True)
    try:
        yield
    finally:
        console.run_is_over()
        register(console.handle, False)


def windows_register() -> Register:
    """SetConsoleCtrlHandler through ctypes; without a console to close, a failure changes nothing."""
    import ctypes

    routine_type = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint32)  # type: ignore[attr-defined,unused-ignore]
    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    kernel.SetConsoleCtrlHandler.argtypes = (routine_type, ctypes.c_int)
    kernel.SetConsoleCtrlHandler.restype = ctypes.c_int
    kept: dict[Callable[[int], bool], Any] = {}  # ctypes keeps no callback alive by itself

    def register(handler: Callable[[int], bool], add: bool) -> None:
        routine = kept.setdefault(handler, routine_type(handler))
        kernel.SetConsoleCtrlHandler(routine, add)

    return register
