"""Figures of a device model: its curve and bands, what varies and how that hangs together, which law traces prefer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from otters_lab.calibration.file import Calibration, ConditionRecord, DeviceRecord, Matrix
from otters_lab.calibration.frame import Frame, runs_in
from otters_lab.calibration.laws import unified
from otters_lab.calibration.levelspread import LevelSpread, device_to_device, run_to_run
from otters_lab.calibration.model import DeviceModel
from otters_lab.core.protocols import Array
from otters_lab.reports.figures import (
    BAD,
    INK,
    PALETTE,
    Drawing,
    every_so,
    panel,
    seconds_axis,
    shaded_cells,
)

NAMES = {"O0": "O0", "D": "D", "logit_beta": "logit \u03b2"}
ALPHA = 0.05
_KINDS = {"run-to-run": run_to_run, "device-to-device": device_to_device}
_POINTS, _MOST_DOTS, _MOST_CURVES = 160, 800, 8


def curve_figure(calibration: Calibration) -> Drawing:
    """The mean curve on log time, with the bands that 95 % of runs lie in, and the times its levels are read at."""
    assert calibration.device is not None
    device, model = calibration.device, calibration.device_model()
    levels, window_s = device.levels, device.constants.window_s
    times = np.array(levels.time_s)
    u = np.geomspace(0.3 * times[1] / window_s, 1.0, _POINTS)
    mean = model.read_at(model.mean[None], u)[0]
    own, others = _band(model, device, u)
    with panel() as (figure, axes):
        axes.fill_between(u * window_s, mean - others, mean + others, color=PALETTE[0], alpha=0.18, lw=0,
                          label="runs of other devices, 95 %")  # fmt: skip
        axes.fill_between(u * window_s, mean - own, mean + own, color=PALETTE[1], alpha=0.45, lw=0,
                          label="runs of the mean device, 95 %")  # fmt: skip
        axes.plot(u * window_s, mean, color=INK, lw=1.2, label="mean curve")
        read = [k for k in range(1, levels.n_levels) if k not in levels.extrapolated]
        beyond = [k for k in levels.extrapolated if k > 0]
        axes.plot(times[read], np.array(levels.mean)[read], "o", ms=4, color=PALETTE[2], label="levels at $t_k$")
        axes.plot(times[beyond], np.array(levels.mean)[beyond], "o", ms=4.5, mfc="none", color=BAD,
                  label="levels before the first sample" if beyond else None)  # fmt: skip
        axes.plot(u[0] * window_s, levels.mean[0], "<", ms=5, color=PALETTE[2])
        seconds_axis(axes)
        axes.set(xlabel="time after the light's edge, logarithmic", ylabel="O(t)")
        axes.legend(loc="lower left")
    return Drawing(
        "curve",
        figure,
        "The mean curve O(t), 1 at the light's edge and 0 at the window's end, with the times at which levels are read "
        "(the triangle: level 0, at t = 0, which this axis does not reach). The narrow band holds 95 % of the runs of "
        "the mean device, the wide one of devices that were not measured, the mean's own error in it. Bands that "
        "reach over a neighbouring level's dot mean that one reading can take one level for the other.",
    )


def _band(model: DeviceModel, device: DeviceRecord, u: Array) -> tuple[Array, Array]:
    """Half-widths [len(u)] that hold 95 % of the mean device's runs, and of those of any device."""
    slopes = model.sensitivity_at(u, model.mean)
    runs = model.run_to_run
    anyone = runs + model.device_to_device
    if device.mean_covariance is not None:
        anyone = anyone + np.pad(np.array(device.mean_covariance, dtype=float), (0, len(runs) - 3))
    width = float(norm.ppf(1 - ALPHA / 2))
    if device.tail is not None:  # the covariance of a t is wider than its scale
        width = float(student.ppf(1 - ALPHA / 2, device.tail)) * ((device.tail - 2) / device.tail) ** 0.5
    own, others = (width * np.sqrt(np.einsum("ki,ij,kj->k", slopes, c, slopes)) for c in (runs, anyone))
    return own, others


def level_spreads(calibration: Calibration) -> dict[str, list[LevelSpread]]:
    """Of levels 0..T-1, by kind of variation; the sds are those of the file's level table, modes and all."""
    device = calibration.device
    assert device is not None
    frame = Frame.of(device)
    runs = runs_in(frame, device, calibration.traces)
    of_file = (device.levels.run_to_run_sd, device.levels.device_to_device_sd)
    return {
        name: [
            replace(level, variance=None if np.isnan(sd) else float(sd) ** 2)
            for level, sd in zip(spread(frame, device, runs), known(sds), strict=False)
        ]
        for (name, spread), sds in zip(_KINDS.items(), of_file, strict=True)
    }


