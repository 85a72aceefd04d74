import numpy as np
import pytest
from scipy.stats import chi2

from otters_lab.calibration.em import between_covariance, within_covariance
from otters_lab.calibration.intervals import effective_dof, variance_interval
from otters_lab.calibration.outliers import find_outliers


def test_with_a_known_noise_the_interval_is_the_chi_square_one():
    low, high = variance_interval(2.0, 0.5, 20)
    assert low == pytest.approx(2.0 * 20 / chi2.ppf(0.975, 20) - 0.5)
    assert high == pytest.approx(2.0 * 20 / chi2.ppf(0.025, 20) - 0.5)


def test_an_estimated_noise_widens_it_and_it_covers():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(4000):
        total, noise = 1.5 * rng.chisquare(7) / 7, 0.5 * rng.chisquare(12) / 12
        low, high = variance_interval(total, noise, 7, 12)
        held += low <= 1.0 <= high
    assert held / 4000 == pytest.approx(0.95, abs=0.015)


def heavy(rng, tail, count):
    return rng.standard_normal((count, 3)) * np.sqrt((tail - 2) / rng.chisquare(tail, count))[:, None]


def test_heavy_tails_cost_degrees_of_freedom():
    rng = np.random.default_rng(2)
    assert effective_dof(rng.standard_normal((2000, 3)), 1990) > 1500
    assert effective_dof(heavy(rng, 6, 2000), 1990) < 1300


def test_heavy_tailed_runs_are_kept_and_gross_outliers_are_not():
    rng = np.random.default_rng(3)
    device, elapsed = np.arange(1600) % 8, np.arange(1600.0)
    runs = heavy(rng, 4, 1600)
    found = find_outliers(runs, device, elapsed)
    assert found.tail <= 6
    assert found.out.mean() < 0.002
    gaussian = rng.standard_normal((1600, 3))
    gaussian[[5, 700]] += 8.0
    found = find_outliers(gaussian, device, elapsed)
    assert np.isinf(found.tail)
    assert set(np.flatnonzero(found.out)) == {5, 700}


def test_em_finds_covariances_seen_through_unequal_noise():
    rng = np.random.default_rng(4)
    R = np.array([[1.0, 0.5], [0.5, 2.0]])
    noise = np.stack([np.eye(2) * size for size in (0.1, 0.5, 2.0)])
    dof = np.array([4000.0, 3000.0, 2000.0])
    draws = [rng.multivariate_normal([0, 0], R + V, int(n)) for V, n in zip(noise, dof, strict=True)]
    scatter = np.stack([d.T @ d for d in draws])
    np.testing.assert_allclose(within_covariance(scatter, dof, noise, np.eye(2)), R, atol=0.1)
    means = np.stack([rng.multivariate_normal([3, -1], R + noise[i % 3]) for i in range(3000)])
    own = np.stack([noise[i % 3] for i in range(3000)])
    np.testing.assert_allclose(between_covariance(means, own, np.eye(2)), R, atol=0.2)


def test_em_corrects_for_the_mean_it_takes_off():
    rng = np.random.default_rng(5)
    found = [
        between_covariance(rng.standard_normal((4, 1)), np.full((4, 1, 1), 1e-6), np.eye(1))[0, 0] for _ in range(600)
    ]
    assert np.mean(found) == pytest.approx(1.0, abs=0.12)  # 0.75 without
