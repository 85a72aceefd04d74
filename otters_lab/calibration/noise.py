"""Read noise as a spectrum: white plus 1/f, from samples in which the device stands still (dark, lit)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import sici

from otters_lab.core.protocols import Array


@dataclass(frozen=True)
class ReadNoise:
    """One-sided spectrum S(f) = 2*dt*white_sd**2 + flicker**2/f of single readings.

    white_sd : sd of one reading's white part, in the current's unit.
    flicker : amplitude of the 1/f part, in the current's unit: its rms in a band f1..f2 is flicker*sqrt(ln(f2/f1)).
    """

    white_sd: float
    flicker: float
    interval_s: float
    segments: int

    def rms_flicker(self, duration_s: float) -> float:
        """rms of the 1/f part in the band of a record of `duration_s`."""
        low, high = self._band(duration_s)
        return self.flicker * math.sqrt(math.log(high / low))

    def _band(self, duration_s: float) -> tuple[float, float]:
        """A record resolves bins 1/duration wide: the lowest begins at half of that, the last ends at Nyquist."""
        return 0.5 / duration_s, 0.5 / self.interval_s

    def covariance(self, time_s: Array, duration_s: float) -> Array:
        """Covariance matrix [sample, sample] of readings at `time_s` in a record of `duration_s`.

        The 1/f part is the cosine transform of a**2/f from f1 to f2: a**2*[Ci(2*pi*f2*tau) - Ci(2*pi*f1*tau)].
        """
        result: Array = np.eye(len(time_s)) * self.white_sd**2
        if self.flicker == 0.0:
            return result
        low, high = self._band(duration_s)
        lag = np.abs(time_s[:, None] - time_s[None, :])
        lags, where = np.unique(np.round(lag, 12), return_inverse=True)
        values = np.full(lags.shape, math.log(high / low))
        away = lags > 0
        ci_high, ci_low = sici(2 * math.pi * high * lags[away])[1], sici(2 * math.pi * low * lags[away])[1]
        values[away] = ci_high - ci_low
        return np.asarray(result + self.flicker**2 * values[where].reshape(lag.shape))


def estimate_noise(segments: list[Array], interval_s: float, duration_s: float) -> ReadNoise | None:
    """Fits white and 1/f noise to the pooled periodograms of steady segments (Whittle likelihood).

    Each segment [sample] has its straight line taken off, so that slow drift is not called noise. What that line, the
    segment's shortness and leakage do to the expected periodogram is computed, not neglected: the 1/f part comes out
    a fifth too small otherwise. `duration_s` is the whole record's, whose band the 1/f part fills. None where no
    segment has 16 samples.
    """
    usable = [segment for segment in segments if len(segment) >= 16]
    if not usable:
        return None
    powers, whites, flickers, counts = [], [], [], []
    for n in sorted({len(segment) for segment in usable}):
        same = np.stack([segment for segment in usable if len(segment) == n])
        transform = _detrended_transform(n)
        powers.append(np.mean(np.abs(same @ transform.T) ** 2, axis=0))
        unit = [
            ReadNoise(w, a, interval_s, 0).covariance(interval_s * np.arange(n, dtype=float), duration_s)
            for w, a in _UNITS
        ]
        white, flicker = (np.sum((transform @ C) * transform.conj(), axis=1).real for C in unit)
        whites.append(white)
        flickers.append(flicker)
        counts.append(np.full(len(white), len(same)))
    p, w, f, count = (np.concatenate(parts) for parts in (powers, whites, flickers, counts))
    scale = float(np.sum(p) / np.sum(w))
    if scale == 0.0:
        return ReadNoise(0.0, 0.0, interval_s, len(usable))

    def whittle(log_parts: Array) -> float:
        spectrum = np.exp(log_parts[0]) * w + np.exp(log_parts[1]) * f
        return float(np.sum(count * (np.log(spectrum) + p / scale / spectrum)))

    starts = ([0.0, -3.0], [-2.0, 0.0], [0.0, -30.0])
    best = min((minimize(whittle, start, method="Nelder-Mead") for start in starts), key=lambda fit: float(fit.fun))
    white_variance, flicker_power = np.exp(best.x) * scale
    return ReadNoise(math.sqrt(white_variance), math.sqrt(flicker_power), interval_s, len(usable))


_UNITS = ((1.0, 0.0), (0.0, 1.0))


def _detrended_transform(n: int) -> npt.NDArray[np.complex128]:
    """Rows of the discrete Fourier transform, k = 1 up to below Nyquist, applied after taking off a straight line."""
    line = np.stack([np.ones(n), np.linspace(-1.0, 1.0, n)], axis=1)
    project = np.eye(n) - line @ np.linalg.pinv(line)
    rows = np.fft.rfft(np.eye(n), axis=0)[1 : (n + 1) // 2]
    return np.asarray(rows @ project)
