"""The heartbeat of a run: what it says of itself, held against the clock and against whether its process is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from otters_lab.sweeps.feed import Told

IsThere = Callable[[int, datetime], bool | None]

SILENT_S = 5.0  # a sweep tells of itself after each trace, if a second has passed
SILENT_TRACES = 5.0  # times what a trace takes, where that is longer
SILENT_BEFORE_S = 60.0  # before the first trace nobody knows how long one takes
SILENT_TRAINING_S = 180.0  # a training writes its log every 20 steps, and its state once a minute

# What a sweep that has ended by itself says in its feed.
_ENDED = {
    "failed": "it failed",
    "interrupted": "it was interrupted",
    "budget": "its time budget is used up",
}


@dataclass(frozen=True)
class Beat:
    """How a run is, in a word and a sentence. `live`: it goes on, or should."""

    word: str
    said: str
    live: bool


def sweep_beat(told: Told | None, now: datetime, is_there: IsThere) -> Beat:
    """The heartbeat of a sweep whose traces lie in a spool."""
    if told is None:
        return Beat("unfinished", "no sweep tells of it", live=False)
    if told.state in _ENDED:
        return Beat(told.state, ": ".join(filter(None, (_ENDED[told.state], told.detail))), live=False)
    there = is_there(told.pid, told.utc)
    if there is False:
        return Beat("gone", f"the sweep's process is gone (pid {told.pid}); last heard of at {moment(told.utc)}", False)
    if told.state == "paused":
        return Beat("paused", "light and bias are off; it waits for an answer at its terminal", live=True)
    if told.state == "sealing":
        return Beat("sealing", "all traces are taken; the capture is being written", live=True)
    silent_s = (now - told.utc).total_seconds()
    if silent_s > _patience_s(told):
        still = f", though its process is there (pid {told.pid})" if there else ""
        return Beat("stale", f"stale since {moment(told.utc)}: nothing new for {span(silent_s)}{still}", live=True)
    return Beat("running", f"last heard of at {moment(told.utc)}", live=True)


def _patience_s(told: Told) -> float:
    a_trace_s = told.a_trace_s
    return SILENT_BEFORE_S if a_trace_s is None else max(SILENT_S, SILENT_TRACES * a_trace_s)


def training_beat(changed: datetime, finished: bool, now: datetime) -> Beat:
    """The heartbeat of a training whose files were written last at `changed`."""
    if finished:
        return Beat("finished", f"at {moment(changed)}", live=False)
    silent_s = (now - changed).total_seconds()
    if silent_s > SILENT_TRAINING_S:
        return Beat("stale", f"stale since {moment(changed)}: nothing written for {span(silent_s)}", live=False)
    return Beat("running", f"last written at {moment(changed)}", live=True)


def moment(utc: datetime) -> str:
    """``2026-01-31 12:00:05 UTC``."""
    return f"{utc:%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """``45 s``, and ``1:02:05`` from a minute on."""
    return f"{seconds:.0f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
