"""Noise by its formula, as it is written on a command line."""

from __future__ import annotations

import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.ttfs.device import DeviceReader
from otters_lab.ttfs.plain_noise import plain_noise

VALUE = np.arange(15, -1, -1) / 15


@pytest.mark.parametrize(
    ("kind", "sd"), [("relative", 0.1 * VALUE), ("curve", 0.1 * (1 - VALUE)), ("level", 0.1 + 0 * VALUE)]
)
def test_each_kind_has_its_sd_at_every_level_and_its_correlations(kind: str, sd: np.ndarray) -> None:
    noise = plain_noise(f"{kind}:0.1", 16)
    assert isinstance(noise, DeviceReader)
    draws = noise.read(20_000, (1,))
    np.testing.assert_allclose(draws.mean(axis=0), VALUE, atol=0.004)
    np.testing.assert_allclose(draws.std(axis=0), sd, atol=0.003)
    np.testing.assert_allclose(noise.run_modes().T @ noise.run_modes(), np.cov(draws.T), atol=6e-4)
    between = np.corrcoef(draws[:, 3], draws[:, 12])[0, 1]
    assert between == pytest.approx(1.0 if kind == "curve" else 0.0, abs=0.03)


@pytest.mark.parametrize("text", ["gauss:0.1", "curve", "curve:", "curve:x", "curve:-0.1", "curve:nan", "level:2"])
def test_what_is_no_noise_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no such noise"):
        plain_noise(text, 16)
