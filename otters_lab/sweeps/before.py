"""What happens before a decay is taken: the device is brought into a known state, and waited for.

`Precondition` runs a device's stated history (gate pulse, time in the dark). `Recovery` waits until its dark current is
back where it was when the sweep first met it: photoconductivity is persistent, and a fixed rest hides how persistent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.instruments.bench import Bench
from otters_lab.measurements.layout import Row, describe
from otters_lab.sweeps.plan import PlannedTrace
from otters_lab.sweeps.recipe import PreconditionSection, RecoverySection

# What a recovery adds to each trace's readings; units for the capture.
RECOVERY_UNITS = {"recovery_time": "s", "recovery_left": "1"}
_PROBE_SAMPLES = 20


class Precondition:
    """The recipe's pre-conditioning; `forget` after any seam, since nobody knows what the devices met meanwhile."""

    def __init__(self, section: PreconditionSection, bench: Bench) -> None:
        self._section = section
        self._bench = bench
        self._done: set[int] = set()

    def before(self, planned: PlannedTrace) -> None:
        """Does what is due before this trace."""
        if self._section.when == "device" and planned.device in self._done:
            return
        self._done.add(planned.device)
        if self._section.gate_pulse is not None and self._section.gate_width is not None:
            self._bench.gate_pulse(planned.device, self._section.gate_pulse, self._section.gate_width)
        if self._section.dark_time:
            self._bench.wait(self._section.dark_time)

    def forget(self) -> None:
        """Every device is conditioned anew before its next trace."""
        self._done.clear()


class Recovery:
    """Waits for each device's dark current, up to the recipe's cap.

    The dark current that counts is the baseline of the device's first good decay in this capture, and the step is
    from there to its lit plateau.
    """

    def __init__(self, section: RecoverySection, bench: Bench, before: Iterable[Row] = ()) -> None:
        self._section = section
        self._bench = bench
        self._first: dict[int, tuple[float, float]] = {}
        for row in before if section.baseline_within is not None else ():
            self._learn(row)

    def learn(self, key: TraceKey, trace: Trace) -> None:
        """A sink of the runner."""
        if self._section.baseline_within is not None and key.device not in self._first:
            self._learn(describe(key, trace))

    def _learn(self, row: Row) -> None:
        """Takes a trace's baseline and step, if it is its device's first good decay."""
        device = int(row["device"])
        if device in self._first or row["status"] != "ok" or row["kind"] not in ("decay", "reference"):
            return
        baseline, step = float(row["baseline"]), float(row["plateau"]) - float(row["baseline"])
        if math.isfinite(baseline) and math.isfinite(step) and step != 0:
            self._first[device] = baseline, step

    def wait(self, planned: PlannedTrace) -> dict[str, float]:
        """Waits; returns how long (s), and how much of the step was still there at the end.

        Nothing is waited for, and nothing returned, where the recipe does not ask, for records of the noise, and
        before a device's first decay.
        """
        section = self._section
        if section.baseline_within is None or section.cap is None or planned.kind not in ("decay", "reference"):
            return {}
        if planned.device not in self._first:
            return {}
        baseline, step = self._first[planned.device]
        began_s = self._bench.clock.monotonic_s()
        while True:
            left = (self._dark_current_A(planned) - baseline) / step
            waited_s = self._bench.clock.monotonic_s() - began_s
            if abs(left) <= section.baseline_within or waited_s >= section.cap or not math.isfinite(left):
                found = {"recovery_time": waited_s, "recovery_left": left}
                return {name: value for name, value in found.items() if math.isfinite(value)}
            self._bench.wait(min(section.poll, section.cap - waited_s))

    def _dark_current_A(self, planned: PlannedTrace) -> float:
        """Mean of a short record in the dark; NaN if it failed."""
        request = planned.request
        short_s = max(request.dark_s, _PROBE_SAMPLES * request.interval_s)
        trace = self._bench.acquire(
            replace(request, light=False, dark_s=0.0, width_s=0.0, decay_s=short_s, grid="linear", grid_points=None)
        )
        return float(np.mean(trace.current_A)) if trace.status == "ok" and len(trace.current_A) else math.nan
