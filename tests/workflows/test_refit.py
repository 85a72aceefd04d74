"""A trained network meets another chip: what is read at old times, what re-timing and adapting give back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otters_lab.calibration.file import Calibration, read_calibration, write_calibration
from otters_lab.training.checkpoint import load_checkpoint
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.refit import ADAPTED, OLD_CHIP, OLD_TIMES, RETIMED
from otters_lab.training.train import train
from otters_lab.ttfs.plain_noise import PlainNoise
from otters_lab.workflows.networks import at_old_times, refit_checkpoint

ROOT = Path(__file__).parents[2]
CALIBRATION = ROOT / "calibration" / "reference.json"


@pytest.fixture(scope="module")
def old() -> Calibration:
    return read_calibration(CALIBRATION)


def other(old: Calibration, drop: float) -> Calibration:
    """A chip whose current falls `drop` times as far over the same window, from the same edge."""
    assert old.device is not None
    constants = old.device.constants
    end = constants.I_edge_A - drop * (constants.I_edge_A - constants.I_end_A)
    device = old.device.model_copy(update={"constants": constants.model_copy(update={"I_end_A": end})})
    return old.model_copy(update={"device": device})


def test_the_same_chip_at_old_times_is_the_chip_itself(old: Calibration) -> None:
    reader = at_old_times(old, old, 16)
    plain = old.device_model().reader(16, devices=True)
    np.testing.assert_allclose(reader.mean_levels(), plain.mean_levels(), atol=1e-12)
    np.testing.assert_allclose(reader.run_modes(), plain.run_modes(), atol=1e-9)
    np.testing.assert_allclose(reader.device_modes(), plain.device_modes(), atol=1e-9)


def test_a_chip_that_falls_further_bends_the_old_levels_by_that_much(old: Calibration) -> None:
    found = at_old_times(old, other(old, 1.1), 16).mean_levels()
    value = old.device_model().reader(16).mean_levels()
    np.testing.assert_allclose(found, value - 0.1 * (1 - value), atol=1e-9)
    sd = old.device_model().reader(16).run_modes()
    away = at_old_times(old, other(old, 1.1), 16).run_modes()
    np.testing.assert_allclose(np.linalg.norm(away, axis=0), 1.1 * np.linalg.norm(sd, axis=0), rtol=1e-6)


def test_a_refit_reports_four_scores_and_leaves_a_checkpoint_of_the_new_chip(old: Calibration, tmp_path: Path) -> None:
    config = TrainingConfig(
        shape=ShapeConfig(hidden=32, layers=1, heads=2, feed_forward=48),
        teacher=TeacherConfig(steps=250, lr=3e-3),
        stages=[StageConfig(name="all", steps=80, lr=4e-3, weights=True, states=True)],
    )
    start = train("digits", PlainNoise("curve", 0.05, 16), tmp_path / "net", config, CALIBRATION).folder
    bent = tmp_path / "bent.json"
    write_calibration(bent, other(old, 1.6))
    result = refit_checkpoint(start, bent, tmp_path / "refit", steps=20, runs=2)
    assert list(result.scores) == [OLD_CHIP, OLD_TIMES, RETIMED, ADAPTED]
    assert result.scores[OLD_TIMES].mean < result.scores[RETIMED].mean - 0.05
    assert result.gain == result.scores[ADAPTED].mean - result.scores[RETIMED].mean
    assert result.gain > -0.1
    found = load_checkpoint(tmp_path / "refit")
    assert found.calibration == bent.read_bytes()
    assert [ref.role for ref in found.header.inputs] == ["checkpoint", "calibration"]
    before = load_checkpoint(start).student.state_dict()
    for name, tensor in found.student.state_dict().items():
        assert name.endswith((".alpha", ".scale")) or tensor.equal(before[name]), f"{name} is no scale and has moved"
    assert replace(found, sites=[]).section.task == "digits"
