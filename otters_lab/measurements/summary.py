"""What a catalogue says of a capture or a spool: from its header and its per-trace variables, never its samples."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from otters_lab.core.errors import DamagedFileError, InputError, RefusedError, said_of
from otters_lab.measurements.capture import check_bytes, check_is_ours
from otters_lab.measurements.layout import COORDINATES, TEXTS
from otters_lab.measurements.spool import Spool

State = Literal["sealed", "unfinished", "damaged", "unreadable"]

# A parameter with more values than this is known by its smallest and largest alone.
MAX_VALUES = 1000

_UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True)
class Summary:
    """A file of a catalogue. Of a damaged or unreadable one `reason` says why, and nothing else is known.

    `parameters`: name -> unit and the distinct values in SI, of many the smallest and largest alone (`whole` false).
    `duration_s`: from the start of the first trace to that of the last. `created_utc` is of the file's header.
    """

    path: str
    state: State
    reason: str = ""
    uid: str = ""
    chip: str = ""
    origin: str = ""
    note: str = ""
    devices: list[int] = field(default_factory=list)
    traces: int = 0
    planned: int | None = None
    start_utc: str = ""
    duration_s: float | None = None
    created_utc: str = ""
    window_s: float | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)


def summarise(path: Path, name: str, *, verify: bool = True) -> Summary:
    """The summary of one file, called `name` in the catalogue; with `verify` every byte of a sealed one is checked.

    Never raises for what the file holds: that is in `state` and `reason`.
    """
    try:
        return _of_spool(path, name) if path.suffix == ".spool" else _of_capture(path, name, verify)
    except DamagedFileError as error:
        return Summary(name, "damaged", reason=said_of(path, error))
    except (InputError, RefusedError) as error:
        return Summary(name, "unreadable", reason=said_of(path, error))


def _of_capture(path: Path, name: str, verify: bool) -> Summary:
    if verify:
        check_bytes(path)
    check_is_ours(path)
    try:
        with h5py.File(path, "r") as file:
            return _of_sealed(file, name)
    except _UNREADABLE as error:
        raise DamagedFileError(path, f"cannot be read ({error})") from error


def _of_sealed(file: h5py.File, name: str) -> Summary:
    header = json.loads(file.attrs["header"])
    named = str(file["current"].attrs["coordinates"]).split()
    parameters = [parameter for parameter in named if parameter not in COORDINATES]
    columns = {name_: _column(file, name_) for name_ in ("device", "status", "kind", "start_utc", *parameters)}
    units = {parameter: str(file[parameter].attrs["units"]) for parameter in parameters}
    return Summary(
        path=name,
        state="sealed",
        uid=str(file.attrs["uid"]),
        chip=str(file.attrs["chip"]),
        origin=str(file.attrs["origin"]),
        note=str(file.attrs["note"]),
        traces=len(columns["device"]),
        planned=json.loads(file.attrs["plan"])["traces"],
        created_utc=header["created_utc"],
        window_s=json.loads(file.attrs["attributes"]).get("window_s"),
        **_of_columns(columns, units),
    )


def _column(file: h5py.File, name: str) -> list[Any]:
    """Values of a per-trace variable; text lies in the file as single bytes [trace, width]."""
    values = file[name][...]
    if name not in TEXTS:
        return list(values.tolist())
    width = values.shape[1]
    return [text.decode() for text in np.ascontiguousarray(values).view(f"S{width}").ravel().tolist()]


def _of_spool(path: Path, name: str) -> Summary:
    with Spool.open(path, read_only=True) as spool:
        meta, columns = spool.meta, _columns_of(spool)
        return Summary(
            path=name,
            state="unfinished",
            uid=spool.uid,
            chip=meta.chip,
            origin=meta.origin,
            note=meta.note,
            traces=len(columns["device"]),
            planned=meta.planned_traces,
            created_utc=spool.created_utc,
            window_s=meta.attributes.get("window_s"),
            **_of_columns(columns, meta.parameter_units),
        )


def _columns_of(spool: Spool) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [] for name in ("device", "status", "kind", "start_utc", *spool.meta.parameter_units)
    }
    for record in spool.records():
        for name, values in columns.items():
            values.append(record.row[name] if name in record.row else record.parameters.get(name, math.nan))
    return columns


def _of_columns(columns: Mapping[str, list[Any]], units: Mapping[str, str]) -> dict[str, Any]:
    starts = [start for start in columns["start_utc"] if start]
    first, last = min(starts, default=""), max(starts, default="")
    return {
        "devices": sorted(set(columns["device"])),
        "start_utc": first,
        "duration_s": (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds() if first else None,
        "statuses": dict(sorted(Counter(columns["status"]).items())),
        "kinds": dict(sorted(Counter(columns["kind"]).items())),
        "parameters": {name: {"unit": unit, **_values(columns[name])} for name, unit in units.items()},
    }


def _values(values: Iterable[float]) -> dict[str, Any]:
    distinct = sorted({value for value in values if not math.isnan(value)})
    whole = len(distinct) <= MAX_VALUES
    return {"values": distinct if whole else [distinct[0], distinct[-1]], "whole": whole}
