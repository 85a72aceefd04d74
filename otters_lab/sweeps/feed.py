"""The feed: a small JSON file beside the spool that says how far a sweep is, for whoever watches.

It is rewritten whole, at most once a second, and never holds the sweep up: a disk that cannot take it is said once in
the log. It is no record; the spool is.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from otters_lab.core.clock import iso_utc
from otters_lab.core.errors import DamagedFileError
from otters_lab.core.files import canonical_json, read_json
from otters_lab.core.log import logger
from otters_lab.core.protocols import Trace, TraceKey

EVERY_S = 1.0
SHOWN_SAMPLES = 200


def feed_path(capture: Path) -> Path:
    """``NAME.h5.feed.json``."""
    return capture.with_name(capture.name + ".feed.json")


@dataclass(frozen=True)
class Told:
    """What a feed said last; `eta_s` is None before the first trace."""

    pid: int
    utc: datetime
    state: str
    detail: str
    done: int
    planned: int
    eta_s: float | None

    @property
    def a_trace_s(self) -> float | None:
        """Seconds a trace takes; None before there is one, and after the last."""
        left = self.planned - self.done
        return None if self.eta_s is None or left <= 0 else self.eta_s / left


def read_feed(capture: Path) -> Told | None:
    """The feed of a capture that is being measured; None where there is none.

    Raises
    ------
    DamagedFileError
        if it is not what `Feed` writes.
    """
    path = feed_path(capture)
    if not path.exists():
        return None
    found = read_json(path)
    try:
        eta_s = found["eta_s"]
        return Told(
            pid=int(found["pid"]),
            utc=datetime.fromisoformat(found["utc"]).astimezone(UTC),
            state=str(found["state"]),
            detail=str(found["detail"]),
            done=int(found["done"]),
            planned=int(found["planned"]),
            eta_s=None if eta_s is None else float(eta_s),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(path, f"is no feed ({type(error).__name__}: {error})") from None


class Feed:
    """A sink. `done` traces were there before; `total` are planned."""

    def __init__(self, capture: Path, done: int, total: int) -> None:
        self._path = feed_path(capture)
        self._capture = capture.name
        self._before = self._done = done
        self._total = total
        self._began_s = time.monotonic()
        self._written_s = -EVERY_S
        self._able = True
        self._last: dict[str, Any] | None = None

    def __call__(self, key: TraceKey, trace: Trace) -> None:
        """One more trace."""
        self._done += 1
        if time.monotonic() - self._written_s < EVERY_S:
            return
        step = max(1, -(-len(trace.time_s) // SHOWN_SAMPLES))
        self._last = {
            "chip": key.chip,
            "device": key.device,
            "point": key.point,
            "repeat": key.repeat,
            "kind": key.kind,
            "status": trace.status,
            "time_s": np.round(trace.time_s[::step], 9).tolist(),
            "current_A": trace.current_A[::step].tolist(),
            "readings": dict(trace.readings),
        }
        self.write("running")

    def write(self, state: str, detail: str = "") -> None:
        """Says how far it is: "running", "paused", "sealing", "failed", "interrupted", "budget"."""
        if not self._able:
            return
        now_s = time.monotonic()
        taken, self._written_s = self._done - self._before, now_s
        a_trace_s = (now_s - self._began_s) / taken if taken else None
        record = {
            "feed": 1,
            "capture": self._capture,
            "pid": os.getpid(),
            "utc": iso_utc(datetime.now(UTC)),
            "state": state,
            "detail": detail,
            "done": self._done,
            "planned": self._total,
            "eta_s": None if a_trace_s is None else round(a_trace_s * (self._total - self._done), 1),
            "last": self._last,
        }
        try:
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_bytes(canonical_json(record))  # not synced: what a power cut takes of it nobody misses
            partial.replace(self._path)
        except OSError as error:
            self._able = False
            logger.warning("%s: no feed from here on: %s", self._path, error.strerror)

    def close(self) -> None:
        """The sweep is sealed: there is nothing to watch any more."""
        self._path.unlink(missing_ok=True)
