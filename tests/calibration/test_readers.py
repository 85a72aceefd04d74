"""Two samplers, one interface, numpy and torch: equal moments, tails kept, the first read delayed, noise on request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from otters_lab.calibration.file import read_calibration
from otters_lab.calibration.laws import logit_of
from otters_lab.calibration.model import DeviceModel
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.readers import shrunk
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.protocols import LevelReader
from otters_lab.ttfs.device import DeviceReader

REFERENCE = Path(__file__).parents[2] / "calibration" / "reference.json"
COV = np.array([[25e-6, 2e-5, 0.0], [2e-5, 4e-4, 1e-4], [0.0, 1e-4, 4e-4]])


def heavy_runs(n: int = 4000) -> np.ndarray:
    """Recorded runs with Student's tails, and estimation noise that makes their covariance too large."""
    rng = np.random.default_rng(1)
    tails = rng.standard_t(5, (n, 3)) / np.sqrt(5 / 3)
    runs = tails @ np.linalg.cholesky(COV).T + rng.normal(size=(n, 3)) * [0.004, 0.005, 0.01]
    return runs - runs.mean(axis=0)


def model(**more) -> DeviceModel:
    return DeviceModel(1.0, 1 / 110.989, logit_of(0.495), COV, np.diag([0.0, 0.05, 0.05]) ** 2, **more)


def test_shrunk_runs_have_the_deconvolved_covariance_and_their_own_tails():
    runs = heavy_runs()
    moved = shrunk(runs, COV)
    np.testing.assert_allclose(moved.T @ moved / len(moved), COV, rtol=1e-9, atol=1e-15)
    kurtosis = lambda x: np.mean(x**4, axis=0) / np.mean(x**2, axis=0) ** 2  # noqa: E731
    assert np.all(kurtosis(moved)[[1, 2]] > 4.0)  # a Gaussian has 3
    for column in range(3):  # it is the same run that is far out, before and after
        assert np.corrcoef(runs[:, column], moved[:, column])[0, 1] > 0.97


def test_what_is_not_resolved_is_not_drawn():
    known = COV.copy()
    known[0, :] = known[:, 0] = 0.0
    moved = shrunk(heavy_runs(), known)
    assert np.max(np.abs(moved[:, 0])) < 1e-9
    np.testing.assert_allclose(moved.T @ moved / len(moved), known, atol=1e-12)


def test_both_samplers_have_the_same_covariance_of_levels_and_only_one_has_tails():
    device = model(runs=heavy_runs())
    gauss, recorded = (device.reader(16, kind=kind) for kind in ("parametric", "empirical"))
    assert isinstance(recorded, LevelReader)
    assert isinstance(recorded, DeviceReader)
    a, b = gauss.read(40_000, (1,)), recorded.read(40_000, (1,))
    np.testing.assert_allclose(b.std(axis=0), a.std(axis=0), rtol=0.03)
    np.testing.assert_allclose(b.mean(axis=0), a.mean(axis=0), atol=3e-4)
    far = lambda x: np.mean(np.abs(x[:, 14] - x[:, 14].mean()) > 3.5 * x[:, 14].std())  # noqa: E731
    assert far(b) > 3 * far(a)
    np.testing.assert_array_equal(recorded.read(5, (3,)), recorded.read(5, (3,)))
    assert len(np.unique(b[:, 5])) <= len(device.runs)  # nothing but recorded runs


@pytest.mark.parametrize("kind", ["parametric", "empirical"])
@pytest.mark.parametrize("read_noise", [False, True])
def test_torch_draws_the_same_distribution(kind, read_noise):
    device = model(runs=heavy_runs(), noise=ReadNoise(0.005, 0.0004, 2e-3, 8))
    reader = device.reader(16, kind=kind, read_noise=read_noise, first_read_s=1e-3)
    a = reader.read(40_000, (2,))
    b = reader.read_torch(40_000, torch.Generator().manual_seed(2)).numpy()
    assert b.dtype == np.float64
    np.testing.assert_allclose(b.mean(axis=0), a.mean(axis=0), atol=5 * np.max(a.std(axis=0)) / 200)
    np.testing.assert_allclose(np.cov(b.T), np.cov(a.T), atol=0.05 * np.cov(a.T).max())
    again = reader.read_torch(40_000, torch.Generator().manual_seed(2)).numpy()
    np.testing.assert_array_equal(b, again)
    single = reader.read_torch(3, torch.Generator().manual_seed(2), dtype=torch.float32)
    assert single.dtype == torch.float32


def test_torch_s_law_is_numpy_s_bit_for_bit_enough():
    from otters_lab.calibration.torch_levels import unified

    for c in (0.0, 1 / 110.989, 0.6, -0.3):
        device = DeviceModel(1.0, c, 0.2, COV, COV)
        theta = device.mean + heavy_runs(50)
        ours = unified(torch.as_tensor(device.level_times(16)), torch.as_tensor(theta), c).numpy()
        np.testing.assert_allclose(ours, device.levels(theta, 16), rtol=0, atol=1e-13)


