"""A calibration sampled as a chip: its currents are the law's, its draws have the stated covariances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit

from otters_lab.calibration.file import Calibration, read_calibration
from otters_lab.calibration.laws import unified
from otters_lab.calibration.source import SampledDecays
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import DecaySource, Pulse

REFERENCE = Path(__file__).resolve().parents[2] / "calibration" / "reference.json"


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return read_calibration(REFERENCE)


def pulse(device: int = 1, index: int = 0, drive_V: float = 5.0) -> Pulse:
    return Pulse(device, index, drive_V, width_s=0.2, elapsed_s=0.0)


def test_currents_are_the_mean_of_the_law_over_each_aperture(calibration: Calibration) -> None:
    decays = SampledDecays(calibration, range(1, 9), seed=3)
    assert isinstance(decays, DecaySource)
    assert decays.origin == "synthetic"
    assert calibration.device is not None
    constants, c = calibration.device.constants, calibration.device.law.c
    swing = constants.I_edge_A - constants.I_end_A
    O0, D, logit_beta = decays.parameters(pulse(2, 5))
    begin, end = np.array([-0.5, -0.1, 0.0, 1e-3, 0.3]), np.array([-0.4, -0.05, 1e-3, 2e-3, 0.9])
    got = decays.mean_current_A(pulse(2, 5), begin, end)
    assert got[0] == constants.I_dark_A
    assert got[1] == pytest.approx(constants.I_end_A + swing * O0, rel=1e-12)
    for i in (2, 3, 4):
        # in s = sqrt(t), where the slope at the edge is finite
        curve = lambda s: 2 * s * float(unified(np.array(s * s), O0, D, logit_beta, c))  # noqa: E731
        mean = quad(curve, begin[i] ** 0.5, end[i] ** 0.5, epsabs=1e-13, epsrel=1e-12)[0] / (end[i] - begin[i])
        assert got[i] == pytest.approx(constants.I_end_A + swing * mean, abs=1e-7 * swing)
    assert 0 < expit(logit_beta) < 1
    across = decays.mean_current_A(pulse(2, 5), np.array([-1e-3]), np.array([1e-3]))[0]
    lit = constants.I_end_A + swing * O0
    assert across == pytest.approx((lit + got[2]) / 2, rel=1e-12)


def test_draws_have_the_calibrations_covariances(calibration: Calibration) -> None:
    model = calibration.device_model()
    one = SampledDecays(calibration, range(1, 3001), seed=0)
    runs = np.array([one.parameters(pulse(1, index)) for index in range(4000)])
    np.testing.assert_allclose(np.cov(runs.T), model.run_to_run, atol=0.1 * model.run_to_run.max())
    devices = np.array([one.parameters(pulse(device, 0)) for device in one.devices])
    both = model.run_to_run + model.device_to_device
    np.testing.assert_allclose(np.cov(devices.T), both, atol=0.1 * both.max())


def test_a_pulse_always_gives_the_same_decay(calibration: Calibration) -> None:
    one, other = (SampledDecays(calibration, (1, 2), seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.parameters(pulse(2, 9)), other.parameters(pulse(2, 9)))
    assert np.any(one.parameters(pulse(2, 9)) != one.parameters(pulse(2, 10)))


def test_another_drive_than_the_calibrated_one_is_refused(calibration: Calibration) -> None:
    with pytest.raises(InputError, match=r"not measured at this drive; found 3\.0, expected 5"):
        SampledDecays(calibration, (1,), seed=0).parameters(pulse(drive_V=3.0))
