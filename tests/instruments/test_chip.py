"""The synthetic chip: its currents against the law, its statistics against the table, its seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from otters_lab.core.protocols import DecaySource, Pulse
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.virtual.chip import SyntheticChip
from otters_lab.instruments.virtual.tables import ChipTable


def chip_of(bench: BenchFile, seed: int = 7, **changes: object) -> SyntheticChip:
    assert bench.virtual is not None
    assert bench.virtual.chip is not None
    return SyntheticChip(ChipTable.model_copy(bench.virtual.chip, update=changes), seed)


def pulse(device: int = 1, index: int = 0, elapsed_s: float = 0.0) -> Pulse:
    return Pulse(device, index, drive_V=3.0, width_s=0.2, elapsed_s=elapsed_s)


def test_it_is_a_decay_source_that_calls_itself_synthetic(shipped: BenchFile) -> None:
    chip = chip_of(shipped)
    assert isinstance(chip, DecaySource)
    assert chip.origin == "synthetic"
    assert chip.devices == (1, 2, 3, 4, 5, 6, 7, 8)


def test_dark_plateau_and_decay_follow_the_published_law(quiet: BenchFile) -> None:
    chip = chip_of(quiet)
    start_s = np.array([-0.5, -0.2, -0.1, 0.0, 1.0 - 1e-6, 1e9])
    current = chip.mean_current_A(pulse(), start_s, start_s + np.array([0.1, 0.1, 0.1, 1e-9, 1e-6, 1.0]))
    swing, dark = 8e-9, 20e-9
    assert current[0] == pytest.approx(dark, rel=1e-12)
    np.testing.assert_allclose(current[1:3], dark + 110.989 * swing, rtol=1e-12)  # the edge's own value
    assert current[3] == pytest.approx(dark + 110.989 * swing, abs=0.01 * swing)
    assert current[4] == pytest.approx(dark + 109.989 * swing, abs=1e-5 * swing)  # O = 0 at the window's end
    assert current[5] == pytest.approx(dark, abs=1e-3 * swing)  # the law's limit
    assert chip.dark_current_A(3) == dark


def test_an_aperture_across_an_edge_is_the_weighted_sum_of_its_parts(shipped: BenchFile) -> None:
    chip, given = chip_of(shipped), pulse(2, 5)

    def mean(start_s: float, stop_s: float) -> float:
        return float(chip.mean_current_A(given, np.array([start_s]), np.array([stop_s]))[0])

    # over the rising edge at -0.2 s, over the falling edge at 0, and over everything at once
    assert mean(-0.25, -0.15) == pytest.approx((mean(-0.25, -0.2) + mean(-0.2, -0.15)) / 2, rel=1e-13)
    assert mean(-0.03, 0.01) == pytest.approx(0.75 * mean(-0.03, 0) + 0.25 * mean(0, 0.01), rel=1e-13)
    pieces = [(-0.5, -0.2), (-0.2, 0.0), (0.0, 0.4), (0.4, 0.5)]
    total = sum(mean(a, b) * (b - a) for a, b in pieces)
    assert mean(-0.5, 0.5) == pytest.approx(total, rel=1e-12)


def test_a_pulse_always_gives_the_same_decay_whatever_came_between(shipped: BenchFile) -> None:
    one, other = chip_of(shipped), chip_of(shipped)
    first = one.decay(pulse(4, 11))
    for index in range(5):
        other.decay(pulse(2, index))
    assert other.decay(pulse(4, 11)) == first
    assert one.decay(pulse(4, 12)) != first
    assert one.decay(pulse(5, 11)) != first
    assert chip_of(shipped, seed=8).decay(pulse(4, 11)) != first


def test_run_to_run_spread_is_the_stated_one_and_uncorrelated(shipped: BenchFile) -> None:
    chip = chip_of(shipped, outliers=[])
    runs = [chip.decay(pulse(1, index)) for index in range(4000)]
    values = np.array([[run.D, run.O0, logit(run.beta)] for run in runs])
    sd = values.std(axis=0, ddof=1)
    np.testing.assert_allclose(sd, [0.02, 0.005, 0.02], rtol=0.05)  # four standard errors
    correlation = np.corrcoef(values.T)
    assert np.max(np.abs(correlation - np.eye(3))) < 0.07
    mean_D, mean_logit = chip.device_parameters(1)
    np.testing.assert_allclose(values.mean(axis=0), [mean_D, 1.0, mean_logit], atol=4 * 0.02 / np.sqrt(4000))


def test_device_to_device_spread_is_the_stated_one(shipped: BenchFile) -> None:
    chip = chip_of(shipped, devices=1000, outliers=[])
    drawn = np.array([chip.device_parameters(device) for device in chip.devices])
    np.testing.assert_allclose(drawn.std(axis=0, ddof=1), [0.05, 0.05], rtol=0.1)
    np.testing.assert_allclose(drawn.mean(axis=0), [1.0, logit(0.495)], atol=0.007)


def test_the_drop_drifts_with_the_time_the_bench_is_on(quiet: BenchFile) -> None:
    chip = chip_of(quiet, drift=0.014 / 3600)
    drops = [chip.decay(pulse(elapsed_s=elapsed_s)).D for elapsed_s in (0.0, 3600.0)]
    assert drops == pytest.approx([1.0, 1.014], rel=1e-12)


def test_the_two_stated_outliers_stand_out(shipped: BenchFile) -> None:
    chip, without = chip_of(shipped), chip_of(shipped, outliers=[])
    spoilt, sound = chip.decay(pulse(3, 17)), without.decay(pulse(3, 17))
    np.testing.assert_allclose([spoilt.D / sound.D, spoilt.O0 - sound.O0], [0.75, 0.03], rtol=1e-9)
    assert chip.decay(pulse(3, 16)) == without.decay(pulse(3, 16))


def test_its_description_holds_every_true_number(shipped: BenchFile) -> None:
    chip = chip_of(shipped)
    told = chip.describe()
    assert told["chip"] == "synthetic"
    assert told["edge_current_A"] - told["dark_current_A"] == pytest.approx(110.989 * told["swing_A"])
    assert told["tau_s"] * np.log(110.989 / 109.989) ** (1 / 0.495) == pytest.approx(1.0, rel=1e-9)
    mean_D, mean_logit = chip.device_parameters(5)
    assert told["device_D"]["5"] == mean_D
    assert told["device_beta"]["5"] == pytest.approx(float(expit(mean_logit)))
