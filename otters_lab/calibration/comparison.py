"""What a comparison of two measurements found, level by level."""

from __future__ import annotations

from typing import Literal

from otters_lab.calibration.file import Record

Interval = tuple[float, float]


class SdChange(Record):
    """A level's sd, old and new, in the old constants; null where either side cannot resolve it."""

    old: float | None
    new: float | None
    change: float | None
    interval: Interval | None


class LevelChange(Record):
    """What happened to a level. `mean_interval` is of the change, simultaneous over the levels; `levels` = change*T."""

    k: int
    time_s: float
    mean_old: float
    mean_new: float
    mean_change: float
    mean_interval: Interval
    levels: float
    run_to_run: SdChange
    device_to_device: SdChange


class Comparison(Record):
    """The answer. `because` names what changed beyond its interval; `design` how the error of the means was found."""

    verdict: Literal["keep", "refit"]
    rule: str
    because: list[str]
    design: str
    notes: list[str]
    degrees_of_freedom: int
    critical_t: float
    tolerance_levels: float
    largest_shift_levels: float
    largest_shift_at: int
    swing_ratio: float
    levels: list[LevelChange]
