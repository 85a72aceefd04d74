import numpy as np
import pytest

from otters_lab.calibration.noise import ReadNoise, estimate_noise


def pink(rng, n, count, interval, white, flicker):
    """White plus 1/f records made in the frequency domain, independently of the estimator's covariance."""
    f = np.fft.rfftfreq(n, interval)
    density = np.zeros_like(f)
    density[1:] = flicker**2 / f[1:]
    z = rng.normal(size=(count, len(f))) + 1j * rng.normal(size=(count, len(f)))
    return np.fft.irfft(z * np.sqrt(density * n / (4 * interval)), n, axis=1) + white * rng.normal(size=(count, n))


@pytest.mark.parametrize(("white", "flicker"), [(1.0, 0.0), (1.0, 0.5), (1.0, 1.0)])
def test_white_and_flicker_noise_come_out_of_short_detrended_segments(white, flicker):
    rng = np.random.default_rng(5)
    interval, n = 2e-3, 650
    records = pink(rng, n, 600, interval, white, flicker) + np.linspace(0, 3, n)
    segments = [record[:50] for record in records] + [record[50:150] for record in records]
    noise = estimate_noise(segments, interval, n * interval)
    assert noise.white_sd == pytest.approx(white, rel=0.03)
    assert noise.flicker == pytest.approx(flicker, rel=0.12, abs=0.12)


def test_the_covariance_is_that_of_simulated_records():
    rng = np.random.default_rng(6)
    interval, n = 2e-3, 128
    records = pink(rng, n, 40_000, interval, 0.3, 1.0)
    expected = ReadNoise(0.3, 1.0, interval, 0).covariance(np.arange(n) * interval, n * interval)
    found = np.cov(records[:, :40].T)
    assert np.mean(np.abs(found - expected[:40, :40])) < 0.04 * expected[0, 0]


def test_segments_too_short_to_tell_give_none():
    assert estimate_noise([np.zeros(10)], 1e-3, 1.0) is None


def test_a_noiseless_record_has_no_noise():
    noise = estimate_noise([np.linspace(0, 1, 40)], 1e-3, 1.0)
    assert noise.white_sd == pytest.approx(0.0, abs=1e-12)
