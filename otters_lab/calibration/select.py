"""Which samples of which traces a fit uses: decays inside the window, steady stretches for the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from otters_lab.calibration.bulk import Decays
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array
from otters_lab.measurements.capture import Capture

# A record that ends within this much of the window counts as reaching it: its last sample is mid-aperture.
WINDOW_SLACK = 0.01
_SHORTEST = 16  # samples that a spectrum needs


@dataclass(frozen=True)
class Selection:
    """Traces of one or more captures, on padded arrays [trace, sample].

    table has a row a trace with the capture's columns and `device_code`, `elapsed_s`. `steady` are the samples of
    records taken for the noise alone, in the dark and in steady light.
    """

    time_s: Array
    current_A: Array
    table: pd.DataFrame
    parameter_names: list[str]
    window_s: float
    dropped: dict[str, int]
    steady: list[Array] = field(default_factory=list)

    @property
    def settings(self) -> list[dict[str, float]]:
        """The distinct settings of the swept parameters."""
        if not self.parameter_names:
            return [{}]
        rows = self.table[self.parameter_names].drop_duplicates()
        return [{str(k): float(v) for k, v in row.items() if pd.notna(v)} for row in rows.to_dict("records")]

    def decay(self, row: int) -> tuple[Array, Array]:
        """(t, I) of one trace after the edge and inside the window."""
        t, current = self.time_s[row], self.current_A[row]
        keep = self._in_window(row)
        return t[keep], current[keep]

    def _in_window(self, row: int) -> np.ndarray:
        t = self.time_s[row]
        meta = self.table.iloc[row]
        half = meta["aperture_s"] / 2 if np.isfinite(meta["aperture_s"]) else 0.0
        # An aperture that may straddle the edge holds light: it says nothing of the decay.
        return np.asarray(
            (t - half > meta["edge_uncertainty_s"])
            & (t <= self.window_s * (1 + 1e-9))
            & np.isfinite(self.current_A[row])
        )

    def decays(self) -> Decays:
        """All decays for the batched fit; one shared time grid is kept as one."""
        used = np.stack([self._in_window(row) for row in range(len(self.table))])
        span = np.flatnonzero(used.any(axis=0))
        cut = slice(span[0], span[-1] + 1)
        used, time_s, y = used[:, cut], self.time_s[:, cut], self.current_A[:, cut]
        if np.array_equal(used, np.broadcast_to(used[:1], used.shape)) and np.allclose(
            time_s, time_s[:1], rtol=0, atol=1e-9 * self.window_s
        ):
            time_s = time_s[:1]
        aperture = self.table["aperture_s"].to_numpy(dtype=float)
        return Decays(
            time_s=np.where(used[: len(time_s)], time_s, self.window_s),
            y=np.where(used, y, 0.0),
            used=used.astype(float),
            aperture_s=float(np.nanmedian(aperture)) if np.isfinite(aperture).any() else 0.0,
            window_s=self.window_s,
        )

    def steady_segments(self) -> tuple[list[Array], str]:
        """Runs of consecutive samples in which the device stands still, and where they are from: records taken for the
        noise where there are any, else the dark and lit stretches before each edge.
        """
        if self.steady:
            return self.steady, "records in the dark and in steady light"
        segments = []
        for row in range(len(self.table)):
            segments += steady_stretches(self.time_s[row], self.current_A[row], self.table.iloc[row])
        return [segment for segment in segments if len(segment) >= _SHORTEST], "dark and lit samples before the decays"

    @property
    def interval_s(self) -> float:
        """Median sample interval."""
        return float(np.nanmedian(np.diff(self.time_s, axis=1)))

    @property
    def duration_s(self) -> float:
        """Median length of a whole record."""
        return float(np.nanmedian(np.nanmax(self.time_s, axis=1) - np.nanmin(self.time_s, axis=1)))


def steady_stretches(t: Array, current: Array, meta: pd.Series) -> list[Array]:
    """The dark and the lit samples of one trace before its edge; all of a record in the dark."""
    half = meta["aperture_s"] / 2 if np.isfinite(meta["aperture_s"]) else 0.0
    width, edge = meta["pulse_width_s"], meta["edge_uncertainty_s"]
    finite = np.isfinite(t) & np.isfinite(current)
    if meta["kind"] == "dark":
        return [current[finite]]
    return [
        current[finite & (t + half < -width - edge)],
        current[finite & (t - half > -width + edge) & (t + half < -edge)],
    ]


def select(captures: Sequence[Capture], window_s: float | None, point: int | None = None) -> Selection:
    """Pools the usable traces of captures.

    The window is `window_s`, else what the captures state, else the shortest decay. Devices of different chips are
    different devices.

    Raises
    ------
    InputError
        if no trace is left, the captures state different windows, or hold no sample in the window.
    """
    tables, times, currents = [], [], []
    steady: list[Array] = []
    dropped: dict[str, int] = {}
    for capture in captures:
        table = capture.table
        # References repeat one device's point more often than the others; the rest is no decay at all.
        usable = ((table["status"] == "ok") & (table["kind"] == "decay")).to_numpy()
        if point is not None:
            usable = usable & (table["point"] == point).to_numpy()
        for status, count in table.loc[table["status"] != "ok", "status"].value_counts().items():
            dropped[str(status)] = dropped.get(str(status), 0) + int(count)
        still = ((table["status"] == "ok") & table["kind"].isin(["dark", "lit"])).to_numpy()
        for row in np.flatnonzero(still):
            steady += steady_stretches(capture.time_s[row], capture.current_A[row], table.iloc[row])
        tables.append(table[usable])
        times.append(capture.time_s[usable])
        currents.append(capture.current_A[usable])
    names = sorted({name for capture in captures for name in capture.parameter_units})
    table = pd.concat(tables, ignore_index=True)
    if table.empty:
        raise InputError(
            "holds no usable trace", file=captures[0].path, key=None if point is None else f"point {point}"
        )
    width = max(t.shape[1] for t in times)
    time_s, current_A = (np.concatenate([padded_to(part, width) for part in parts]) for parts in (times, currents))
    start = pd.to_datetime(table["start_utc"], utc=True, format="ISO8601")
    steady = [segment for segment in steady if len(segment) >= _SHORTEST]
    table["elapsed_s"] = (start - start.min()).dt.total_seconds()
    table["device_code"] = pd.factorize(table["chip"].astype(str) + "/" + table["device"].astype(str), sort=True)[0]
    return Selection(time_s, current_A, table, names, _window(captures, window_s, time_s), dropped, steady)


def padded_to(part: Array, width: int) -> Array:
    """Traces [trace, sample] with NaN up to `width` samples."""
    return np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=np.nan)


def _window(captures: Sequence[Capture], window_s: float | None, time_s: Array) -> float:
    stated = {capture.attributes["window_s"] for capture in captures if "window_s" in capture.attributes}
    if window_s is None and len(stated) > 1:
        raise InputError(
            "the captures state different windows", found=sorted(stated), expected='one, or --window "1 s"'
        )
    chosen = window_s or (float(stated.pop()) if stated else float(np.min(np.nanmax(time_s, axis=1))))
    if not np.any(time_s[np.isfinite(time_s)] > 0) or chosen <= np.min(time_s[time_s > 0], initial=np.inf):
        raise InputError("no sample lies between the light's edge and the window's end", file=captures[0].path)
    return chosen
