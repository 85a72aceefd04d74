"""A chip's device model at a setting between measured ones.

Along one varied parameter, with all others as measured: values by the monotone cubic of Fritsch and Carlson (PCHIP)
through the measured settings, a straight line where there are only two; covariances straight between the neighbours.
The neighbours' sds add linearly, since the same devices stand at both, and to them comes, in quadrature, the cubic's
distance from the straight line: what is not known of the curve between. Nothing is extrapolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import PchipInterpolator

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array

if TYPE_CHECKING:  # a calibration file interpolates with what is here
    from otters_lab.calibration.file import ConditionRecord, DeviceRecord

_SAME = 1e-5
Covariance = list[list[float | None]]


@dataclass(frozen=True)
class Condition:
    """A setting's model in numbers, each with its sd (None where it is not known), and where it came from.

    `values`: I_edge_A, I_end_A, swing_A, c, logit_beta, and the sds of (O0, D, logit_beta) as "run_to_run.D",
    "device_to_device.D" ..., None where not resolved. `measured` where no interpolation was needed; `curved` where the
    shape between the settings is known from more than two.
    """

    settings: dict[str, float]
    along: str | None
    values: dict[str, float | None]
    sd: dict[str, float | None]
    window_s: float
    run_to_run: Covariance
    device_to_device: Covariance
    measured: bool
    curved: bool


def condition_at(conditions: Sequence[ConditionRecord], asked: Mapping[str, float]) -> Condition:
    """The condition at a setting.

    Raises
    ------
    InputError
        for a parameter that was not swept, one that was and is not given, a value outside the measured range or, of a
        parameter that is not interpolated, between the measured ones.
    """
    if any(set(point.settings) != set(conditions[0].settings) for point in conditions):
        raise InputError("the settings do not all state the same parameters: fit --point N takes one")
    grid = {name: sorted({point.settings[name] for point in conditions}) for name in conditions[0].settings}
    for name, value in asked.items():
        if name not in grid:
            raise InputError(f"{name} was not varied", expected=", ".join(grid))
        if not grid[name][0] - _slack(value) <= value <= grid[name][-1] + _slack(value):
            raise InputError(
                f"{name} lies outside what was measured: nothing is extrapolated",
                found=value,
                expected=f"{grid[name][0]:g} to {grid[name][-1]:g}",
            )
    missing = [name for name, values in grid.items() if len(values) > 1 and name not in asked]
    if missing:
        raise InputError(f"{missing[0]} was varied and is not given", expected=_listed(grid[missing[0]]))
    between = [name for name, value in asked.items() if not any(_same(value, known) for known in grid[name])]
    if len(between) > 1:
        raise InputError(f"{' and '.join(between)} both lie between measured values", expected="one of them at most")
    line = [p for p in conditions if all(_same(p.settings[n], v) for n, v in asked.items() if n not in between)]
    if not between:
        if not line:
            raise InputError("this setting was not measured", found=dict(asked))
        return _measured(line[0])
    along = between[0]
    return _between(sorted(line, key=lambda point: point.settings[along]), along, asked)


def _measured(point: ConditionRecord) -> Condition:
    values, sd = _numbers(point.device)
    device = point.device
    return Condition(dict(point.settings), None, values, sd, device.constants.window_s, device.run_to_run.covariance,
                     device.device_to_device.covariance, measured=True, curved=True)  # fmt: skip


def _between(line: Sequence[ConditionRecord], along: str, asked: Mapping[str, float]) -> Condition:
    x, value = np.array([point.settings[along] for point in line]), asked[along]
    if len(line) < 2 or not x[0] <= value <= x[-1]:
        raise InputError(f"{along} has no measured neighbours at this setting", found=value, expected=_listed(x))
    right = int(np.searchsorted(x, value))
    near = (line[right - 1], line[right])
    w = float((value - x[right - 1]) / (x[right] - x[right - 1]))
    numbers = [_numbers(point.device) for point in line]
    values: dict[str, float | None] = {}
    sd: dict[str, float | None] = {}
    for name in numbers[0][0]:
        known = [(at, v[name]) for at, (v, _) in zip(x, numbers, strict=True) if v[name] is not None]
        ends, sds = ([part[i][name] for i in (right - 1, right)] for part in (tuple(zip(*numbers, strict=True))))
        if ends[0] is None or ends[1] is None:
            values[name] = sd[name] = None
            continue
        straight = (1 - w) * ends[0] + w * ends[1]
        curve = straight
        if len(known) > 2:
            at, y = (np.array(column, dtype=float) for column in zip(*known, strict=True))
            curve = float(PchipInterpolator(at, y)(value))
        values[name] = curve
        own = None if sds[0] is None or sds[1] is None else (1 - w) * sds[0] + w * sds[1]
        sd[name] = None if own is None else float(np.hypot(own, curve - straight))
    records = [point.device for point in near]
    return Condition(
        settings={**line[0].settings, along: float(value)},
        along=along,
        values=values,
        sd=sd,
        window_s=records[0].constants.window_s,
        run_to_run=_mixed([record.run_to_run.covariance for record in records], w),
        device_to_device=_mixed([record.device_to_device.covariance for record in records], w),
        measured=False,
        curved=len(line) > 2,
    )


def _numbers(device: DeviceRecord) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """What is interpolated of a device record, and each number's sd."""
    constants, mean = device.constants, device.mean_covariance
    swing = constants.I_edge_A - constants.I_end_A
    values: dict[str, float | None] = {
        "I_edge_A": constants.I_edge_A, "I_end_A": constants.I_end_A, "swing_A": swing, "c": device.law.c,
        "logit_beta": device.logit_beta,
    }  # fmt: skip
    sd: dict[str, float | None] = dict.fromkeys(values)
    sd["c"] = device.law.c_sd
    if constants.covariance_A2 is not None and mean is not None:
        cov = np.array(constants.covariance_A2, dtype=float)
        slopes = {"I_edge_A": (1.0, 0.0), "I_end_A": (0.0, 1.0), "swing_A": (1.0, -1.0)}
        sd |= {name: _root(np.array(slope) @ cov @ np.array(slope)) for name, slope in slopes.items()}
        sd["logit_beta"] = _root(np.array(mean, dtype=float)[2, 2])
    for kind, spread in (("run_to_run", device.run_to_run), ("device_to_device", device.device_to_device)):
        for name, value in spread.sd.items():
            interval = spread.interval[name]
            values[f"{kind}.{name}"] = value
            # A 95 % interval is 3.92 sd wide.
            sd[f"{kind}.{name}"] = None if interval is None else (interval[1] - interval[0]) / 3.92
    return values, sd


def _root(variance: float) -> float:
    return float(np.sqrt(max(float(variance), 0.0)))


def _mixed(pair: Sequence[Covariance], w: float) -> Covariance:
    """(1 - w)*first + w*second, null where either is."""
    return [
        [None if a is None or b is None else (1 - w) * a + w * b for a, b in zip(*rows, strict=True)]
        for rows in zip(*pair, strict=True)
    ]


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= _slack(other)


def _slack(value: float) -> float:
    return _SAME * abs(value)


def _listed(values: Sequence[float] | Array) -> str:
    return ", ".join(f"{value:g}" for value in values)
