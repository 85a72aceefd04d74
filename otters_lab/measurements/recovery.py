"""Seals the spool of a sweep that will not go on, and says what it lacks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otters_lab.core.errors import InputError
from otters_lab.core.provenance import Header
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool


@dataclass(frozen=True)
class Recovered:
    """A capture made of an unfinished spool. `planned` is None where nobody said how many traces it was to hold.

    `repeats_by_device`: decays by device, from which unequal numbers show.
    """

    path: Path
    header: Header
    traces: int
    planned: int | None
    finished: bool
    repeats_by_device: dict[int, int]
    statuses: dict[str, int]

    @property
    def missing(self) -> int | None:
        """Traces that were planned and are not there; what a skipped point or adaptive repeats left out is counted."""
        return None if self.planned is None else self.planned - self.traces

    def missing_line(self) -> str:
        """For people."""
        if self.missing is None:
            return "how many traces there were to be is not known"
        if self.missing == 0 or self.finished:
            return f"nothing is missing ({self.traces} of {self.planned} planned traces)"
        fewest, most = min(self.repeats_by_device.values(), default=0), max(self.repeats_by_device.values(), default=0)
        return f"{self.missing} of {self.planned} planned traces are missing; a device has {fewest} to {most} decays"

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "capture": str(self.path),
            "uid": self.header.uid,
            "traces": self.traces,
            "planned": self.planned,
            "missing": self.missing,
            "finished": self.finished,
            "decays_by_device": self.repeats_by_device,
            "statuses": self.statuses,
        }


def recover_spool(spool_path: Path, capture: Path | None = None) -> Recovered:
    """Seals what a spool holds; without `capture` under its own name less ".spool".

    Raises
    ------
    InputError
        if there is no such spool, its name does not say the capture's, or a capture stands there.
    RefusedError, DamagedFileError
        as `seal`; the spool is kept.
    """
    if capture is None:
        if spool_path.suffix != ".spool":
            raise InputError(
                "cannot tell the capture's name; give -o CAPTURE", file=spool_path, expected="NAME.h5.spool"
            )
        capture = spool_path.with_suffix("")
    with Spool.open(spool_path, read_only=True) as spool:
        statuses: Counter[str] = Counter()
        devices: Counter[int] = Counter()
        for record in spool.records():
            statuses[str(record.row["status"])] += 1
            devices[int(record.row["device"])] += record.row["kind"] == "decay"
        traces, planned, finished = len(spool), spool.meta.planned_traces, spool.finished
    header = seal(spool_path, capture)
    return Recovered(capture, header, traces, planned, finished, dict(sorted(devices.items())), dict(statuses))
