"""The tables of a bench file for what a device is measured under: [gate], [drain], [temperature], and [power]."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import model_validator

from otters_lab.core.quantity import Amperes, KelvinDifference, KelvinPerSecond, Seconds, VoltsPerSecond
from otters_lab.instruments.abilities import BiasAbilities, StageAbilities, own_power_meter
from otters_lab.instruments.drivers.conditions import BIASES, POWER_METERS, STAGES
from otters_lab.instruments.drivers.entries import BiasDriver, PowerDriver, StageDriver
from otters_lab.instruments.entrytables import InstrumentEntry, NotNegative, Positive, known_driver


class BiasEntry(InstrumentEntry):
    """A source that biases a gate or a drain. `compliance`: its current limit; `ramp`: how fast its level moves.

    `settle`: from the level being reached on.
    """

    kind: ClassVar[str] = "bias"
    driver: Annotated[str, known_driver(BIASES)]
    compliance: Annotated[Amperes, Positive]
    ramp: Annotated[VoltsPerSecond, Positive] | None = None
    settle: Annotated[Seconds, NotNegative] = 0.0
    abilities: BiasAbilities | None = None

    @property
    def known(self) -> BiasDriver:
        """What is known of the driver: from the registry, or from the file's `abilities`."""
        if self.abilities is None:
            return BIASES[self.driver]
        return self.abilities.as_driver(self.driver, self.map, self.error_query)

    @model_validator(mode="after")
    def _compliance_can_be_set(self) -> BiasEntry:
        self._needs_abilities(self.abilities)
        low, high = self.known.compliance_A
        if not low <= self.compliance <= high:
            raise ValueError(f"compliance is {self.compliance:g} A, {self.driver} takes {low:g} to {high:g} A")
        return self


class StageEntry(InstrumentEntry):
    """A temperature stage. It is at its set point once the sensor has stayed within `tolerance` of it for `soak`.

    `timeout_stable`: how long that may take; `ramp`: how fast the set point moves; `after`: what becomes of the heater
    when a sweep has ended, also by an error or a signal. After one that was killed the supervisor switches it off.
    """

    kind: ClassVar[str] = "temperature"
    driver: Annotated[str, known_driver(STAGES)]
    tolerance: Annotated[KelvinDifference, Positive]
    soak: Annotated[Seconds, NotNegative]
    timeout_stable: Annotated[Seconds, Positive] = 3600.0
    ramp: Annotated[KelvinPerSecond, Positive] | None = None
    after: Literal["off", "hold"]
    abilities: StageAbilities | None = None

    @property
    def known(self) -> StageDriver:
        """What is known of the driver: from the registry, or from the file's `abilities`."""
        if self.abilities is None:
            return STAGES[self.driver]
        return self.abilities.as_driver(self.driver, self.map, self.error_query)

    @model_validator(mode="after")
    def _abilities_where_needed(self) -> StageEntry:
        self._needs_abilities(self.abilities)
        return self


class PowerEntry(InstrumentEntry):
    """The optical power meter that stands in the device's place while the light is calibrated; a sweep leaves it."""

    kind: ClassVar[str] = "power"
    driver: Annotated[str, known_driver(POWER_METERS)]

    @property
    def known(self) -> PowerDriver:
        """What is known of the driver."""
        if self.driver in POWER_METERS:
            return POWER_METERS[self.driver]
        return own_power_meter(self.driver, self.map, self.error_query)
