"""Captures into a capture: traces of one or several sealed files, copied into a new one."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InputError, OttersError
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.core.provenance import Header, command_line, common_origin, reference
from otters_lab.measurements.capture import check_capture, open_capture
from otters_lab.measurements.fresh import MERGED, fresh_spool
from otters_lab.measurements.layout import COORDINATES
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path

_BLOCK = 256  # traces in memory at a time

# What a capture says of itself beside its traces, kept for each one that was merged.
_ABOUT = ("chip", "note", "recipe", "bench")
_STRUCTURED = ("instruments", "attributes", "seeds", "plan")


class Merged(NamedTuple):
    """A capture made of captures."""

    path: Path
    header: Header
    traces: int
    notes: list[str]


class _Source(NamedTuple):
    path: Path
    header: Header
    traces: int
    about: dict[str, Any]
    parameter_units: dict[str, str]
    reading_units: dict[str, str]


def merge_captures(
    paths: Sequence[Path], out: Path, *, note: str = "", overwrite: bool = False, clock: Clock | None = None
) -> Merged:
    """Copies the traces of sealed captures, in the order given, with all their columns and readings.

    Points that set the same (same `point_id` and parameters) become one; its repeats go on counting from capture to
    capture. Where one capture ends and the next begins is a seam. What each said of itself stands under "merged" in
    the attributes; what all say alike also where a single capture has it.

    The origin is the one furthest from a measurement (synthetic, replayed, imported, measured), not "imported" where
    they differ: "imported" means somebody's recordings, and a file that is half synthetic must not pass for those.

    Raises
    ------
    InputError
        if one is no sealed capture, units differ, or a device number stands for devices of two chips; or if `out`
        exists (unless `overwrite`).
    DamagedFileError
        if one is damaged or altered: nothing is written then.
    """
    if out.exists() and not overwrite:
        raise InputError("a capture stands here already and is never overwritten", file=out)
    sources = [_source(path) for path in paths]
    origins = {source.path.name: source.header.origin for source in sources}
    meta = CaptureMeta(
        origin=common_origin(source.header.origin or "imported" for source in sources),
        chip=", ".join(dict.fromkeys(str(source.about["chip"]) for source in sources)),
        note=note,
        recipe_text=_common([source.about["recipe"] for source in sources]) or "",
        bench_text=_common([source.about["bench"] for source in sources]) or "",
        instruments=_common([source.header.instruments for source in sources]) or {},
        parameter_units=_units(sources, "parameter_units"),
        reading_units=_units(sources, "reading_units"),
        attributes={**_shared([source.about["attributes"] for source in sources]), MERGED: _told(sources)},
        planned_traces=sum(source.traces for source in sources),
        inputs=[reference(source.path, "capture", source.header.uid) for source in sources],
        command=command_line(),
    )
    spool = fresh_spool(spool_path(out), meta, clock)
    try:
        _append_all(spool, sources)
    except OttersError:
        spool.drop()  # the captures are still where they were
        raise
    spool.close()
    header = seal(spool.path, out, overwrite=overwrite, clock=clock)
    notes = []
    if len(set(origins.values())) > 1:
        named = ", ".join(f"{name} {origin}" for name, origin in origins.items())
        notes.append(f"origins differ ({named}); the whole counts as {header.origin}")
    return Merged(out, header, meta.planned_traces or 0, notes)


def traces_of(dataset: xr.Dataset) -> Iterator[tuple[TraceKey, Trace]]:
    """The traces of an open capture, a block in memory at a time."""
    readings = list(json.loads(dataset.attrs["readings"]))
    parameters = [str(name) for name in dataset.coords if name not in COORDINATES]
    for first in range(0, dataset.sizes["trace"], _BLOCK):
        part = dataset.isel(trace=slice(first, first + _BLOCK)).load()
        rows = {
            str(name): variable.to_numpy().tolist() for name, variable in part.variables.items() if variable.ndim == 1
        }
        time_s, current_A = part["time"].to_numpy(), part["current"].to_numpy()
        for index in range(part.sizes["trace"]):
            row = {name: values[index] for name, values in rows.items()}
            n = row["n_samples"]
            place = (row["chip"], row["device"], row["point"], row["repeat"])
            yield (
                TraceKey(*place, {name: row[name] for name in parameters}, row["kind"], row["point_id"]),
                Trace(
                    time_s=time_s[index, :n].copy(),
                    current_A=current_A[index, :n].copy(),
                    aperture_s=row["aperture"],
                    edge_uncertainty_s=row["edge_uncertainty"],
                    pulse_width_s=row["pulse_width"],
                    range_A=row["range"],
                    start_utc=row["start_utc"],
                    status=row["status"],
                    readings={name: row[name] for name in readings},
                ),
            )


def _source(path: Path) -> _Source:
    header = check_capture(path)
    with open_capture(path, verify=False) as dataset:
        about = {name: str(dataset.attrs[name]) for name in _ABOUT}
        about |= {name: json.loads(dataset.attrs[name]) for name in _STRUCTURED}
        parameters = [name for name in dataset.coords if name not in COORDINATES]
        units = {str(name): str(dataset[name].attrs["units"]) for name in parameters}
        return _Source(path, header, int(dataset.sizes["trace"]), about, units, json.loads(dataset.attrs["readings"]))


def _told(sources: Sequence[_Source]) -> list[dict[str, Any]]:
    told, first = [], 0
    for source in sources:
        header = source.header
        whose = {"name": source.path.name, "uid": header.uid, "origin": header.origin, "created": header.created_utc}
        told.append({**whose, "first_trace": first, "traces": source.traces, **source.about, "config": header.config})
        first += source.traces
    return told


class _Places:
    """Points and repeats of the whole: the first capture's own, then what fits on."""

    def __init__(self) -> None:
        self._settings: dict[tuple[Any, ...], int] = {}
        self._points: dict[tuple[int, int], int] = {}  # (capture, its point) -> point
        self._repeats: Counter[tuple[str, int, int]] = Counter()  # the next one

    def place(self, source: int, key: TraceKey) -> TraceKey:
        """Where a trace of capture number `source` belongs."""
        point = self._points.get((source, key.point))
        if point is None:
            known = sorted((name, value) for name, value in key.parameters.items() if not math.isnan(value))
            new = key.point if source == 0 else 1 + max(self._points.values())
            point = new if source == 0 else self._settings.get((key.point_id, *known), new)
            self._settings.setdefault((key.point_id, *known), point)
            self._points[source, key.point] = point
        counted = (key.kind, point, key.device)
        repeat = key.repeat if source == 0 else self._repeats[counted]
        self._repeats[counted] = max(self._repeats[counted], repeat + 1)
        return replace(key, point=point, repeat=repeat)


