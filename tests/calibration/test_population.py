import numpy as np
import pytest
from scipy.optimize import least_squares

from otters_lab.calibration.bulk import Decays, fit_bulk, jacobian
from otters_lab.calibration.population import deconvolve, describe_population


def test_bulk_and_scipy_reach_the_same_minimum():
    rng = np.random.default_rng(1)
    t = (np.arange(200) + 0.5) * 5e-3
    flat = Decays(t[None], np.zeros((6, 200)), np.ones((6, 200)), 1e-3, 1.0)
    theta = np.array([1.0, 1.0, 0.0]) + rng.normal(size=(6, 3)) * [0.01, 0.1, 0.2]
    y = jacobian(flat, theta, 0.3)[0] + 0.005 * rng.normal(size=(6, 200))
    decays = Decays(t[None], y, np.ones((6, 200)), 1e-3, 1.0)
    fit = fit_bulk(decays, 0.3)
    assert fit.converged.all()
    for row in range(6):
        one = decays.take(np.array([row]))
        theirs = least_squares(
            lambda p, one=one: (one.y - jacobian(one, p[None], 0.3)[0])[0], [1.0, 1.0, 0.3], xtol=1e-14
        )
        assert fit.rss[row] == pytest.approx(2 * theirs.cost, rel=1e-8)


def test_padding_does_not_change_a_fit():
    rng = np.random.default_rng(2)
    t = (np.arange(100) + 0.5) * 1e-2
    y = 1 - t**0.6 + 0.01 * rng.normal(size=100)
    plain = fit_bulk(Decays(t[None], y[None], np.ones((1, 100)), 0.0, 1.0), 0.0)
    padded = Decays(
        np.concatenate([t, np.ones(20)])[None], np.concatenate([y, 9e9 * np.ones(20)])[None],
        np.concatenate([np.ones(100), np.zeros(20)])[None], 0.0, 1.0,
    )  # fmt: skip
    np.testing.assert_allclose(fit_bulk(padded, 0.0).theta, plain.theta, rtol=1e-9)


def test_deconvolution_is_unbiased_and_its_intervals_cover():
    rng = np.random.default_rng(3)
    truth, noise = np.array([0.5, 2.0, 1.0]), np.diag([0.2, 1.0, 0.5]) ** 2
    found, covered = [], []
    for _ in range(300):
        device = np.repeat(np.arange(6), 20)
        theta = rng.normal(size=(6, 3))[device] * 3 + rng.normal(size=(120, 3)) * truth
        theta += rng.normal(size=(120, 3)) * np.sqrt(np.diag(noise))
        runs = describe_population(theta, device, np.arange(120.0), noise).run_to_run
        found.append([sd or np.nan for sd in runs.sd])
        covered.append([i is not None and i[0] <= t <= i[1] for i, t in zip(runs.interval, truth, strict=True)])
    np.testing.assert_allclose(np.nanmean(found, axis=0), truth, rtol=0.02)
    assert np.all(np.mean(covered, axis=0) > 0.91)  # 95 % nominal, 300 trials: sd 1.3 %


def test_where_there_is_no_spread_none_is_found_but_for_the_stated_error():
    rng = np.random.default_rng(4)
    device = np.repeat(np.arange(6), 20)
    found = 0
    for _ in range(200):
        population = describe_population(rng.normal(size=(120, 3)), device, np.arange(120.0), np.eye(3))
        found += sum(population.run_to_run.resolved) + sum(population.device_to_device.resolved)
    assert found / 1200 < 0.04  # 2.5 % nominal: the interval's lower end above 0 by chance


def test_noise_alone_is_not_taken_for_spread():
    spread = deconvolve(np.diag([1.05, 4.0]), np.diag([1.0, 1.0]), dof=50)
    assert spread.sd[0] is None
    assert spread.upper[0] > 0
    assert spread.sd[1] == pytest.approx(np.sqrt(3.0))
    assert spread.covariance[0, 0] == 0.0
