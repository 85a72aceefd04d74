"""Certified answers: eight NIST problems through the same fit as a trace's laws. `-s` prints the digits."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from otters_lab.calibration.single import fit_law

_spec = importlib.util.spec_from_file_location("nist", Path(__file__).with_name("nist.py"))
nist = sys.modules["nist"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(nist)


def digits(found, certified):
    """Correct digits of the worst value, at most 11: certified values have that many."""
    off = np.abs(np.array(found) - certified) / np.abs(certified)
    return float(-np.log10(max(off.max(), 1e-11)))


def fitted(problem, which):
    return fit_law(problem.law, problem.x, problem.y, start=problem.start(which), max_evaluations=2000)


@pytest.mark.parametrize("problem", nist.PROBLEMS, ids=lambda problem: problem.law.name)
def test_certified_values_come_out_from_either_start(problem):
    for which in (1, 2):
        fit = fitted(problem, which)
        values = digits(list(fit.values.values()), problem.certified)
        errors = digits([fit.errors[name] for name in problem.law.names], problem.errors)
        print(f"{problem.law.name} start {which}: {fit.status}, values {values:.1f} digits, errors {errors:.1f}")
        assert fit.status == "ok" or which == 1
        if fit.status == "ok":
            assert values >= 5
            assert errors >= 5
            assert fit.rss == pytest.approx(problem.rss, rel=1e-9)


@pytest.mark.parametrize("problem", nist.PROBLEMS, ids=lambda problem: problem.law.name)
def test_the_typed_data_have_the_certified_sum_of_squares(problem):
    curve = problem.law.curve(problem.x, np.array(problem.certified))
    assert np.sum((problem.y - curve.value) ** 2) == pytest.approx(problem.rss, rel=1e-8)


@pytest.mark.parametrize("problem", nist.PROBLEMS, ids=lambda problem: problem.law.name)
def test_derivatives_made_by_hand_are_the_derivatives(problem):
    for theta in (problem.certified, problem.starts[1]):
        curve = problem.law.curve(problem.x, np.array(theta, dtype=complex))
        for i, value in enumerate(theta):
            shifted = np.array(theta, dtype=complex)
            shifted[i] += 1e-30j * max(abs(value), 1.0)
            step = problem.law.curve(problem.x, shifted).value.imag / (1e-30 * max(abs(value), 1.0))
            np.testing.assert_allclose(curve.jacobian[:, i].real, step, rtol=1e-9, atol=1e-12 * np.abs(step).max())
        slope = problem.law.curve(problem.x + 1e-30j, np.array(theta)).value.imag / 1e-30
        np.testing.assert_allclose(curve.slope.real, slope, rtol=1e-9, atol=1e-12 * np.abs(slope).max())


def test_a_search_cut_short_says_so():
    bennett = next(problem for problem in nist.PROBLEMS if problem.law.name == "Bennett5")
    fit = fit_law(bennett.law, bennett.x, bennett.y, start=bennett.start(1), max_evaluations=20)
    assert fit.status == "not converged"
    assert "20 evaluations" in fit.because
