"""Has a chip drifted, is a refit due: the new measurement's O(t_k) against the old one's, in the old constants.

The rule: refit when the mean of a level, or the run-to-run or device-to-device sd of one, has changed beyond its
simultaneous interval. Five false alarms in a hundred are allowed in all: three to the means (the largest |t| over the
levels), one to each of the sds (Bonferroni over the levels).

The error of the means' change:

- three or more devices in common: from the scatter of the devices' own changes (t, devices - 1). Their spread cancels;
- one or two in common: from the run-to-run scatter within them;
- none in common (another chip, other devices): from the scatter between devices on either side (Welch's t).

To each comes what an error of the shared curvature c does to all devices at once, and the scale's own error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otters_lab.calibration.comparison import Comparison, LevelChange, SdChange
from otters_lab.calibration.file import Calibration, DeviceRecord, TraceTable, rounded
from otters_lab.calibration.frame import Frame, Runs, curvature_effect, runs_in, sensitivity
from otters_lab.calibration.levelspread import LevelSpread, device_to_device, run_to_run
from otters_lab.calibration.simultaneous import difference, largest_t
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.protocols import AnyArray, Array

MEAN_ALPHA, RUN_ALPHA, DEVICE_ALPHA = 0.03, 0.01, 0.01
RULE = (
    "refit if the mean, the run-to-run sd or the device-to-device sd of a level changed beyond its simultaneous "
    "interval (5 % false alarms in all)"
)
_SAME = 1e-5


@dataclass(frozen=True)
class Measured:
    """One side of a comparison. `c_sd` is None where the curvature was taken over from the other side."""

    chip: str
    settings: list[dict[str, float]]
    device: DeviceRecord
    traces: TraceTable
    c_sd: float | None
    c_taken: bool = False

    @classmethod
    def of(cls, calibration: Calibration) -> Measured:
        """A calibration as a side.

        Raises
        ------
        RefusedError
            if it holds no device model.
        """
        if calibration.device is None:
            raise RefusedError("holds no device model to compare: its captures mix several settings (fit --point N)")
        sd = calibration.device.law.c_sd
        return cls(calibration.chip, calibration.settings, calibration.device, calibration.traces, sd)


def compare(old: Measured, new: Measured, tolerance_levels: float = 0.0) -> Comparison:
    """Compares two measurements; see the head of this file for the rule.

    tolerance_levels : a significant change of a mean counts only from this shift on, in levels (O times T).

    Raises
    ------
    InputError
        if the two cannot be compared: another window, polarity or setting, or a device each and not the same one.
    """
    _check(old, new)
    frame, top = Frame.of(old.device), old.device.levels.n_levels - 1
    runs = [runs_in(frame, side.device, side.traces) for side in (old, new)]
    mean, error = _mean_change(frame, old, new, runs)
    kinds = {"run-to-run": (run_to_run, RUN_ALPHA), "device-to-device": (device_to_device, DEVICE_ALPHA)}
    sds = {
        name: _changes(spread(frame, old.device, runs[0]), spread(frame, new.device, runs[1]), alpha)
        for name, (spread, alpha) in kinds.items()
    }
    half = np.maximum(error.critical * error.se, _resolution(frame))
    shift = mean.new - mean.old
    beyond = (np.abs(shift) > half) & (np.abs(shift) * top >= tolerance_levels)
    because = [f"mean of {_named(np.flatnonzero(beyond))}"] if beyond.any() else []
    for name, changes in sds.items():
        moved = np.array([c.interval is not None and not c.interval[0] <= 0 <= c.interval[1] for c in changes])
        because += [f"{name} sd of {_named(np.flatnonzero(moved))}"] if moved.any() else []
    worst = int(np.argmax(np.abs(shift)))
    new_constants = new.device.constants
    return Comparison(
        verdict="refit" if because else "keep",
        rule=RULE + (f"; a mean counts from {tolerance_levels:g} levels on" if tolerance_levels else ""),
        because=because,
        design=error.design,
        notes=_notes(old, new),
        degrees_of_freedom=error.dof,
        critical_t=rounded(error.critical),
        tolerance_levels=tolerance_levels,
        largest_shift_levels=rounded(float(shift[worst]) * top),
        largest_shift_at=worst,
        swing_ratio=rounded((new_constants.I_edge_A - new_constants.I_end_A) / frame.swing_A),
        levels=[
            LevelChange(
                k=k,
                time_s=rounded(float(frame.u[k]) * frame.window_s),
                mean_old=rounded(float(mean.old[k])),
                mean_new=rounded(float(mean.new[k])),
                mean_change=rounded(float(shift[k])),
                mean_interval=(rounded(float(shift[k] - half[k])), rounded(float(shift[k] + half[k]))),
                levels=rounded(float(shift[k]) * top),
                run_to_run=sds["run-to-run"][k],
                device_to_device=sds["device-to-device"][k],
            )
            for k in range(top)
        ],
    )


def _check(old: Measured, new: Measured) -> None:
    one, two = old.device.constants, new.device.constants
    if abs(one.window_s - two.window_s) > _SAME * one.window_s:
        raise InputError("cannot be compared: another window W", found=f"{two.window_s:g} s",
                         expected=f"{one.window_s:g} s")  # fmt: skip
    if one.polarity != two.polarity:
        raise InputError("cannot be compared: another polarity", found=f"a current that {two.polarity}",
                         expected=f"one that {one.polarity}")  # fmt: skip
    for side in (old, new):
        if len(side.settings) > 1:
            raise InputError("cannot be compared: several settings", found=len(side.settings), expected="one")
    for name, value in old.settings[0].items():
        other = new.settings[0].get(name, value)
        if abs(other - value) > _SAME * abs(value):
            raise InputError(f"cannot be compared: another {name}", found=other, expected=f"{value:g}")


def _notes(old: Measured, new: Measured) -> list[str]:
    notes = []
    if old.chip != new.chip:
        notes.append(f"chip {new.chip} against chip {old.chip}")
    if not new.c_taken and (old.c_sd is None or new.c_sd is None):
        notes.append("the curvature's sd is not known on both sides: its part of the interval is left out")
    return notes


def _resolution(frame: Frame) -> float:
    """What a file's nine digits can tell apart: the same capture compared with itself has not drifted."""
    return 1e-8 * max(abs(frame.I_end_A), abs(frame.I_end_A + frame.swing_A)) / abs(frame.swing_A)


