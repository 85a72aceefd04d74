"""Import: other people's recordings become a capture, by way of the same spool and seal as our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InputError, OttersError
from otters_lab.core.protocols import TraceKey
from otters_lab.core.provenance import Header, command_line, reference
from otters_lab.measurements.capture import is_capture
from otters_lab.measurements.fresh import fresh_spool
from otters_lab.measurements.mapping import load_mapping
from otters_lab.measurements.merging import merge_captures
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.recording import Options, Recording, read_recording
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path

_CONVENTIONS = [
    "t = 0 in the middle between the last lit and the first dark sample, unless edges were given; edge_uncertainty is "
    "half that gap at least",
    "times as they stand in the file: where in its aperture a reading was stamped is not known",
    "the light column may be the drive of the light, not the light itself",
]


@dataclass(frozen=True)
class Imported:
    """What became of an import. `notes` say what was left out or is not known, and of which files."""

    path: Path
    header: Header
    traces: int
    notes: list[str]


def import_files(
    paths: Sequence[Path],
    out: Path,
    *,
    chip: str | None = None,
    device: int | None = None,
    options: Options | None = None,
    mapping: Path | None = None,
    note: str = "",
    overwrite: bool = False,
    clock: Clock | None = None,
) -> Imported:
    """Makes the capture `out` (origin "imported") of CSV files: PyMeasure's, or any that a mapping file describes.

    Of captures it makes one with their traces (`merge_captures`, which says what its origin is); none of the settings
    below is for them but `note`.

    Each file is a device of its own, numbered from 1 in the order given, unless `device` says that all are one: which
    of the two holds is not in the files. Equal settings on one device are repeats of one point. A `mapping` file takes
    the place of all of `options` but the mains frequency; `chip` and `device` go before what it says.

    Raises
    ------
    InputError
        with file and line for what cannot be read, if nothing can be imported, or if `out` exists.
    DamagedFileError
        for a capture that is damaged.
    """
    if not paths:
        raise InputError("no file to import")
    twice = [path for path in paths if list(paths).count(path) > 1]
    if twice:
        raise InputError("is given twice", file=twice[0])
    captures = [path for path in paths if is_capture(path)]
    if captures:
        others = [path for path in paths if path not in captures]
        if others:
            raise InputError("captures and recordings are not imported together", file=others[0])
        if chip is not None or device is not None or mapping is not None or options not in (None, Options()):
            raise InputError("chip, device, columns and mapping are for recordings; a capture says them", file=paths[0])
        return Imported(*merge_captures(paths, out, note=note, overwrite=overwrite, clock=clock))
    if out.exists() and not overwrite:
        raise InputError("a capture stands here already and is never overwritten", file=out)
    options, described_by, config = options or Options(), [], {}
    if mapping is not None:
        described, source = load_mapping(mapping)
        options = replace(described, line_Hz=options.line_Hz)
        described_by.append(reference(mapping, "mapping"))
        config["mapping"] = source.text
    chip, device = chip or options.given.chip, options.given.device if device is None else device
    recordings = [read_recording(path, options) for path in paths]
    notes = _gathered(recordings)
    if not any(recording.traces for recording in recordings):
        where = "it" if len(paths) == 1 else f"it and {len(paths) - 1} more"
        raise InputError(f"no falling edge of the light in {where}: nothing to import", file=paths[0])
    meta = CaptureMeta(
        origin="imported",
        chip=chip or _chip(recordings),
        note=note,
        parameter_units=_units(recordings),
        attributes={
            "conventions": [
                *_CONVENTIONS,
                "each file is a device of its own" if device is None else f"all files are device {device}",
            ],
            "notes": notes,
            "files": [recording.path.name for recording in recordings],
            "headers": [recording.texts for recording in recordings],
        },
        planned_traces=sum(len(recording.traces) for recording in recordings),
        inputs=[*(reference(path, "recording") for path in paths), *described_by],
        config=config,
        command=command_line(),
    )
    spool = fresh_spool(spool_path(out), meta, clock)
    try:
        _append_all(spool, recordings, chip, device)
    except OttersError:
        spool.drop()  # the recordings are still where they were
        raise
    spool.close()
    header = seal(spool.path, out, overwrite=overwrite, clock=clock)
    return Imported(out, header, meta.planned_traces or 0, notes)


def _append_all(spool: Spool, recordings: list[Recording], chip: str | None, device: int | None) -> None:
    points: dict[tuple[tuple[str, float], ...], int] = {}
    repeats: dict[tuple[int, int], int] = {}
    for order, recording in enumerate(recordings, start=1):
        number = order if device is None else device
        for trace, settings in zip(recording.traces, recording.settings, strict=True):
            point = points.setdefault(tuple(sorted(settings.items())), len(points))
            repeat = repeats.get((number, point), 0)
            repeats[number, point] = repeat + 1
            name = chip or recording.chip or spool.meta.chip
            spool.append(TraceKey(name, number, point, repeat, settings), trace)


def _chip(recordings: list[Recording]) -> str:
    named = {recording.chip for recording in recordings if recording.chip is not None}
    return ", ".join(sorted(named)) or "unknown"


def _units(recordings: list[Recording]) -> dict[str, str]:
    units: dict[str, str] = {}
    for recording in recordings:
        for name, unit in recording.units.items():
            if units.setdefault(name, unit) != unit:
                expected = f"{units[name]!r}, as in the files before"
                raise InputError("has another unit", file=recording.path, key=name, found=unit, expected=expected)
    return units


def _gathered(recordings: list[Recording]) -> list[str]:
    """Notes of all files, each once, with the files it holds for."""
    files: dict[str, list[str]] = {}
    for recording in recordings:
        for note in dict.fromkeys(recording.notes):
            files.setdefault(note, []).append(recording.path.name)
    said = []
    for note, names in files.items():
        if len(names) == len(recordings) and len(names) > 1:
            place = f"all {len(names)} files"
        else:
            place = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        said.append(f"{note} ({place})")
    return said
