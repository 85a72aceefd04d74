import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from otters_lab.calibration.laws import (
    PublishedFit,
    averaged_drop,
    drop_from_progress,
    logit_of,
    progress_from_drop,
    unified,
    unified_level_times,
)

# From the published fit (Otters++, arXiv 2606.13016): t_k/t_15 for k = 1..15 where O(t_k) = (15-k)/15.
PUBLISHED_RATIOS = [0.00417210, 0.01693399, 0.0384382, 0.0687747, 0.10801, 0.15621, 0.21341, 0.27966, 0.35500, 0.43948,
                    0.53311, 0.63595, 0.74803, 0.86937, 1.0]  # fmt: skip


def test_published_level_times_follow_from_the_published_parameters():
    published = PublishedFit(I0=110.989, tau=1.3425, beta=0.495, I_offset=-109.989)
    times = published.level_times(16)
    assert times[15] == pytest.approx(1.000007e-4, rel=1e-5)
    # The first four are given to six digits and more, the rest to five decimals.
    np.testing.assert_allclose(times[1:5] / times[15], PUBLISHED_RATIOS[:4], rtol=1e-5)
    np.testing.assert_allclose(times[1:] / times[15], PUBLISHED_RATIOS, rtol=0, atol=6e-6)


def test_the_unified_law_gives_the_same_level_times_in_closed_form():
    published = PublishedFit()
    beta, c = published.shape()
    times = published.level_times(16)
    np.testing.assert_allclose(unified_level_times(logit_of(beta), c, 16), times / times[15], rtol=1e-12)


def test_the_unified_law_is_the_published_stretched_exponential_on_its_window():
    published = PublishedFit()
    beta, c = published.shape()
    u = np.linspace(0, 1, 201)
    t = u * published.level_time(0.0)
    kww = published.I0 * np.exp(-((t / published.tau) ** published.beta)) + published.I_offset
    np.testing.assert_allclose(unified(u, 1.0, 1.0, logit_of(beta), c), kww, rtol=0, atol=1e-12)


def test_on_the_window_the_published_fit_is_a_power_law_to_within_the_published_error():
    published = PublishedFit()
    t = published.level_times(16)
    values = np.arange(15, -1, -1) / 15
    assert round(float(np.max(np.abs(1 - 95.50 * t**0.495 - values))), 4) == 1.1e-3


@given(st.floats(-0.9, 0.99), st.floats(0, 1))
def test_progress_and_drop_invert_each_other(c, x):
    assert progress_from_drop(drop_from_progress(np.array(x), c), c) == pytest.approx(x, abs=1e-9)


@given(st.floats(0, 1))
def test_the_law_is_continuous_through_c_equal_to_zero(x):
    at_zero = drop_from_progress(np.array(x), 0.0)
    for c in (1e-9, -1e-9, 1e-6, -1e-6):
        assert drop_from_progress(np.array(x), c) == pytest.approx(at_zero, abs=abs(c))


@pytest.mark.parametrize("c", [-0.3, 0.0, 0.009, 0.6])
@pytest.mark.parametrize("middle", [0.0005, 0.0015, 0.3])
def test_an_aperture_mean_is_the_integral_of_the_law(c, middle):
    beta, aperture = 0.495, 0.001
    mean, slope = averaged_drop(np.array([middle]), aperture, 1.0, np.array([beta]), c)
    low, high = middle - aperture / 2, middle + aperture / 2
    exact = quad(lambda t: float(drop_from_progress(np.array(t**beta), c)), low, high, epsabs=1e-14)[0] / aperture
    assert mean[0] == pytest.approx(exact, rel=0, abs=2e-5 if low == 0 else 1e-9)
    step = 1e-6
    logits = logit_of(beta) + np.array([step, -step])
    up, down = (
        averaged_drop(np.array([middle]), aperture, 1.0, 1 / (1 + np.exp(-np.array([z]))), c)[0][0] for z in logits
    )
    assert slope[0] == pytest.approx((up - down) / (2 * step), rel=1e-6)
