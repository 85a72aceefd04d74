"""From fitted traces to populations: run-to-run and device-to-device spread with the estimation noise taken out.

Each fitted trace is theta_ij = mean + device_i + drift*time_ij + run_ij + error_ij, where the error's covariance V
is known from the read noise. Method of moments: the pooled within-device covariance minus V is run-to-run, the
covariance of device means minus their own error is device-to-device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from otters_lab.core.protocols import AnyArray, Array

OUTLIER_QUANTILE = 0.9999  # of the chi-square of the squared robust distance: one false alarm in 10 000 Gaussian runs
MAX_ESTIMATION_SHARE = 0.5


@dataclass(frozen=True)
class Spread:
    """A deconvolved covariance. Parameters whose spread the data cannot resolve have None, and an upper bound.

    covariance [p, p] holds 0 for unresolved parameters (for sampling; files write null there). interval and upper
    are on the sd, 95 %: chi-square intervals of the total variance, less the estimation noise.
    """

    sd: list[float | None]
    interval: list[tuple[float, float] | None]
    upper: list[float | None]
    estimation_share: list[float | None]
    covariance: Array
    dof: int

    @property
    def resolved(self) -> list[bool]:
        return [sd is not None for sd in self.sd]


def unresolved(size: int) -> Spread:
    """A spread of which the data say nothing at all."""
    nothing: list[float | None] = [None] * size
    return Spread(nothing, [None] * size, nothing, nothing, np.zeros((size, size)), 0)


def deconvolve(total: Array, noise: Array, dof: int) -> Spread:
    """`total` - `noise` as a proper covariance, parameter by parameter resolved or not.

    A parameter is not resolved where noise makes up more than half of its total variance or where the lower end of
    its interval reaches 0.
    """
    size = len(total)
    if dof < 1:
        return unresolved(size)
    variance, noise_variance = np.diag(total), np.diag(noise)
    low = variance * dof / chi2.ppf(0.975, dof) - noise_variance
    high = variance * dof / chi2.ppf(0.025, dof) - noise_variance
    share = noise_variance / np.maximum(variance, 1e-300)
    resolved = (share <= MAX_ESTIMATION_SHARE) & (low > 0)
    covariance = np.where(np.outer(resolved, resolved), total - noise, 0.0)
    covariance = _nearest_covariance(covariance)
    sd = [float(np.sqrt(covariance[i, i])) if resolved[i] else None for i in range(size)]
    interval = [(float(np.sqrt(low[i])), float(np.sqrt(high[i]))) if resolved[i] else None for i in range(size)]
    upper: list[float | None] = [float(np.sqrt(max(high[i], 0.0))) for i in range(size)]
    return Spread(sd, interval, upper, [float(s) for s in share], covariance, dof)


def _nearest_covariance(matrix: Array) -> Array:
    """Clips negative eigenvalues of the correlation matrix and restores the variances."""
    scale = np.sqrt(np.clip(np.diag(matrix), 0.0, None))
    safe = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(matrix / np.outer(safe, safe))
    if values.min() >= 0:
        return matrix
    clipped = (vectors * np.clip(values, 0.0, None)) @ vectors.T
    diagonal = np.sqrt(np.clip(np.diag(clipped), 1e-300, None))
    return np.asarray(clipped * np.outer(scale / diagonal, scale / diagonal))


@dataclass(frozen=True)
class Population:
    """mean [p] over devices with covariance mean_cov (None for one device's single run); spreads; drift; outliers.

    drift [p] and drift_sd [p] are per second; outliers are trace indices; runs [trace, p] are theta less device and
    drift, of the traces kept.
    """

    mean: Array
    mean_cov: Array | None
    run_to_run: Spread
    device_to_device: Spread
    drift: Array | None
    drift_sd: Array | None
    outliers: AnyArray
    kept: AnyArray
    runs: Array


def _within(theta: Array, device: AnyArray, elapsed_s: Array) -> tuple[Array, Array | None, Array | None, int]:
    """Residuals after each device's mean and one common drift; the drift; its sd; degrees of freedom left."""
    codes = np.unique(device, return_inverse=True)[1]
    counts = np.bincount(codes)

    def centred(values: Array) -> Array:
        means = np.stack([np.bincount(codes, column) for column in values.T], axis=1) / counts[:, None]
        return np.asarray(values - means[codes])

    residual, time = centred(theta), centred(elapsed_s[:, None])[:, 0]
    dof = len(theta) - len(counts)
    power = float(time @ time)
    if dof < 3 or power == 0.0:
        return residual, None, None, dof
    drift = time @ residual / power
    residual = residual - time[:, None] * drift
    sd = np.sqrt(np.sum(residual**2, axis=0) / (dof - 1) / power)
    return residual, drift, sd, dof - 1


def find_outliers(theta: Array, device: AnyArray, elapsed_s: Array) -> AnyArray:
    """Mask [trace] of runs whose robust distance from their device exceeds the stated chi-square quantile.

    The scatter starts from medians of absolute deviations and is refined on the runs kept, until none changes.
    """
    size = theta.shape[1]
    limit = chi2.ppf(OUTLIER_QUANTILE, size)
    medians = np.empty_like(theta)
    for name in np.unique(device):
        medians[device == name] = np.median(theta[device == name], axis=0)
    spread = 1.4826 * np.median(np.abs(theta - medians), axis=0)
    if len(theta) < 3 * size + len(np.unique(device)) or not np.all(spread > 0):
        return np.zeros(len(theta), dtype=bool)
    out = np.sum(((theta - medians) / spread) ** 2, axis=1) > chi2.ppf(OUTLIER_QUANTILE, size)
    for _ in range(20):
        keep = ~out
        residual, drift, _, dof = _within(theta[keep], device[keep], elapsed_s[keep])
        scatter = np.linalg.pinv(residual.T @ residual / max(dof, 1))
        reference = np.empty_like(theta)
        for name in np.unique(device):
            mine = (device == name) & keep
            since = elapsed_s[device == name] - elapsed_s[mine].mean()
            slope = np.zeros(size) if drift is None else drift
            reference[device == name] = theta[mine].mean(axis=0) + np.outer(since, slope)
        away = theta - reference
        now = np.einsum("ni,ij,nj->n", away, scatter, away) > limit
        if np.array_equal(now, out):
            break
        out = now
    return out


def describe_population(theta: Array, device: AnyArray, elapsed_s: Array, noise: Array) -> Population:
    """Moments of a population of fitted traces.

    Parameters
    ----------
    theta : [trace, p]; device : [trace] numbers; elapsed_s : [trace] seconds since the first trace.
    noise : [p, p] estimation covariance V of one trace, averaged over the traces.
    """
    out = find_outliers(theta, device, elapsed_s)
    kept = np.flatnonzero(~out)
    theta_k, device_k = theta[kept], device[kept]
    runs, drift, drift_sd, dof = _within(theta_k, device_k, elapsed_s[kept])
    total = runs.T @ runs / dof if dof >= 1 else np.zeros_like(noise)
    run_to_run = deconvolve(total, noise, dof)

    names, counts = np.unique(device_k, return_counts=True)
    means = np.stack([theta_k[device_k == name].mean(axis=0) for name in names])
    mean = means.mean(axis=0)
    if len(names) > 1:
        between = np.cov(means.T)
        within_part = (total if dof >= 1 else noise) * float(np.mean(1.0 / counts))
        device_to_device = deconvolve(between, within_part, len(names) - 1)
        mean_cov: Array | None = between / len(names)
    else:
        device_to_device = unresolved(theta.shape[1])
        mean_cov = total / counts[0] if dof >= 1 else None
    return Population(mean, mean_cov, run_to_run, device_to_device, drift, drift_sd, np.flatnonzero(out), kept, runs)
