"""The device in the loop: a bench fires pulses, and what it measures are the levels a network computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import numpy as np

from otters_lab.calibration.file import Calibration
from otters_lab.calibration.replay import recorded_levels
from otters_lab.core.errors import InputError, InstrumentError, RefusedError
from otters_lab.core.protocols import Array
from otters_lab.instruments.bench import Bench, open_bench
from otters_lab.instruments.benchfile import load_bench
from otters_lab.sweeps.plan import Plan, PlannedTrace
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.workflows.sweeping import check_sweep

_BAD_IN_A_ROW = 10


class BenchLevels:
    """A `LevelReader` whose every table is a decay measured now: devices in turn, at the recipe's one point.

    The bench waits after each as the recipe says, and the plan is gone through again and again. The calibration's own
    constants, window and level times turn currents into levels. `taken` counts the decays that were used, `flagged`
    those that were measured and are not (overflow, late, failed).
    """

    def __init__(
        self, bench: Bench, planned: list[PlannedTrace], calibration: Calibration, n_levels: int, first_read_s: float
    ) -> None:
        self._bench, self._next = bench, cycle(planned)
        self._calibration, self._first_read_s = calibration, first_read_s
        self._model = calibration.device_model()
        self._levels = n_levels
        self.taken, self.flagged = 0, 0

    @property
    def n_levels(self) -> int:
        """T + 1."""
        return self._levels

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        """`n` decays, [n, T + 1]. The devices decide them, no seed does.

        Raises
        ------
        InstrumentError
            if an instrument failed, or ten takes in a row were flagged.
        """
        return np.stack([self._one() for _ in range(n)])

    def _one(self) -> Array:
        device = self._calibration.device
        assert device is not None  # device_model() has seen to it
        for _ in range(_BAD_IN_A_ROW):
            planned = next(self._next)
            trace = self._bench.acquire(planned.request)
            if trace.status != "ok":
                self.flagged += 1
                continue
            self.taken += 1
            found = recorded_levels(
                trace.time_s[None],
                trace.current_A[None],
                self._model,
                device.constants.I_edge_A,
                device.constants.I_end_A,
                self._levels,
                self._first_read_s,
            )
            return np.asarray(found.tables[0])
        raise InstrumentError(f"{_BAD_IN_A_ROW} takes in a row were flagged, the last: {trace.status}")


@contextmanager
def bench_levels(
    bench_path: Path, recipe_path: Path, calibration: Calibration, n_levels: int, first_read_s: float = 0.0
) -> Iterator[BenchLevels]:
    """Opens a bench for a recipe of one point and gives its levels; light and bias are off at the end, whatever it is.

    Raises
    ------
    InputError
        for files that are not valid, a limit, a recipe of several points, or one that does not reach the last level.
    RefusedError
        if the calibration holds no device model.
    InstrumentError
        as `open_bench`.
    """
    if calibration.device is None:
        raise RefusedError("the calibration holds no device model to read levels by")
    bench = load_bench(bench_path)
    plan = Plan(load_recipe(recipe_path)).on(bench)
    if len(plan.grid) != 1:
        raise InputError("the recipe sweeps several points", file=recipe_path, found=len(plan.grid), expected="one")
    decays = check_sweep(plan, bench)
    planned = [trace for trace in plan.traces() if trace.kind == "decay"]
    with open_bench(bench, decays=None if decays is None else decays.source) as opened:
        yield BenchLevels(opened, planned, calibration, n_levels, first_read_s)
