"""The one list of what a capture holds: variables, units, and how a trace becomes a row of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from otters_lab.core.protocols import Array, Trace, TraceKey

SCHEMA_VERSION = 2
FORMAT = "otters-lab capture"

Mask = npt.NDArray[np.bool_]
Row = dict[str, float | int | str]

# variable -> unit; "1" for counts, numbers and text.
SAMPLED = {"time": "s", "current": "A"}
COORDINATES = {"chip": "1", "device": "1", "point": "1", "repeat": "1"}
PER_TRACE = {
    **COORDINATES,
    "kind": "1",
    "point_id": "1",
    "status": "1",
    "start_utc": "1",
    "n_samples": "1",
    "aperture": "s",
    "edge_uncertainty": "s",
    "pulse_width": "s",
    "range": "A",
    "baseline": "A",
    "plateau": "A",
}
TEXTS = ("chip", "kind", "point_id", "status", "start_utc")
INTEGERS = ("device", "point", "repeat", "n_samples")

# Names that no parameter may take: variables, dimensions, and the columns of `Capture.table`.
RESERVED = frozenset({*SAMPLED, *PER_TRACE, *(f"{name}_{unit}" for name, unit in PER_TRACE.items())}) | {
    "trace",
    "sample",
    "header",
}

DESCRIPTIONS = {
    "time": "time, mid-aperture, 0 at the falling edge of the light",
    "current": "current",
    "chip": "chip",
    "device": "device on the chip",
    "point": "setting of all swept parameters",
    "repeat": "repeat of the point",
    "kind": "what the trace is for: decay, reference, dark, lit",
    "point_id": "hash of all that the point sets",
    "status": "status of the take: ok, overflow, compliance, late, failed",
    "start_utc": "start, UTC",
    "n_samples": "samples before the padding",
    "aperture": "integration time of one sample",
    "edge_uncertainty": "largest error of the time of the falling edge",
    "pulse_width": "width of the light pulse",
    "range": "current range of the meter",
    "baseline": "mean of the dark samples before the pulse",
    "plateau": "mean of the lit samples",
}


class Phases(NamedTuple):
    """Which samples [sample] are dark before the pulse, and which are lit; those that may span an edge are neither."""

    dark: Mask
    lit: Mask


def phases(trace: Trace) -> Phases:
    """Sorts the samples before the falling edge by the light.

    A sample counts only if its whole aperture lies on one side of both edges, by the edge's uncertainty at least.
    An unknown aperture or uncertainty (NaN) counts as none; with an unknown pulse width nothing is dark or lit.
    """
    half_s = 0.0 if math.isnan(trace.aperture_s) else trace.aperture_s / 2
    # A sample that lies just at the uncertainty's end counts, whatever the last bit of the subtraction.
    margin_s = 0.0 if math.isnan(trace.edge_uncertainty_s) else trace.edge_uncertainty_s * (1 - 1e-9)
    begin_s, end_s = trace.time_s - half_s, trace.time_s + half_s
    rise_s = -trace.pulse_width_s
    return Phases(
        dark=end_s <= rise_s - margin_s,
        lit=(begin_s >= rise_s + margin_s) & (end_s <= -margin_s),
    )


def describe(key: TraceKey, trace: Trace) -> Row:
    """The per-trace variables of a trace, without its parameters; what is unknown is NaN."""
    found = phases(trace)
    return {
        "chip": key.chip,
        "device": int(key.device),
        "point": int(key.point),
        "repeat": int(key.repeat),
        "kind": key.kind,
        "point_id": key.point_id,
        "status": trace.status,
        "start_utc": trace.start_utc,
        "n_samples": len(trace.time_s),
        "aperture": float(trace.aperture_s),
        "edge_uncertainty": float(trace.edge_uncertainty_s),
        "pulse_width": float(trace.pulse_width_s),
        "range": float(trace.range_A),
        "baseline": mean_or_nan(trace.current_A[found.dark]),
        "plateau": mean_or_nan(trace.current_A[found.lit]),
    }


def mean_or_nan(values: Array) -> float:
    """The mean, or NaN of nothing."""
    return float(np.mean(values)) if len(values) else math.nan


def column(name: str, values: list[float | int | str]) -> npt.NDArray[np.generic]:
    """A per-trace variable [trace] in its one dtype: float64, int64, or str objects."""
    if name in TEXTS:
        return np.array(values, dtype=object)
    return np.array(values, dtype=np.int64 if name in INTEGERS else np.float64)


def padded(samples: Array, length: int) -> Array:
    """`samples` with NaN up to `length`."""
    row = np.full(length, np.nan)
    row[: len(samples)] = samples
    return row
