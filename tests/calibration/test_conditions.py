"""A sweep over settings: a device model at each, one curvature, and what lies between with its uncertainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otters_lab.calibration.bulk import BulkFit, SharedC
from otters_lab.calibration.curvature import differ
from otters_lab.calibration.file import read_calibration, write_calibration
from otters_lab.calibration.fit import fit_captures
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.instruments.benchfile import load_bench
from otters_lab.instruments.virtual.chip import ROOM_K
from otters_lab.measurements.capture import load_capture
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.workflows.sweeping import sweep_bench

PER_KELVIN = 0.004
RECIPE = """
devices = "1-4"
repeats = 10
window = "100 ms"
light = { drive = "5 V", width = "20 ms" }
bias = { voltage = "100 mV" }
temperature = { setpoint = ["295 K", "305 K", "320 K", "340 K"] }
sampling = { dark = "40 ms", decay = "100 ms", interval = "1 ms", aperture = "200 us", range = "1 uA" }
order = { seed = 1 }
recovery = { dark_time = "500 ms" }
"""


@pytest.fixture(scope="module")
def two_drives(chip):
    return fit_captures([chip(chip.Truth(devices=3, repeats=8), drives=(4.0, 5.0))])


@pytest.fixture(scope="module")
def calibration(root, tmp_path_factory):
    """The shipped bench with stage and gate, its chip without memory, swept over four temperatures and fitted."""
    folder = tmp_path_factory.mktemp("temperatures")
    text = (root / "instruments" / "conditions.toml").read_text()
    for found, replaced in (("memory = true", "memory = false"), ('gate_reset = "5 V"\n', "")):
        assert found in text
        text = text.replace(found, replaced)
    (folder / "bench.toml").write_text(text)
    (folder / "recipe.toml").write_text(RECIPE)
    capture = folder / "temperatures.h5"
    sweep_bench(
        Plan(load_recipe(folder / "recipe.toml")), load_bench(folder / "bench.toml"), chip="A1", capture=capture
    )
    return write_calibration(folder / "temperatures.json", fit_captures([load_capture(capture)]))


def test_the_swing_follows_the_temperature_as_the_chip_was_made(calibration):
    points = calibration.conditions
    T = np.array([point.settings["temperature"] for point in points])
    swing = np.array([calibration.condition(temperature=t).values["swing_A"] for t in T])
    truth = 1 + PER_KELVIN * (T - ROOM_K)
    # The same devices at each: their spread cancels in the ratio, 40 runs of 2 % stay, twice.
    np.testing.assert_allclose(swing / swing[0], truth / truth[0], atol=4 * 0.02 * (2 / 40) ** 0.5)
    for point in points:
        assert point.traces == 40
        assert point.device.run_to_run.interval["D"][0] < 0.02 < point.device.run_to_run.interval["D"][1]


def test_one_curvature_serves_all_temperatures(calibration):
    assert len({point.device.law.c for point in calibration.conditions}) == 1
    law = calibration.conditions[0].device.law
    assert abs(law.c - 1 / 110.989) < 5 * law.c_sd


def test_between_two_temperatures_the_truth_lies_within_the_stated_uncertainty(calibration):
    low = calibration.condition(temperature=305.0)
    for kelvin in (300.0, 312.0, 331.0):
        found = calibration.condition(temperature=kelvin)
        assert (found.measured, found.along, found.curved) == (False, "temperature", True)
        ratio = (1 + PER_KELVIN * (kelvin - ROOM_K)) / (1 + PER_KELVIN * (305.0 - ROOM_K))
        # The devices are those of 305 K, so the ratio is known far better than either swing.
        assert found.values["swing_A"] / low.values["swing_A"] == pytest.approx(ratio, abs=0.015)
        assert 0.005 < found.sd["swing_A"] / found.values["swing_A"] < 0.08
        assert found.values["run_to_run.D"] == pytest.approx(0.02, abs=3 * found.sd["run_to_run.D"])


def test_a_device_model_comes_from_a_condition_and_survives_the_file(calibration, tmp_path):
    path = tmp_path / "c.json"
    write_calibration(path, calibration)
    read = read_calibration(path)
    model = read.at(temperature=310.0)
    neighbours = [read.at(temperature=t) for t in (305.0, 320.0)]
    np.testing.assert_allclose(
        model.run_to_run, (2 * neighbours[0].run_to_run + neighbours[1].run_to_run) / 3, atol=1e-12
    )
    assert np.all(np.linalg.eigvalsh(model.run_to_run) >= -1e-12)
    table = model.reader(16).read(5000, (1,))
    assert table[:, 14].std() == pytest.approx(0.02, rel=0.25)
    with pytest.raises(RefusedError, match="no recorded runs"):
        model.reader(16, kind="empirical")
    with pytest.raises(RefusedError, match="several settings; take one of them"):
        read.device_model()


def test_nothing_is_extrapolated_or_guessed(calibration):
    with pytest.raises(InputError, match=r"nothing is extrapolated; found 290\.0, expected 295 to 340"):
        calibration.at(temperature=290.0)
    with pytest.raises(InputError, match="temperature was varied and is not given"):
        calibration.at(drive=5.0)
    with pytest.raises(InputError, match="irradiance was not varied"):
        calibration.at(irradiance=1.0, temperature=300.0)
    with pytest.raises(InputError, match="drive lies outside"):
        calibration.at(drive=4.0, temperature=300.0)


def test_its_gates_name_the_worst_setting(calibration):
    names = [gate.name for gate in calibration.gates]
    assert len(set(names)) == len(names)
    assert all("worst setting: " in gate.about for gate in calibration.gates)
    assert all("temperature" in gate.about for gate in calibration.gates)


def test_two_settings_are_joined_by_a_straight_line(chip, two_drives):
    middle = two_drives.condition(drive=4.5)
    ends = [two_drives.condition(drive=drive) for drive in (4.0, 5.0)]
    assert not middle.curved
    for name in ("I_edge_A", "swing_A", "logit_beta"):
        assert middle.values[name] == pytest.approx(sum(end.values[name] for end in ends) / 2, rel=1e-12)
        assert middle.sd[name] == pytest.approx(sum(end.sd[name] for end in ends) / 2, rel=1e-12)
    one = fit_captures([chip(chip.Truth(devices=3, repeats=8), drives=(4.0, 5.0))], point=1)
    assert one.conditions is None
    with pytest.raises(RefusedError, match="of one setting"):
        one.at(drive=4.5)


def test_a_spread_that_one_neighbour_cannot_resolve_stays_null(two_drives):
    first = two_drives.conditions[0]
    spread = first.device.run_to_run
    unknown = [[None if 1 in (i, j) else v for j, v in enumerate(row)] for i, row in enumerate(spread.covariance)]
    nothing = {"sd": {**spread.sd, "D": None}, "interval": {**spread.interval, "D": None}, "covariance": unknown}
    blind = spread.model_copy(update=nothing)
    device = first.device.model_copy(update={"run_to_run": blind})
    changed = two_drives.model_copy(
        update={"conditions": [first.model_copy(update={"device": device}), two_drives.conditions[1]]}
    )
    found = changed.condition(drive=4.5)
    assert found.values["run_to_run.D"] is None
    assert found.run_to_run[1][1] is None
    assert changed.at(drive=4.5).run_to_run[1, 1] == 0.0


def test_a_trace_a_setting_says_nothing_of_spreads(chip):
    calibration = fit_captures([chip(chip.Truth(devices=1, repeats=1), drives=(3.0, 4.0, 5.0))])
    assert not calibration.passed
    found = calibration.condition(drive=3.5)
    assert found.values["run_to_run.D"] is None
    assert found.sd["swing_A"] is None
    assert found.values["swing_A"] == pytest.approx(8e-9, rel=0.1)


def test_outliers_are_marked_at_their_own_setting(chip):
    truth = replace(chip.Truth(devices=3, repeats=12), outlier=(2, 7))
    calibration = fit_captures([chip(truth, drives=(4.0, 5.0))])
    rows = [dict(zip(calibration.traces.columns, row, strict=True)) for row in calibration.traces.rows]
    assert {(row["device"], row["repeat"], row["point"]) for row in rows if row["outlier"]} == {(2, 7, 0), (2, 7, 1)}


def test_curvatures_differ_only_by_more_than_their_sds():
    nothing = BulkFit(np.zeros((0, 3)), np.zeros(0), 0.0, np.zeros(0, dtype=bool))

    def at(c, sd):
        return SharedC(c, sd, nothing)

    assert not differ([at(0.10, 0.02), at(0.12, 0.02), at(0.09, 0.02)], 6)
    assert differ([at(0.10, 0.02), at(0.12, 0.02), at(0.60, 0.02)], 6)
    assert not differ([at(0.10, None), at(0.60, 0.02)], 6)
