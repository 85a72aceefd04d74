"""A recorded capture as a source of decays: what was measured once, given to the virtual device again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.protocols import AnyArray, Array, Pulse
from otters_lab.measurements.capture import Capture

AtEnd = Literal["stop", "loop", "sample"]

# Settings are the same if no instrument could tell them apart.
_SAME = 1e-5
# A sample is the recorded one if its middle lies this near to it, in recorded sample spacings; so for the apertures.
_SNAP = 1e-4
# Status of takes whose samples are all there and true.
_WHOLE = ("ok", "late", "compliance")


@dataclass(frozen=True)
class _Point:
    """One setting of one device; unknown (not recorded) settings are None and match any pulse."""

    number: int
    drive_V: float | None
    width_s: float | None
    width_known_to_s: float
    rows: AnyArray  # of the capture's table, in the order of their repeats

    def fits(self, pulse: Pulse) -> bool:
        pairs = ((self.drive_V, pulse.drive_V, 0.0), (self.width_s, pulse.width_s, self.width_known_to_s))
        return all(own is None or abs(own - asked) <= max(_SAME * abs(asked), by) for own, asked, by in pairs)


class ReplayedDecays:
    """A `DecaySource` that replays a capture: device, point and repeat are those recorded.

    A pulse's drive and width choose the point among the device's recorded ones (the width to what its two edges were
    known to, which matters for imported recordings); the n-th pulse of that setting is the n-th recorded repeat. No
    match, or several (points that differ in bias alone), is an error. After the last repeat comes what `at_end` says:
    "stop" is an error, "loop" the first repeat again, "sample" one drawn by (seed, device, point, repeat).

    Between recorded samples the current is linear in time. A longer aperture than the recorded one averages that line
    so that recorded and new aperture together span the asked one; a shorter one cannot resolve more than was recorded.
    A sample nearer to an edge of the light than the recorded spacing mixes both sides of it. Nothing is extrapolated.
    """

    origin = "replayed"
    brings_dark = True

    def __init__(self, capture: Capture, *, at_end: AtEnd = "stop", seed: int = 0) -> None:
        self._capture = capture
        self._at_end = at_end
        self._seed = seed
        table = capture.table
        chips = sorted(set(table["chip"]))
        if len(chips) > 1:
            raise InputError(f"holds several chips ({', '.join(chips)}), and one can be replayed", file=capture.path)
        if table.empty:
            raise InputError("holds no trace to replay", file=capture.path)
        self._points = {int(device): _points(capture, int(device)) for device in sorted(set(table["device"]))}
        self._trace = lru_cache(maxsize=16)(self._load)

    @property
    def devices(self) -> tuple[int, ...]:
        """Device numbers in the capture."""
        return tuple(self._points)

    def dark_current_A(self, device: int) -> float:
        """Mean of the recorded dark baselines (A), 0 where there are none: no pulse ever shows it."""
        rows = self._capture.table["device"] == device
        baselines = self._capture.table["baseline_A"][rows].to_numpy(dtype=np.float64)
        known = baselines[np.isfinite(baselines)]
        return float(known.mean()) if known.size else 0.0

    def repeats(self, device: int, drive_V: float, width_s: float) -> int:
        """How many repeats of a setting were recorded.

        Raises
        ------
        InputError
            if the setting fits no recorded point, or several.
        """
        return len(self._point(Pulse(device, 0, drive_V, width_s, 0.0)).rows)

    def mean_current_A(self, pulse: Pulse, start_s: Array, stop_s: Array) -> Array:
        """Recorded current (A) over apertures [start, stop] (s, 0 at the falling edge), dark samples included.

        Raises
        ------
        InputError
            if the pulse fits no recorded point, or an aperture lies outside the recorded time.
        InstrumentError
            after the last repeat, where `at_end` is "stop"; for a recorded trace with samples left out.
        """
        row = self._row(pulse)
        time_s, current_A, aperture_s, running_As = self._trace(row)
        half_s = (stop_s - start_s) / 2
        middle_s = (start_s + stop_s) / 2
        spacing_s = float(np.median(np.diff(time_s)))
        self._check_inside(pulse, middle_s, half_s, time_s, max(aperture_s / 2, _SNAP * spacing_s))
        nearest = np.clip(np.searchsorted(time_s, middle_s), 1, time_s.size - 1)
        nearest = nearest - (middle_s - time_s[nearest - 1] < time_s[nearest] - middle_s)
        on_sample = np.abs(time_s[nearest] - middle_s) <= _SNAP * spacing_s
        wider_s = np.maximum(half_s - aperture_s / 2, 0.0)
        as_recorded = wider_s <= _SNAP * spacing_s
        low = _integral(time_s, current_A, running_As, middle_s - wider_s)
        high = _integral(time_s, current_A, running_As, middle_s + wider_s)
        mean = np.divide(high - low, 2 * wider_s, out=np.zeros_like(low), where=~as_recorded)
        point = np.where(on_sample, current_A[nearest], np.interp(middle_s, time_s, current_A))
        return np.asarray(np.where(as_recorded, point, mean))

    def describe(self) -> dict[str, Any]:
        """Which capture is replayed, and how; its edges were known to `recorded_edge_uncertainty_s` at worst.

        The new capture's own uncertainty is that of the virtual bench, which replays the recorded time axis as it is.
        """
        header = self._capture.header
        edges_s = self._capture.table["edge_uncertainty_s"].to_numpy(dtype=np.float64)
        known = edges_s[np.isfinite(edges_s)]
        return {
            "replayed": self._capture.path.name,
            "uid": header.uid,
            "sha256": self._capture.sha256,
            "recorded_origin": self._capture.origin,
            "recorded_edge_uncertainty_s": float(known.max()) if known.size else None,
            "at_end": self._at_end,
            "seed": self._seed,
        }

    def _point(self, pulse: Pulse) -> _Point:
        if pulse.device not in self._points:
            raise InputError(f"no trace of device {pulse.device} to replay", file=self._capture.path)
        points = self._points[pulse.device]
        fitting = [point for point in points if point.fits(pulse)]
        asked = f"drive {pulse.drive_V:g} V, width {pulse.width_s:g} s"
        if not fitting:
            known = "; ".join(f"point {p.number}: drive {p.drive_V} V, width {p.width_s} s" for p in points)
            raise InputError(
                f"device {pulse.device}: nothing recorded to replay",
                file=self._capture.path,
                found=asked,
                expected=known,
            )
        if len(fitting) > 1:
            numbers = ", ".join(str(point.number) for point in fitting)
            raise InputError(f"points {numbers} of device {pulse.device} are all at {asked}", file=self._capture.path)
        return fitting[0]

    def _row(self, pulse: Pulse) -> int:
        point = self._point(pulse)
        count, repeat = len(point.rows), pulse.repeat
        if repeat >= count:
            if self._at_end == "stop":
                raise InstrumentError(
                    f"{self._capture.path}: the recording of device {pulse.device}, point {point.number} is at its end "
                    f'after {count} repeats (at_end = "loop" or "sample" goes on)'
                )
            key = (self._seed, pulse.device, point.number, repeat)
            repeat = repeat % count if self._at_end == "loop" else int(np.random.default_rng(key).integers(count))
        return int(point.rows[repeat])

    def _load(self, row: int) -> tuple[Array, Array, float, Array]:
        """Times, currents, aperture (0 if unknown), and the running integral of the line through the samples."""
        record = self._capture.table.iloc[row]
        place = f"device {record['device']}, point {record['point']}, repeat {record['repeat']}"
        n = int(record["n_samples"])
        if record["status"] not in _WHOLE or n < 2:
            raise InstrumentError(
                f"{self._capture.path}: {place} cannot be replayed, its samples are not all there ({record['status']})"
            )
        time_s, current_A = self._capture.time_s[row, :n], self._capture.current_A[row, :n]
        aperture_s = float(record["aperture_s"])
        steps = np.diff(time_s) * (current_A[1:] + current_A[:-1]) / 2
        return (
            time_s,
            current_A,
            aperture_s if np.isfinite(aperture_s) else 0.0,
            np.concatenate([[0.0], np.cumsum(steps)]),
        )

    def _check_inside(self, pulse: Pulse, middle_s: Array, half_s: Array, time_s: Array, margin_s: float) -> None:
        first, last = float(np.min(middle_s - half_s)), float(np.max(middle_s + half_s))
        slack_s = 1e-6 * margin_s + 1e-9
        if first < time_s[0] - margin_s - slack_s or last > time_s[-1] + margin_s + slack_s:
            raise InputError(
                f"device {pulse.device}: asked for a time that was not recorded",
                file=self._capture.path,
                found=f"{first:.6g} s to {last:.6g} s",
                expected=f"within {time_s[0] - margin_s:.6g} s to {time_s[-1] + margin_s:.6g} s of the light's edge",
            )


def _points(capture: Capture, device: int) -> list[_Point]:
    table = capture.table[capture.table["device"] == device]
    found = []
    for number in sorted(set(table["point"])):
        ordered = table[table["point"] == number].sort_values("repeat")
        first = ordered.iloc[0]
        found.append(
            _Point(
                number=int(number),
                drive_V=_drive_V(capture, first),
                width_s=_known(first["pulse_width_s"]),
                width_known_to_s=2 * (_known(first["edge_uncertainty_s"]) or 0.0),
                rows=ordered.index.to_numpy(),
            )
        )
    return found


def _drive_V(capture: Capture, row: Any) -> float | None:
    """The light's drive: a sweep's `drive`, or an import's `light_level` where that is a voltage."""
    for name in ("drive", "light_level"):
        if capture.parameter_units.get(name) == "V":
            return _known(row[name])
    return None


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _integral(time_s: Array, current_A: Array, running_As: Array, at_s: Array) -> Array:
    """Integral (A s) from the first sample of the line through the samples, held constant beyond its ends."""
    inside = np.clip(at_s, time_s[0], time_s[-1])
    left = np.clip(np.searchsorted(time_s, inside, side="right") - 1, 0, time_s.size - 2)
    step = inside - time_s[left]
    slope = (current_A[left + 1] - current_A[left]) / (time_s[left + 1] - time_s[left])
    ends = np.where(at_s < time_s[0], current_A[0], current_A[-1]) * (at_s - inside)
    return np.asarray(running_As[left] + step * (current_A[left] + slope * step / 2) + ends)
