"""The runs of a folder (trained networks, packed students, evaluations, trainings under way), and search among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from otters_lab.core.errors import InputError, closest
from otters_lab.core.files import files_below
from otters_lab.core.index import stamp
from otters_lab.core.listing import ANY_TIME, Kind, Listing, State, When, sorted_out, summaries
from otters_lab.core.provenance import FOLDER_RECORD
from otters_lab.measurements.catalogue import Condition
from otters_lab.training.checkpoint_files import EVALUATION, LOG
from otters_lab.workflows.run_summary import RunKind, RunSummary, summarise


@dataclass(frozen=True)
class Query:
    """What is looked for; None asks nothing. `score` asks of the main score: accuracy > 0.9 is a `Condition`."""

    task: str | None = None
    metric: str | None = None
    score: Condition | None = None
    chip: str | None = None
    origin: str | None = None
    kind: RunKind | None = None
    status: State | None = None
    when: When = ANY_TIME

    def matches(self, run: RunSummary) -> bool:
        """Whether a readable run fits; when it was made, of one that is not done when it last wrote."""
        return (
            self.task in (None, run.task)
            and self.metric in (None, run.metric)
            and self.chip in (None, run.chip)
            and self.origin in (None, run.origin)
            and self.kind in (None, run.kind)
            and self.status in (None, run.state)
            and self.when.holds(run.created_utc or run.updated_utc)
            and (self.score is None or self._scores(run, self.score))
        )

    @staticmethod
    def _scores(run: RunSummary, asked: Condition) -> bool:
        known = [] if run.score is None or run.metric != asked.name else [run.score]
        return asked.holds(known, whole=True)


def runs(
    folder: Path, query: Query | None = None, *, verify: bool = False, rebuild: bool = False
) -> Listing[RunSummary]:
    """Every run below a folder, names that begin with a dot left out.

    `verify` and `rebuild` as in `core.listing.summaries`.

    Raises
    ------
    InputError
        if there is no such folder, or the query names a metric that no run has.
    """
    query = query or Query()
    kind = Kind("run", RunSummary, _runs_below, summarise, _stamp)
    found = summaries(folder, kind, verify=verify, rebuild=rebuild)
    asked = query.metric or (query.score.name if query.score else None)
    known = sorted({run.metric for run in found if run.metric})
    if asked is not None and known and asked not in known:
        raise InputError("no run has it", key="--metric", found=asked, expected=f"one of {', '.join(known)}",
                         suggestion=closest(asked, known))  # fmt: skip
    return sorted_out(found, query.matches)


def _runs_below(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = Path(here)
        is_network = FOLDER_RECORD in names or LOG in names
        if is_network:
            yield place
        for name in names:
            packed = name.endswith(".safetensors") and not is_network
            if not name.startswith(".") and (packed or name == EVALUATION or name.endswith(f".{EVALUATION}")):
                yield place / name


def _stamp(path: Path) -> str:
    """Of a folder that of every file in it."""
    return stamp(path) if path.is_file() else " ".join(f"{file.name} {stamp(file)}" for file in files_below(path))
