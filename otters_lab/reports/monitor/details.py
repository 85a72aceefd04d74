"""All that is shown of one run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otters_lab.core.errors import DamagedFileError, OttersError
from otters_lab.core.index import stamp
from otters_lab.instruments.supervisor_log import notes_since
from otters_lab.measurements.capture import open_capture
from otters_lab.measurements.columns import attributes_of
from otters_lab.measurements.layout import COORDINATES
from otters_lab.measurements.merging import traces_of
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.reports.monitor.growth import LAST, About, Growth, Shown
from otters_lab.reports.monitor.recent import Recent
from otters_lab.reports.monitor.runs import Look, Run
from otters_lab.reports.monitor.trainings import Training, Trainings

READ_S = 1.0  # a look takes in new traces for this long at most
TRANSACTION_S = 0.1
MAX_SAMPLES = 2_000_000  # of a sealed capture; of a larger one every so-manieth trace is looked at
KEPT = 4  # runs whose statistics are kept in mind

# What files that are damaged, or gone meanwhile, may raise below `OttersError`.
_UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError)


@dataclass(frozen=True)
class Detail:
    """Of a sweep or a capture `growth`, of a training `training`; None, or not all of it, where `problem` says why.

    `supervisor`: what supervisors have noted since a sweep was last heard of, each with the name of its log.
    """

    run: Run
    problem: str = ""
    growth: Growth | None = None
    training: Training | None = None
    supervisor: tuple[tuple[str, dict[str, Any]], ...] = ()


class Details:
    """Reads what one run after the other holds, and keeps it for the next look."""

    def __init__(self, trainings: Trainings) -> None:
        self._trainings = trainings
        self._growths = Recent[Growth](KEPT)

    def read(self, run: Run, look: Look) -> Detail:
        """What the files say now; what is wrong with them is said, not raised."""
        if run.kind == "training":
            training, problem = self._trainings.read(run.path)
            return Detail(run, problem, training=training)
        notes = tuple(
            (path.name, note)
            for path in look.supervisors
            for note in (notes_since(path, run.told.utc) if run.told is not None else ())
        )
        try:
            growth = self._growth(run)
            return Detail(run, growth.problem, growth, supervisor=notes)
        except OttersError as error:
            return Detail(run, str(error), supervisor=notes)
        except _UNREADABLE as error:
            return Detail(run, f"{run.path}: cannot be read ({' '.join(str(error).split())})", supervisor=notes)

    def _growth(self, run: Run) -> Growth:
        if run.kind == "capture":
            return self._growths.get(run.id, stamp(run.path), lambda: _whole(run.path))
        before = self._growths.last(run.id)
        return self._growths.get(run.id, object(), lambda: _grown(spool_path(run.path), before))


def _grown(place: Path, before: Growth | None) -> Growth:
    """The statistics of a spool with the traces that have come since, as many as can be read in a moment."""
    with Spool.open(place, read_only=True) as spool:
        growth = before
        if growth is None or growth.about.uid != spool.uid:
            growth = Growth(About.read(attributes_of(spool.meta, spool.uid), spool.meta.parameter_units))
        growth.problem = ""
        deadline_s, there = time.monotonic() + READ_S, len(spool)
        try:
            while growth.seen < there and time.monotonic() < deadline_s:
                _take_some(spool, growth)
            growth.total, growth.seams = len(spool), spool.seams()  # more may have come meanwhile
            numbers = range(max(0, growth.total - LAST), growth.total)
            growth.last = [Shown.of(number, *spool.trace(number)) for number in numbers]
        except DamagedFileError as error:  # what came before it is still shown
            growth.problem, growth.total = str(error), there
    return growth


def _take_some(spool: Spool, growth: Growth) -> None:
    """Takes in what a short transaction gives: while one is open, the spool's log cannot be folded in, and grows."""
    deadline_s = time.monotonic() + TRANSACTION_S
    for key, trace in spool.traces(growth.seen):
        growth.add(key, trace)
        if time.monotonic() > deadline_s:
            break


def _whole(path: Path) -> Growth:
    """The statistics of a sealed capture, of a large one by every so-manieth trace."""
    with open_capture(path, verify=False) as data:
        parameters = [str(name) for name in data.coords if name not in COORDINATES]
        units = {name: str(data[name].attrs.get("units", "1")) for name in parameters}
        growth = Growth(About.read(data.attrs, units))
        growth.total = data.sizes["trace"]
        step = max(1, -(-growth.total * data.sizes["sample"] // MAX_SAMPLES))
        for index, (key, trace) in enumerate(traces_of(data.isel(trace=slice(None, None, step)))):
            growth.add(key, trace, index * step)
        first = max(0, growth.total - LAST)
        newest = enumerate(traces_of(data.isel(trace=slice(first, None))), first)
        growth.last = [Shown.of(number, key, trace) for number, (key, trace) in newest]
    return growth
