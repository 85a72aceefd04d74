"""What a calibration's curves leave over of its captures' readings, and its levels as they were recorded.

The traces' own parameters stand in the calibration, so nothing is fitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from otters_lab.calibration.bulk import Decays, jacobian
from otters_lab.calibration.drift import within_devices
from otters_lab.calibration.file import Calibration
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.readers import SampledLevels
from otters_lab.calibration.refine import whitened, whiteners_of
from otters_lab.calibration.select import Selection, select
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import AnyArray, Array
from otters_lab.measurements.capture import Capture

_MOST_TRACES = 1000  # more say no more about residuals
_MOST_GRIDS = 50  # each grid of times has a covariance matrix of its own
_DRAWS = 20_000


@dataclass(frozen=True)
class Fitted:
    """The readings a calibration was fitted to, with its curves.

    decays : of the traces drawn here; rows : their numbers in the calibration's table and in `chosen`.
    theta [trace, 3] : edge (A), drop (A), logit beta; left_A [trace, sample] : readings less curves, 0 where unused.
    """

    chosen: Selection
    rows: AnyArray
    decays: Decays
    theta: Array
    left_A: Array


@dataclass(frozen=True)
class LevelScatter:
    """Readings near the level times against draws of the model, both less their device's mean, in units of O.

    k, time_s [level] : which levels, and the times of the samples nearest to theirs.
    measured [run, level], sampled [draw, level].
    """

    k: AnyArray
    time_s: Array
    measured: Array
    sampled: Array


def fitted(calibration: Calibration, captures: Sequence[Capture]) -> Fitted:
    """Joins a calibration of one setting with the captures it was fitted to.

    Raises
    ------
    InputError
        if the captures are not those, or the calibration holds no device model.
    """
    if calibration.device is None:
        raise InputError("holds no device model of one setting")
    config = calibration.header.config
    chosen = select(captures, calibration.device.constants.window_s, config.get("point"))
    columns = calibration.traces.columns
    ids = [columns.index(name) for name in ("chip", "device", "point", "repeat")]
    recorded = list(chosen.table[["chip", "device", "point", "repeat"]].itertuples(index=False, name=None))
    if recorded != [tuple(row[i] for i in ids) for row in calibration.traces.rows]:
        raise InputError("does not hold the traces of the calibration", file=captures[0].path)
    count = len(recorded)
    rows = np.unique(np.linspace(0, count - 1, min(count, _MOST_TRACES)).astype(int))
    edge, drop, beta = (
        np.array([calibration.traces.rows[row][columns.index(name)] for row in rows], dtype=float)
        for name in ("edge_A", "drop_A", "beta")
    )
    theta = np.stack([edge, drop, logit(beta)], axis=1)
    decays = chosen.decays().take(rows)
    left = decays.used * (decays.y - jacobian(decays, theta, calibration.device.law.c)[0])
    left -= decays.used * _by_modes(calibration, decays, rows)
    return Fitted(chosen, rows, decays, theta, left)


def _by_modes(calibration: Calibration, decays: Decays, rows: AnyArray) -> Array | float:
    """What modes beyond the law add to each trace (A) [trace, sample]; 0 without any."""
    device = calibration.device
    if device is None or device.modes is None:
        return 0.0
    swing = device.constants.I_edge_A - device.constants.I_end_A
    place = calibration.traces.columns.index("mode_scores")
    scores = np.array([calibration.traces.rows[row][place] for row in rows])
    u = np.broadcast_to(decays.time_s / decays.window_s, decays.y.shape)
    model = calibration.device_model()
    if len(decays.time_s) == 1:
        return np.asarray(swing * scores @ model.mode_curves(u[0]))
    return np.stack([swing * own @ model.mode_curves(times) for own, times in zip(scores, u, strict=True)])


def read_noise(calibration: Calibration) -> ReadNoise | None:
    """The meter's noise in amperes."""
    noise = calibration.noise
    return None if noise is None else ReadNoise(noise.white_sd_A, noise.flicker_A, noise.interval_s, noise.segments)


