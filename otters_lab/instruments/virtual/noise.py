"""Read noise of the virtual meter: white, and 1/f."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from otters_lab.core.protocols import Array


def white_noise_sd_A(density: float, aperture_s: float) -> float:
    """Standard deviation (A) of a mean over an aperture (s) of white noise with a one-sided density (A/sqrt(Hz)).

    The mean over T has the equivalent noise bandwidth 1/(2T).
    """
    return density * (0.5 / aperture_s) ** 0.5


def flicker_rms_A(density_1Hz: float, n: int) -> float:
    """Root mean square (A) of `flicker_noise_A` over a record of `n` samples: density * sqrt(sum 1/k)."""
    return density_1Hz * float(np.sqrt(np.sum(1.0 / np.arange(1, n // 2 + 1))))


def flicker_noise_A(rng: np.random.Generator, n: int, density_1Hz: float) -> Array:
    """`n` evenly spaced samples (A) of noise with one-sided PSD a**2/f in the record's own band, [1/T, 1/(2 dt)].

    Line k of the band carries the variance a**2/f_k * (1/T) = a**2/k, whatever the sample interval. The averaging
    of 1/f noise over an aperture is left out (it matters at the top of the band alone, where white noise rules).
    Drawn anew each record.
    """
    k = np.arange(1, n // 2 + 1)
    sd = density_1Hz / np.sqrt(k)
    lines = np.zeros(n // 2 + 1, dtype=np.complex128)
    lines[1:] = 0.5 * n * sd * (rng.standard_normal(k.size) + 1j * rng.standard_normal(k.size))
    if n % 2 == 0:  # the Nyquist line has no sine part
        lines[-1] = n * sd[-1] * rng.standard_normal()
    return np.fft.irfft(lines, n)


@dataclass(frozen=True)
class Hum:
    """Mains pick-up: its amplitude (A) and the line frequency (Hz)."""

    amplitude_A: float
    frequency_Hz: float


def hum_A(hum: Hum, start_s: Array, stop_s: Array, phase: float) -> Array:
    """Mean over apertures [start, stop] (s) of amplitude*sin(2 pi f t + phase): nothing at whole line cycles."""
    omega = 2 * math.pi * hum.frequency_Hz
    middle, half = (start_s + stop_s) / 2, (stop_s - start_s) / 2
    # sinc form of [cos(w a) - cos(w b)]/(w (b - a)): exact, and without cancellation for short apertures.
    return hum.amplitude_A * np.sin(omega * middle + phase) * np.sinc(omega * half / math.pi)