def _append_all(spool: Spool, sources: Sequence[_Source]) -> None:
    places, chips = _Places(), dict[int, str]()
    for number, source in enumerate(sources):
        seams = {seam["trace"]: seam for seam in source.header.config.get("seams", [])}
        with open_capture(source.path, verify=False) as dataset:
            for index, (key, trace) in enumerate(traces_of(dataset)):
                if number and not index:
                    spool.mark_seam(trace.start_utc, f"another capture begins: {source.path.name}")
                if index in seams:
                    spool.mark_seam(seams[index]["utc"], seams[index]["why"])
                if chips.setdefault(key.device, key.chip) != key.chip:
                    found = f"chip {key.chip}, before it chip {chips[key.device]}"
                    raise InputError(f"device {key.device} is of two chips", file=source.path, found=found)
                spool.append(places.place(number, key), trace)


def _common(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else None


def _shared(attributes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Entries that all have alike."""
    first, *others = attributes
    return {
        name: value
        for name, value in first.items()
        if name != MERGED and all(name in other and other[name] == value for other in others)
    }


def _units(sources: Sequence[_Source], field: str) -> dict[str, str]:
    units: dict[str, str] = {}
    for source in sources:
        other = source.reading_units if field == "parameter_units" else source.parameter_units
        for name, unit in getattr(source, field).items():
            if units.setdefault(name, unit) != unit:
                expected = f"{units[name]!r}, as in the captures before"
                raise InputError("has another unit", file=source.path, key=name, found=unit, expected=expected)
        twice = set(units) & set(other)
        if twice:
            raise InputError("is a parameter in one capture, a reading in another", file=source.path, key=min(twice))
    return units
