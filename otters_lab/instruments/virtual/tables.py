"""The `[virtual]` part of a bench file: what the virtual bench pretends to be."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from otters_lab.core.quantity import Amperes, AmperesPerRootHertz, Fraction, PerSecond, Seconds, Volts, Watts
from otters_lab.core.tomlfile import StrictModel

NotNegative = Field(ge=0)

ROOM_K = 295.0


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


class RandomOutliers(StrictModel):
    """Runs that go wrong by chance: each with `probability`, and then as an `Outlier`."""

    probability: Annotated[Fraction, Field(ge=0, le=1)]
    D_factor: float
    O0_shift: float


class DeadDevice(StrictModel):
    """A device that light does nothing to: its current is stuck in the dark, or at the lit plateau."""

    device: int
    stuck: Literal["dark", "plateau"]


class NoisyDevice(StrictModel):
    """A device whose readings carry `factor` times the meter's noise."""

    device: int
    factor: float = Field(ge=0)


class ChipTable(StrictModel):
    """A synthetic chip. `memory`: what earlier pulses left is added to every current.

    `gate_reset`: a gate pulse of this voltage or more empties the memory. `D_per_kelvin`: relative change of the drop D
    for each kelvin above 295 K.
    """

    devices: int = Field(ge=1, le=1000)
    window: Annotated[Seconds, Field(gt=0)]
    swing: Amperes  # current at the edge less current at the window's end; negative: the current rises after the light
    dark_current: Amperes
    drift: PerSecond = 0.0
    law: LawTable
    device_to_device: DeviceSpread
    run_to_run: RunSpread
    outliers: list[Outlier] = Field(default_factory=list)
    random_outliers: RandomOutliers | None = None
    dead: list[DeadDevice] = Field(default_factory=list)
    noisy: list[NoisyDevice] = Field(default_factory=list)
    memory: bool = False
    gate_reset: Annotated[Volts, Field(gt=0)] | None = None
    D_per_kelvin: float = 0.0

    @model_validator(mode="after")
    def _all_on_chip(self) -> ChipTable:
        named = [("outlier on", outlier.device) for outlier in self.outliers]
        named += [("dead", dead.device) for dead in self.dead] + [("noisy", noisy.device) for noisy in self.noisy]
        for what, device in named:
            if not 1 <= device <= self.devices:
                raise ValueError(f"{what} device {device}, expected 1 to {self.devices}")
        for kind, devices in (("dead", [d.device for d in self.dead]), ("noisy", [d.device for d in self.noisy])):
            if len(set(devices)) < len(devices):
                raise ValueError(f"a device is listed twice under {kind}")
        return self


class NoiseTable(StrictModel):
    """Read noise of the meter: white density, and the density of the 1/f part at 1 Hz."""

    white: Annotated[AmperesPerRootHertz, NotNegative]
    flicker_1Hz: Annotated[AmperesPerRootHertz, NotNegative]


class LightTable(StrictModel):
    """Optical power on the spot: none up to the drive `threshold`, then rising in proportion, `power` at `drive`.

    `dark`: what a power meter reads besides, of the room and of its own zero.
    """

    threshold: Annotated[Volts, NotNegative]
    drive: Annotated[Volts, Field(gt=0)]
    power: Annotated[Watts, Field(gt=0)]
    dark: Watts = 0.0

    @model_validator(mode="after")
    def _above_the_threshold(self) -> LightTable:
        if self.drive <= self.threshold:
            raise ValueError(f"drive is {self.drive:g} V, expected more than the threshold of {self.threshold:g} V")
        return self

    def power_W(self, drive_V: float) -> float:
        """Power (W) at a drive (V)."""
        return self.power * max(0.0, drive_V - self.threshold) / (self.drive - self.threshold)


class VirtualTable(StrictModel):
    """What the virtual bench is made of.

    `decays`: the synthetic chip below, a recorded capture replayed, or a calibration sampled; the latter two are a
    `file`, named relative to the bench file. `at_end`: what follows the last recorded repeat of a point: an error, the
    first one again, or repeats drawn at random. `hum`: amplitude of mains pick-up at the line frequency. `ambient`:
    current that light from elsewhere adds. `light`: optical power by drive, for a power meter.
    """

    seed: int = Field(ge=0)
    start: datetime  # when the virtual clock begins, with its offset from UTC
    meter_latency: Annotated[Seconds, NotNegative] = 0.0
    light_latency: Annotated[Seconds, NotNegative] = 0.0
    decays: Literal["chip", "replay", "calibration"] = "chip"
    file: str | None = None
    at_end: Literal["stop", "loop", "sample"] = "stop"
    chip: ChipTable | None = None
    noise: NoiseTable | None = None
    hum: Annotated[Amperes, NotNegative] = 0.0
    ambient: Amperes = 0.0
    light: LightTable | None = None

    @model_validator(mode="after")
    def _decays_have_a_place(self) -> VirtualTable:
        if self.decays != "chip" and not self.file:
            raise ValueError(f'decays = "{self.decays}" needs file = "...", relative to this bench file')
        if self.decays == "chip" and self.file is not None:
            raise ValueError('file is given, but decays = "chip" reads none, expected "replay" or "calibration"')
        if self.decays != "replay" and self.at_end != "stop":
            raise ValueError('at_end is for decays = "replay" alone')
        if self.decays == "replay" and (self.hum or self.ambient):
            raise ValueError('hum and ambient cannot be added to decays = "replay": recordings carry their own')
        return self

    @model_validator(mode="after")
    def _aware(self) -> VirtualTable:
        if self.start.tzinfo is None:
            raise ValueError("start has no offset from UTC, expected a time like 2026-01-01T08:00:00Z")
        return self
