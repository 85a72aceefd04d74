"""Light calibrations: from the drive of a light source to optical power and irradiance, and back; never beyond them."""

from __future__ import annotations

import math
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import pretty_json, read_json, write_atomically
from otters_lab.core.protocols import Array
from otters_lab.core.provenance import Header, check_sidecar, payload_digest, stated_kind, validated, write_sidecar
from otters_lab.core.quantity import format_quantity, parse_quantity

KIND = "light calibration"
# Sums of decimal quantities in binary floating point may miss the end of the range by this share.
_SLACK = 1e-9
# Below the threshold of a laser or an LED the meter reads noise, which rises and falls.
_FLOOR = 0.01


class LightReading(BaseModel):
    """One reading of a swept calibration: the dark before the pulse, and the power in it (W), zero not subtracted.

    `asked_s`, `answered_s`: when the power was asked for and when it was there, after the pulse was begun (s).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    drive: float
    repeat: int
    utc: str
    dark_W: float
    lit_W: float
    asked_s: float
    answered_s: float


class LightCalibration(BaseModel):
    """Optical power on the spot by drive, of one light source at one wavelength.

    `drive` [point] in `drive_unit`, `power_W` [point] the mean of the repeats, both rising; `power_sd_W` [point] their
    standard deviation, null where there is one repeat. `wavelength_m`, `spot_area_m2`, the power meter and when each
    repeat was measured (UTC) say what the numbers hold for. `readings` are those of a calibration that was swept here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    header: Header
    wavelength_m: float = Field(gt=0)
    spot_area_m2: float = Field(gt=0)
    power_meter: str
    measured_utc: list[str]
    drive_unit: Literal["V", "A"]
    drive: list[float] = Field(min_length=2)
    power_W: list[float]
    power_sd_W: list[float | None]
    repeats: int = Field(ge=1)
    readings: list[LightReading] | None = None

    @model_validator(mode="after")
    def _rises(self) -> LightCalibration:
        if not len(self.drive) == len(self.power_W) == len(self.power_sd_W):
            raise ValueError("drive, power_W and power_sd_W have different lengths")
        if not all(math.isfinite(value) for value in (*self.drive, *self.power_W)):
            raise ValueError("a drive or a power is not finite")
        for name, values in (("drive", self.drive), ("power_W", self.power_W)):
            if any(after <= before for before, after in pairwise(values)):
                raise ValueError(f"{name} does not rise from point to point")
        return self

    @cached_property
    def _curve(self) -> Any:
        """Piecewise cubic that rises wherever its points do (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980)."""
        # Loading it takes as long as all else of a bench file, and few benches need it.
        from scipy.interpolate import PchipInterpolator

        return PchipInterpolator(self.drive, self.power_W, extrapolate=False)

    def power_at(self, drive: float) -> float:
        """Optical power (W) at a drive (`drive_unit`).

        Raises
        ------
        InputError
            outside the calibrated drives.
        """
        self._inside("drive", drive, self.drive, self.drive_unit)
        return float(self._curve(min(max(drive, self.drive[0]), self.drive[-1])))

    def power_sd_at(self, drive: float) -> float | None:
        """Standard deviation (W) between repeats at a drive, linear between points; None for a single repeat."""
        self._inside("drive", drive, self.drive, self.drive_unit)
        known = [sd for sd in self.power_sd_W if sd is not None]
        return float(np.interp(drive, self.drive, known)) if len(known) == len(self.drive) else None

    def irradiance_at(self, drive: float) -> float:
        """Irradiance (W/m^2) at a drive: power over spot area.

        Raises
        ------
        InputError
            outside the calibrated drives.
        """
        return self.power_at(drive) / self.spot_area_m2

    def drive_for_irradiance(self, irradiance_W_m2: float) -> float:
        """The drive (`drive_unit`) that gives an irradiance; the inverse of `irradiance_at`.

        Raises
        ------
        InputError
            outside the calibrated irradiances.
        """
        powers = [power / self.spot_area_m2 for power in self.power_W]
        self._inside("irradiance", irradiance_W_m2, powers, "W/m^2")
        power_W = min(max(irradiance_W_m2 * self.spot_area_m2, self.power_W[0]), self.power_W[-1])
        above = int(np.searchsorted(self.power_W, power_W))
        if self.power_W[above] == power_W:
            return self.drive[above]
        from scipy.optimize import brentq

        low, high = self.drive[above - 1], self.drive[above]
        return float(brentq(lambda drive: float(self._curve(drive)) - power_W, low, high, xtol=1e-12 * high))

    def _inside(self, what: str, value: float, known: list[float], unit: str) -> None:
        slack = _SLACK * abs(known[-1])
        if not known[0] - slack <= value <= known[-1] + slack:
            low, high = format_quantity(known[0], unit), format_quantity(known[-1], unit)
            raise InputError(
                f"the light calibration does not reach this {what}, and nothing is extrapolated",
                found=format_quantity(value, unit),
                expected=f"{low} to {high}",
            )


