"""A closed console on Windows, with the system's part played here: this has not run on Windows."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

import otters_lab.instruments.interrupts as interrupts_module
from otters_lab.instruments.console import ENDING, ClosedConsole, closed_console
from otters_lab.instruments.interrupts import interrupts

CTRL_C, CTRL_BREAK, CLOSE = 0, 1, 2
Handler = Callable[[int], bool]


class System:
    """Keeps the handlers; `close` calls them as the system does: the last first, in a thread of its own."""

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.returned = threading.Event()

    def register(self, handler: Handler, add: bool) -> None:
        if add:
            self.handlers.append(handler)
        else:
            self.handlers.remove(handler)

    def close(self) -> threading.Thread:
        def call() -> None:
            if any(handler(CLOSE) for handler in reversed(list(self.handlers))):
                self.returned.set()

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """`interrupts` on a system that has consoles to close."""
    system = System()
    monkeypatch.setattr(interrupts_module, "closed_console", lambda: closed_console(register=system.register))
    return system


def test_a_closed_console_ends_the_run_and_is_held_until_the_bench_is_safe(system: System) -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), interrupts() as guard:  # noqa: PT012
        try:
            system.close()
            end = time.monotonic() + 10
            while time.monotonic() < end:
                time.sleep(0.01)
            steps.append("nothing interrupted it")
        finally:
            steps.append(guard.came or "no signal")
            with guard.held():
                time.sleep(0.2)  # making the bench safe
                steps.append("held" if not system.returned.is_set() else "the process had ended")
    assert steps == ["SIGINT", "held"]
    assert system.returned.wait(5)
    assert system.handlers == []


def test_a_console_closed_while_the_bench_is_made_safe_waits_for_the_end_of_it(system: System) -> None:
    with pytest.raises(KeyboardInterrupt), interrupts() as guard, guard.held():  # noqa: PT012
        system.close()
        time.sleep(0.1)
        assert guard.came == "SIGINT"
        assert not system.returned.is_set()
    assert system.returned.wait(5)


def test_ctrl_c_and_ctrl_break_are_left_to_python() -> None:
    ended: list[int] = []
    console = ClosedConsole(lambda: ended.append(1))
    assert [console.handle(event) for event in (CTRL_C, CTRL_BREAK)] == [False, False]
    assert ended == []


@pytest.mark.parametrize("event", ENDING)
def test_once_the_run_is_over_nothing_more_is_ended_or_held(event: int) -> None:
    ended: list[int] = []
    console = ClosedConsole(lambda: ended.append(1))
    console.run_is_over()
    assert console.handle(event) is True
    assert ended == []


def test_the_handler_is_removed_whatever_ends_the_block() -> None:
    system = System()
    with pytest.raises(ValueError, match="a failure"), closed_console(lambda: None, system.register):  # noqa: PT012
        assert len(system.handlers) == 1
        raise ValueError("a failure")
    assert system.handlers == []


def test_elsewhere_nothing_is_registered_and_signals_work_as_before() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts():
        signal.raise_signal(signal.SIGINT)
