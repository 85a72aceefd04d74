"""The calibrations of a folder, and search among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from otters_lab.calibration.file import Calibration, calibration_from
from otters_lab.core.errors import DamagedFileError, InputError, said_of
from otters_lab.core.files import files_below, read_json
from otters_lab.core.listing import ANY_TIME, Kind, Listing, State, When, sorted_out, summaries
from otters_lab.core.provenance import FOLDER_RECORD, SIDECAR, check_sidecar, sidecar_path, stated_kind

Gates = Literal["passed", "failed"]


@dataclass(frozen=True)
class CalibrationSummary:
    """A calibration file. Of several settings (`settings`) the window is null, and so are the standard deviations."""

    path: str
    state: State
    reason: str = ""
    uid: str = ""
    chip: str = ""
    origin: str = ""
    created_utc: str = ""
    law: str = ""
    window_s: float | None = None
    settings: int = 1
    traces: int = 0
    run_to_run_sd: float | None = None  # of D, relative
    device_to_device_sd: float | None = None
    gates: int = 0
    failed_gates: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Query:
    """What is looked for; None asks nothing. `gates`: "passed" is a calibration of which none failed."""

    chip: str | None = None
    origin: str | None = None
    when: When = ANY_TIME
    gates: Gates | None = None

    def matches(self, summary: CalibrationSummary) -> bool:
        """Whether a readable file fits."""
        return (
            self.chip in (None, summary.chip, *summary.chip.split(", "))
            and self.origin in (None, summary.origin)
            and self.when.holds(summary.created_utc)
            and self.gates in (None, "failed" if summary.failed_gates else "passed")
        )


def calibrations(
    folder: Path, query: Query | None = None, *, verify: bool = False, rebuild: bool = False
) -> Listing[CalibrationSummary]:
    """Every calibration below a folder; copies that checkpoints hold are left out, and names that begin with a dot.

    `verify` and `rebuild` as in `core.listing.summaries`.

    Raises
    ------
    InputError
        if there is no such folder.
    """
    kind = Kind("calibration", CalibrationSummary, _json_below, summarise)
    return sorted_out(summaries(folder, kind, verify=verify, rebuild=rebuild), (query or Query()).matches)


def summarise(path: Path, name: str) -> CalibrationSummary | None:
    """The summary of a file, called `name`, every byte of it checked; None for one that is no calibration."""
    try:
        record = read_json(path)
    except (DamagedFileError, InputError) as error:
        state: State = "damaged" if _kind_beside(path) == "calibration" else "unreadable"
        return CalibrationSummary(name, state, said_of(path, error))
    if "calibration" not in (stated_kind(record), _kind_beside(path)):
        return None
    try:
        calibration = calibration_from(path, record)
        check_sidecar(path)
    except (DamagedFileError, InputError) as error:
        return CalibrationSummary(name, "damaged", said_of(path, error))
    return _summary(calibration, name)


def _summary(calibration: Calibration, name: str) -> CalibrationSummary:
    header, device = calibration.header, calibration.device
    of_law = device or (calibration.conditions[0].device if calibration.conditions else None)
    return CalibrationSummary(
        path=name,
        state="finished",
        uid=header.uid,
        chip=calibration.chip,
        origin=header.origin or "",
        created_utc=header.created_utc,
        law="" if of_law is None else of_law.law.name,
        window_s=calibration.window_s,
        settings=len(calibration.conditions or calibration.settings) or 1,
        traces=len(calibration.traces.rows),
        run_to_run_sd=device.run_to_run.sd["D"] if device else None,
        device_to_device_sd=device.device_to_device.sd["D"] if device else None,
        gates=len(calibration.gates),
        failed_gates=[gate.name for gate in calibration.gates if gate.verdict == "fail"],
    )


def _json_below(folder: Path) -> Iterable[Path]:
    for path in files_below(folder):
        if path.suffix == ".json" and not path.name.endswith(SIDECAR) and not (path.parent / FOLDER_RECORD).exists():
            yield path


def _kind_beside(path: Path) -> Any:
    """The kind of a file by its sidecar, unchecked."""
    try:
        record = read_json(sidecar_path(path))
    except (DamagedFileError, InputError):
        return None
    return record.get("kind") if isinstance(record, dict) else None
