"""A mode beyond the law reaches every sampler: levels drawn have the level table's covariance, bump and all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from otters_lab.calibration.file import read_calibration, write_calibration
from otters_lab.calibration.fit import fit_captures
from otters_lab.calibration.source import SampledDecays
from otters_lab.core.protocols import Pulse

SD = 0.03  # of the bump, in swings


@pytest.fixture(scope="module")
def calibration(chip, tmp_path_factory):
    """Of a chip whose runs have a bump at a sixth of the window, as a file gives it back."""
    capture = chip(chip.Truth(devices=4, repeats=40))
    score = np.random.default_rng(1).normal(size=(len(capture.table), 1))
    u = np.maximum(capture.time_s, 0.0)
    swing_A = np.ptp(capture.current_A[:, 90:].mean(axis=0))
    bumped = replace(capture, current_A=capture.current_A + SD * swing_A * score * (u / 0.15) * np.exp(1 - u / 0.15))
    path = tmp_path_factory.mktemp("modes") / "bump.json"
    write_calibration(path, fit_captures([bumped]))
    return read_calibration(path)


def test_the_bump_is_found(calibration):
    modes = calibration.device.modes
    assert modes is not None
    assert len(modes.modes) == 1


@pytest.mark.parametrize("kind", ["parametric", "empirical"])
def test_levels_drawn_have_the_tables_covariance(calibration, kind):
    model, table = calibration.device_model(), calibration.device.levels
    reader = model.reader(16, kind=kind)
    ideal = np.array(table.run_to_run_covariance)[:15, :15]
    blind = model.sensitivity(16)[:15, :3] @ model.run_to_run[:3, :3] @ model.sensitivity(16)[:15, :3].T
    away = np.abs(blind - ideal).max() / ideal.max()
    for draws in (
        reader.read(40_000, (1,)),
        reader.read_torch(40_000, torch.Generator().manual_seed(1)).numpy(),
    ):
        found = np.cov(draws[:, :15].T)
        # The table is linear in logit beta, runs are not: early levels differ by some per cent of their variance.
        np.testing.assert_allclose(np.diag(found), np.diag(ideal), rtol=0.12)
        assert np.abs(found - ideal).max() / ideal.max() < 0.05
    assert away > 0.1  # what leaving the mode out would do


def test_a_sampled_chip_has_the_bump_too(calibration):
    chip = SampledDecays(calibration, [1], seed=2)
    model, constants = calibration.device_model(), calibration.device.constants
    pulse = Pulse(1, 0, 5.0, width_s=0.2, elapsed_s=0.0)
    u = model.level_times(16)[1:15]
    current = chip.mean_current_A(pulse, u - 1e-7 * u, u + 1e-7 * u)
    value = (current - constants.I_end_A) / (constants.I_edge_A - constants.I_end_A)
    np.testing.assert_allclose(value, model.levels(chip.parameters(pulse)[None], 16)[0, 1:15], atol=1e-7)
    assert len(chip.parameters(pulse)) == 4
