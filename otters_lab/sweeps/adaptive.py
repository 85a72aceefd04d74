"""Adaptive repeats: a device's point is repeated until the mean of its drop is known well enough.

Stopping when the scatter happens to look small biases the standard deviation low; a capture taken so says it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.sweeps.recipe import AdaptiveSection
from otters_lab.sweeps.signal import drop_A

WARNING = "repeats were stopped by their own scatter: standard deviations are biased low"


@dataclass
class _Running:
    """Mean and sum of squared deviations, updated one value at a time (Welford, Technometrics 4, 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self.squares += delta * (value - self.mean)


class StopRule:
    """Keeps the drops of each point and device; without a section nothing is ever enough."""

    def __init__(self, section: AdaptiveSection | None) -> None:
        self._section = section
        self._drops: dict[tuple[int, int], _Running] = {}

    def add(self, key: TraceKey, trace: Trace) -> None:
        """Takes a good decay into account; a sink of the runner."""
        if self._section is None or key.kind != "decay" or trace.status != "ok":
            return
        drop = drop_A(trace)
        if drop is not None:
            self._drops.setdefault((key.point, key.device), _Running()).add(drop)

    def enough(self, point: int, device: int) -> bool:
        """Whether the standard error of the mean drop is small enough."""
        found = self._drops.get((point, device))
        if self._section is None or found is None or found.count < self._section.least:
            return False
        error = math.sqrt(found.squares / (found.count - 1) / found.count)
        return error <= self._section.error * abs(found.mean)
