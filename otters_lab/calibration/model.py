"""The stochastic device model: what the trainer reads its levels from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from otters_lab.calibration.laws import unified, unified_level_times
from otters_lab.core.protocols import Array, LevelReader

PARAMETERS = ("O0", "D", "logit_beta")


@dataclass(frozen=True)
class DeviceModel:
    """Mean curve and spreads of a chip, normalised once for the whole calibration.

    O(u) = O0 - D*[1 - (1-c)**(u**beta)]/c, u = t/window; the mean has O0 = D = 1. Covariances are of
    (O0, D, logit_beta), [3, 3]; an unresolved spread is 0 here and null in the file.
    """

    window_s: float
    c: float
    logit_beta: float
    run_to_run: Array
    device_to_device: Array

    @property
    def mean(self) -> Array:
        """Mean parameters (O0, D, logit_beta)."""
        return np.array([1.0, 1.0, self.logit_beta])

    def level_times(self, n_levels: int) -> Array:
        """u_k = t_k/window of the mean curve, k = 0..T."""
        return unified_level_times(self.logit_beta, self.c, n_levels)

    def levels(self, theta: Array, n_levels: int) -> Array:
        """O(t_k) [n, T + 1] of runs with parameters theta [n, 3], read at the mean curve's level times."""
        u = self.level_times(n_levels)
        return unified(u, theta[:, 0:1], theta[:, 1:2], theta[:, 2:3], self.c)

    def sensitivity(self, n_levels: int) -> Array:
        """dO(t_k)/dtheta [T + 1, 3] at the mean, by central differences."""
        steps = np.eye(3) * 1e-5
        upper, lower = (self.levels(self.mean + sign * steps, n_levels) for sign in (1, -1))
        return (upper - lower).T / 2e-5

    def reader(self, n_levels: int, *, devices: bool = False) -> SampledLevels:
        """Levels sampled from this model: run-to-run alone, or with each run's devices drawn as well."""
        return SampledLevels(self, n_levels, self.mean, devices)


@dataclass(frozen=True)
class SampledLevels:
    """A `LevelReader` that samples a device model. One draw is one run of one device.

    Noise is drawn anew at each row of `read`; with `devices`, `for_run` draws a device that then stays.
    """

    model: DeviceModel
    n_levels: int
    centre: Array
    devices: bool

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        """`n` runs of this device, [n, T + 1]."""
        theta = self.centre + _normal(n, self.model.run_to_run, seed)
        return self.model.levels(theta, self.n_levels)

    def for_run(self, seed: tuple[int, ...]) -> LevelReader:
        """The reader of one device, drawn device-to-device where asked for, else this one."""
        if not self.devices:
            return self
        return replace(self, centre=self.model.mean + _normal(1, self.model.device_to_device, seed)[0], devices=False)


def _normal(n: int, covariance: Array, seed: tuple[int, ...]) -> Array:
    """n draws from N(0, covariance), [n, 3]; a semi-definite covariance is fine."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    draws = np.random.default_rng(seed).standard_normal((n, len(covariance)))
    return np.asarray(draws @ root.T)
