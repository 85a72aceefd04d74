"""From fitted traces to populations: run-to-run and device-to-device spread with the estimation noise taken out.

Each fitted trace is theta_ij = mean + device_i + drift_ij + run_ij + error_ij, where the error's covariance V_ij is
known from the read noise and the light edge's uncertainty. Two stages: run-to-run from the scatter within devices,
device-to-device from the scatter of their means. The covariances are those of the restricted likelihood (EM, which
never leaves the proper covariances; with many repeats it is the method of moments), the intervals those of the
variances on the diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otters_lab.calibration.drift import Drift, within_devices
from otters_lab.calibration.em import between_covariance, within_covariance
from otters_lab.calibration.intervals import effective_dof
from otters_lab.calibration.outliers import Tails, find_outliers
from otters_lab.calibration.spread import Spread, deconvolve, nearest_covariance, unresolved
from otters_lab.core.protocols import AnyArray, Array


@dataclass(frozen=True)
class Population:
    """mean [p] over devices with covariance mean_cov (None for one device's single run); spreads; drift; outliers.

    tails hold the outliers; kept are trace indices; runs [trace, p] are theta less device and drift, of those kept.
    """

    mean: Array
    mean_cov: Array | None
    run_to_run: Spread
    device_to_device: Spread
    drift: Drift | None
    tails: Tails
    kept: AnyArray
    runs: Array

    @property
    def outliers(self) -> AnyArray:
        """Indices of the traces kept out."""
        return np.flatnonzero(self.tails.out)


def describe_population(
    theta: Array,
    device: AnyArray,
    elapsed_s: Array,
    noise: Array,
    repeat: Array | None = None,
    tails: Tails | None = None,
) -> Population:
    """Spreads of a population of fitted traces.

    Parameters
    ----------
    theta : [trace, p]; device : [trace] numbers; elapsed_s : [trace] seconds since the first trace.
    noise : [trace, p, p] estimation covariance of each trace, or [p, p] of all.
    repeat : [trace] how many repeats of the point the device had before; None leaves light history to the drift.
    tails : outliers to leave out, and how heavy the tails are; None looks for them.
    """
    tails = find_outliers(theta, device, elapsed_s) if tails is None else tails
    kept = np.flatnonzero(~tails.out)
    theta_k, device_k = theta[kept], device[kept]
    noise_k = np.broadcast_to(noise, (len(theta), *noise.shape[-2:]))[kept]
    within = within_devices(theta_k, device_k, elapsed_s[kept], None if repeat is None else repeat[kept])
    names, codes, counts = np.unique(device_k, return_inverse=True, return_counts=True)
    own_noise = np.stack([noise_k[codes == i].mean(axis=0) for i in range(len(names))])

    runs, dof = within.runs, within.dof
    total = runs.T @ runs / dof if dof >= 1 else np.zeros_like(own_noise[0])
    mean_noise = np.average(own_noise, axis=0, weights=np.maximum(counts - 1, 1e-9))
    scatter_dof: Array = np.asarray((counts - 1) * (dof / max(len(runs) - len(names), 1)), dtype=np.float64)
    many = scatter_dof > 0
    likeliest = mean_noise
    if dof >= 1:
        scatter = np.stack([runs[codes == i].T @ runs[codes == i] for i in np.flatnonzero(many)])
        likeliest = within_covariance(scatter, scatter_dof[many], own_noise[many], _inside(total, mean_noise))
    run_to_run = deconvolve(total, mean_noise, effective_dof(runs, dof, tails.tail), likeliest=likeliest)

    means = np.stack([theta_k[codes == i].mean(axis=0) for i in range(len(names))])
    mean = means.mean(axis=0)
    if len(names) > 1:
        between = np.cov(means.T)
        error = (likeliest + own_noise if dof >= 1 else own_noise) / counts[:, None, None]
        mean_error = total * float(np.mean(1.0 / counts)) if dof >= 1 else error.mean(axis=0)
        devices = between_covariance(means, error, _inside(between, mean_error))
        noise_dof = float(dof) if dof >= 1 else np.inf
        device_to_device = deconvolve(between, mean_error, len(names) - 1, noise_dof, devices)
        mean_cov: Array | None = between / len(names)
    else:
        device_to_device = unresolved(theta.shape[1])
        mean_cov = total / counts[0] if dof >= 1 else None
    return Population(mean, mean_cov, run_to_run, device_to_device, within.drift, tails, kept, runs)


def _inside(total: Array, noise: Array) -> Array:
    """`total` - `noise` pushed inside the proper covariances, where EM can start."""
    difference = total - noise
    floor = np.maximum(np.diag(difference), 0.05 * np.diag(total))
    moved = nearest_covariance(difference + np.diag(floor - np.diag(difference)))
    return np.asarray(moved + np.diag(1e-3 * floor))
