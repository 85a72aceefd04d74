"""Read noise: its size and its spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from otters_lab.instruments.virtual.noise import flicker_noise_A, flicker_rms_A, white_noise_sd_A


def test_white_noise_falls_with_the_root_of_the_aperture() -> None:
    assert white_noise_sd_A(2e-12, 1e-3) == pytest.approx(2e-12 * np.sqrt(500))
    assert white_noise_sd_A(2e-12, 4e-3) == pytest.approx(white_noise_sd_A(2e-12, 1e-3) / 2)


@pytest.mark.parametrize("n", [650, 651])
def test_flicker_noise_has_the_stated_density_at_every_frequency(n: int) -> None:
    rng = np.random.default_rng(1)
    interval_s, density = 2e-3, 3e-12
    records = np.array([flicker_noise_A(rng, n, density) for _ in range(3000)])
    frequency = np.fft.rfftfreq(n, interval_s)[1:]
    one_sided = 2 * interval_s / n * np.abs(np.fft.rfft(records, axis=1)[:, 1:]) ** 2
    ratio = one_sided.mean(axis=0) * frequency / density**2
    inner = ratio[: n // 2 - 1]  # the last line of an even record is one-sided in itself
    assert inner.mean() == pytest.approx(1.0, abs=0.01)
    low, high = inner[: inner.size // 8].mean(), inner[-inner.size // 8 :].mean()
    assert low / high == pytest.approx(1.0, abs=0.03)  # the exponent is 1: no slope is left


def test_flicker_noise_has_the_stated_root_mean_square() -> None:
    rng = np.random.default_rng(2)
    records = np.array([flicker_noise_A(rng, 650, 3e-12) for _ in range(3000)])
    assert np.sqrt(np.mean(records**2)) == pytest.approx(flicker_rms_A(3e-12, 650), rel=0.02)
