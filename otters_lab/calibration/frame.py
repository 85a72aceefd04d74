"""A calibration's constants as a frame of reference: any measurement's runs as O(t_k) in them.

What a half-dead chip measures as looks like a healthy one when each is normalised by itself. So I_edge, I_end, W and
the level times are the old calibration's, whatever is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from otters_lab.calibration.laws import drop_from_progress, unified, unified_level_times
from otters_lab.core.protocols import Array

if TYPE_CHECKING:  # a calibration file makes its device model with what is here
    from otters_lab.calibration.file import DeviceRecord, TraceTable


@dataclass(frozen=True)
class Frame:
    """I_end and swing (A), window (s), and the times u_k = t_k/W of k = 0..T-1; level T is never read."""

    I_end_A: float
    swing_A: float
    window_s: float
    u: Array

    @classmethod
    def of(cls, device: DeviceRecord) -> Frame:
        """The frame of a calibration's device record."""
        constants = device.constants
        return cls(
            I_end_A=constants.I_end_A,
            swing_A=constants.I_edge_A - constants.I_end_A,
            window_s=constants.window_s,
            u=unified_level_times(device.logit_beta, device.law.c, device.levels.n_levels)[:-1],
        )

    def levels(self, edge_A: Array, drop_A: Array, beta: Array, c: float) -> Array:
        """O(t_k) [run, T] of curves edge - drop*g(u**beta; c), each parameter [run]."""
        x = self.u[None, :] ** beta[:, None]
        current = edge_A[:, None] - drop_A[:, None] * drop_from_progress(x, c)
        return np.asarray((current - self.I_end_A) / self.swing_A)


@dataclass(frozen=True)
class Runs:
    """Kept runs in a frame: levels [run, T], and which (chip, device) each is of."""

    levels: Array
    device: list[tuple[str, int]]

    def means(self) -> dict[tuple[str, int], Array]:
        """Each device's mean levels [T]."""
        return {name: self.levels[rows].mean(axis=0) for name, rows in self._rows().items()}

    def counts(self) -> dict[tuple[str, int], int]:
        """Runs a device."""
        return {name: len(rows) for name, rows in self._rows().items()}

    def away(self) -> tuple[Array, int]:
        """Levels less their device's mean [run, T], and the degrees of freedom left."""
        means = self.means()
        return self.levels - np.stack([means[name] for name in self.device]), len(self.levels) - len(means)

    def _rows(self) -> dict[tuple[str, int], list[int]]:
        rows: dict[tuple[str, int], list[int]] = {}
        for row, name in enumerate(self.device):
            rows.setdefault(name, []).append(row)
        return rows


def runs_in(frame: Frame, device: DeviceRecord, traces: TraceTable) -> Runs:
    """The runs that a calibration kept, in another's frame; outliers stay out."""
    edge_A, drop_A, beta, names = _kept(traces)
    return Runs(frame.levels(edge_A, drop_A, beta, device.law.c), names)


def recorded_runs(device: DeviceRecord, traces: TraceTable) -> Array:
    """(O0, D, logit beta, mode scores) of kept runs, in their own constants, less their device's mean: [run, 3 + m]."""
    edge_A, drop_A, beta, names = _kept(traces)
    swing_A = device.constants.I_edge_A - device.constants.I_end_A
    theta = np.stack([(edge_A - device.constants.I_end_A) / swing_A, drop_A / swing_A, logit(beta)], axis=1)
    if device.modes is not None:
        place, out = traces.columns.index("mode_scores"), traces.columns.index("outlier")
        theta = np.concatenate([theta, np.array([row[place] for row in traces.rows if not row[out]])], axis=1)
    return Runs(theta, names).away()[0]


def _kept(traces: TraceTable) -> tuple[Array, Array, Array, list[tuple[str, int]]]:
    """edge (A), drop (A), beta [run] and (chip, device) of the runs that are no outliers."""
    place = {name: number for number, name in enumerate(traces.columns)}
    rows = [row for row in traces.rows if not row[place["outlier"]]]
    edge_A, drop_A, beta = (np.array([row[place[name]] for row in rows]) for name in ("edge_A", "drop_A", "beta"))
    return edge_A, drop_A, beta, [(str(row[place["chip"]]), int(row[place["device"]])) for row in rows]


def sensitivity(frame: Frame, device: DeviceRecord) -> Array:
    """dO(t_k)/d(O0, D, logit beta) [T, 3] of a device record's mean curve, in the frame."""
    swing = (device.constants.I_edge_A - device.constants.I_end_A) / frame.swing_A
    return np.asarray(swing * _slopes(frame.u, device.logit_beta, device.law.c))


def _slopes(u: Array, logit_beta: float, c: float) -> Array:
    step = 1e-5
    up, down = (drop_from_progress(u ** expit(logit_beta + sign * step), c) for sign in (1, -1))
    g = drop_from_progress(u ** expit(logit_beta), c)
    return np.stack([np.ones_like(u), -g, -(up - down) / (2 * step)], axis=1)


def curvature_effect(frame: Frame, device: DeviceRecord) -> Array:
    """dO(t_k)/dc [T] when everything else is fitted anew, from samples spread evenly over the window.

    What O0, D and beta cannot make up for: c is shared by all devices of a fit, so its error does not average out.
    """
    grid = (np.arange(200) + 0.5) / 200
    c, step = device.law.c, 1e-4

    def by_c(u: Array) -> Array:
        up, down = (unified(u, 1.0, 1.0, device.logit_beta, c + sign * step) for sign in (1, -1))
        return np.asarray((up - down) / (2 * step))

    made_up = np.linalg.lstsq(_slopes(grid, device.logit_beta, c), by_c(grid), rcond=None)[0]
    swing = (device.constants.I_edge_A - device.constants.I_end_A) / frame.swing_A
    return np.asarray(swing * (by_c(frame.u) - _slopes(frame.u, device.logit_beta, c) @ made_up))
