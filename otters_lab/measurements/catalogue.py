"""The catalogue of a folder: every capture and spool below it, and search among them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from otters_lab.core.errors import InputError, closest
from otters_lab.core.files import files_below
from otters_lab.core.listing import ANY_TIME, Kind, Listing, When, sorted_out, summaries
from otters_lab.measurements.csvfile import parse_setting
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


def parse_condition(
    text: str, *, key: str = "--parameter", like: str = 'a condition like "drive=5 V" or "drive>1 V"'
) -> Condition:
    """Reads ``"drive=5 V"``, ``"drive > 1 V"``, ``"nplc<=1"``; `key` and `like` are for what cannot be read.

    Raises
    ------
    InputError
        for anything else.
    """
    found = _CONDITION.fullmatch(text)
    value = None if found is None else parse_setting(found[3])
    if found is None or value is None:
        raise InputError(key=key, found=text, expected=like)
    return Condition(found[1], found[2], *value)


@dataclass(frozen=True)
class Query:
    """What is looked for; None and empty ask nothing."""

    chip: str | None = None
    device: int | None = None
    when: When = ANY_TIME
    origin: str | None = None
    status: str | None = None
    kind: str | None = None
    parameters: tuple[Condition, ...] = ()

    def matches(self, summary: Summary) -> bool:
        """Whether a readable file fits."""
        asked: list[tuple[Any, Callable[[Any], bool]]] = [
            (self.chip, lambda chip: chip in (summary.chip, *summary.chip.split(", "))),
            (self.device, lambda device: device in summary.devices),
            (self.origin, lambda origin: origin == summary.origin),
            (self.status, lambda status: status in summary.statuses),
            (self.kind, lambda kind: kind in summary.kinds),
        ]
        plain = all(fits(value) for value, fits in asked if value is not None)
        # When the first trace was taken; where no trace says so, when the file was made.
        begun = summary.start_utc or summary.created_utc
        return plain and self.when.holds(begun) and all(_fits(summary, condition) for condition in self.parameters)


def _fits(summary: Summary, condition: Condition) -> bool:
    known = summary.parameters.get(condition.name)
    if known is None or known["unit"] != condition.unit:
        return False
    return condition.holds(known["values"], whole=known["whole"])


def catalogue(
    folder: Path, query: Query | None = None, *, verify: bool = False, rebuild: bool = False
) -> Listing[Summary]:
    """Every capture (.h5) and spool (.spool) below a folder, folders that begin with a dot left out.

    `verify` and `rebuild` as in `core.listing.summaries`.

    Raises
    ------
    InputError
        if there is no such folder, or a condition names a parameter that no file has, or has in this unit.
    """
    query = query or Query()
    kind = Kind("capture", Summary, _captures_below, summarise)
    found = summaries(folder, kind, verify=verify, rebuild=rebuild)
    _check_names(query.parameters, [summary for summary in found if summary.state in ("sealed", "unfinished")])
    return sorted_out(found, query.matches)


def _captures_below(folder: Path) -> Iterable[Path]:
    return (path for path in files_below(folder) if path.suffix in _SUFFIXES)


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
