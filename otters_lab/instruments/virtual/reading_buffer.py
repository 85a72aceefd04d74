"""The reading buffer of a Keithley 2450 (defbuffer1)."""

from __future__ import annotations

import numpy as np

from otters_lab.core.protocols import Array

MIN_POINTS, MAX_POINTS = 10, 6_875_000


class ReadingBuffer:
    """Readings (A), times relative to the first one (s, to a nanosecond) and source status words."""

    def __init__(self, points: int = 100_000) -> None:
        self.points = points
        self.clear()

    def __len__(self) -> int:
        return self._columns["READ"].size

    def clear(self) -> None:
        """Empties it."""
        self._first_s = 0.0
        self._columns: dict[str, Array] = {name: np.zeros(0) for name in ("READ", "REL", "SOURSTAT")}

    def append(self, start_s: Array, reading_A: Array, status: Array) -> None:
        """Adds readings that began at `start_s` (s of the clock), as far as there is room."""
        if len(self) == 0 and start_s.size:
            self._first_s = float(start_s[0])
        new = {"READ": reading_A, "REL": np.round(start_s - self._first_s, 9), "SOURSTAT": status}
        for name, values in new.items():
            self._columns[name] = np.concatenate([self._columns[name], values])[: self.points]

    def text(self, first: int, last: int, names: list[str], digits: int) -> str:
        """Readings `first` to `last` (from 1), element by element, with `digits` significant digits."""
        table = np.column_stack([self._columns[name][first - 1 : last] for name in names])
        return ",".join([f"%.{digits - 1}E"] * table.size) % tuple(table.ravel())
