"""Each law against what it must be: its own derivatives, the integral over an aperture, the published curve."""

import numpy as np
import pytest
from scipy.integrate import quad

from otters_lab.calibration.aperture import seen_by_meter
from otters_lab.calibration.laws import PublishedFit, averaged_drop
from otters_lab.calibration.trace_laws import LAWS

T = np.array([0.0, 3e-4, 2e-3, 0.05, 0.4, 1.0])
CASES = [
    ("exp", [8.0, 0.2, -1.0]),
    ("exp", [-8.0, 3e-4, 2.0]),
    ("biexp", [3.0, 0.01, -2.0, 0.7, 5.0]),
    ("kww", [2.0, 0.1, 0.45, 1.0]),
    ("kww", [-2.0, 0.3, 1.2, 0.0]),
    ("power", [1.0, -0.7, 0.4, 0.9]),
    ("unified", [1.0, 0.8, 0.495, 1 / 110.989, 1.0]),
    ("unified", [1.0, -0.8, 0.3, 0.0, 1.0]),
    ("unified", [1.0, 0.8, 0.6, 9e-5, 1.0]),
    ("unified", [1.0, 0.8, 0.6, 1.1e-4, 1.0]),
    ("unified", [1.0, 0.8, 0.6, -0.4, 0.8]),
    ("unified", [1.0, 0.8, 0.6, 0.97, 0.8]),
]


def differences(function, theta, step=1e-6):
    """Central differences by each parameter, as columns."""
    columns = []
    for i, value in enumerate(theta):
        h = step * max(abs(value), 1e-2)
        up, down = (np.array([*theta[:i], value + sign * h, *theta[i + 1 :]]) for sign in (1, -1))
        columns.append((function(up) - function(down)) / (2 * h))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("name", "theta"), CASES)
@pytest.mark.parametrize("aperture_s", [0.0, 5e-4])
def test_a_jacobian_is_the_derivative(name, theta, aperture_s):
    law = LAWS[name]
    seen = seen_by_meter(law, T, np.array(theta), aperture_s)
    numeric = differences(lambda p: seen_by_meter(law, T, p, aperture_s).value, theta)
    np.testing.assert_allclose(seen.jacobian, numeric, rtol=2e-6, atol=2e-8)


@pytest.mark.parametrize(("name", "theta"), CASES)
def test_the_slope_is_the_derivative_by_time_and_t0_is_its_negative(name, theta):
    law, t, h = LAWS[name], np.array([2e-3, 0.05, 0.4]), 1e-7
    for aperture_s in (0.0, 5e-4):
        seen = seen_by_meter(law, t, np.array(theta), aperture_s, 1e-4)
        up, down = (seen_by_meter(law, t, np.array(theta), aperture_s, 1e-4 + sign * h).value for sign in (1, -1))
        np.testing.assert_allclose(seen.slope, -(up - down) / (2 * h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "theta"), CASES)
@pytest.mark.parametrize("middle", [5e-4, 1.2e-3, 0.02, 0.3])
def test_what_the_meter_sees_is_the_integral_over_its_aperture(name, theta, middle):
    law, aperture = LAWS[name], 1e-3
    low, high = middle - aperture / 2, middle + aperture / 2
    at = lambda s: float(law.curve(np.array([s**4]), np.array(theta)).value[0]) * 4 * s**3  # noqa: E731
    exact = quad(at, low**0.25, high**0.25, epsabs=1e-15, epsrel=1e-13, limit=200)[0] / aperture
    mean = seen_by_meter(law, np.array([middle]), np.array(theta), aperture).value[0]
    # Exact in closed form; by quadrature, worst where an aperture begins at the edge with a bent beta.
    assert mean == pytest.approx(exact, rel=0, abs=1e-11 if law.mean else 2e-6 if low == 0 else 1e-8)


def test_an_aperture_across_the_edge_sees_the_lit_current_for_its_lit_part():
    law, theta = LAWS["exp"], np.array([8.0, 0.2, 1.0])
    seen = seen_by_meter(law, np.array([-1.0, 0.0, 0.25e-3]), theta, 1e-3)
    after = lambda length: 1.0 + 8.0 * 0.2 / length * (1 - np.exp(-length / 0.2))  # noqa: E731
    expected = [9.0, (9.0 + after(0.5e-3)) / 2, 0.25 * 9.0 + 0.75 * after(0.75e-3)]
    np.testing.assert_allclose(seen.value, expected, rtol=1e-12)


def test_it_agrees_with_the_batched_fits_own_averages():
    theta = np.array([0.0, -1.0, 0.495, 0.009, 1.0])
    t = np.array([1.5e-3, 0.01, 0.5])
    drop, _ = averaged_drop(t, 1e-3, 1.0, np.array([0.495]), 0.009)
    np.testing.assert_allclose(seen_by_meter(LAWS["unified"], t, theta, 1e-3).value, drop, rtol=1e-7)


def test_stretched_exponential_and_c_form_are_the_published_curve():
    published = PublishedFit()
    beta, c = published.shape()
    window = published.level_time(0.0)
    t = np.linspace(0, window, 50)
    kww = LAWS["kww"](t, A=published.I0, tau=published.tau, beta=beta, offset=published.I_offset)
    np.testing.assert_allclose(LAWS["unified"](t, y0=1.0, B=1.0, beta=beta, c=c, scale=window), kww, atol=1e-12)


@pytest.mark.parametrize("name", list(LAWS))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_start_guess_is_near_and_knows_the_sign(name, sign):
    truth = {"exp": [1.0, 0.3, 0.2], "biexp": [1.0, 0.02, 0.7, 0.5, 0.2], "kww": [1.0, 0.1, 0.5, 0.2],
             "power": [1.0, 0.9, 0.4, 1.0], "unified": [1.0, 0.9, 0.5, 0.7, 1.0]}[name]  # fmt: skip
    law, t = LAWS[name], (np.arange(500) + 0.5) / 500
    y = sign * law.curve(t, np.array(truth)).value
    start = law.guess(t, y)
    assert set(start) == set(law.names)
    off = law.curve(t, law.theta(start)).value - y
    assert np.sqrt(np.mean(off**2)) < 0.05 * np.ptp(y)


def test_every_parameter_has_a_unit_and_bounds_that_hold_its_guess():
    t = (np.arange(300) + 0.5) / 300
    for law in LAWS.values():
        start = law.guess(t, np.exp(-t))
        assert {parameter.unit for parameter in law.parameters} <= {"A", "s", "1"}
        assert all(parameter.low <= start[parameter.name] <= parameter.high for parameter in law.parameters), law.name