def spread_figure(calibration: Calibration, spreads: Mapping[str, Sequence[LevelSpread]]) -> Drawing:
    """sd of O(t_k) from run to run and from device to device, with intervals."""
    assert calibration.device is not None
    top = calibration.device.levels.n_levels - 1
    with panel() as (figure, axes):
        for number, (name, levels) in enumerate(spreads.items()):
            told = [(k, level.sd, level.interval(ALPHA)) for k, level in enumerate(levels) if level.sd is not None]
            k = np.array([one[0] for one in told]) + 0.2 * (number - 0.5)
            axes.plot(k, [one[1] for one in told], "o", ms=4, color=PALETTE[number], label=name)
            for at, (_, _, ends) in zip(k, told, strict=True):
                if ends is not None:
                    axes.plot([at, at], ends, color=PALETTE[number], lw=1.2)
        axes.axhline(0.5 / top, color=INK, lw=0.9, ls="--", label="half a level")
        axes.set(xlabel="time index k", ylabel="sd of O($t_k$)", ylim=(0, None))
        axes.legend(loc="upper left")
    return Drawing(
        "spread",
        figure,
        "How far O(t\u2096) varies, the meter's noise taken out, with 95 % intervals. A level without a dot is not "
        "resolved: the data cannot tell its variation from noise. Where a dot nears the dashed line, a third of all "
        "readings land nearer to a neighbouring level than to their own.",
    )


def correlation_figure(device: DeviceRecord) -> Drawing:
    """Correlations of the parameters, from run to run below the diagonal, from device to device above it."""
    runs, devices = (_correlation(spread.covariance) for spread in (device.run_to_run, device.device_to_device))
    size = len(runs)
    values = np.full((size, size), np.nan)
    lower, upper = np.tril_indices(size, -1), np.triu_indices(size, 1)
    values[lower], values[upper] = runs[lower], devices[upper]
    with panel() as (figure, axes):
        shaded_cells(axes, values, 1.0)
        for row, column in zip(*np.nonzero(~np.eye(size, dtype=bool)), strict=True):
            value = values[row, column]
            said = "not\nresolved" if np.isnan(value) else f"{value:+.2f}".replace("-", "\u2212")
            axes.text(column, row, said, ha="center", va="center", fontsize=8)
        axes.plot([-0.5, size - 0.5], [-0.5, size - 0.5], color=INK, lw=0.8)
        axes.set_xticks(range(size), list(NAMES.values()))
        axes.set_yticks(range(size), list(NAMES.values()))
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        axes.grid(visible=False)
    return Drawing(
        "correlation",
        figure,
        "Correlations of the parameters: from run to run below the diagonal, from device to device above it. Near 0, "
        "each parameter varies by itself. Near 1 or \u22121 two of them vary as one: that can be physics (one cause), "
        "or a law that has one parameter too many.",
    )


def _correlation(covariance: Matrix) -> Array:
    known = np.array([[np.nan if value is None else value for value in row] for row in covariance], dtype=float)
    sd = np.sqrt(np.diag(known))
    return np.asarray(known / np.outer(sd, sd))


def theta_table(calibration: Calibration) -> dict[str, Array]:
    """O0, D and beta of each trace's own fit [trace], estimation noise and all, and which are outliers."""
    assert calibration.device is not None
    constants, table = calibration.device.constants, calibration.traces
    place = {name: number for number, name in enumerate(table.columns)}
    edge, drop, beta = (
        np.array([row[place[name]] for row in table.rows], dtype=float) for name in ("edge_A", "drop_A", "beta")
    )
    swing = constants.I_edge_A - constants.I_end_A
    out = np.array([bool(row[place["outlier"]]) for row in table.rows])
    return {"O0": (edge - constants.I_end_A) / swing, "D": drop / swing, "beta": beta, "outlier": out}


def runs_figure(calibration: Calibration) -> Drawing:
    """Every trace's exponent against its drop, a colour a device, outliers ringed."""
    theta, place = theta_table(calibration), calibration.traces.columns.index
    devices = [(str(row[place("chip")]), int(row[place("device")])) for row in calibration.traces.rows]
    names = sorted(set(devices))
    numbers = np.array([names.index(device) for device in devices])
    shown = np.zeros(len(numbers), dtype=bool)
    shown[every_so(len(numbers), _MOST_DOTS)] = True
    with panel() as (figure, axes):
        for number in range(len(names)):
            own = shown & (numbers == number)
            axes.plot(theta["D"][own], theta["beta"][own], ".", ms=4, alpha=0.65, color=PALETTE[number % len(PALETTE)])
        out = theta["outlier"].astype(bool)
        axes.plot(theta["D"][out], theta["beta"][out], "o", ms=9, mfc="none", color=BAD)
        axes.set(xlabel="D, the drop over the window", ylabel="\u03b2, the exponent")
    return Drawing(
        "runs",
        figure,
        f"Each trace's own fit, a colour a device ({len(names)} of them), {int(out.sum())} outliers ringed. A cloud is "
        "a device's run-to-run variation, the clouds' distances the device-to-device variation. A cloud drawn out into "
        "a line is drift; dots far outside that are not ringed would be wrong.",
    )


