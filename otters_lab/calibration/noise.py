"""Read noise as a spectrum: white plus 1/f, from samples in which the device stands still (dark, lit), else from
what a fit leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import toeplitz
from scipy.optimize import minimize
from scipy.special import sici

from otters_lab.core.protocols import Array


@dataclass(frozen=True)
class ReadNoise:
    """One-sided spectrum S(f) = 2*dt*white_sd**2 + flicker**2/f of single readings.

    white_sd : sd of one reading's white part, in the current's unit.
    flicker : amplitude of the 1/f part, in the current's unit (its density at 1 Hz has the same number, per sqrt(Hz)):
        its rms in a band f1..f2 is flicker*sqrt(ln(f2/f1)).
    power_cov : [2, 2] covariance of the estimates of (white_sd**2, flicker**2); zeros where they are known.
    source : what it was estimated from.
    """

    white_sd: float
    flicker: float
    interval_s: float
    segments: int
    power_cov: Array = field(default_factory=lambda: np.zeros((2, 2)))
    source: str = "stated"

    @property
    def white_density(self) -> float:
        """White part as an amplitude density, in the current's unit per sqrt(Hz), one-sided."""
        return self.white_sd * math.sqrt(2 * self.interval_s)

    def band_Hz(self, duration_s: float) -> tuple[float, float]:
        """A record resolves bins 1/duration wide: the lowest begins at half of that, the last ends at Nyquist."""
        return 0.5 / duration_s, 0.5 / self.interval_s

    def with_powers(self, white_variance: float, flicker_power: float) -> ReadNoise:
        """The same noise at other powers; negative ones count as 0."""
        return replace(self, white_sd=max(white_variance, 0.0) ** 0.5, flicker=max(flicker_power, 0.0) ** 0.5)

    def rms_flicker(self, duration_s: float) -> float:
        """rms of the 1/f part in the band of a record of `duration_s`."""
        low, high = self.band_Hz(duration_s)
        return self.flicker * math.sqrt(math.log(high / low))

    def covariance(self, time_s: Array, duration_s: float) -> Array:
        """Covariance matrix [sample, sample] of readings at `time_s` in a record of `duration_s`.

        The 1/f part is the cosine transform of a**2/f from f1 to f2: a**2*[Ci(2*pi*f2*tau) - Ci(2*pi*f1*tau)].
        """
        result: Array = np.eye(len(time_s)) * self.white_sd**2
        if self.flicker == 0.0:
            return result
        lag: Array = np.asarray(np.round(np.abs(time_s[:, None] - time_s[None, :]), 12), dtype=np.float64)
        lags, where = np.unique(lag, return_inverse=True)
        flicker = _flicker_at(lags, *self.band_Hz(duration_s))[where].reshape(lag.shape)
        return np.asarray(result + self.flicker**2 * flicker)


def estimate_noise(segments: list[Array], interval_s: float, duration_s: float, source: str = "") -> ReadNoise | None:
    """Fits white and 1/f noise to the pooled periodograms of steady segments (Whittle likelihood).

    Each segment [sample] has its straight line taken off, so that slow drift is not called noise. What that line, the
    segment's shortness and leakage do to the expected periodogram is computed, not neglected: the 1/f part comes out
    a fifth too small otherwise. `duration_s` is the whole record's, whose band the 1/f part fills. None where no
    segment has 16 samples.
    """
    usable = [segment for segment in segments if len(segment) >= 16]
    groups = []
    for n in sorted({len(segment) for segment in usable}):
        line = np.stack([np.ones(n), np.linspace(-1.0, 1.0, n)], axis=1)
        groups.append((np.stack([segment for segment in usable if len(segment) == n]), line))
    return _whittle(groups, interval_s, duration_s, source)


