"""Lists of files: what lies below a folder is summarised, each file once, and searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from otters_lab.core.errors import InputError
from otters_lab.core.index import UNKNOWN, Index, stamp
from otters_lab.core.log import progress

State = Literal["finished", "unfinished", "damaged", "unreadable"]


class Entry(Protocol):
    """A summary, a dataclass of JSON values. Of a damaged or unreadable file `reason` says why."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def path(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def reason(self) -> str: ...


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Kind(Generic[E]):
    """A kind of file: what it is called in the index, which paths below a folder may be one, and how one is read.

    `summarise(path, name)` checks every byte and never raises for what a file holds; None: it is of another kind.
    """

    name: str
    entry: type[E]
    find: Callable[[Path], Iterable[Path]]
    summarise: Callable[[Path, str], E | None]
    stamp: Callable[[Path], str] = stamp


@dataclass(frozen=True)
class Listing(Generic[E]):
    """`found` are the files that were looked for, by path; `damaged` and `unreadable` ones are always told."""

    found: list[E]
    damaged: list[E]
    unreadable: list[E]
    files: int


def summaries(folder: Path, kind: Kind[E], *, verify: bool = False, rebuild: bool = False) -> list[E]:
    """The summary of every file of a kind below a folder.

    A file is read when it is new or was written since it was last seen, or with `verify`. What is remembered lies in
    the folder's index, if the folder can be written; `rebuild` throws that away first.

    Raises
    ------
    InputError
        if there is no such folder.
    """
    if not folder.is_dir():
        raise InputError("no such folder", file=folder)
    index, paths = Index(folder, kind.name, rebuild=rebuild), sorted(kind.find(folder))
    found: list[E] = []
    with progress(f"reading {folder}", len(paths)) as advance:
        for path in paths:
            name, now = path.relative_to(folder).as_posix(), kind.stamp(path)
            entry: Any = UNKNOWN if verify else _remembered(kind, index.get(name, now))
            if entry is UNKNOWN:
                entry = kind.summarise(path, name)
                index.put(name, now, None if entry is None else asdict(entry))
            if entry is not None:
                found.append(entry)
            advance(1)
    index.close({path.relative_to(folder).as_posix() for path in paths})
    return found


def _remembered(kind: Kind[E], document: Any) -> Any:
    """An entry as the index has it; UNKNOWN if it is of an earlier version of ours."""
    if document is UNKNOWN or document is None:
        return document
    try:
        return kind.entry(**document)
    except TypeError:
        return UNKNOWN


def sorted_out(entries: Sequence[E], matches: Callable[[E], bool]) -> Listing[E]:
    """The listing of those entries that match. A damaged file fits no question, but is never hidden."""
    damaged = [entry for entry in entries if entry.state == "damaged"]
    unreadable = [entry for entry in entries if entry.state == "unreadable"]
    readable = [entry for entry in entries if entry.state not in ("damaged", "unreadable")]
    return Listing([entry for entry in readable if matches(entry)], damaged, unreadable, len(entries))


@dataclass(frozen=True)
class When:
    """A span of time; None is open. `until` is the first moment that is too late."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, moment: str) -> bool:
        """Whether a moment in ISO form lies in it; one that is not known lies in an open span alone."""
        if self.since is None and self.until is None:
            return True
        if not moment:
            return False
        then = datetime.fromisoformat(moment)
        return (self.since is None or then >= self.since) and (self.until is None or then < self.until)


ANY_TIME = When()


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
