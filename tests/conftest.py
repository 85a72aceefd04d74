from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings

from otters_lab.core.protocols import Array

# A busy machine is no failure; and a run that must be judged alone looks at the same examples each time.
settings.register_profile("otters-lab", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("otters-lab")


@dataclass(frozen=True)
class CurveReader:
    """Bent power laws O = O0 - D*u**beta at the level times of the mean curve; sd in per cent of the full scale."""

    n_levels: int = 16
    run_sd: float = 0.02
    device_sd: float = 0.0

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        draws = np.random.default_rng(seed).standard_normal((3, n, 1))
        u = self._times()
        beta = 0.495 + 0.005 * draws[2] * (self.run_sd > 0)
        return 1 + self.run_sd / 4 * draws[1] - (1 + self.run_sd * draws[0]) * u**beta

    def mean_levels(self) -> Array:
        return 1 - self._times() ** 0.495

    def run_modes(self) -> Array:
        u = self._times()
        by_beta = 0.005 * (self.run_sd > 0) * u**0.495 * np.log(np.maximum(u, 1e-300))
        return np.stack([self.run_sd * u**0.495, self.run_sd / 4 + 0 * u, by_beta])

    def device_modes(self) -> Array:
        return self.device_sd * self._times()[None] ** 0.495 if self.device_sd else np.zeros((0, self.n_levels))

    def device_deviations(self, n: int, seed: tuple[int, ...]) -> Array:
        return np.random.default_rng(seed).standard_normal((n, 1)) @ self.device_modes()

    def _times(self) -> Array:
        return np.linspace(0.0, 1.0, self.n_levels) ** (1 / 0.495)


@pytest.fixture(scope="session")
def curve_reader() -> type[CurveReader]:
    """A small device model of its own, for rooms that need a `LevelReader` and not a calibration."""
    return CurveReader