def laws_figure(calibration: Calibration) -> Drawing | None:
    """How much worse each law is than the best, trace by trace; None where laws were not compared."""
    place = calibration.traces.columns.index("aic")
    criteria: list[dict[str, float]] = [row[place] for row in calibration.traces.rows if row[place]]
    if not criteria:
        return None
    laws = list(criteria[0])
    with panel() as (figure, axes):
        for number, law in enumerate(laws):
            worse = np.sort([criterion[law] for criterion in criteria])
            spread = number + np.linspace(-0.28, 0.28, len(worse)) if len(worse) > 1 else np.array([number])
            axes.plot(np.maximum(worse, 0.0), spread, ".", ms=4, alpha=0.7, color=PALETTE[0])
            axes.plot([max(float(np.median(worse)), 0.0)] * 2, [number - 0.36, number + 0.36], color=PALETTE[1], lw=1.6)
        axes.axvline(10, color=INK, lw=0.9, ls="--")
        axes.set_yticks(range(len(laws)), laws)
        axes.invert_yaxis()
        axes.set_xscale("symlog", linthresh=1.0)
        axes.set_xlim(left=-0.1)
        axes.set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1000"])
        axes.set(xlabel="AIC above that of the trace's best law")
    return Drawing(
        "laws",
        figure,
        f"How much worse each law describes each of {len(criteria)} traces than that trace's best law; orange: the "
        "median. Beyond the dashed line (10) a trace all but excludes the law. The calibration's own law should "
        "crowd at the left; laws that crowd there with it cannot be told apart on this window, and 'line' there "
        "means that no decay is resolved.",
    )


def condition_figures(calibration: Calibration) -> list[Drawing]:
    """Of several settings: their mean curves, and the sds at their level times."""
    conditions = calibration.conditions or []
    chosen = [conditions[i] for i in every_so(len(conditions), _MOST_CURVES)]
    labels = _labels(conditions)
    with panel() as (curves, axes):
        for condition in chosen:
            device = condition.device
            window_s = device.constants.window_s
            u = np.geomspace(0.3 * device.levels.time_s[1] / window_s, 1.0, _POINTS)
            current = device.constants.I_edge_A - (device.constants.I_edge_A - device.constants.I_end_A) * (
                1 - unified(u, 1.0, 1.0, device.logit_beta, device.law.c)
            )
            axes.plot(u * window_s, current * 1e9, lw=1.2, label=labels[id(condition)])
        seconds_axis(axes)
        axes.set(xlabel="time after the light's edge, logarithmic", ylabel="current (nA)")
        axes.legend(title=_swept(conditions))
    with panel() as (spreads, axes):
        for condition in chosen:
            levels = condition.device.levels
            axes.plot(
                range(levels.n_levels), known(levels.run_to_run_sd), ".-", ms=4, lw=1, label=labels[id(condition)]
            )
        axes.axhline(0.5 / (chosen[0].device.levels.n_levels - 1), color=INK, lw=0.9, ls="--")
        axes.set(xlabel="time index k", ylabel="run-to-run sd of O($t_k$)", ylim=(0, None))
        axes.legend(title=_swept(conditions))
    shown = f"{len(chosen)} of {len(conditions)} settings"
    return [
        Drawing("curves-by-setting", curves, f"Mean currents at {shown}. They should follow each other in the order of "
                "what was swept; one that leaves the order was measured wrongly, or the chip changed meanwhile."),
        Drawing("spread-by-setting", spreads, f"Run-to-run sd at the level times, {shown}; dashed: half a level. A "
                "setting far above the others is noisier for a reason that should be known."),
    ]  # fmt: skip


def _swept(conditions: Sequence[ConditionRecord]) -> str:
    names = conditions[0].settings
    return ", ".join(name for name in names if len({one.settings.get(name) for one in conditions}) > 1)


def _labels(conditions: Sequence[ConditionRecord]) -> dict[int, str]:
    names = _swept(conditions).split(", ")
    return {id(one): ", ".join(f"{one.settings.get(name, np.nan):g}" for name in names) for one in conditions}


def known(values: Sequence[Any]) -> Array:
    """What is not resolved as NaN; sds below any resolution count as that."""
    return np.array([np.nan if value is None or value < 1e-9 else value for value in values], dtype=float)
