"""Readings whitened by their noise: the best fit there is, and the errors it really has."""

import numpy as np
import pytest

from otters_lab.calibration.bulk import Decays, SharedC, fit_bulk, jacobian
from otters_lab.calibration.modes import find_modes
from otters_lab.calibration.noise import ReadNoise, noise_of_residuals
from otters_lab.calibration.refine import refine

TRACES, SAMPLES, C = 800, 200, 0.01
T = (np.arange(SAMPLES) + 0.5) / SAMPLES


def decays_with(noise, edge_s=0.0, extra=None, seed=0, samples=SAMPLES):
    """Decays of one theta under correlated noise, their edge late by edge_s (sd)."""
    rng = np.random.default_rng(seed)
    t = (np.arange(samples) + 0.5) / samples
    theta = np.array([1.0, 1.0, 0.0]) + rng.normal(size=(TRACES, 3)) * [0.005, 0.02, 0.02]
    flat = Decays(t[None], np.zeros((TRACES, samples)), np.ones((TRACES, samples)), 0.2 / samples, 1.0)
    late = edge_s * rng.normal(size=(TRACES, 1))
    y = jacobian(Decays(t[None] - late, flat.y, flat.used, flat.aperture_s, 1.0), theta, C)[0]
    y += rng.normal(size=y.shape) @ np.linalg.cholesky(noise.covariance(t, 1.5)).T
    if extra is not None:
        y += extra(t) * rng.normal(size=(TRACES, 1))
    return theta, Decays(t[None], y, flat.used, flat.aperture_s, 1.0)


def refined_of(decays, noise, edge_s=0.0):
    shared = SharedC(C, None, fit_bulk(decays, C))
    edges = np.full(TRACES, edge_s)
    return shared, refine(shared, decays, noise, 1.5, edges, np.arange(TRACES) % 8, free_c=False)


NOISE = ReadNoise(0.005, 0.002, 1 / SAMPLES, 0)


@pytest.mark.parametrize("edge_s", [0.0, 6e-4])
def test_errors_are_as_large_as_stated_and_no_larger_than_those_of_least_squares(edge_s):
    theta, decays = decays_with(NOISE, edge_s)
    shared, refined = refined_of(decays, NOISE, edge_s)
    z = (refined.theta - theta) / np.sqrt(np.einsum("nii->ni", refined.estimation))
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=4 / np.sqrt(2 * TRACES))
    best, plain = np.std(refined.theta - theta, axis=0), np.std(shared.fit.theta - theta, axis=0)
    assert np.all(best < plain)
    if edge_s:  # the early readings, which the edge moves most, count less
        assert best[0] < 0.95 * plain[0]


def test_long_records_are_averaged_and_their_errors_stay_right():
    noise = ReadNoise(0.02, 0.002, 1 / 1500, 0)
    theta, decays = decays_with(noise, samples=1500)
    _, refined = refined_of(decays, noise)
    z = (refined.theta - theta) / np.sqrt(np.einsum("nii->ni", refined.estimation))
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=0.12)


def modes_of(refined, decays):
    device, elapsed = np.arange(TRACES) % 8, np.arange(TRACES, dtype=float)
    return find_modes(refined, decays, NOISE, 1.5, device, elapsed, np.arange(TRACES))


def test_read_noise_alone_makes_no_mode_but_in_one_of_a_hundred_chips():
    found = 0
    for seed in range(12):
        _, decays = decays_with(NOISE, seed=seed)
        found += modes_of(refined_of(decays, NOISE)[1], decays).count
    assert found <= 1  # two of twelve by chance: 0.6 %


def test_a_bump_that_runs_share_is_found_with_its_curve_and_size():
    bump = lambda t: 0.012 * t / 0.15 * np.exp(1 - t / 0.15)  # noqa: E731
    _, decays = decays_with(NOISE, extra=bump)
    _, refined = refined_of(decays, NOISE)
    modes = modes_of(refined, decays)
    assert modes.count == 1
    assert modes.value > modes.limit
    curve = modes.curves.at(T, 0.0, C, 1.0)[0]
    J = jacobian(Decays(T[None], decays.y[:1], decays.used[:1], decays.aperture_s, 1.0), np.array([[1, 1, 0.0]]), C)[1][
        0
    ]
    beyond = bump(T) - J @ np.linalg.lstsq(J, bump(T), rcond=None)[0]
    curve_beyond = curve - J @ np.linalg.lstsq(J, curve, rcond=None)[0]
    assert abs(np.corrcoef(curve_beyond, beyond)[0, 1]) > 0.97
    assert np.std(curve_beyond) == pytest.approx(np.std(beyond), rel=0.15)


def test_noise_comes_out_of_residuals_of_which_the_fit_ate_its_part():
    noise = ReadNoise(0.005, 0.004, 1 / SAMPLES, 0)
    _, decays = decays_with(noise)
    fit = fit_bulk(decays, C)
    model, _ = jacobian(decays, fit.theta, C)
    J = jacobian(decays.take(np.array([0])), np.median(fit.theta, axis=0)[None], C)[1][0]
    found = noise_of_residuals(decays.y - model, J, 1 / SAMPLES, 1.5)
    assert found.white_sd == pytest.approx(0.005, rel=0.02)
    assert found.flicker == pytest.approx(0.004, rel=0.08)
