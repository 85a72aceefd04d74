"""Levels sampled from a device model: runs drawn from their covariance, or the recorded runs themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from otters_lab.core.errors import RefusedError
from otters_lab.core.protocols import Array

if TYPE_CHECKING:
    import torch

    from otters_lab.calibration.model import DeviceModel

Kind = Literal["parametric", "empirical"]


@dataclass(frozen=True)
class SampledLevels:
    """A `LevelReader` that samples a device model. One draw is one run of the mean device.

    Noise is drawn anew at each row of `read`; with `devices`, `device_deviations` says how devices differ.

    u : [T + 1] times t/window of the reads; `centre` [3 + m] parameters of the mean curve now, drift and all.
    recorded : [run, 3 + m] deviations of theta to draw runs from, each as likely; None draws Gaussian ones.
    read_noise : [T + 1, T + 1] covariance of a meter's noise on top; None for none. Drawn anew at each row.
    adc_bits : resolution of what reads, over 0..1; None is perfect.
    """

    model: DeviceModel
    u: Array
    centre: Array
    devices: bool
    recorded: Array | None = None
    read_noise: Array | None = None
    adc_bits: int | None = None

    @property
    def n_levels(self) -> int:
        """T + 1."""
        return len(self.u)

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        """`n` runs of the mean device, [n, T + 1]."""
        rng = np.random.default_rng(seed)
        if self.recorded is None:
            runs = rng.standard_normal((n, len(self.centre))) @ root(self.model.run_to_run).T
        else:
            runs = self.recorded[rng.integers(len(self.recorded), size=n)]
        levels = self.model.read_at(self.centre + runs, self.u)
        if self.read_noise is not None:
            levels = levels + rng.standard_normal((n, self.n_levels)) @ root(self.read_noise).T
        if self.adc_bits is None:
            return levels
        steps = 2**self.adc_bits - 1
        return np.asarray(np.rint(np.clip(levels, 0.0, 1.0) * steps) / steps)

    def read_torch(self, n: int, generator: torch.Generator, *, dtype: torch.dtype | None = None) -> torch.Tensor:
        """`n` runs of the mean device as a tensor [n, T + 1] on the generator's device, float64 unless told otherwise.

        The same distribution as `read`; the numbers are torch's, so they differ from those of any seed of `read`.
        """
        from otters_lab.calibration.torch_levels import sample

        return sample(self, n, generator, dtype)

    def mean_levels(self) -> Array:
        """O(t_k) [T + 1] of the mean device."""
        return np.asarray(self.model.read_at(self.centre[None], self.u)[0])

    def run_modes(self) -> Array:
        """phi [p, T + 1] with phi^T phi the run-to-run covariance of O(t_k), linear in the parameters at the mean
        curve; a meter's noise has modes of its own.
        """
        modes = (self.model.sensitivity_at(self.u, self.centre) @ root(self.model.run_to_run)).T
        return modes if self.read_noise is None else np.concatenate([modes, root(self.read_noise).T])

    def device_modes(self) -> Array:
        """phi [p, T + 1] of the device-to-device covariance; p = 0 where devices are not drawn."""
        if not self.devices:
            return np.zeros((0, self.n_levels))
        return (self.model.sensitivity_at(self.u, self.centre) @ root(self.model.device_to_device)).T

    def device_deviations(self, n: int, seed: tuple[int, ...]) -> Array:
        """What the mean levels of `n` devices differ by from the chip's, [n, T + 1]."""
        draws = np.random.default_rng(seed).standard_normal((n, len(self.centre)))
        theta = self.centre + draws @ root(self.model.device_to_device).T
        return np.asarray(self.model.read_at(theta, self.u) - self.mean_levels())


def root(covariance: Array) -> Array:
    """A matrix whose product with its transpose is the covariance; a semi-definite one is fine."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None)))


def shrunk(runs: Array, covariance: Array) -> Array:
    """Recorded runs [run, p], moved linearly so that their covariance is the given one.

    Recorded runs carry the estimation noise; their covariance S is larger than the deconvolved one. The map is
    A = S^(-1/2) (S^(1/2) Sigma S^(1/2))^(1/2) S^(-1/2), in units of the runs' sd: like Sigma^(1/2) S^(-1/2) it makes
    A S A' = Sigma, and of all linear maps that do it moves the runs least, so that tails stay on the runs that have
    them. A parameter without a resolved spread (0 in Sigma) becomes 0.

    Raises
    ------
    RefusedError
        if the runs are too few to have a covariance.
    """
    unit = np.sqrt(np.mean(runs**2, axis=0)) if len(runs) else np.zeros(len(covariance))
    if len(runs) < 3 * len(covariance) or not np.all(unit > 0):
        raise RefusedError(f"{len(runs)} recorded runs are too few to draw from: use the parametric sampler")
    scaled = runs / unit
    half = _power(scaled.T @ scaled / len(runs), 0.5)
    back = np.linalg.inv(half)
    move = back @ _power(half @ (covariance / np.outer(unit, unit)) @ half, 0.5) @ back
    return np.asarray(scaled @ move.T * unit)


def _power(matrix: Array, exponent: float) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.clip(values, 0.0, None) ** exponent) @ vectors.T)
