from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otters_lab.core.files import pretty_json
from otters_lab.core.provenance import new_header
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.train import TrainResult, train


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
    tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig, calibration_file: Path, curve_reader: Any
) -> TrainResult:
    return train("digits", curve_reader(), tmp_path_factory.mktemp("trained") / "net", tiny_config, calibration_file)
