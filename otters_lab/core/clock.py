"""Time, injected: durations from a monotonic clock, records in UTC, and a clock that tests and virtual benches turn."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """Gives the time and waits."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary origin; never goes back."""

    def utc(self) -> datetime:
        """Aware UTC time of day, for records only."""

    def sleep(self, seconds: float) -> None:
        """Waits at least `seconds` (s)."""


class SystemClock:
    """The machine's own clock."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def utc(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class VirtualClock:
    """A clock that only moves when told to: hours of a sweep pass in the time the computation takes."""

    def __init__(self, start_utc: datetime) -> None:
        self._start_utc = start_utc
        self._elapsed_s = 0.0

    def monotonic_s(self) -> float:
        return self._elapsed_s

    def utc(self) -> datetime:
        return self._start_utc + timedelta(seconds=self._elapsed_s)

    def sleep(self, seconds: float) -> None:
        self._elapsed_s += max(0.0, seconds)


def iso_utc(moment: datetime) -> str:
    """``2026-01-31T12:00:00.000000Z``: sortable, always with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
