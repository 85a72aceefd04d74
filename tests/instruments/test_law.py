"""The decay law: the published fit, its window, and exact aperture means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from otters_lab.instruments.virtual.law import Decay, Kww

PUBLISHED = Kww(I0=110.989, tau=1.3425, beta=0.495, I_offset=-109.989)


def test_the_window_of_the_published_fit_is_a_ten_thousandth_of_taus_unit() -> None:
    assert PUBLISHED.t_zero == pytest.approx(1.000007e-4, rel=1e-6)
    assert PUBLISHED.c == pytest.approx(1 / 110.989, rel=1e-12)


def test_the_c_form_is_the_stretched_exponential_when_nothing_varies() -> None:
    window_s = 1.0
    tau_s = PUBLISHED.tau_for_window(window_s)
    t_s = np.concatenate([[0.0], np.geomspace(1e-9, 1e4, 400)])
    kww = 1 + PUBLISHED.I0 * np.expm1(-((t_s / tau_s) ** PUBLISHED.beta))
    decay = Decay(O0=1.0, D=1.0, beta=PUBLISHED.beta, c=PUBLISHED.c, window_s=window_s)
    np.testing.assert_allclose(decay.at(t_s), kww, rtol=1e-9, atol=1e-9)


def test_the_level_times_of_the_published_fit_are_reproduced() -> None:
    decay = Decay(O0=1.0, D=1.0, beta=PUBLISHED.beta, c=PUBLISHED.c, window_s=1.0)
    level_times = np.array([0.00417210, 0.01693399, 0.0384382, 0.0687747])
    np.testing.assert_allclose(decay.at(level_times), (15 - np.arange(1, 5)) / 15, atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(
    start_s=st.floats(0, 3),
    length_s=st.floats(1e-4, 1),
    O0=st.floats(0.9, 1.1),
    D=st.floats(0.5, 1.5),
    beta=st.floats(0.2, 0.95),
    window_s=st.floats(0.1, 10),
)
def test_aperture_means_equal_direct_quadrature(
    start_s: float, length_s: float, O0: float, D: float, beta: float, window_s: float
) -> None:
    decay = Decay(O0, D, beta, PUBLISHED.c, window_s)
    # Substituting t = s**(1/beta) makes the integrand smooth at 0.
    low, high = start_s**beta, (start_s + length_s) ** beta
    direct, _ = quad(
        lambda s: float(decay.at(np.float64(s ** (1 / beta)))) * s ** (1 / beta - 1) / beta, low, high, epsabs=1e-13
    )
    exact = np.diff(decay.integral(np.array([start_s, start_s + length_s])))[0]
    assert exact / length_s == pytest.approx(direct / length_s, abs=2e-8)


def test_the_curve_falls_by_D_over_the_window() -> None:
    decay = Decay(O0=1.02, D=0.9, beta=0.4, c=PUBLISHED.c, window_s=2.5)
    assert float(decay.at(np.float64(0.0))) == 1.02
    assert float(decay.at(np.float64(2.5))) == pytest.approx(1.02 - 0.9, abs=1e-14)