def _named(k: AnyArray) -> str:
    """Levels in words: "level 3", "levels 0-4, 7"."""
    parts = np.split(k, np.flatnonzero(np.diff(k) > 1) + 1)
    text = ", ".join(f"{p[0]}" if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
    return f"level{'' if len(k) == 1 else 's'} {text}"


@dataclass(frozen=True)
class _Means:
    old: Array
    new: Array


@dataclass(frozen=True)
class _Error:
    """se [level] of the change, degrees of freedom, critical |t|, and how they were found."""

    se: Array
    dof: int
    critical: float
    design: str


def _mean_change(frame: Frame, old: Measured, new: Measured, runs: list[Runs]) -> tuple[_Means, _Error]:
    means = [side.means() for side in runs]
    common = sorted(set(means[0]) & set(means[1]))
    names = [common, common] if common else [sorted(side) for side in means]
    stacks = [np.stack([side[name] for name in chosen]) for side, chosen in zip(means, names, strict=True)]
    middle = _Means(stacks[0].mean(axis=0), stacks[1].mean(axis=0))
    n, m = len(stacks[0]), len(stacks[1])
    if len(common) >= 3:
        variance = np.var(stacks[1] - stacks[0], axis=0, ddof=1) / n
        dof, design = n - 1, f"{n} devices in common: scatter of their own changes"
    elif common:
        parts = [_within_error(side, common) for side in runs]
        variance, dof = _welch([part[0] for part in parts], [part[1] for part in parts])
        design = f"{n} device{'s' if n > 1 else ''} in common: scatter of their runs"
    elif min(n, m) > 1:
        parts = [(np.var(stack, axis=0, ddof=1) / len(stack), len(stack) - 1) for stack in stacks]
        variance, dof = _welch([part[0] for part in parts], [part[1] for part in parts])
        design = f"no device in common: scatter between {n} and {m} devices"
    else:
        raise InputError("cannot be compared: no device in common, and only one on a side")
    variance = variance + _shared_error(frame, old, new, middle.new - middle.old)
    critical = largest_t(_shape(frame, old, runs[0]), dof, MEAN_ALPHA)
    return middle, _Error(np.sqrt(variance), dof, critical, design)


def _within_error(runs: Runs, names: list[tuple[str, int]]) -> tuple[Array, int]:
    """Variance [level] of the mean over the named devices' means from the runs' scatter, and its dof."""
    away, dof = runs.away()
    if dof < 1:
        raise InputError("cannot be compared: one run of a device says nothing of its scatter")
    counts = runs.counts()
    share = sum(1.0 / counts[name] for name in names) / len(names) ** 2
    return np.sum(away**2, axis=0) / dof * share, dof


def _welch(variances: list[Array], dofs: list[int]) -> tuple[Array, int]:
    """Sum of two variances with Satterthwaite's degrees of freedom, the level with the fewest deciding."""
    total = variances[0] + variances[1]
    spent = sum(v**2 / dof for v, dof in zip(variances, dofs, strict=True))
    return total, max(1, int(np.min(total**2 / np.maximum(spent, 1e-300))))


def _shared_error(frame: Frame, old: Measured, new: Measured, shift: Array) -> Array:
    """Variance [level] of what does not average out over devices: the curvature of either fit, the swing's error."""
    variance = np.zeros_like(shift)
    if not new.c_taken:
        for side in (old, new):
            variance += (curvature_effect(frame, side.device) * (side.c_sd or 0.0)) ** 2
    covariance = old.device.constants.covariance_A2
    if covariance is not None:
        edge_end = np.array(covariance, dtype=float)
        swing_variance = float(np.array([1.0, -1.0]) @ edge_end @ np.array([1.0, -1.0]))
        variance += shift**2 * swing_variance / frame.swing_A**2
    return variance


def _shape(frame: Frame, old: Measured, runs: Runs) -> Array:
    """A root [level, 3] of the covariance that levels vary with: the runs', or the parameters' where runs are few."""
    away, dof = runs.away()
    if dof < 10:
        return sensitivity(frame, old.device)
    values, vectors = np.linalg.eigh(away.T @ away / dof)
    return np.asarray(vectors[:, -3:] * np.sqrt(np.maximum(values[-3:], 0.0)))


def _changes(old: list[LevelSpread], new: list[LevelSpread], alpha: float) -> list[SdChange]:
    changes = []
    for one, other in zip(old, new, strict=True):
        sds = [None if spread.sd is None else rounded(spread.sd) for spread in (one, other)]
        intervals = [spread.interval(alpha / len(old)) for spread in (one, other)]
        if one.sd is None or other.sd is None or intervals[0] is None or intervals[1] is None:
            changes.append(SdChange(old=sds[0], new=sds[1], change=None, interval=None))
            continue
        low, high = difference(one.sd, intervals[0], other.sd, intervals[1])
        change = rounded(other.sd - one.sd)
        changes.append(SdChange(old=sds[0], new=sds[1], change=change, interval=(rounded(low), rounded(high))))
    return changes
