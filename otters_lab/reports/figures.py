"""Figures as SVG files: a capture's traces, a calibration's curve with its levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from otters_lab.calibration.file import Calibration
from otters_lab.calibration.laws import unified
from otters_lab.core.errors import RefusedError
from otters_lab.core.protocols import Array
from otters_lab.measurements.capture import Capture

# Text stays text, and no time or random id goes in: the same data give the same bytes.
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "otters-lab",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_MAX_TRACES = 40


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure in the format of the path's suffix, an SVG without its date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def capture_figure(capture: Capture, path: Path) -> Path:
    """Draws the decays of a capture, a colour a device, on linear and on square-root time; writes an SVG."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        whole, decay = figure.subplots(1, 2)
        devices = np.unique(capture.table["device"])
        rows = np.linspace(0, len(capture.table) - 1, min(_MAX_TRACES, len(capture.table))).astype(int)
        for row in rows:
            colour = f"C{int(np.searchsorted(devices, capture.table['device'].iloc[row])) % 10}"
            t, current = capture.time_s[row], capture.current_A[row] * 1e9
            whole.plot(t, current, color=colour, lw=0.6, alpha=0.7)
            after = t > 0
            decay.plot(np.sqrt(t[after]), current[after], color=colour, lw=0.6, alpha=0.7)
        whole.set(xlabel="time after the light's edge (s)", ylabel="current (nA)", title="whole records")
        decay.set(xlabel="square root of time (s^0.5)", ylabel="current (nA)", title="decays")
        shown = f"{len(rows)} of {len(capture.table)} traces"
        figure.suptitle(f"{capture.path.name}: {shown}, {len(devices)} devices, origin {capture.origin}")
        return save(figure, path)


def calibration_figure(calibration: Calibration, path: Path) -> Path:
    """Draws the mean curve with its level times and the run-to-run and device-to-device bands; writes an SVG.

    Raises
    ------
    RefusedError
        if the calibration holds no device model.
    """
    device = calibration.device
    if device is None:
        raise RefusedError("this calibration holds no device model to draw")
    u = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 300)])
    mean = unified(u, 1.0, 1.0, device.logit_beta, device.law.c)
    levels = device.levels
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        curve, spread = figure.subplots(1, 2)
        curve.plot(u * device.constants.window_s, mean, color="C0")
        curve.plot(levels.time_s, levels.mean, "o", ms=4, color="C1", label="levels, read at $t_k$")
        curve.set(xscale="symlog", xlabel="time after the light's edge (s)", ylabel="O(t)", title="mean curve")
        curve.set_xscale("symlog", linthresh=1e-3 * device.constants.window_s)
        curve.legend()
        for name, values in (("run-to-run", levels.run_to_run_sd), ("device-to-device", levels.device_to_device_sd)):
            spread.plot(range(levels.n_levels), _known(values), "o-", ms=3, label=name)
        step = 1.0 / (levels.n_levels - 1)
        spread.axhline(step / 2, color="k", lw=0.8, ls="--", label="half a level")
        spread.set(xlabel="time index k", ylabel="sd of O($t_k$)", title="spread at the level times")
        spread.legend()
        figure.suptitle(f"chip {calibration.chip}, origin {calibration.header.origin}")
        return save(figure, path)


def _known(values: list[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values])
