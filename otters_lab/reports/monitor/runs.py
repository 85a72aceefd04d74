"""The runs of a folder with their heartbeats. Reads, and writes nothing."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from otters_lab.core.errors import OttersError
from otters_lab.core.files import files_below
from otters_lab.core.index import stamp
from otters_lab.instruments.supervisor_log import LOG_SUFFIX
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.measurements.summary import Summary, summarise
from otters_lab.reports.monitor.beats import Beat, IsThere, moment, sweep_beat, training_beat
from otters_lab.reports.monitor.processes import is_there
from otters_lab.reports.monitor.recent import Recent
from otters_lab.reports.monitor.trainings import Trainings, changed_utc, is_finished
from otters_lab.sweeps.feed import Told, feed_path, read_feed
from otters_lab.training.checkpoint_files import LOG

MAX_RUNS = 50  # the newest are listed
_WALK_SHARE = 20  # times what going through the folder takes, until it is gone through again

Kind = Literal["sweep", "capture", "training"]


@dataclass(frozen=True)
class Run:
    """A run as it is listed. `id` is short, of its name; `done` of `planned` are traces, or steps of a stage.

    `path` is the capture, sealed or to be, or the training's log; `told` what a sweep last said of itself.
    """

    id: str
    name: str
    path: Path
    kind: Kind
    beat: Beat
    changed: datetime
    what: str = ""
    done: int | None = None
    planned: int | None = None
    eta_s: float | None = None
    told: Told | None = None


@dataclass(frozen=True)
class Look:
    """A folder at one moment. `left_out` runs are older than those listed; `supervisors` are logs."""

    utc: datetime
    runs: list[Run]
    left_out: int
    supervisors: list[Path]


class _File(NamedTuple):
    name: str
    kind: Kind
    path: Path
    changed: datetime


class _Head(NamedTuple):
    """What a spool says of itself as a whole."""

    what: str
    done: int
    planned: int | None


class Runs:
    """A folder that is looked at now and then. `now` and `is_there` are the machine's, unless given."""

    def __init__(
        self, folder: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), is_there: IsThere = is_there
    ) -> None:
        self.folder = folder
        self.trainings = Trainings(MAX_RUNS)
        self._now, self._is_there = now, is_there
        self._summaries = Recent[Summary](MAX_RUNS)
        self._heads = Recent[_Head](MAX_RUNS)
        self._known: list[Path] = []
        self._next_walk_s = -math.inf
        self._began = Recent[tuple[datetime, int]](2 * MAX_RUNS)

    def look(self) -> Look:
        """All runs, the live ones first, then the newest."""
        now, paths = self._now(), self._paths()
        files: dict[str, _File] = {}
        for path in paths:
            file = self._file(path)
            # A spool that stands beside its capture was being dropped: the capture is whole.
            if file is not None and (file.name not in files or file.kind == "capture"):
                files[file.name] = file
        newest = sorted(files.values(), key=lambda file: file.changed, reverse=True)
        runs = [self._run(file, now) for file in newest[:MAX_RUNS]]
        runs.sort(key=lambda run: (not run.beat.live, -run.changed.timestamp()))
        supervisors = [path for path in paths if path.name.endswith(LOG_SUFFIX)]
        return Look(now, runs, len(newest) - len(runs), supervisors)

    def _paths(self) -> list[Path]:
        """All that a run may be made of; a folder that takes long to go through is gone through less often."""
        began_s = time.monotonic()
        if began_s < self._next_walk_s and all(path.exists() for path in self._known):
            return self._known
        self._known = [
            path
            for path in files_below(self.folder)
            if path.suffix in (".h5", ".spool") or path.name == LOG or path.name.endswith(LOG_SUFFIX)
        ]
        ended_s = time.monotonic()
        self._next_walk_s = ended_s + _WALK_SHARE * (ended_s - began_s)
        return self._known

    def _file(self, path: Path) -> _File | None:
        """The run that a file belongs to."""
        kind: Kind
        beside: list[Path] = []
        if path.suffix == ".spool":
            kind, place = "sweep", path.with_suffix("")
            beside = [path.with_name(path.name + "-wal"), feed_path(place)]  # where a sweep writes first
        elif path.suffix == ".h5":
            kind, place = "capture", path
        elif path.name == LOG:
            kind, place = "training", path
        else:
            return None
        try:
            times = [path.stat().st_mtime, *(other.stat().st_mtime for other in beside if other.exists())]
        except OSError:  # sealed meanwhile
            return None
        return _File(place.relative_to(self.folder).as_posix(), kind, place, datetime.fromtimestamp(max(times), UTC))

    def _run(self, file: _File, now: datetime) -> Run:
        match file.kind:
            case "sweep":
                return self._sweep(file, now)
            case "capture":
                return self._capture(file)
            case "training":
                return self._training(file, now)

    def _sweep(self, file: _File, now: datetime) -> Run:
        told, problem = None, ""
        try:
            told = read_feed(file.path)
        except OttersError as error:
            problem = str(error)
        beat = Beat("unreadable", problem, live=False) if problem else sweep_beat(told, now, self._is_there)
        place = spool_path(file.path)
        try:
            head = self._heads.get(file.name, stamp(place), lambda: _head(place))
        except OttersError as error:
            beat = (
                Beat("damaged", str(error), live=False)
                if place.exists()
                else Beat("sealing", "its spool has just gone: the capture is there in a moment", live=True)
            )
            return _made(file, beat, file.changed)
        eta_s = told.eta_s if told is not None and beat.word == "running" else None
        return _made(file, beat, file.changed, head.what, head.done, head.planned, eta_s, told)

    def _capture(self, file: _File) -> Run:
        """Of a sealed capture; its bytes are not checked, `captures` does that."""
        known = self._summaries.get(file.name, stamp(file.path), lambda: summarise(file.path, file.name, verify=False))
        if known.state != "sealed":
            return _made(file, Beat(known.state, known.reason, live=False), file.changed)
        beat = Beat("finished", f"sealed at {moment(file.changed)}", live=False)
        return _made(file, beat, file.changed, f"chip {known.chip}, {known.origin}", known.traces, known.planned)

    def _training(self, file: _File, now: datetime) -> Run:
        folder = file.path.parent
        changed = changed_utc(folder)
        beat = training_beat(changed, is_finished(folder), now)
        training, problem = self.trainings.read(file.path)
        if training is None or not training.stages:
            return _made(file, beat, changed, problem or "nothing logged yet")
        stage = training.stages[-1]
        done, eta_s = stage.taken, None
        if beat.word == "running" and stage.planned is not None:
            # The log holds no times: the pace is that of the steps which were watched.
            began, first = self._began.get(f"{file.name} {stage.name}", None, lambda: (now, stage.taken))
            if done > first:
                eta_s = (stage.planned - done) * (now - began).total_seconds() / (done - first)
        return _made(file, beat, changed, f"stage {stage.name}", done, stage.planned, eta_s)


def _head(place: Path) -> _Head:
    with Spool.open(place, read_only=True) as spool:
        return _Head(f"chip {spool.meta.chip}, {spool.meta.origin}", len(spool), spool.meta.planned_traces)


def _made(
    file: _File,
    beat: Beat,
    changed: datetime,
    what: str = "",
    done: int | None = None,
    planned: int | None = None,
    eta_s: float | None = None,
    told: Told | None = None,
) -> Run:
    id_ = hashlib.sha256(file.name.encode(errors="surrogateescape")).hexdigest()[:12]
    name = file.name.removesuffix(f"/{LOG}")
    return Run(id_, name, file.path, file.kind, beat, changed, what, done, planned, eta_s, told)
