"""Slow change: over the time of day, and over how often a device was lit, where the two can be told apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otters_lab.core.protocols import AnyArray, Array

# Above this share of one explained by the other, within devices, their slopes say nothing each on its own.
MAX_SHARED = 0.9


@dataclass(frozen=True)
class Drift:
    """Common linear slopes of the parameters [p], with their sd.

    per_s, sd_per_s : against elapsed seconds. per_repeat, sd_per_repeat : against the number of earlier repeats of the
    point on the device, None where time explains it (`shared`, R^2 within devices, above `MAX_SHARED`).
    """

    per_s: Array
    sd_per_s: Array
    per_repeat: Array | None
    sd_per_repeat: Array | None
    shared: float | None


@dataclass(frozen=True)
class Within:
    """Runs less their device's mean and the common drift [run, p]; the drift; the degrees of freedom left.

    `followed` [run, p] is the drift's part of each run, relative to its device's mean.
    """

    runs: Array
    drift: Drift | None
    dof: int
    followed: Array


def within_devices(theta: Array, device: AnyArray, elapsed_s: Array, repeat: Array | None = None) -> Within:
    """Takes device means and a common drift off theta [run, p]."""
    codes = np.unique(device, return_inverse=True)[1]
    runs, time = centred(theta, codes), centred(elapsed_s[:, None], codes)
    dof = len(theta) - int(codes.max()) - 1
    power = float(time[:, 0] @ time[:, 0])
    if dof < 3 or power == 0.0:
        return Within(runs, None, dof, np.zeros_like(runs))
    columns, shared = time, None
    if repeat is not None:
        history = centred(repeat[:, None].astype(float), codes)
        both = float(history[:, 0] @ history[:, 0])
        if both > 0:
            shared = float(time[:, 0] @ history[:, 0]) ** 2 / (power * both)
            if shared <= MAX_SHARED and dof > 4:
                columns = np.concatenate([time, history], axis=1)
    scale = np.sqrt(np.sum(columns**2, axis=0))
    inverse = np.linalg.inv(columns.T @ columns / np.outer(scale, scale)) / np.outer(scale, scale)
    slopes = inverse @ columns.T @ runs
    followed = columns @ slopes
    left = runs - followed
    dof -= columns.shape[1]
    sd = np.sqrt(np.outer(np.diag(inverse), np.sum(left**2, axis=0) / dof))
    two = columns.shape[1] == 2
    drift = Drift(slopes[0], sd[0], slopes[1] if two else None, sd[1] if two else None, shared)
    return Within(left, drift, dof, followed)


def centred(values: Array, codes: AnyArray) -> Array:
    """values [run, q] less their device's mean; `codes` [run] count devices from 0."""
    counts = np.bincount(codes)
    means = np.stack([np.bincount(codes, column) for column in values.T], axis=1) / counts[:, None]
    return np.asarray(values - means[codes])


def confounding(device: AnyArray, elapsed_s: Array) -> float | None:
    """How much of the time of measurement the device explains (R^2, adjusted): 1 where devices were measured one after
    the other, so that drift and device-to-device spread cannot be told apart; None with one device or one run each.
    """
    codes = np.unique(device, return_inverse=True)[1]
    groups, count = int(codes.max()) + 1, len(codes)
    total = float(np.sum((elapsed_s - elapsed_s.mean()) ** 2))
    if groups < 2 or count <= groups or total == 0.0:
        return None
    within = float(np.sum(centred(elapsed_s[:, None], codes) ** 2))
    return 1 - (within / (count - groups)) / (total / (count - 1))
