"""The `[virtual]` part of a bench file: what the virtual bench pretends to be."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, model_validator

from otters_lab.core.quantity import Amperes, AmperesPerRootHertz, Fraction, PerSecond, Seconds
from otters_lab.core.tomlfile import StrictModel

NotNegative = Field(ge=0)


class LawTable(StrictModel):
    """The published fit; tau in a unit of its own, since the window sets the scale of time."""

    I0: float = Field(gt=1)
    tau: float = Field(gt=0)
    beta: float = Field(gt=0, lt=1)
    I_offset: float = Field(lt=0)

    @model_validator(mode="after")
    def _normalised(self) -> LawTable:
        if abs(self.I0 + self.I_offset - 1) > 1e-9:
            raise ValueError(f"I0 + I_offset is {self.I0 + self.I_offset:g}, expected 1 (O = 1 at the light's edge)")
        return self


class DeviceSpread(StrictModel):
    """Standard deviations between devices of the chip."""

    D: Annotated[Fraction, NotNegative]
    logit_beta: float = Field(ge=0)


class RunSpread(StrictModel):
    """Standard deviations between runs of one device."""

    D: Annotated[Fraction, NotNegative]
    O0: Annotated[Fraction, NotNegative]
    logit_beta: float = Field(ge=0)


class Outlier(StrictModel):
    """One run that goes wrong: its drop times `D_factor`, its edge value plus `O0_shift`."""

    device: int
    pulse: int = Field(ge=0)
    D_factor: float
    O0_shift: float


class ChipTable(StrictModel):
    """A synthetic chip."""

    devices: int = Field(ge=1, le=1000)
    window: Annotated[Seconds, Field(gt=0)]
    swing: Amperes  # current at the edge less current at the window's end; negative: the current rises after the light
    dark_current: Amperes
    drift: PerSecond = 0.0
    law: LawTable
    device_to_device: DeviceSpread
    run_to_run: RunSpread
    outliers: list[Outlier] = Field(default_factory=list)

    @model_validator(mode="after")
    def _outliers_on_chip(self) -> ChipTable:
        for outlier in self.outliers:
            if not 1 <= outlier.device <= self.devices:
                raise ValueError(f"outlier on device {outlier.device}, expected 1 to {self.devices}")
        return self


class NoiseTable(StrictModel):
    """Read noise of the meter: white density, and the density of the 1/f part at 1 Hz."""

    white: Annotated[AmperesPerRootHertz, NotNegative]
    flicker_1Hz: Annotated[AmperesPerRootHertz, NotNegative]


class VirtualTable(StrictModel):
    """What the virtual bench is made of. Without a chip it needs decays from elsewhere (a capture, a calibration)."""

    seed: int = Field(ge=0)
    start: datetime  # when the virtual clock begins, with its offset from UTC
    meter_latency: Annotated[Seconds, NotNegative] = 0.0
    light_latency: Annotated[Seconds, NotNegative] = 0.0
    chip: ChipTable | None = None
    noise: NoiseTable | None = None

    @model_validator(mode="after")
    def _aware(self) -> VirtualTable:
        if self.start.tzinfo is None:
            raise ValueError("start has no offset from UTC, expected a time like 2026-01-01T08:00:00Z")
        return self
