"""Light calibrations: from recordings (CSV files of drive and power, repeats of one light source), or swept here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from otters_lab.core.clock import iso_utc
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array
from otters_lab.core.provenance import new_header, reference
from otters_lab.core.quantity import format_quantity, parse_quantity
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.lightcal import (
    KIND,
    LightCalibration,
    mean_and_spread,
    rising_part,
    write_light_calibration,
)
from otters_lab.instruments.lightsweep import LightSweep, sweep_light
from otters_lab.measurements.csvfile import Column, CsvFile, read_csv
from otters_lab.workflows.decays import load_source


@dataclass(frozen=True)
class MadeLight:
    """A written light calibration, and what was assumed or left out."""

    path: Path
    calibration: LightCalibration
    notes: list[str]


def import_light_calibration(
    paths: Sequence[Path],
    out: Path,
    *,
    spot_area_m2: float,
    wavelength_m: float | None = None,
    power_meter: str | None = None,
) -> MadeLight:
    """Makes a light calibration of recordings, one repeat a file, all at the same drives and wavelength.

    Wavelength and power meter are taken from the files' headers ("... wavelength", a bare number being nanometres;
    "Sensor model") unless they are given.

    Raises
    ------
    InputError
        for files that cannot be read, that are no repeats of each other, or whose power does not rise with the drive.
    """
    if not paths:
        raise InputError("no file to import")
    _check_place(out)
    files = [read_csv(path, partial(_columns, path)) for path in paths]
    notes: list[str] = []
    drive = files[0].values[:, 0]
    for file in files:
        _check_repeat(file, files[0], drive)
    wavelengths = {wavelength_m or _wavelength_m(file, notes) for file in files}
    if len(wavelengths) > 1:
        found = ", ".join(sorted(format_quantity(value, "m") for value in wavelengths))
        raise InputError("the files are of several wavelengths; calibrate each by itself", found=found)
    meters = {power_meter or _entry(file, "sensor model") or "" for file in files}
    if len(meters) > 1 or "" in meters:
        found = ", ".join(sorted(name or "none" for name in meters))
        raise InputError("the files do not name one power meter; give it", found=found)
    for name in ("information", "optical fiber"):
        said = {_entry(file, name) for file in files}
        if len(said) > 1:
            words = ", ".join(sorted(str(text) for text in said))
            notes.append(f"the repeats differ in {name} ({words}): their spread holds that difference too")
    power = np.stack([file.values[:, 1] for file in files])
    unit: Literal["V", "A"] = "V" if files[0].chosen[0].dimension == "voltage" else "A"
    try:
        keep, left_out = rising_part(drive, power.mean(axis=0), unit)
    except ValueError as error:
        raise InputError(str(error), file=paths[0], expected="a curve with an inverse") from None
    notes += left_out
    mean_W, spread_W = mean_and_spread(power[:, keep])
    calibration = LightCalibration(
        header=new_header(KIND, origin="imported", inputs=[reference(path, "recording") for path in paths]),
        wavelength_m=wavelengths.pop(),
        spot_area_m2=spot_area_m2,
        power_meter=meters.pop(),
        measured_utc=[_start_utc(file, notes) for file in files],
        drive_unit=unit,
        drive=[float(f"{value:.12g}") for value in drive[keep]],
        power_W=mean_W,
        power_sd_W=spread_W,
        repeats=len(files),
    )
    return MadeLight(out, write_light_calibration(out, calibration), notes)


def sweep_light_calibration(sweep: LightSweep, bench: BenchFile, out: Path) -> MadeLight:
    """Makes a light calibration with the bench's power meter in the device's place.

    Raises
    ------
    InputError, InstrumentError, DamagedFileError
        as `sweep_light` and `load_source`; InputError too if there is a file already.
    """
    _check_place(out)
    calibration, notes = sweep_light(sweep, bench, load_source(bench))
    return MadeLight(out, write_light_calibration(out, calibration), notes)


def _check_place(out: Path) -> None:
    if out.exists():
        raise InputError("stands here already and is not overwritten", file=out)
    if not out.parent.is_dir():
        raise InputError("no such folder", file=out.parent)


def _columns(path: Path, columns: tuple[Column, ...]) -> list[Column]:
    """The drive (V or A) and the power, each the only one of its kind."""
    chosen = []
    for role, dimensions in (("drive", ("voltage", "current")), ("power", ("power",))):
        fitting = [column for column in columns if column.dimension in dimensions]
        if len(fitting) != 1:
            found = ", ".join(column.heading for column in columns)
            raise InputError(f"cannot tell the {role} column", file=path, found=found)
        chosen.append(fitting[0])
    return chosen


def _check_repeat(file: CsvFile, first: CsvFile, drive: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(file.values).all(axis=1))
    if bad.size:
        raise InputError("a drive or a power is missing", file=file.path, line=int(file.lines[bad[0]]))
    if file.chosen[0].dimension != first.chosen[0].dimension or file.values[:, 0].shape != drive.shape:
        raise InputError(f"has other drives than {first.path.name}: these are no repeats", file=file.path)
    if not np.allclose(file.values[:, 0], drive, rtol=1e-6, atol=1e-9):
        raise InputError(f"has other drives than {first.path.name}: these are no repeats", file=file.path)
    back = np.flatnonzero(np.diff(drive) <= 0)
    if back.size:
        raise InputError("the drive does not rise", file=file.path, line=int(file.lines[back[0] + 1]))


def _entry(file: CsvFile, name: str) -> str | None:
    for entries in file.entries.values():
        for title, text in entries.items():
            if title.lower() == name:
                return text
    return None


def _wavelength_m(file: CsvFile, notes: list[str]) -> float:
    texts = [
        text for entries in file.entries.values() for title, text in entries.items() if "wavelength" in title.lower()
    ]
    if len(texts) != 1:
        raise InputError(
            "the header does not give one wavelength; give it", file=file.path, found=", ".join(texts) or "none"
        )
    try:
        if " " in texts[0]:
            return parse_quantity(texts[0], "length")
        bare = parse_quantity(f"{texts[0]} nm", "length")
    except ValueError as error:
        raise InputError(f"wavelength: {error}", file=file.path) from None
    note = f"wavelength {texts[0]} without a unit: taken as nanometres"
    if note not in notes:
        notes.append(note)
    return bare


def _start_utc(file: CsvFile, notes: list[str]) -> str:
    """PyMeasure's "Start time" is seconds since 1970, from `time.time`."""
    text = _entry(file, "start time")
    try:
        return iso_utc(datetime.fromtimestamp(float(text or ""), UTC))
    except (ValueError, OverflowError, OSError):
        notes.append(f"{file.path.name} does not say when it was measured")
        return ""