def test_the_first_read_is_late_by_what_is_stated():
    device = model()
    still = DeviceModel(1.0, device.c, device.logit_beta, 0 * COV, 0 * COV)
    late = still.reader(16, first_read_s=1e-3).read(1, (0,))[0]
    ideal = still.reader(16).read(1, (0,))[0]
    np.testing.assert_array_equal(late[1:], ideal[1:])
    # O(1 ms) of the published law in a window of 1 s, by its own formula
    tau = (-np.log(109.989 / 110.989)) ** (-1 / 0.495)
    assert late[0] == pytest.approx(110.989 * np.exp(-((1e-3 / tau) ** 0.495)) - 109.989, abs=1e-9)
    assert ideal[0] == 1.0
    with pytest.raises(InputError, match=r"between the light's edge and level 1; found '0\.01 s'"):
        device.reader(16, first_read_s=0.01)


def test_read_noise_is_there_only_on_request_and_is_the_meter_s():
    device = model(noise=ReadNoise(0.005, 0.0, 2e-3, 8))
    quiet, noisy = device.reader(16).read(30_000, (4,)), device.reader(16, read_noise=True).read(30_000, (4,))
    added = noisy.var(axis=0) - quiet.var(axis=0)
    np.testing.assert_allclose(added, 0.005**2, rtol=0.3)
    slow = model(noise=ReadNoise(0.0, 0.002, 2e-3, 8)).reader(16, read_noise=True)
    # 1/f noise is common to neighbouring levels
    assert np.corrcoef(slow.read_noise)[5, 6] > 0.3
    with pytest.raises(RefusedError, match="does not know its meter's read noise"):
        model().reader(16, read_noise=True)


def test_too_few_recorded_runs_are_refused():
    with pytest.raises(RefusedError, match="5 recorded runs are too few"):
        model(runs=heavy_runs()[:5]).reader(16, kind="empirical")
    with pytest.raises(RefusedError, match="no recorded runs"):
        model().reader(16, kind="empirical")


def test_a_calibration_brings_its_recorded_runs_without_storing_them_twice():
    calibration = read_calibration(REFERENCE)
    device = calibration.device_model()
    outliers = sum(row[calibration.traces.columns.index("outlier")] for row in calibration.traces.rows)
    assert device.runs.shape == (400 - outliers, 3)
    a = device.reader(16).read(20_000, (1,))
    b = device.reader(16, kind="empirical").read(20_000, (1,))
    np.testing.assert_allclose(b.std(axis=0), a.std(axis=0), rtol=0.04)
    # White noise of 0.5 % of the swing, as the bench file says
    assert device.noise.white_sd == pytest.approx(0.005, rel=0.1)


@pytest.mark.parametrize("ticks", [15, 16, 40, 240, 5000])
def test_levels_fall_on_a_uniform_clock_each_on_a_tick_of_its_own(ticks):
    device = model()
    u = device.level_times(16, ticks=ticks)
    at = u * ticks
    np.testing.assert_allclose(at, np.rint(at), atol=1e-9)
    assert np.all(np.diff(at) > 0.5)
    assert u[0] == 0
    assert u[-1] == 1
    if ticks == 5000:  # 21 ticks to the first level, and no further apart than half a tick from their own times
        np.testing.assert_allclose(u, device.level_times(16), atol=0.5001 / ticks)
    with pytest.raises(InputError, match="fewer ticks than levels"):
        device.level_times(16, ticks=14)


def test_a_converter_s_resolution_and_noise_are_those_asked_for_in_numpy_and_torch():
    device = model()
    plain = device.reader(16).read(3, (1,))
    coarse = device.reader(16, adc_bits=4).read(3, (1,))
    np.testing.assert_allclose(coarse * 15, np.rint(coarse * 15), atol=1e-9)
    np.testing.assert_allclose(coarse, np.clip(plain, 0, 1), atol=0.5 / 15 + 1e-12)
    torched = device.reader(16, adc_bits=4).read_torch(3, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(torched * 15, np.rint(torched * 15), atol=1e-9)
    still = DeviceModel(1.0, device.c, device.logit_beta, 0 * COV, 0 * COV)
    noisy = still.reader(16, adc_noise=0.01).read(20_000, (2,))
    np.testing.assert_allclose(np.cov(noisy.T), 1e-4 * np.eye(16), atol=5e-6)


def test_drift_moves_the_mean_by_its_hours_and_is_refused_where_unknown():
    drift = np.array([0.0, 0.01, 0.0])
    device = model(drift_per_h=drift)
    later = device.reader(16, drift_h=5.0)
    np.testing.assert_allclose(later.mean_levels(), device.levels(device.mean[None] + 5 * drift, 16)[0])
    assert later.read(4000, (3,)).mean(axis=0)[14] == pytest.approx(later.mean_levels()[14], abs=2e-3)
    with pytest.raises(RefusedError, match="no drift"):
        model().reader(16, drift_h=1.0)


def test_the_calibration_s_rooms_load_without_torch():
    script = "import sys, otters_lab.calibration.file, otters_lab.calibration.fit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
