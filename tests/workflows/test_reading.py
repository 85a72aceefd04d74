"""How levels are read is said once, in the training configuration, and reaches the readers."""

from pathlib import Path

import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.training.config import ReadingConfig, read_config
from otters_lab.workflows.networks import (
    RUN_TO_RUN,
    WITH_DEVICES,
    replayed_reader,
    sampled_readers,
    scaled,
    usable_calibration,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model():
    return usable_calibration(ROOT / "calibration" / "reference.json").device_model()


def test_a_configuration_chooses_sampler_first_read_and_read_noise(tmp_path, model):
    path = tmp_path / "config.toml"
    path.write_text('[reading]\nsampler = "empirical"\nfirst_read_s = 1e-3\nread_noise = true\n')
    readers = sampled_readers(model, 16, read_config(path).reading)
    plain = sampled_readers(model, 16, ReadingConfig())
    for name in (RUN_TO_RUN, WITH_DEVICES):
        assert readers[name].recorded is not None
        assert plain[name].recorded is None
    mean = readers[RUN_TO_RUN].read(4000, (1,)).mean(axis=0)
    assert mean[0] == pytest.approx(0.97, abs=0.01)  # 1 - 0.96*(1 ms/1 s)**0.495
    assert plain[RUN_TO_RUN].read(4000, (1,))[:, 0].mean() == pytest.approx(1.0, abs=0.001)
    path.write_text('[reading]\nsampler = "bootstrap"\n')
    with pytest.raises(InputError, match="sampler"):
        read_config(path)


def test_a_multiple_of_the_noise_scales_recorded_runs_too(model):
    how = ReadingConfig(sampler="empirical")
    one, two = (sampled_readers(scaled(model, r), 16, how)[RUN_TO_RUN].read(2000, (3,)) for r in (1.0, 2.0))
    np.testing.assert_allclose(two.std(axis=0), 2 * one.std(axis=0), rtol=0.02)


def test_replayed_traces_are_read_late_as_well():
    calibration = usable_calibration(ROOT / "calibration" / "reference.json")
    capture = ROOT / "measurements" / "reference.h5"
    at_once, late = (replayed_reader(capture, calibration, 16, delay).tables.mean(axis=0) for delay in (0.0, 1.5e-3))
    assert late[0] < at_once[0] - 0.02
    np.testing.assert_array_equal(late[1:], at_once[1:])
