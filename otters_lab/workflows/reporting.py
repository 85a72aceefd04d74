"""A report of any artefact: what kind of file it is, what else its page needs, and where that lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otters_lab.calibration.file import Calibration, calibration_from
from otters_lab.core.errors import InputError
from otters_lab.core.files import read_json, sha256_file
from otters_lab.core.provenance import check_sidecar, stated_kind
from otters_lab.measurements.capture import Capture, is_capture, load_capture
from otters_lab.reports.report import Report, Written, check_page_path, write_report
from otters_lab.workflows.artefacts import target_of
from otters_lab.workflows.finding import Finder

_EXPECTED = "a capture (.h5), a calibration (.json), a checkpoint's folder or a packed student"


@dataclass(frozen=True)
class Reported:
    """A report as it was written, of what kind of artefact, and what it says first."""

    kind: str
    report: Report
    written: Written


def report_file(
    path: Path, out: Path, *, figures: Path | None = None, captures: Sequence[Path] = (), search: Sequence[Path] = ()
) -> Reported:
    """Writes the page of a capture, a calibration or a checkpoint, and with `figures` its figures into that folder.

    captures : what a calibration was fitted to; without them they are looked for by their hashes, beside the
        calibration, in its workspace, and below `search`. A page without them says which figures it lacks.

    Raises
    ------
    InputError
        for a file that no report is of, captures that the calibration was not fitted to, or an `out` that is no page.
    DamagedFileError
        for one that is damaged or altered.
    """
    check_page_path(out)
    path = target_of(path)
    kind, report = _report(path, captures, search)
    return Reported(kind, report, write_report(report, out, figures))


def _report(path: Path, captures: Sequence[Path], search: Sequence[Path]) -> tuple[str, Report]:
    if path.suffix == ".json" and path.is_file():
        return "calibration", _of_calibration(path, captures, search)
    if captures:
        raise InputError("--capture is for the report of a calibration", file=path)
    if path.suffix == ".h5" or (path.is_file() and is_capture(path)):
        from otters_lab.reports.capture_page import capture_report

        return "capture", capture_report(load_capture(path))
    from otters_lab.training.packed_file import is_packed

    if path.is_dir() or path.suffix == ".safetensors" or (path.is_file() and is_packed(path)):
        from otters_lab.reports.checkpoint_page import checkpoint_report
        from otters_lab.training.about import about_checkpoint

        about = about_checkpoint(path)
        return "checkpoint", checkpoint_report(about, sha256_file(path) if path.is_file() else None)
    if not path.exists():
        raise InputError("no such file", file=path)
    raise InputError("there is no report of such a file", file=path, expected=_EXPECTED)


def _of_calibration(path: Path, captures: Sequence[Path], search: Sequence[Path]) -> Report:
    from otters_lab.reports.calibration_page import calibration_report

    record = read_json(path)
    kind = stated_kind(record)
    if kind != "calibration":
        found = "JSON that is none of ours" if kind is None else f"a file of kind {kind}"
        hint = "the checkpoint's folder" if kind == "evaluation" else _EXPECTED
        raise InputError("there is no report of such a file", file=path, found=found, expected=hint)
    calibration = calibration_from(path, record)
    check_sidecar(path)
    loaded, missing = _captures_of(calibration, path, captures, search)
    return calibration_report(calibration, path, sha256_file(path), loaded, missing)


def _captures_of(
    calibration: Calibration, path: Path, given: Sequence[Path], search: Sequence[Path]
) -> tuple[list[Capture] | None, str]:
    """What a calibration was fitted to, in that order; None, and what to do, where not all of it is at hand."""
    wanted = [ref for ref in calibration.header.inputs if ref.role == "capture"]
    if given:
        by_hash = {capture.sha256: capture for capture in map(load_capture, given)}
        for capture in by_hash.values():
            if capture.sha256 not in {ref.sha256 for ref in wanted}:
                raise InputError(f"is not what {path.name} was fitted to", file=capture.path,
                                 found=f"SHA-256 {capture.sha256[:12]}",
                                 expected=", ".join(ref.sha256[:12] for ref in wanted))  # fmt: skip
        if len(by_hash) < len(wanted):
            raise InputError(f"{path.name} was fitted to {len(wanted)} captures: give all of them with --capture")
        return [by_hash[ref.sha256] for ref in wanted], ""
    finder = Finder(path, search)
    found = [finder.find(ref).path for ref in wanted]
    lost = [ref.name for ref, place in zip(wanted, found, strict=True) if place is None]
    if lost or not wanted:
        name = ", ".join(lost) or "the capture"
        return None, f"{name} was not found by its hash; give it with --capture, or its folder with --search"
    return [load_capture(place) for place in found if place is not None], ""
