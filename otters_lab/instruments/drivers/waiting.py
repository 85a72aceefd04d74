"""Waiting for an acquisition that the instrument paces by itself."""

from __future__ import annotations

from collections.abc import Callable

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.roles import MeterSettings

POLL_S = 0.02


def wait_for_readings(clock: Clock, due_s: float, settings: MeterSettings, count: Callable[[], int]) -> None:
    """Sleeps until `due_s` (s of the clock), then asks for the number of readings until all are there.

    Raises
    ------
    InstrumentError
        if they are not there half as long again and five seconds later, or if there are more.
    """
    deadline_s = due_s + 5.0 + 0.5 * settings.n_samples * settings.interval_s
    clock.sleep(due_s - clock.monotonic_s())
    while (taken := count()) < settings.n_samples:
        if clock.monotonic_s() > deadline_s:
            raise InstrumentError(
                f"meter: the acquisition did not end: {taken} readings, expected {settings.n_samples}"
            )
        clock.sleep(POLL_S)
    if taken > settings.n_samples:
        raise InstrumentError(f"meter: {taken} readings in the buffer, expected {settings.n_samples}")
