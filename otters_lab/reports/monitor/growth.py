"""Statistics of a capture's points while its traces come in: one pass, bounded memory."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from otters_lab.core.protocols import Array, Trace, TraceKey
from otters_lab.measurements.layout import describe

PROBES = 24  # times after the edge, evenly on a log axis up to the window's end
MAX_POINTS = 500  # whose statistics are kept
RECENT = 500  # plateaus that are kept
LAST = 4  # traces that are drawn
SAMPLES = 300  # of each of them, at most
_PLATEAU, _BASELINE, _DECAY = 0, 1, 2  # places in a point's vector


@dataclass(frozen=True)
class About:
    """What a capture says of itself as a whole; units are SI."""

    uid: str
    chip: str
    origin: str
    note: str
    instruments: dict[str, str]
    parameter_units: dict[str, str]
    reading_units: dict[str, str]
    window_s: float | None

    @classmethod
    def read(cls, attributes: Mapping[str, Any], parameter_units: dict[str, str]) -> About:
        """From the attributes that a sealed capture and a spool have alike."""
        return cls(
            uid=str(attributes["uid"]),
            chip=str(attributes["chip"]),
            origin=str(attributes["origin"]),
            note=str(attributes["note"]),
            instruments=json.loads(attributes["instruments"]),
            parameter_units=parameter_units,
            reading_units=json.loads(attributes["readings"]),
            window_s=json.loads(attributes["attributes"]).get("window_s"),
        )


class Moments:
    """Mean and standard deviation of each place of a vector, one vector at a time (Welford's); NaN does not count."""

    def __init__(self, size: int) -> None:
        self.count = np.zeros(size)
        self._mean, self._squares = np.zeros(size), np.zeros(size)

    def add(self, values: Array) -> None:
        """One vector [size]."""
        known = ~np.isnan(values)
        self.count[known] += 1
        off = values[known] - self._mean[known]
        self._mean[known] += off / self.count[known]
        self._squares[known] += off * (values[known] - self._mean[known])

    @property
    def mean(self) -> Array:
        """[size]; NaN of nothing."""
        return np.where(self.count > 0, self._mean, np.nan)

    @property
    def sd(self) -> Array:
        """[size], of the population that the vectors were drawn from; NaN of fewer than two."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.count > 1, np.sqrt(self._squares / (self.count - 1)), np.nan)


class Shown(NamedTuple):
    """A trace as it is drawn: few samples of it. `number` in its capture, from 0."""

    number: int
    key: TraceKey
    status: str
    start_utc: str
    range_A: float
    readings: dict[str, float]
    time_s: Array
    current_A: Array

    @classmethod
    def of(cls, number: int, key: TraceKey, trace: Trace) -> Shown:
        """So that at most `SAMPLES` are left."""
        step = max(1, -(-len(trace.time_s) // SAMPLES))
        few = trace.time_s[::step], trace.current_A[::step]
        return cls(number, key, trace.status, trace.start_utc, trace.range_A, dict(trace.readings), *few)


class Plateau(NamedTuple):
    """What is kept of a trace that was taken a while ago."""

    number: int
    point: int
    value_A: float
    ok: bool


class Point:
    """One setting of the swept parameters: its traces by status, and the moments of those that are ok."""

    def __init__(self, parameters: Mapping[str, float]) -> None:
        self.parameters = dict(parameters)
        self.statuses: Counter[str] = Counter()
        self.moments = Moments(_DECAY + PROBES)

    @property
    def plateau_A(self) -> tuple[float, float]:
        """Mean and standard deviation over devices and repeats."""
        return float(self.moments.mean[_PLATEAU]), float(self.moments.sd[_PLATEAU])

    @property
    def baseline_A(self) -> tuple[float, float]:
        """Likewise."""
        return float(self.moments.mean[_BASELINE]), float(self.moments.sd[_BASELINE])

    @property
    def decay_A(self) -> tuple[Array, Array]:
        """Likewise, at each of the probes; single readings, so the meter's noise is in the standard deviation."""
        return self.moments.mean[_DECAY:], self.moments.sd[_DECAY:]


class Growth:
    """All that is kept of a capture's traces, taken in one after the other."""

    def __init__(self, about: About) -> None:
        self.about = about
        self.seen = 0  # traces taken in
        self.total = 0  # traces that are there
        self.problem = ""  # why the next one cannot be taken in
        self.seams: list[dict[str, Any]] = []
        self.statuses: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.devices: set[int] = set()
        self.points: dict[int, Point] = {}
        self.highest = -1  # number of a point; those beyond `MAX_POINTS` are not kept
        self.plateaus: deque[Plateau] = deque(maxlen=RECENT)
        self.last: list[Shown] = []  # the newest, whether taken in yet or not
        self.probes_s: Array = np.zeros(0)

    def add(self, key: TraceKey, trace: Trace, number: int | None = None) -> None:
        """The next trace; `number` in its capture, from 0, where not every one is looked at."""
        number = self.seen if number is None else number
        self.seen += 1
        self.statuses[trace.status] += 1
        self.kinds[key.kind] += 1
        self.devices.add(key.device)
        if key.kind != "decay":
            return
        row = describe(key, trace)
        plateau_A, ok = float(row["plateau"]), trace.status == "ok"
        self.plateaus.append(Plateau(number, key.point, plateau_A, ok))
        point = self._point(key)
        if point is None:
            return
        point.statuses[trace.status] += 1
        if ok:
            levels = np.array([plateau_A, float(row["baseline"])])
            point.moments.add(np.concatenate([levels, self._probed(trace)]))

    def _point(self, key: TraceKey) -> Point | None:
        self.highest = max(self.highest, key.point)
        if key.point not in self.points:
            if len(self.points) >= MAX_POINTS:
                return None
            self.points[key.point] = Point(key.parameters)
        return self.points[key.point]

    def _probed(self, trace: Trace) -> Array:
        """The current at the probes [probe] (A), interpolated; NaN where there is no sample on both sides."""
        after = trace.time_s > 0
        time_s, current_A = trace.time_s[after], trace.current_A[after]
        if not len(time_s):
            return np.full(PROBES, np.nan)
        if not len(self.probes_s):
            end_s = self.about.window_s or float(time_s[-1])
            self.probes_s = np.geomspace(end_s / 200, end_s, PROBES)
        found: Array = np.interp(self.probes_s, time_s, current_A, left=np.nan, right=np.nan)
        # The last sample's middle lies before the window's end: within half a step it is the reading at the end.
        half_s = (time_s[-1] - time_s[-2]) / 2 if len(time_s) > 1 else 0.0
        near = (self.probes_s > time_s[-1]) & (self.probes_s <= time_s[-1] + 1.001 * half_s)
        found[near] = current_A[-1]
        return found
