"""The calibration file: JSON that diffs well, refuses to be altered, and says null where nothing is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from otters_lab.calibration.conditions import Condition, condition_at
from otters_lab.calibration.frame import recorded_runs
from otters_lab.calibration.gates import Gate
from otters_lab.calibration.modecurves import ModeCurves
from otters_lab.calibration.model import PARAMETERS, DeviceModel
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.spread import Spread
from otters_lab.core.errors import DamagedFileError, InputError, RefusedError
from otters_lab.core.files import pretty_json, read_json, write_atomically
from otters_lab.core.protocols import Array
from otters_lab.core.provenance import Header, check_sidecar, payload_digest, stated_kind, validated, write_sidecar

Matrix = list[list[float | None]]


class Record(BaseModel):
    """Base of the parts of a calibration file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LawRecord(Record):
    """The curve's law; c is shared by the chip, its sd by jackknife over devices."""

    name: str
    formula: str
    c: float
    c_sd: float | None
    because: str


class Constants(Record):
    """Normalisation, once per calibration: O = (I - I_end)/(I_edge - I_end). Covariance of (I_edge, I_end) in A^2."""

    window_s: float
    I_edge_A: float
    I_end_A: float
    I_dark_A: float | None
    covariance_A2: Matrix | None
    polarity: str


class SpreadRecord(Record):
    """sd, 95 % interval and upper bound by parameter; covariance of (O0, D, logit_beta), null where unresolved."""

    sd: dict[str, float | None]
    interval: dict[str, tuple[float, float] | None]
    upper_bound: dict[str, float | None]
    estimation_share: dict[str, float | None]
    covariance: Matrix
    degrees_of_freedom: float


class NoiseRecord(Record):
    """Read noise of the lab's meter, one-sided: S(f) = white^2 + flicker^2/f in the band, at the aperture.

    white_A_per_sqrtHz and flicker_A_per_sqrtHz (at 1 Hz) with their standard errors; white_sd_A is the white part of a
    single reading, white = white_sd*sqrt(2*interval); flicker_A its number in A. `source` says what it is taken from.
    """

    white_A_per_sqrtHz: float
    white_error_A_per_sqrtHz: float
    flicker_A_per_sqrtHz: float
    flicker_error_A_per_sqrtHz: float
    band_Hz: tuple[float, float]
    aperture_s: float | None
    white_sd_A: float
    flicker_A: float
    interval_s: float
    segments: int
    source: str


class DriftRecord(Record):
    """Common linear drift of the parameters, per hour, with its sd; and per earlier repeat of the point on the device.

    per_repeat is null where time explains the repeats: `shared_with_time` is R^2 within devices.
    """

    per_hour: dict[str, float]
    sd_per_hour: dict[str, float]
    per_repeat: dict[str, float] | None
    sd_per_repeat: dict[str, float] | None
    shared_with_time: float | None


class ModeRecord(Record):
    """A curve that runs add to the law's, of one sd: legendre coefficients in 2*u**beta - 1, less `tangent` of the
    law's derivatives by (O0, D, logit_beta), beta and c those of the mean curve; and its values at the level times.
    """

    legendre: list[float]
    tangent: list[float]
    levels: list[float]


class ModesRecord(Record):
    """Modes beyond the law, with the joint covariances of (O0, D, logit_beta, scores), null where unresolved."""

    modes: list[ModeRecord]
    run_to_run_covariance: Matrix
    device_to_device_covariance: Matrix

    @property
    def curves(self) -> ModeCurves:
        """The curves, in units of O."""
        return ModeCurves(*(np.array([getattr(mode, name) for mode in self.modes]) for name in ("legendre", "tangent")))


class LevelTable(Record):
    """Levels k = 0..T: times, O(t_k) with run-to-run and device-to-device sd, joint covariances, which were sampled.

    The covariances hold the modes beyond the law, where there are any. `extrapolated` lists the k whose time lies
    before the first sample.
    """

    n_levels: int
    time_s: list[float]
    mean: list[float]
    run_to_run_sd: list[float | None]
    device_to_device_sd: list[float | None]
    run_to_run_covariance: Matrix | None
    device_to_device_covariance: Matrix | None
    extrapolated: list[int]


class DeviceRecord(Record):
    """The stochastic device model of one setting of one chip.

    logit_beta_interval is the mean's, over devices, 95 % (Student's t). `tail` is the degrees of freedom of a
    multivariate t that the runs' tails have, null where they are Gaussian. `modes` is null where nothing was found.
    """

    law: LawRecord
    constants: Constants
    logit_beta: float
    logit_beta_interval: tuple[float, float] | None
    mean_covariance: Matrix | None
    run_to_run: SpreadRecord
    device_to_device: SpreadRecord
    tail: float | None
    modes: ModesRecord | None
    drift: DriftRecord | None
    levels: LevelTable


class TraceTable(Record):
    """One row a trace; `columns` name the row's entries."""

    columns: list[str]
    rows: list[list[Any]]


class ConditionRecord(Record):
    """The device model of one of several settings, normalised by its own constants."""

    settings: dict[str, float]
    traces: int
    device: DeviceRecord


