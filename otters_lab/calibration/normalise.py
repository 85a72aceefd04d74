"""From a fit in amperes to normalised parameters and their population."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otters_lab.calibration.bulk import Decays, SharedC, jacobian
from otters_lab.calibration.engines import ON_ONE_CORE, Runner
from otters_lab.calibration.laws import unified_level_times
from otters_lab.calibration.modecurves import ModeCurves
from otters_lab.calibration.model import DeviceModel
from otters_lab.calibration.modes import Modes, find_modes
from otters_lab.calibration.noise import ReadNoise, noise_of_residuals
from otters_lab.calibration.outliers import find_outliers
from otters_lab.calibration.population import Population, describe_population
from otters_lab.calibration.refine import refine
from otters_lab.calibration.select import Selection
from otters_lab.core.protocols import Array


@dataclass(frozen=True)
class NormalisedFit:
    """The population in normalised units, with what it takes to go back to amperes (I = I_end + swing*O).

    theta [trace, 3] are O0, D, logit beta, estimation [trace, 3, 3] their covariance due to the read noise and the
    light's edge. `modes` holds what residual curves share beyond the law; with any, `extended` is the population of the
    parameters and the modes' scores together, else the population itself.
    """

    shared: SharedC
    theta: Array
    population: Population
    swing_A: float
    I_end_A: float
    estimation: Array
    noise: ReadNoise
    modes: Modes | None
    extended: Population

    @property
    def mode_curves(self) -> ModeCurves | None:
        """The modes in units of O; None where there are none."""
        if self.modes is None or not self.modes.count:
            return None
        # The law's derivative by D is -g in amperes and in O, so that its two lengths go with the current.
        to_O = np.array([1 / self.swing_A, 1 / self.swing_A, 1.0])
        return ModeCurves(self.modes.curves.legendre / self.swing_A, self.modes.curves.tangent * to_O)

    def device_model(self, window_s: float) -> DeviceModel:
        """The model that levels are sampled from, modes and all."""
        return DeviceModel(
            window_s,
            self.shared.c,
            float(self.population.mean[2]),
            self.extended.run_to_run.covariance,
            self.extended.device_to_device.covariance,
            modes=self.mode_curves,
        )

    def sensitivity(self, u: Array) -> Array:
        """dO/d(O0, D, logit beta, scores) [len(u), 3 + m] of the mean curve at u = t/W."""
        flat = Decays(u[None], np.zeros((1, len(u))), np.ones((1, len(u))), 0.0, 1.0)
        law = jacobian(flat, self.population.mean[None], self.shared.c)[1][0]
        modes = self.mode_curves
        if modes is None:
            return law
        return np.concatenate([law, modes.at(u, float(self.population.mean[2]), self.shared.c, 1.0).T], axis=1)

    def level_sensitivity(self, n_levels: int) -> Array:
        """`sensitivity` at the level times of the mean curve."""
        return self.sensitivity(unified_level_times(float(self.population.mean[2]), self.shared.c, n_levels))


def normalise(
    shared: SharedC,
    chosen: Selection,
    decays: Decays,
    noise: ReadNoise | None,
    *,
    free_c: bool = True,
    runner: Runner = ON_ONE_CORE,
) -> NormalisedFit:
    """Amperes to O: first a population in amperes for the mean curve, then everything in its constants.

    `noise` None takes it from the residuals. `free_c` lets c move with the whitened readings.
    """
    device = chosen.table["device_code"].to_numpy()
    elapsed = chosen.table["elapsed_s"].to_numpy()
    repeat = chosen.table["repeat"].to_numpy(dtype=float)
    noise = noise or _from_residuals(shared, decays, chosen)
    edge_s = np.nan_to_num(chosen.table["edge_uncertainty_s"].to_numpy(dtype=float))
    refined = refine(shared, decays, noise, chosen.duration_s, edge_s, device, free_c, runner)
    amperes = refined.theta
    rough = float(np.median(amperes[:, 1]))
    scale = np.array([rough, rough, 1.0])
    tails = find_outliers(amperes / scale, device, elapsed)
    first = describe_population(
        amperes / scale, device, elapsed, refined.estimation / np.outer(scale, scale), repeat, tails
    )
    edge, swing = first.mean[0] * rough, first.mean[1] * rough
    end = edge - swing
    theta = np.stack([(amperes[:, 0] - end) / swing, amperes[:, 1] / swing, amperes[:, 2]], axis=1)
    unit = np.array([swing, swing, 1.0])
    estimation = refined.estimation / np.outer(unit, unit)
    population = describe_population(theta, device, elapsed, estimation, repeat, tails)
    modes = find_modes(refined, decays, noise, chosen.duration_s, device, elapsed, population.kept)
    extended = population
    if modes is not None and modes.count:
        both = np.concatenate([theta, modes.scores], axis=1)
        errors = np.zeros((len(theta), both.shape[1], both.shape[1]))
        errors[:, :3, :3] = estimation
        errors[:, 3:, 3:] = np.diag(modes.noise_variance)
        extended = describe_population(both, device, elapsed, errors, repeat, tails)
    return NormalisedFit(refined.shared, theta, population, swing, end, estimation, noise, modes, extended)


def _from_residuals(shared: SharedC, decays: Decays, chosen: Selection) -> ReadNoise:
    """Noise from what the fits leave, of the longest traces that share their times; white where that is too little."""
    used = decays.used.sum(axis=1)
    longest = int(np.argmax(used))
    alike = np.all(decays.used == decays.used[longest], axis=1)
    if len(decays.time_s) > 1:
        alike &= np.all(decays.time_s == decays.time_s[longest], axis=1)
    rows = np.flatnonzero(alike)[:400]
    part = decays.take(rows)
    # A stretch of it is enough of a long record, and its transform stays small.
    use = np.flatnonzero(part.used[0] > 0)[:1500]
    model = jacobian(part, shared.fit.theta[rows], shared.c)[0]
    taken = np.ones((len(use), 1))
    if len(use) == int(used[longest]):
        middle = np.median(shared.fit.theta[rows], axis=0)[None]
        taken = jacobian(part.take(np.array([0])), middle, shared.c)[1][0][use]
    found = noise_of_residuals((part.y - model)[:, use], taken, chosen.interval_s, chosen.duration_s)
    if found is not None:
        return found
    white = float(np.median(shared.fit.rss / np.maximum(used - 3, 1)))
    return ReadNoise(white**0.5, 0.0, chosen.interval_s, 0, source="residuals of the decays, taken for white")
