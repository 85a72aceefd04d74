"""One law on one trace: what comes out, what a user can build with it, and how it says no."""

import lmfit
import numpy as np
import pytest

from otters_lab.calibration.lawmodel import law_model
from otters_lab.calibration.rounding import pdg
from otters_lab.calibration.single import fit_law
from otters_lab.calibration.trace_laws import LAWS
from otters_lab.core.errors import InputError, RefusedError

T = (np.arange(400) + 0.5) / 400
NOISE_A = 4e-11


def decay(t, aperture_s=0.0, t0=0.0, A=8e-9, tau=0.1, beta=0.6, offset=9e-7):
    """A stretched exponential averaged on a fine grid, by nobody's quadrature."""
    fine = t[:, None] - t0 + aperture_s * ((np.arange(400) + 0.5) / 400 - 0.5)
    return (A * np.exp(-((np.maximum(fine, 0) / tau) ** beta)) + offset).mean(axis=1)


def test_errors_are_those_of_repeated_measurements():
    rng = np.random.default_rng(1)
    fits = [fit_law("kww", T, decay(T, 2e-3) + NOISE_A * rng.normal(size=400), aperture_s=2e-3) for _ in range(120)]
    assert {fit.status for fit in fits} == {"ok"}
    for name, truth in (("A", 8e-9), ("tau", 0.1), ("beta", 0.6), ("offset", 9e-7)):
        pulls = np.array([(fit.values[name] - truth) / fit.errors[name] for fit in fits])
        assert abs(pulls.mean()) < 4 / np.sqrt(120), name
        assert pulls.std() == pytest.approx(1, abs=4 / np.sqrt(240)), name


def test_an_edge_that_is_not_where_it_was_thought_widens_errors_instead_of_biasing():
    rng, edge_sd = np.random.default_rng(2), 4e-4
    free, held = [], []
    for _ in range(80):
        y = decay(T, 2e-3, edge_sd * rng.normal()) + NOISE_A / 4 * rng.normal(size=400)
        for pulls, known in ((free, edge_sd), (held, None)):
            fit = fit_law("kww", T, y, aperture_s=2e-3, edge_sd_s=known)
            pulls.append((fit.values["A"] - 8e-9) / fit.errors["A"])
    assert np.std(free) == pytest.approx(1, abs=4 / np.sqrt(160))
    assert np.std(held) > 1.5


def test_a_t0_the_trace_cannot_tell_keeps_its_prior():
    rng = np.random.default_rng(3)
    y = 8e-9 * np.exp(-T / 0.2) + NOISE_A * rng.normal(size=400)  # its shift in time is another amplitude
    fit = fit_law("exp", T, y, aperture_s=1e-3, edge_sd_s=1e-4)
    assert fit.errors["t0"] == pytest.approx(1e-4, rel=1e-3)
    assert abs(fit.values["t0"]) < 1e-6
    assert fit_law("exp", T, y, edge_sd_s=1e-9).errors["t0"] == 1e-9
    assert "t0" not in fit_law("exp", T, y).values


def test_known_noise_sets_the_errors():
    rng = np.random.default_rng(4)
    y = decay(T) + NOISE_A * rng.normal(size=400)
    one, two = (fit_law("kww", T, y, noise_sd=factor * NOISE_A) for factor in (1, 2))
    assert two.errors["tau"] == pytest.approx(2 * one.errors["tau"], rel=1e-6)
    assert fit_law("kww", T, y).errors["tau"] == pytest.approx(one.errors["tau"], rel=0.15)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_falling_and_rising_currents_are_the_same_fit(sign):
    y = decay(T, A=sign * 8e-9)
    fit = fit_law("kww", T, y)
    assert fit.status == "ok"
    assert fit.values["A"] == pytest.approx(sign * 8e-9, rel=1e-6)
    assert fit.values["tau"] == pytest.approx(0.1, rel=1e-6)


def test_profile_intervals_hold_the_truth_and_agree_with_errors_where_the_law_is_nearly_straight():
    rng = np.random.default_rng(5)
    fit = fit_law("kww", T, decay(T) + NOISE_A / 10 * rng.normal(size=400))
    intervals = fit.confidence_intervals(0.95, ["tau", "offset"])
    for name in ("tau", "offset"):
        low, high = intervals[name]
        assert (high - low) / 2 == pytest.approx(1.966 * fit.errors[name], rel=0.03), name  # t of 396 degrees
        assert low < fit.values[name] < high


def test_a_power_law_leaves_a_stretched_exponential_without_a_time_constant_and_it_says_so():
    rng = np.random.default_rng(6)
    fit = fit_law("kww", T, 9e-7 - 8e-9 * T**0.495 + NOISE_A * rng.normal(size=400))
    assert (fit.status, fit.because[:13]) == ("not identified", "tau ran away,")
    assert f"status: {fit.status}" in fit.report()
    with pytest.raises(RefusedError, match=fit.status):
        fit.confidence_intervals()


def test_noise_alone_identifies_no_amplitude():
    y = 9e-7 + NOISE_A * np.random.default_rng(7).normal(size=400)
    assert fit_law("biexp", T, y).status != "ok"


def test_a_parameter_at_its_bound_is_named():
    fit = fit_law("power", T, 1e-9 * (1 - T**2.5))
    assert (fit.status, fit.because, fit.at_bound) == ("at bound", "beta", ["beta"])


def test_a_law_is_an_lmfit_model_that_users_compose():
    rng = np.random.default_rng(8)
    y = np.exp(-((T / 0.1) ** 0.6)) + 0.3 * T + 2e-3 * rng.normal(size=400)
    model = law_model("kww", aperture_s=1e-3, prefix="fast_") + lmfit.models.LinearModel(prefix="drift_")
    parameters = model.make_params(fast_A=1, fast_tau=0.2, fast_beta=0.5, drift_slope=0, drift_intercept=0)
    parameters["fast_offset"].set(value=0, vary=False)
    result = model.fit(y, parameters, t=T, x=T)
    assert result.params["fast_tau"].value == pytest.approx(0.1, abs=4 * result.params["fast_tau"].stderr)
    assert result.params["drift_slope"].value == pytest.approx(0.3, abs=4 * result.params["drift_slope"].stderr)
    alone = law_model("exp")
    assert not alone.guess(np.exp(-T / 0.3), t=T)["t0"].vary
    assert alone.guess(np.exp(-T / 0.3), t=T)["tau"].value == pytest.approx(0.3, rel=0.5)


def test_an_unknown_law_and_too_few_samples_are_refused():
    with pytest.raises(InputError, match="no such law; found 'kvw'"):
        fit_law("kvw", T, T)
    with pytest.raises(InputError, match="too few samples for biexp; found 5"):
        fit_law(LAWS["biexp"], T[:5], T[:5])


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.827, 0.119, "0.83 +- 0.12"),  # the Particle Data Group's own examples
        (0.827, 0.367, "0.8 +- 0.4"),
        (8.02e-9, 1.13e-11, "(8.020 +- 0.011)e-9"),
        (12351.0, 96.2, "(1.235 +- 0.010)e+4"),
        (0.5, None, "0.5 (no standard error)"),
    ],
)
def test_numbers_are_rounded_by_the_rule_of_the_particle_data_group(value, error, shown):
    assert pdg(value, error) == shown