class Calibration(Record):
    """A calibration file. With several settings `device` is null and `conditions` has the model of each."""

    header: Header
    chip: str
    settings: list[dict[str, float]]
    noise: NoiseRecord | None
    device: DeviceRecord | None
    gates: list[Gate]
    laws_preferred: dict[str, int]
    traces: TraceTable
    conditions: list[ConditionRecord] | None = None

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return all(gate.verdict != "fail" for gate in self.gates)

    @property
    def window_s(self) -> float | None:
        """W in seconds, None without a device model."""
        return self.device.constants.window_s if self.device else None

    def device_model(self) -> DeviceModel:
        """The model to sample levels from.

        Raises
        ------
        RefusedError
            if this calibration holds none.
        """
        if self.device is None:
            hint = "" if self.conditions is None else "; take one of them: at(...), or fit --point N"
            raise RefusedError(f"this calibration holds no device model: its captures mix several settings{hint}")
        constants, modes = self.device.constants, self.device.modes
        runs, devices = self.device.run_to_run.covariance, self.device.device_to_device.covariance
        if modes is not None:
            runs, devices = modes.run_to_run_covariance, modes.device_to_device_covariance
        return DeviceModel(
            window_s=constants.window_s,
            c=self.device.law.c,
            logit_beta=self.device.logit_beta,
            run_to_run=_filled(runs),
            device_to_device=_filled(devices),
            modes=None if modes is None else modes.curves,
            drift_per_h=_drift(self.device.drift, 0 if modes is None else len(modes.modes)),
            runs=recorded_runs(self.device, self.traces),
            noise=_relative_noise(self.noise, constants.I_edge_A - constants.I_end_A),
        )

    def condition(self, **settings: float) -> Condition:
        """The model in numbers at a setting, each with its sd; see `conditions.condition_at`.

        Raises
        ------
        InputError
            as `condition_at`.
        RefusedError
            if this calibration is of one setting.
        """
        if not self.conditions:
            raise RefusedError("this calibration is of one setting")
        return condition_at(self.conditions, settings)

    def at(self, **settings: float) -> DeviceModel:
        """The device model at a setting, interpolated along one parameter where it was not measured there.

        Settings in SI units, as `at(drive=4.2, temperature=300.0)`. It holds no recorded runs to draw from.

        Raises
        ------
        InputError, RefusedError
            as `condition`.
        """
        found = self.condition(**settings)
        c, logit_beta, swing_A = (found.values[name] for name in ("c", "logit_beta", "swing_A"))
        assert c is not None  # these three are always known
        assert logit_beta is not None
        assert swing_A is not None
        return DeviceModel(
            window_s=found.window_s,
            c=c,
            logit_beta=logit_beta,
            run_to_run=_filled(found.run_to_run),
            device_to_device=_filled(found.device_to_device),
            noise=_relative_noise(self.noise, swing_A),
        )


def _drift(drift: DriftRecord | None, modes: int) -> Array | None:
    return None if drift is None else np.array([drift.per_hour[name] for name in PARAMETERS] + [0.0] * modes)


def _relative_noise(noise: NoiseRecord | None, swing_A: float) -> ReadNoise | None:
    """The meter's noise in units of the swing."""
    if noise is None:
        return None
    return ReadNoise(noise.white_sd_A / abs(swing_A), noise.flicker_A / abs(swing_A), noise.interval_s, noise.segments)


def _filled(matrix: Matrix) -> Array:
    """An unresolved spread is sampled as none: never invented."""
    return np.array([[0.0 if value is None else value for value in row] for row in matrix])


def matrix_record(matrix: Array, known: list[bool] | None = None) -> Matrix:
    """A matrix as lists, nine significant digits, null in rows and columns that are not `known`."""
    known = known or [True] * len(matrix)
    return [
        [rounded(float(value)) if known[i] and known[j] else None for j, value in enumerate(row)]
        for i, row in enumerate(matrix)
    ]


def rounded(value: float) -> float:
    """Nine significant digits: more than any estimate holds, few enough for stable diffs."""
    return float(f"{value:.9g}")


def spread_record(spread: Spread) -> SpreadRecord:
    """A `Spread` for the file."""

    def named(values: list[Any]) -> dict[str, Any]:
        return {name: _rounded_any(value) for name, value in zip(PARAMETERS, values, strict=True)}

    return SpreadRecord(
        sd=named(spread.sd),
        interval=named(spread.interval),
        upper_bound=named(spread.upper),
        estimation_share=named(spread.estimation_share),
        covariance=matrix_record(spread.covariance, spread.resolved),
        degrees_of_freedom=rounded(spread.dof),
    )


def _rounded_any(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(rounded(v) for v in value)
    return None if value is None else rounded(value)


def write_calibration(path: Path, calibration: Calibration) -> Calibration:
    """Writes the file and its sidecar; returns the calibration with its payload digest filled in."""
    digest = payload_digest(calibration.model_dump(mode="json"))
    sealed = calibration.model_copy(update={"header": calibration.header.model_copy(update={"payload_digest": digest})})
    write_atomically(path, pretty_json(sealed.model_dump(mode="json")))
    write_sidecar(path, sealed.header)
    return sealed


def read_calibration(path: Path) -> Calibration:
    """Reads and checks a calibration file.

    Raises
    ------
    InputError
        if there is no such file, or it is JSON of another kind.
    DamagedFileError
        if it was altered: its payload digest or its sidecar's hash does not match.
    """
    record = read_json(path)
    calibration = calibration_from(path, record)
    check_sidecar(path)
    return calibration


def calibration_from(path: Path, record: Any) -> Calibration:
    """A calibration from JSON that was read already; `path` is where it stood, for messages.

    Raises
    ------
    InputError, DamagedFileError
        as `read_calibration`, the sidecar aside.
    """
    if stated_kind(record) != "calibration":
        raise InputError("is not a calibration", file=path, expected="a file written by `otters-lab fit`")
    if payload_digest(record) != record["header"].get("payload_digest"):
        raise DamagedFileError(path, "its contents do not match its payload digest: it was altered after the fit")
    return validated(Calibration, path, record)
