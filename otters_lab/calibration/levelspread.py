"""How much each level O(t_k) varies from run to run and from device to device, and how well that is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otters_lab.calibration.file import DeviceRecord, SpreadRecord
from otters_lab.calibration.frame import Frame, Runs, sensitivity
from otters_lab.calibration.simultaneous import effective_dof, sd_interval


@dataclass(frozen=True)
class LevelSpread:
    """`variance` is deconvolved, None where nothing resolved moves the level; `total` has the estimation noise in it,
    with `dof` degrees of freedom.
    """

    variance: float | None
    total: float
    dof: float

    @property
    def sd(self) -> float | None:
        """Root of the deconvolved variance."""
        return None if self.variance is None else self.variance**0.5

    def interval(self, alpha: float) -> tuple[float, float] | None:
        """Interval of the sd that holds it with probability 1 - alpha; None where it is not resolved."""
        if self.variance is None or self.dof < 1:
            return None
        # The deconvolved variance is what counts; of the total only what lies above it is noise.
        total = max(self.total, self.variance)
        return sd_interval(total, total - self.variance, self.dof, alpha)


def run_to_run(frame: Frame, device: DeviceRecord, runs: Runs) -> list[LevelSpread]:
    """Of levels 0..T-1 in the frame, from runs within their devices."""
    away, dof = runs.away()
    squares = np.sum(away**2, axis=0) / max(dof, 1)
    own = _deconvolved(frame, device, device.run_to_run)
    return [
        LevelSpread(variance, float(total), effective_dof(away[:, k], dof))
        for k, (variance, total) in enumerate(zip(own, squares, strict=True))
    ]


def device_to_device(frame: Frame, device: DeviceRecord, runs: Runs) -> list[LevelSpread]:
    """Of levels 0..T-1 in the frame, from the devices' means."""
    means = np.stack(list(runs.means().values()))
    dof = len(means) - 1
    squares = np.var(means, axis=0, ddof=1) if dof else np.zeros(len(frame.u))
    own = _deconvolved(frame, device, device.device_to_device)
    return [LevelSpread(variance, float(total), float(dof)) for variance, total in zip(own, squares, strict=True)]


def _deconvolved(frame: Frame, device: DeviceRecord, spread: SpreadRecord) -> list[float | None]:
    """A parameters' covariance as variances of the levels."""
    known = np.array([[0.0 if value is None else value for value in row] for row in spread.covariance])
    slopes = sensitivity(frame, device)
    variance = np.einsum("ki,ij,kj->k", slopes, known, slopes)
    return [float(value) if value > 0 else None for value in variance]
