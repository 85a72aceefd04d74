"""What the twins of timed picoammeters and electrometers share: readings on a grid, into a buffer that fills once."""

from __future__ import annotations

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.virtual.scpi import ScpiError, ScpiInstrument, choice, integer
from otters_lab.instruments.virtual.world import World


def grid(passes: int, readings: int, timer_s: float | None, delay_s: float, aperture_s: float) -> list[float]:
    """Starts (s from the first pass) of the apertures: each pass after the timer's interval, or at once without one."""
    starts, now_s = [], 0.0
    for number in range(passes):
        if timer_s is not None:
            now_s = max(now_s, number * timer_s)
        for _ in range(readings):
            starts.append(now_s + delay_s)
            now_s = starts[-1] + aperture_s
    return starts


class TimedReadings(ScpiInstrument):
    """A twin whose readings go into a buffer. A model says in `_take` what one acquisition reads.

    `columns`: of a buffer row; `most`: readings that the buffer can hold.
    """

    _buffer: Array

    def __init__(self, identity: str, world: World, columns: int, most: int) -> None:
        super().__init__(identity)
        self._world = world
        self._columns, self._most = columns, most
        self._points, self._feeding = 100, False
        self._started_s: float | None = None
        self._clear()

    def _take(self, start_s: Array, stop_s: Array) -> Array:
        """Buffer rows of apertures in seconds of the clock."""
        raise NotImplementedError

    def _trace_commands(self, actual: str) -> None:
        self.control(":TRACe:POINts", lambda: str(self._points), self._set_points)
        self.query(actual, self._actual)
        self.event(":TRACe:CLEar", self._clear)
        self.control(
            ":TRACe:FEED:CONTrol",
            lambda: "NEXT" if self._feeding else "NEV",
            lambda text: setattr(self, "_feeding", choice(text, ["NEXT", "NEVer"]) == "NEXT"),
        )

    def _begin(self, starts: list[float], aperture_s: float, already: int) -> None:
        """Starts an acquisition; `already` is the error if one is running."""
        self._finish()
        if self._started_s is not None:
            raise ScpiError(already)
        self._started_s = self._world.now_s + self._world.meter_latency_s
        self._starts_s, self._aperture_s = np.array(starts), aperture_s
        if not self._feeding:  # a reading that the buffer does not take: nobody reads it before it is done
            self._world.clock.sleep(starts[-1] + aperture_s + self._world.meter_latency_s)
            self._finish()

    def _abort(self) -> None:
        self._finish()
        self._started_s = None

    def _finish(self) -> None:
        """Takes the readings once the clock has passed the last one."""
        if self._started_s is None:
            return
        start_s = self._started_s + self._starts_s
        if self._world.now_s < start_s[-1] + self._aperture_s * (1 - 1e-9):
            return
        self._started_s = None
        rows = self._take(start_s, start_s + self._aperture_s)
        if self._feeding:
            self._buffer = np.concatenate([self._buffer, rows])[: self._points]
            self._feeding = len(self._buffer) < self._points

    def _clear(self) -> None:
        self._buffer = np.zeros((0, self._columns))

    def _set_points(self, text: str) -> None:
        self._points = integer(text, 1, self._most)
        self._clear()

    def _actual(self) -> str:
        self._finish()
        return str(len(self._buffer))

    def _filled(self) -> Array:
        self._finish()
        if not len(self._buffer):
            raise ScpiError(-230)
        return self._buffer
