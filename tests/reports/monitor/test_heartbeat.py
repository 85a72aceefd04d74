"""A run is said to be running, stale or gone when it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from otters_lab.reports.monitor.beats import SILENT_TRAINING_S, sweep_beat, training_beat
from otters_lab.reports.monitor.processes import is_there
from otters_lab.sweeps.feed import Told

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def told(silent_s: float, state: str = "running", a_trace_s: float | None = 0.1, detail: str = "") -> Told:
    eta_s = None if a_trace_s is None else 10 * a_trace_s
    return Told(4242, NOW - timedelta(seconds=silent_s), state, detail, done=10, planned=20, eta_s=eta_s)


@pytest.mark.parametrize(
    ("said", "there", "word"),
    [
        (told(1), True, "running"),
        (told(1), None, "running"),  # where nobody can tell whether the process is there
        (told(4.9), True, "running"),
        (told(5.1), True, "stale"),
        (told(5.1), None, "stale"),
        (told(0), False, "gone"),  # however lately it was heard of
        (told(3600), False, "gone"),
        (told(100, a_trace_s=60), True, "running"),  # slow traces are no silence
        (told(301, a_trace_s=60), True, "stale"),
        (told(59, a_trace_s=None), True, "running"),  # nor is a stage that gets warm before the first one
        (told(61, a_trace_s=None), True, "stale"),
        (told(3600, "paused"), True, "paused"),
        (told(3600, "paused"), False, "gone"),
        (told(3600, "sealing"), True, "sealing"),
        (told(3600, "sealing"), False, "gone"),
        (told(3600, "failed"), False, "failed"),  # it has said so itself
        (told(3600, "interrupted"), False, "interrupted"),
        (told(3600, "budget"), False, "budget"),
        (None, True, "unfinished"),
    ],
)
def test_the_heartbeat_of_a_sweep(said: Told | None, there: bool | None, word: str) -> None:
    beat = sweep_beat(said, NOW, lambda pid, since: there)
    assert (beat.word, beat.live) == (word, word in ("running", "stale", "paused", "sealing"))


def test_what_is_said_of_silence_and_death_has_the_moment_and_the_process() -> None:
    stale = sweep_beat(told(75), NOW, lambda pid, since: True).said
    assert stale == (
        "stale since 2026-01-31 11:58:45 UTC: nothing new for 0:01:15, though its process is there (pid 4242)"
    )
    assert "its process is there" not in sweep_beat(told(75), NOW, lambda pid, since: None).said
    assert "process is gone (pid 4242)" in sweep_beat(told(1), NOW, lambda pid, since: False).said
    assert "meter: on fire" in sweep_beat(told(1, "failed", detail="meter: on fire"), NOW, lambda *_: None).said


def test_the_heartbeat_of_a_training() -> None:
    for silent_s, finished, word in (
        (10, False, "running"),
        (SILENT_TRAINING_S + 1, False, "stale"),
        (9e9, True, "finished"),
    ):
        changed = NOW - timedelta(seconds=min(silent_s, 1e6))
        assert training_beat(changed, finished, NOW).word == word


@pytest.fixture
def process() -> Any:
    started = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield started
    started.kill()
    started.communicate()


@pytest.mark.skipif(os.name == "nt", reason="Windows does not say")
def test_a_killed_process_is_not_there_though_nobody_asked_after_it(process: Any) -> None:
    since = datetime.now(UTC)
    assert is_there(process.pid, since)
    process.send_signal(signal.SIGSTOP)
    assert is_there(process.pid, since)  # stopped is not dead
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and its parent has not reaped it: a zombie
    assert is_there(process.pid, since) is not (sys.platform == "linux")
    process.wait()
    assert is_there(process.pid, since) is False


@pytest.mark.skipif(sys.platform != "linux", reason="start times are read from /proc")
def test_a_later_process_that_got_the_number_is_another_one(process: Any) -> None:
    assert is_there(process.pid, datetime.now(UTC) - timedelta(hours=1)) is False