def rising_part(drive: Array, power_W: Array, unit: str) -> tuple[slice, list[str]]:
    """The points [point] from which on the mean power rises, and what was left out: noise of the dark light source.

    Raises
    ------
    ValueError
        if the power does not rise where there is light, or there is none.
    """
    falls = np.flatnonzero(np.diff(power_W) <= 0)
    first = int(falls[-1]) + 1 if falls.size else 0
    if first == power_W.size - 1 or (first and power_W[first] > _FLOOR * power_W.max()):
        raise ValueError(f"the power does not rise with the drive at {format_quantity(float(drive[first]), unit)}")
    if not first:
        return slice(0, None), []
    at = format_quantity(float(drive[first]), unit)
    return slice(first, None), [f"drives below {at} left out: the power there does not rise"]


def mean_and_spread(power_W: Array) -> tuple[list[float], list[float | None]]:
    """Mean and standard deviation (W) of repeats [repeat, point]; no deviation of a single one."""
    mean = [float(f"{value:.12g}") for value in power_W.mean(axis=0)]
    if len(power_W) == 1:
        return mean, [None] * len(mean)
    return mean, [float(sd) for sd in power_W.std(axis=0, ddof=1)]


def parse_area(text: str) -> float:
    """Square metres from ``"100 um^2"``, ``"0.2 mm^2"``, ``"1e-8 m^2"``.

    Raises
    ------
    ValueError
        for anything else.
    """
    number, _, unit = text.partition(" ")
    if not unit.endswith("^2"):
        raise ValueError(f'found {text!r}, expected an area written like "100 um^2"')
    side_m = parse_quantity(f"1 {unit.removesuffix('^2')}", "length")
    area_m2 = parse_quantity(f"{number} m", "length") * side_m**2
    if area_m2 <= 0:
        raise ValueError(f"found {text!r}, expected an area larger than 0")
    return area_m2


def write_light_calibration(path: Path, calibration: LightCalibration) -> LightCalibration:
    """Writes the file and its sidecar; returns the calibration with its payload digest filled in."""
    header = calibration.header.model_copy(
        update={"payload_digest": payload_digest(calibration.model_dump(mode="json"))}
    )
    sealed = calibration.model_copy(update={"header": header})
    write_atomically(path, pretty_json(sealed.model_dump(mode="json")))
    write_sidecar(path, header)
    return sealed


def read_light_calibration(path: Path) -> LightCalibration:
    """Reads and checks a light calibration.

    Raises
    ------
    InputError
        if there is no such file, or it is JSON of another kind.
    DamagedFileError
        if it was altered.
    """
    record = read_json(path)
    if stated_kind(record) != KIND:
        raise InputError("is not a light calibration", file=path, expected="a file written by `otters-lab lightcal`")
    if payload_digest(record) != record["header"].get("payload_digest"):
        raise DamagedFileError(path, "its contents do not match its payload digest: it was altered")
    check_sidecar(path)
    return validated(LightCalibration, path, record)
