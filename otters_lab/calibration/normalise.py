"""From a fit in amperes to normalised parameters and their population."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otters_lab.calibration.bulk import Decays, SharedC, jacobian
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.population import Population, describe_population
from otters_lab.calibration.select import Selection
from otters_lab.core.protocols import Array


@dataclass(frozen=True)
class NormalisedFit:
    """The population in normalised units, with what it takes to go back to amperes (I = I_end + swing*O)."""

    shared: SharedC
    theta: Array  # [trace, 3] O0, D, logit beta
    population: Population
    swing_A: float
    I_end_A: float
    estimation: Array  # [3, 3]


def normalise(shared: SharedC, chosen: Selection, decays: Decays, noise: ReadNoise | None) -> NormalisedFit:
    """Amperes to O: first a population in amperes for the mean curve, then everything in its constants."""
    amperes = shared.fit.theta
    device = chosen.table["device_code"].to_numpy()
    elapsed = chosen.table["elapsed_s"].to_numpy()
    rough = float(np.median(amperes[:, 1]))
    scale = np.array([rough, rough, 1.0])
    scaled_noise = _estimation_noise(shared, decays, noise, chosen.duration_s) / np.outer(scale, scale)
    first = describe_population(amperes / scale, device, elapsed, scaled_noise)
    edge, swing = first.mean[0] * rough, first.mean[1] * rough
    end = edge - swing
    theta = np.stack([(amperes[:, 0] - end) / swing, amperes[:, 1] / swing, amperes[:, 2]], axis=1)
    ratio = np.array([rough / swing, rough / swing, 1.0])
    estimation = scaled_noise * np.outer(ratio, ratio)
    return NormalisedFit(shared, theta, describe_population(theta, device, elapsed, estimation), swing, end, estimation)


def _estimation_noise(shared: SharedC, decays: Decays, noise: ReadNoise | None, duration_s: float) -> Array:
    """Covariance of one trace's (edge, drop, logit beta) due to read noise: (J'J)^-1 J' S J (J'J)^-1 with the noise's
    own covariance S. Residuals cannot give it: the fit has eaten their low frequencies.
    """
    middle = np.median(shared.fit.theta, axis=0, keepdims=True)
    longest = int(np.argmax(decays.used.sum(axis=1)))
    one = decays.take(np.array([longest]))
    use = one.used[0] > 0
    J = jacobian(one, middle, shared.c)[1][0][use]
    t = one.time_s[0][use]
    if noise is None:
        white = float(np.median(shared.fit.rss / np.maximum(decays.used.sum(axis=1) - 3, 1)))
        noise = ReadNoise(white**0.5, 0.0, float(np.median(np.diff(t))), 0)
    inverse = np.linalg.pinv(J / np.abs(J).max(axis=0)) / np.abs(J).max(axis=0)[:, None]
    return np.asarray(inverse @ noise.covariance(t, duration_s) @ inverse.T)
