"""The catalogue of a folder: every capture and spool below it, and search among them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from otters_lab.core.errors import InputError, closest
from otters_lab.core.files import files_below
from otters_lab.core.log import progress
from otters_lab.measurements.csvfile import parse_setting
from otters_lab.measurements.index import Index, stamp
from otters_lab.measurements.summary import Summary, summarise

_SUFFIXES = (".h5", ".spool")
_SAME = 1e-6  # values nearer than this, relatively, are the same setting
_CONDITION = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.\-]*)\s*(<=|>=|=|<|>)\s*(.+?)\s*")


class Condition(NamedTuple):
    """``drive >= 1 V``: some trace of the file must have been taken so. `value` in SI, of the unit `unit`."""

    name: str
    operator: str
    value: float
    unit: str

    def holds(self, known: Sequence[float], *, whole: bool) -> bool:
        """Whether one of the values fits; of a range of many (not `whole`) "=" asks whether it lies inside."""
        if not known:
            return False
        if self.operator == "=" and not whole:
            return known[0] <= self.value <= known[-1] or self._same(known[0]) or self._same(known[-1])
        return any(self._fits(value) for value in known)

    def _fits(self, value: float) -> bool:
        same = self._same(value)
        match self.operator:
            case "=":
                return same
            case "<":
                return value < self.value and not same
            case ">":
                return value > self.value and not same
            case "<=":
                return value < self.value or same
            case _:
                return value > self.value or same

    def _same(self, value: float) -> bool:
        return math.isclose(value, self.value, rel_tol=_SAME)


def parse_condition(text: str) -> Condition:
    """Reads ``"drive=5 V"``, ``"drive > 1 V"``, ``"nplc<=1"``.

    Raises
    ------
    InputError
        for anything else.
    """
    found = _CONDITION.fullmatch(text)
    value = None if found is None else parse_setting(found[3])
    if found is None or value is None:
        raise InputError(key="--parameter", found=text, expected='a condition like "drive=5 V" or "drive>1 V"')
    return Condition(found[1], found[2], *value)


def parse_date(text: str, *, end: bool = False) -> datetime:
    """A day (its beginning, or its `end`) or a moment in ISO form; UTC where it says no zone.

    Raises
    ------
    InputError
        for anything else.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(found=text, expected="a date like 2026-01-31, or 2026-01-31T12:00") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return moment + timedelta(days=1) if end and re.fullmatch(r"[\d-]+", text) else moment


@dataclass(frozen=True)
class Query:
    """What is looked for; None and empty ask nothing. `until` is the first moment that is too late."""

    chip: str | None = None
    device: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    origin: str | None = None
    status: str | None = None
    kind: str | None = None
    parameters: tuple[Condition, ...] = ()

    def matches(self, summary: Summary) -> bool:
        """Whether a readable file fits. A damaged one fits no question, but is never hidden (`Catalogue.damaged`)."""
        asked: list[tuple[Any, Callable[[Any], bool]]] = [
            (self.chip, lambda chip: chip in (summary.chip, *summary.chip.split(", "))),
            (self.device, lambda device: device in summary.devices),
            (self.origin, lambda origin: origin == summary.origin),
            (self.status, lambda status: status in summary.statuses),
            (self.kind, lambda kind: kind in summary.kinds),
            (self.since, lambda since: _start(summary) >= since),
            (self.until, lambda until: _start(summary) < until),
        ]
        plain = all(fits(value) for value, fits in asked if value is not None)
        return plain and all(_fits(summary, condition) for condition in self.parameters)


def _start(summary: Summary) -> datetime:
    """When the first trace was taken; where no trace says so, when the file was made."""
    return datetime.fromisoformat(summary.start_utc or summary.created_utc)


def _fits(summary: Summary, condition: Condition) -> bool:
    known = summary.parameters.get(condition.name)
    if known is None or known["unit"] != condition.unit:
        return False
    return condition.holds(known["values"], whole=known["whole"])


@dataclass(frozen=True)
class Catalogue:
    """`found` are the files that were looked for, by path; `damaged` and `unreadable` ones are always told."""

    found: list[Summary]
    damaged: list[Summary]
    unreadable: list[Summary]
    files: int


def catalogue(folder: Path, query: Query | None = None, *, verify: bool = False) -> Catalogue:
    """Every capture (.h5) and spool (.spool) below a folder, folders that begin with a dot left out.

    A file is read, and every byte of it checked, when it is new or was written since it was last seen, or with
    `verify`. What is remembered lies in the folder's index, if the folder can be written.

    Raises
    ------
    InputError
        if there is no such folder, or a condition names a parameter that no file has, or has in this unit.
    """
    if not folder.is_dir():
        raise InputError("no such folder", file=folder)
    query, index = query or Query(), Index(folder)
    paths = sorted(path for path in files_below(folder) if path.suffix in _SUFFIXES)
    summaries = []
    with progress(f"reading {folder}", len(paths)) as advance:
        for path in paths:
            name, now = path.relative_to(folder).as_posix(), stamp(path)
            known = None if verify else index.get(name, now)
            if known is None:
                known = summarise(path, name)
                index.put(name, now, known)
            summaries.append(known)
            advance(1)
    index.close({path.relative_to(folder).as_posix() for path in paths})
    readable = [summary for summary in summaries if summary.state in ("sealed", "unfinished")]
    _check_names(query.parameters, readable)
    return Catalogue(
        found=[summary for summary in readable if query.matches(summary)],
        damaged=[summary for summary in summaries if summary.state == "damaged"],
        unreadable=[summary for summary in summaries if summary.state == "unreadable"],
        files=len(paths),
    )


def _check_names(conditions: Iterable[Condition], summaries: Sequence[Summary]) -> None:
    """A misspelt name must not look like an empty catalogue."""
    units: dict[str, set[str]] = {}
    for summary in summaries:
        for name, known in summary.parameters.items():
            units.setdefault(name, set()).add(known["unit"])
    for condition in conditions if units else ():
        if condition.name not in units:
            expected = f"one of {', '.join(sorted(units))}"
            near = closest(condition.name, units)
            raise InputError("no file has it", key="--parameter", found=condition.name, expected=expected,
                             suggestion=near)  # fmt: skip
        if condition.unit not in units[condition.name]:
            expected = f"{condition.name} in {' or '.join(sorted(units[condition.name]))}"
            raise InputError(key="--parameter", found=f"a value in {condition.unit}", expected=expected)
