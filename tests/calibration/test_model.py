import json

import numpy as np
import pytest

from otters_lab.calibration.file import read_calibration, write_calibration
from otters_lab.calibration.fit import fit_captures
from otters_lab.calibration.laws import logit_of
from otters_lab.calibration.model import DeviceModel
from otters_lab.calibration.replay import recorded_levels
from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.protocols import LevelReader

COV = np.diag([0.005, 0.02, 0.02]) ** 2
MODEL = DeviceModel(1.0, 1 / 110.989, logit_of(0.495), COV, np.diag([0.0, 0.05, 0.05]) ** 2)


def test_without_variation_the_levels_are_the_ideal_ones():
    ideal = DeviceModel(1.0, 0.3, 0.2, np.zeros((3, 3)), np.zeros((3, 3)))
    for n_levels in (4, 16, 64):
        table = ideal.reader(n_levels).read(3, (0,))
        top = n_levels - 1
        np.testing.assert_allclose(table, np.tile((top - np.arange(n_levels)) / top, (3, 1)), atol=1e-12)


def test_sampled_levels_scatter_as_the_covariance_says():
    table = MODEL.reader(16).read(20_000, (1, 2))
    J = MODEL.sensitivity(16)
    np.testing.assert_allclose(table.std(axis=0), np.sqrt(np.diag(J @ COV @ J.T)), rtol=0.03)
    # A change of D by d bends the curve by d*(1 - v): nothing at the start, all at the end.
    assert table[:, 15].std() > 3.5 * table[:, 0].std()


def test_the_same_seed_reads_the_same_levels_and_another_seed_others():
    reader = MODEL.reader(16)
    assert isinstance(reader, LevelReader)
    np.testing.assert_array_equal(reader.read(5, (1, 2)), reader.read(5, (1, 2)))
    assert not np.array_equal(reader.read(5, (1, 2)), reader.read(5, (1, 3)))


def test_modes_and_draws_of_runs_and_devices_have_the_models_covariances():
    reader = MODEL.reader(16, devices=True)
    J = MODEL.sensitivity(16)
    for modes, draws, covariance in (
        (reader.run_modes(), reader.read(40_000, (8,)), MODEL.run_to_run),
        (reader.device_modes(), reader.device_deviations(40_000, (7,)), MODEL.device_to_device),
    ):
        ideal = J @ covariance @ J.T
        np.testing.assert_allclose(modes.T @ modes, ideal, atol=1e-12)
        np.testing.assert_allclose(np.cov(draws.T), ideal, atol=0.06 * ideal.max())
    assert MODEL.reader(16).device_modes().shape == (0, 16)


def test_recorded_levels_are_the_recording_in_the_calibrations_constants():
    t = (np.arange(400) + 0.5) / 400
    beta = 0.495
    curve = (1 - (1 - MODEL.c) ** (t**beta)) / MODEL.c
    time_s = np.tile(np.concatenate([[-0.1], t, [np.nan]]), (2, 1))
    current = np.concatenate([[5.0], 3.0 + 2.0 * (1.02 - 0.9 * curve), [np.nan]])
    reader = recorded_levels(time_s, np.stack([current, current]), MODEL, I_edge_A=5.0, I_end_A=3.0, n_levels=16)
    expected = 1.02 - 0.9 * np.arange(16) / 15
    np.testing.assert_allclose(reader.tables, np.tile(expected, (2, 1)), atol=2e-4)
    assert isinstance(reader, LevelReader)


def test_a_recording_that_ends_too_early_is_refused():
    t = np.linspace(0.001, 0.5, 100)[None]
    with pytest.raises(InputError, match=r"ends at 0\.5 s"):
        recorded_levels(t, 1 - t**0.5, MODEL, 1.0, 0.0, 16)


@pytest.fixture
def written(fitted, tmp_path):
    path = tmp_path / "calibration.json"
    return path, write_calibration(path, fitted())


def test_a_calibration_reads_back_as_it_was_written(written):
    path, calibration = written
    assert read_calibration(path) == calibration
    assert read_calibration(path).device_model().window_s == 1.0


def test_an_altered_calibration_is_refused_with_and_without_its_sidecar(written):
    path, _ = written
    record = json.loads(path.read_text())
    record["device"]["run_to_run"]["sd"]["D"] = 0.001
    path.write_text(json.dumps(record))
    with pytest.raises(DamagedFileError, match="altered after the fit"):
        read_calibration(path)
    path.with_name(path.name + ".prov.json").unlink()
    with pytest.raises(DamagedFileError, match="altered after the fit"):
        read_calibration(path)


def test_the_same_capture_gives_the_same_payload(chip, written):
    _, calibration = written
    again = fit_captures([chip()])
    assert again.model_dump(exclude={"header"}) == calibration.model_dump(exclude={"header"})


def test_another_json_is_no_calibration(tmp_path):
    path = tmp_path / "other.json"
    path.write_text('{"a": 1}')
    with pytest.raises(InputError, match="not a calibration"):
        read_calibration(path)