def noise_of_residuals(residuals: Array, jacobian: Array, interval_s: float, duration_s: float) -> ReadNoise | None:
    """White and 1/f noise from the residuals [trace, sample] of fits with one `jacobian` [sample, p].

    A fit eats low frequencies: the periodogram that is expected of its residuals is that of noise from which the
    jacobian's columns were projected off. Whatever the law cannot describe counts as noise here.
    """
    if residuals.shape[1] < 16 + jacobian.shape[1]:
        return None
    return _whittle([(residuals, jacobian)], interval_s, duration_s, "residuals of the decays")


def _whittle(groups: list[tuple[Array, Array]], interval_s: float, duration_s: float, source: str) -> ReadNoise | None:
    """Fits the spectrum to groups of records [record, sample], each with the columns [sample, q] projected off."""
    powers, whites, flickers, counts, each = [], [], [], [], []
    for records, columns in groups:
        n = records.shape[1]
        transform = _projected_transform(columns)
        each.append(np.abs(records @ transform.T) ** 2)
        powers.append(np.mean(each[-1], axis=0))
        band_Hz = ReadNoise(0.0, 1.0, interval_s, 0).band_Hz(duration_s)
        C = toeplitz(_flicker_at(np.round(interval_s * np.arange(n), 12), *band_Hz))
        real, imag = transform.real, transform.imag
        whites.append(np.sum(real**2 + imag**2, axis=1))
        flickers.append(np.sum((real @ C) * real + (imag @ C) * imag, axis=1))
        counts.append(np.full(len(transform), len(records)))
    if not powers:
        return None
    p, w, f, count = (np.concatenate(parts) for parts in (powers, whites, flickers, counts))
    records_used = sum(len(records) for records, _ in groups)
    scale = float(np.sum(p) / np.sum(w))
    if scale == 0.0:
        return ReadNoise(0.0, 0.0, interval_s, records_used, source=source)

    def whittle(log_parts: Array) -> float:
        spectrum = np.exp(log_parts[0]) * w + np.exp(log_parts[1]) * f
        return float(np.sum(count * (np.log(spectrum) + p / scale / spectrum)))

    starts = ([0.0, -3.0], [-2.0, 0.0], [0.0, -30.0])
    best = min((minimize(whittle, start, method="Nelder-Mead") for start in starts), key=lambda fit: float(fit.fun))
    parts = np.exp(best.x)
    spectrum = parts[0] * w + parts[1] * f
    slopes = np.stack([w, f]) / spectrum
    inverse = np.linalg.pinv((slopes * count) @ slopes.T)
    # Ordinates of one record are not independent once a line is off it: their scatter from record to record tells.
    first, meat = 0, np.zeros((2, 2))
    for own in each:
        part = slice(first, first + own.shape[1])
        score = (own / scale / spectrum[part] - 1) @ slopes[:, part].T
        score = score - score.mean(axis=0)
        meat += score.T @ score
        first = part.stop
    power_cov = inverse @ meat @ inverse if records_used >= _MANY else inverse
    power_cov = power_cov * scale**2
    white_variance, flicker_power = parts * scale
    return ReadNoise(
        math.sqrt(white_variance), math.sqrt(flicker_power), interval_s, records_used, np.asarray(power_cov), source
    )


def _flicker_at(lag_s: Array, low_Hz: float, high_Hz: float) -> Array:
    """Covariance of 1/f noise of a = 1 at lags (s), by its band."""
    values = np.full(lag_s.shape, math.log(high_Hz / low_Hz))
    away = lag_s > 0
    ci_high, ci_low = (sici(2 * math.pi * edge * lag_s[away])[1] for edge in (high_Hz, low_Hz))
    values[away] = ci_high - ci_low
    return values


_MANY = 30  # records of which the scatter says how far to trust their mean


def _projected_transform(columns: Array) -> npt.NDArray[np.complex128]:
    """Rows of the discrete Fourier transform, k = 1 up to below Nyquist, after taking the columns [sample, q] off."""
    n = len(columns)
    scaled = columns / np.abs(columns).max(axis=0)
    rows = np.fft.rfft(np.eye(n), axis=0)[1 : (n + 1) // 2]
    return np.asarray(rows - (rows @ scaled) @ np.linalg.pinv(scaled))
