"""Numbers of a capture's traces that its page shows: drop, noise, place in the run, and distance from their like."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
from scipy.signal import periodogram

from otters_lab.calibration.drift import within_devices
from otters_lab.core.protocols import AnyArray, Array, Trace
from otters_lab.measurements.capture import Capture
from otters_lab.measurements.layout import phases
from otters_lab.sweeps.signal import drop_A, noise_A

_SHORTEST = 16  # samples that a spectrum needs

STATUS_WORDS = {
    "overflow": "a reading left the meter's range",
    "compliance": "the meter limited the current",
    "late": "readings came later than asked for",
    "failed": "an instrument or its link failed",
}


def numbers_of(capture: Capture) -> pd.DataFrame:
    """The capture's table with more columns, one row a trace, NaN where the trace cannot say.

    `row` numbers the traces, `name` is chip, device, point and repeat in words, `decays` says which have a decay,
    `elapsed_h` counts hours from the first trace; `drop_A`, `noise_A` (see `sweeps.signal`) and `signal_to_noise`;
    `cell` numbers the device's points: what may be compared; `range_use` is the largest |current| over the range.
    """
    table = capture.table.copy()
    traces = [_trace(capture, row) for row in range(len(table))]
    start = pd.to_datetime(table["start_utc"], utc=True, format="ISO8601", errors="coerce")
    table["row"] = np.arange(len(table))
    table["elapsed_h"] = (start - start.min()).dt.total_seconds() / 3600
    table["decays"] = table["kind"].isin(["decay", "reference"])
    table["noise_A"] = [_or_nan(noise_A(trace)) for trace in traces]
    table["drop_A"] = [
        _or_nan(drop_A(trace)) if decays else np.nan for trace, decays in zip(traces, table["decays"], strict=True)
    ]
    table["signal_to_noise"] = table["drop_A"].abs() / table["noise_A"].replace(0.0, np.nan)
    largest = [np.max(np.abs(trace.current_A), initial=0.0) for trace in traces]
    table["range_use"] = np.array(largest) / table["range_A"]
    table["device_name"] = device_names(table)
    place = table["device_name"] + "/" + table["point"].astype(str)
    table["cell"] = pd.factorize(place, sort=False)[0]
    table["name"] = [
        f"chip {chip}, device {device}, point {point}, repeat {repeat}"
        for chip, device, point, repeat in table[["chip", "device", "point", "repeat"]].itertuples(index=False)
    ]
    return table


def device_names(table: pd.DataFrame) -> pd.Series:
    """A device by its number, with its chip before it where there are several."""
    number = table["device"].astype(str)
    return number if table["chip"].nunique() < 2 else table["chip"].astype(str) + "/" + number


def sorted_devices(names: pd.Series) -> list[str]:
    """Device names once each, by chip and number."""
    return sorted(names.unique(), key=lambda name: (name.rpartition("/")[0], int(name.rpartition("/")[2])))


def away_from_their_like(numbers: pd.DataFrame, column: str) -> Array:
    """A column less the mean of the good traces of the same device and point [trace]; NaN for a lone trace."""
    good = numbers["status"] == "ok"
    means = numbers[column].where(good).groupby(numbers["cell"]).transform("mean")
    counts = numbers[column].where(good).groupby(numbers["cell"]).transform("count")
    return np.asarray((numbers[column] - means).where(counts > 1), dtype=np.float64)


def drift_of(numbers: pd.DataFrame, column: str) -> tuple[float, float] | None:
    """Slope of a column over the run, per hour, and its sd, devices and points each by themselves; None if unknown."""
    used = usable(numbers, column)
    if used.sum() < 4:
        return None
    values = numbers.loc[used, column].to_numpy(dtype=float)[:, None]
    drift = within_devices(
        values, numbers.loc[used, "cell"].to_numpy(), numbers.loc[used, "elapsed_h"].to_numpy()
    ).drift
    return None if drift is None else (float(drift.per_s[0]), float(drift.sd_per_s[0]))


def usable(numbers: pd.DataFrame, column: str) -> AnyArray:
    """Good traces with a number in the column and a known start [trace]."""
    known = np.isfinite(numbers[column].to_numpy(dtype=float)) & np.isfinite(numbers["elapsed_h"].to_numpy(dtype=float))
    return np.asarray(known & (numbers["status"] == "ok").to_numpy() & numbers["decays"].to_numpy())


def noise_spectra(capture: Capture, numbers: pd.DataFrame) -> dict[str, tuple[Array, Array, int]]:
    """ "dark" and "lit" -> frequency (Hz), amplitude density (A/sqrt(Hz), one-sided) [bin], and stretches they are of.

    Means over the good traces' stretches of the commonest length, of 16 evenly spaced samples at least.
    """
    found: dict[str, tuple[Array, Array, int]] = {}
    for name in ("dark", "lit"):
        stretches = [stretch for row in np.flatnonzero(numbers["status"] == "ok")
                     if (stretch := _stretch(capture, int(row), name)) is not None]  # fmt: skip
        if not stretches:
            continue
        length = Counter(len(current) for current, _ in stretches).most_common(1)[0][0]
        alike = [(current, step) for current, step in stretches if len(current) == length]
        step_s = float(np.median([step for _, step in alike]))
        frequency_Hz, power = periodogram(np.stack([current for current, _ in alike]), 1 / step_s, detrend="linear")
        inner = slice(2, -1)  # of the lowest the line took a part, the last has no mirror image to be added
        found[name] = frequency_Hz[inner], np.sqrt(np.mean(power, axis=0))[inner], len(alike)
    return found


def _stretch(capture: Capture, row: int, name: str) -> tuple[Array, float] | None:
    trace = _trace(capture, row)
    current = trace.current_A[getattr(phases(trace), name)]
    steps = np.diff(trace.time_s[getattr(phases(trace), name)])
    if len(current) < _SHORTEST or np.ptp(steps) > 0.01 * np.median(steps):
        return None
    return current, float(np.median(steps))


def _trace(capture: Capture, row: int) -> Trace:
    """A row as a trace; an unknown aperture or edge counts as none, an unknown pulse leaves no dark samples."""
    meta = capture.table.iloc[row]
    t, current = capture.time_s[row], capture.current_A[row]
    finite = np.isfinite(t) & np.isfinite(current)
    aperture, edge, width, full = (
        float(meta[name]) for name in ("aperture_s", "edge_uncertainty_s", "pulse_width_s", "range_A")
    )
    return Trace(t[finite], current[finite], np.nan_to_num(aperture), np.nan_to_num(edge), width, full, "")


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