def white_residuals(calibration: Calibration, found: Fitted) -> list[Array]:
    """Residuals [trace, sample] of traces that share their times, whitened by the calibration's read noise.

    If law and noise are right they are independent, with mean 0 and sd 1. Without a known noise they are over their
    own sd, and white only if the noise is.
    """
    noise = read_noise(calibration)
    if noise is None or noise.white_sd == 0:
        used = found.decays.used > 0
        sd = float(np.std(found.left_A[used])) or 1.0
        return [left[None, keep] / sd for left, keep in zip(found.left_A, used, strict=True)]
    assert calibration.device is not None
    decays, c = found.decays, calibration.device.law.c
    if len(decays.time_s) > 1:
        decays = decays.take(np.arange(min(len(decays.y), _MOST_GRIDS)))
    theta = found.theta[: len(decays.y)]
    edge_s = np.nan_to_num(found.chosen.table["edge_uncertainty_s"].to_numpy(dtype=float))[found.rows[: len(theta)]]
    groups = whiteners_of(decays, theta, c, noise, found.chosen.duration_s, edge_s)
    # Modes are no part of the law: their part goes before the law's does.
    flat = Decays(decays.time_s, decays.y - _by_modes(calibration, decays, found.rows[: len(theta)]), decays.used,
                  decays.aperture_s, decays.window_s)  # fmt: skip
    return [whitened(group, flat.take(group.rows), theta[group.rows], c)[1] for group in groups]


def autocorrelation(groups: Sequence[Array], most: int = 40) -> Array:
    """Mean autocorrelation [lag 1..] of residuals, each trace about 0."""
    longest = min(most, *(group.shape[1] // 2 for group in groups))
    total, power = np.zeros(longest), 0.0
    for group in groups:
        power += float(np.sum(group**2))
        total += [float(np.sum(group[:, lag:] * group[:, :-lag])) for lag in range(1, longest + 1)]
    return total / power


def level_scatter(calibration: Calibration, found: Fitted) -> LevelScatter | None:
    """Single readings nearest to the level times, and as many draws of the model there; None without repeats.

    A draw is a run of the mean device with the lab meter's noise, as its readings have it.
    """
    assert calibration.device is not None
    device, decays = calibration.device, found.decays
    if len(decays.time_s) > 1 or not np.all(decays.used):
        return None
    out = np.array([row[calibration.traces.columns.index("outlier")] for row in calibration.traces.rows])[found.rows]
    levels = np.array(device.levels.time_s)
    k = np.array([k for k in range(1, device.levels.n_levels - 1) if k not in device.levels.extrapolated])
    samples = np.array([int(np.argmin(np.abs(decays.time_s[0] - levels[i]))) for i in k], dtype=int)
    k, samples = k[np.unique(samples, return_index=True)[1]], np.unique(samples)
    swing = device.constants.I_edge_A - device.constants.I_end_A
    readings = (decays.y[~out][:, samples] - device.constants.I_end_A) / swing
    table = found.chosen.table.iloc[found.rows[~out]]
    within = within_devices(
        readings, table["device_code"].to_numpy(), table["elapsed_s"].to_numpy(), table["repeat"].to_numpy(dtype=float)
    )
    if within.dof < 20 or not len(k):
        return None
    model, u = calibration.device_model(), decays.time_s[0, samples] / decays.window_s
    noise = None
    if model.noise is not None:
        noise = model.noise.covariance(decays.time_s[0, samples], found.chosen.duration_s)
    reader = SampledLevels(model, u, model.mean, devices=False, read_noise=noise)
    # Means were taken off the runs: what is left of them scatters less by this.
    stretched = within.runs * (len(within.runs) / within.dof) ** 0.5
    sampled = reader.read(_DRAWS, (0,))
    return LevelScatter(k, decays.time_s[0, samples], stretched, sampled - reader.mean_levels())
