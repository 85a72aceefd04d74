"""The stochastic device model: what the trainer reads its levels from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otters_lab.calibration.laws import unified, unified_level_times
from otters_lab.calibration.modecurves import ModeCurves
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.readers import Kind, SampledLevels, shrunk
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.protocols import Array

PARAMETERS = ("O0", "D", "logit_beta")


@dataclass(frozen=True)
class DeviceModel:
    """Mean curve and spreads of a chip, normalised once for the whole calibration.

    O(u) = O0 - D*[1 - (1-c)**(u**beta)]/c + scores.curves(u), u = t/window; the mean has O0 = D = 1 and no scores.
    `modes` are the m curves beyond the law, in units of O (None: m = 0). Covariances are of theta = (O0, D,
    logit_beta, scores), [3 + m, 3 + m]; an unresolved spread is 0 here and null in the file. `runs` [run, 3 + m] are
    recorded ones less their device's mean, estimation noise and all; `noise` is the lab meter's in units of the swing;
    `drift_per_h` [3 + m] is the mean's. None where the calibration has none.
    """

    window_s: float
    c: float
    logit_beta: float
    run_to_run: Array
    device_to_device: Array
    runs: Array | None = None
    noise: ReadNoise | None = None
    modes: ModeCurves | None = None
    drift_per_h: Array | None = None

    @property
    def mean(self) -> Array:
        """Mean theta [3 + m]."""
        return np.array([1.0, 1.0, self.logit_beta] + [0.0] * (self.modes.count if self.modes else 0))

    def mode_curves(self, u: Array) -> Array:
        """The curves beyond the law [m, len(u)] at u = t/window, in units of O."""
        return np.zeros((0, len(u))) if self.modes is None else self.modes.at(u, self.logit_beta, self.c, 1.0)

    def level_times(self, n_levels: int, first_read_s: float = 0.0, ticks: int | None = None) -> Array:
        """u_k = t_k/window of the mean curve, k = 0..T; level 0 is read `first_read_s` after the edge.

        ticks : how many a uniform clock has in a window; each later level is read at the nearest, no two at the same
            one. None: a clock as fine as it need be.

        Raises
        ------
        InputError
            if the first read does not lie between the edge and level 1, or there are fewer ticks than levels.
        """
        u = unified_level_times(self.logit_beta, self.c, n_levels)
        if not 0.0 <= first_read_s < u[1] * self.window_s:
            raise InputError(
                "the first read does not lie between the light's edge and level 1",
                found=f"{first_read_s:g} s",
                expected=f"0 s to less than {u[1] * self.window_s:.3g} s",
            )
        u[0] = first_read_s / self.window_s
        if ticks is None:
            return u
        if ticks < n_levels - 1:
            raise InputError("a window has fewer ticks than levels", found=ticks, expected=f"{n_levels - 1} or more")
        order = np.arange(1, n_levels)
        # Early levels crowd: each takes the next free tick, and leaves one to each that follows.
        at = np.maximum.accumulate(np.maximum(np.rint(u[1:] * ticks), order) - order) + order
        u[1:] = np.minimum(at, ticks - (n_levels - 1) + order) / ticks
        return u

    def levels(self, theta: Array, n_levels: int, first_read_s: float = 0.0) -> Array:
        """O(t_k) [n, T + 1] of runs with theta [n, 3 + m], read at the mean curve's level times."""
        return self.read_at(theta, self.level_times(n_levels, first_read_s))

    def read_at(self, theta: Array, u: Array) -> Array:
        """O [n, len(u)] of runs with theta [n, 3 + m] at times u = t/window."""
        law = unified(u, theta[:, 0:1], theta[:, 1:2], theta[:, 2:3], self.c)
        return np.asarray(law + theta[:, 3:] @ self.mode_curves(u))

    def sensitivity(self, n_levels: int) -> Array:
        """dO(t_k)/dtheta [T + 1, 3 + m] at the mean."""
        return self.sensitivity_at(self.level_times(n_levels), self.mean)

    def sensitivity_at(self, u: Array, theta: Array) -> Array:
        """dO/dtheta [len(u), 3 + m] at theta [3 + m], by central differences."""
        steps = np.eye(len(theta)) * 1e-5
        upper, lower = (self.read_at(theta + sign * steps, u) for sign in (1, -1))
        return np.asarray((upper - lower).T / 2e-5)

    def reader(
        self,
        n_levels: int,
        *,
        devices: bool = False,
        kind: Kind = "parametric",
        first_read_s: float = 0.0,
        read_noise: bool = False,
        ticks: int | None = None,
        adc_bits: int | None = None,
        adc_noise: float = 0.0,
        drift_h: float = 0.0,
    ) -> SampledLevels:
        """Levels sampled from this model: run-to-run alone, or with each run's devices drawn as well.

        kind : "parametric" draws Gaussian runs; "empirical" draws recorded ones, shrunk to the run-to-run covariance.
            Devices are Gaussian in both: a handful of them is no distribution.
        first_read_s : delay of the read of level 0 behind the edge.
        read_noise : adds the lab meter's noise, white and 1/f, as single readings at the aperture it was calibrated
            with have it, the 1/f part in the band of one window. A network's own read-out is another matter:
        ticks : of the clock that reads, in a window (see `level_times`).
        adc_bits : resolution of the converter that reads, over 0..1; what lies beyond is cut. None: perfect.
        adc_noise : its own noise, sd of a reading, in units of O.
        drift_h : hours of the calibration's drift since it was measured; levels are read at the old times.

        Raises
        ------
        InputError
            for a first read out of place, or too few ticks.
        RefusedError
            if the calibration has no recorded runs, too few of them, no read noise, or no drift.
        """
        u = self.level_times(n_levels, first_read_s, ticks)
        centre = self.mean
        if drift_h:
            if self.drift_per_h is None:
                raise RefusedError("the calibration knows no drift")
            centre = centre + drift_h * self.drift_per_h
        recorded = noise = None
        if kind == "empirical":
            if self.runs is None:
                raise RefusedError("this device model holds no recorded runs: use the parametric sampler")
            recorded = shrunk(self.runs, self.run_to_run)
        if read_noise:
            if self.noise is None:
                raise RefusedError("the calibration does not know its meter's read noise")
            noise = self.noise.covariance(u * self.window_s, self.window_s)
        if adc_noise:
            noise = (0.0 if noise is None else noise) + adc_noise**2 * np.eye(n_levels)
        return SampledLevels(self, u, centre, devices, recorded, noise, adc_bits)
