from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from otters_lab.core.files import pretty_json
from otters_lab.core.protocols import Array, LevelReader
from otters_lab.core.provenance import new_header
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.train import TrainResult, train


@dataclass(frozen=True)
class CurveReader:
    """Bent power laws O = O0 - D*u**beta at the level times of the mean curve."""

    n_levels: int = 16
    run_sd: float = 0.02
    device_sd: float = 0.0
    depth: float = 1.0  # this device's D

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        draws = np.random.default_rng(seed).standard_normal((3, n, 1))
        u = np.linspace(0.0, 1.0, self.n_levels) ** (1 / 0.495)
        return 1 + self.run_sd / 4 * draws[1] - (self.depth + self.run_sd * draws[0]) * u ** (0.495 + 0.005 * draws[2])

    def for_run(self, seed: tuple[int, ...]) -> LevelReader:
        if self.device_sd == 0:
            return self
        return replace(
            self, depth=1 + self.device_sd * float(np.random.default_rng(seed).standard_normal()), device_sd=0
        )


@pytest.fixture(scope="session")
def curve_reader() -> type[CurveReader]:
    return CurveReader


@pytest.fixture(scope="session")
def tiny_config() -> TrainingConfig:
    return TrainingConfig(
        shape=ShapeConfig(hidden=32, layers=1, heads=2, feed_forward=48),
        teacher=TeacherConfig(steps=250, lr=3e-3),
        stages=[
            StageConfig(name="activations", steps=20, lr=2e-3),
            StageConfig(name="all", steps=60, lr=4e-3, weights=True, states=True),
            StageConfig(name="hybrid", steps=40, lr=2e-3, weights=True, states=True, noise=1.0),
        ],
    )


@pytest.fixture(scope="session")
def calibration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the header of a calibration; its contents are the trainer's to carry, not to read."""
    path = tmp_path_factory.mktemp("calibration") / "chip.json"
    path.write_bytes(
        pretty_json({"header": new_header("calibration", origin="synthetic").model_dump(), "levels": [1, 0]})
    )
    return path


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig, calibration_file: Path
) -> TrainResult:
    return train("digits", CurveReader(), tmp_path_factory.mktemp("trained") / "net", tiny_config, calibration_file)
