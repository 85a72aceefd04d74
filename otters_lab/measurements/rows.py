"""How a trace lies in a row of the spool: one canonical byte form, and the checksum that goes with it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from otters_lab.core.errors import DamagedFileError
from otters_lab.core.files import canonical_json, sha256_bytes
from otters_lab.core.protocols import Array, Trace, TraceKey
from otters_lab.measurements.layout import INTEGERS, TEXTS, Row, describe

HEAD = "seq, kind, point, device, repeat, record, sha256"  # columns of a row without its samples
WHOLE = f"{HEAD}, time, current"


class Record(NamedTuple):
    """A trace without its samples: the per-trace variables, the parameters, what other instruments said, the SHA-256
    of the samples, and what the sweep wanted to know again on a resume.
    """

    row: Row
    parameters: dict[str, float]
    readings: dict[str, float]
    samples_sha256: str
    state: Any


def encode(key: TraceKey, trace: Trace, state: Any = None) -> tuple[str, int, int, int, str, str, bytes, bytes]:
    """Kind, point, device, repeat, record, checksum, times, currents (little-endian float64).

    The record is canonical JSON, unknown values null; it holds the hash of the samples, and the checksum covers
    it, so that the record can be trusted without reading the samples.

    Raises
    ------
    ValueError
        for an infinite value.
    """
    time, current = _blob(trace.time_s), _blob(trace.current_A)
    known = {name: _null_if_nan(value) for name, value in describe(key, trace).items()}
    parameters = {name: float(value) for name, value in key.parameters.items() if not math.isnan(value)}
    readings = {name: float(value) for name, value in trace.readings.items() if not math.isnan(value)}
    samples = _samples_sha256(time, current)
    extra = {"parameters": parameters, "readings": readings, "samples": samples, "state": state}
    record = canonical_json({**known, **extra}).decode()
    place = (str(key.kind), int(key.point), int(key.device), int(key.repeat))
    return (*place, record, _row_sha256(*place, record), time, current)


def decode_head(path: Path, head: tuple[Any, ...]) -> Record:
    """A record read back from the columns `HEAD`.

    Raises
    ------
    DamagedFileError
        if it is not what was stored.
    """
    seq, *place, record, sha256 = head
    if sha256 != _row_sha256(*place, record):
        raise DamagedFileError(path, f"trace {seq} does not match its checksum")
    row: dict[str, Any] = json.loads(record)
    parameters, readings, samples, state = (row.pop(name) for name in ("parameters", "readings", "samples", "state"))
    for name in row:
        if name not in TEXTS and name not in INTEGERS:
            row[name] = math.nan if row[name] is None else float(row[name])
    return Record(row, _floats(parameters), _floats(readings), samples, state)


def decode(path: Path, stored: tuple[Any, ...]) -> tuple[TraceKey, Trace]:
    """A trace read back from the columns `WHOLE`.

    Raises
    ------
    DamagedFileError
        if it is not what was stored.
    """
    *head, time, current = stored
    record = decode_head(path, tuple(head))
    if time is None or record.samples_sha256 != _samples_sha256(time, current):
        raise DamagedFileError(path, f"the samples of trace {head[0]} do not match their checksum")
    fields: dict[str, Any] = dict(record.row)
    place = (fields["chip"], fields["device"], fields["point"], fields["repeat"])
    key = TraceKey(*place, record.parameters, fields["kind"], fields["point_id"])
    trace = Trace(
        time_s=np.frombuffer(time, dtype="<f8").astype(np.float64),
        current_A=np.frombuffer(current, dtype="<f8").astype(np.float64),
        aperture_s=fields["aperture"],
        edge_uncertainty_s=fields["edge_uncertainty"],
        pulse_width_s=fields["pulse_width"],
        range_A=fields["range"],
        start_utc=fields["start_utc"],
        status=fields["status"],
        readings=record.readings,
    )
    return key, trace


def _floats(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _null_if_nan(value: float | int | str) -> float | int | str | None:
    return None if isinstance(value, float) and math.isnan(value) else value


def _blob(samples: Array) -> bytes:
    return np.ascontiguousarray(samples, dtype="<f8").tobytes()


def _samples_sha256(time: bytes, current: bytes) -> str:
    return hashlib.sha256(len(time).to_bytes(8, "little") + time + current).hexdigest()


def _row_sha256(*place_and_record: str | int) -> str:
    return sha256_bytes(canonical_json(list(place_and_record)))
