"""What a driver that is none of ours can do, stated in the bench file: a recipe is checked without running its code."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from otters_lab.core.quantity import Amperes, Kelvin, Seconds, Volts
from otters_lab.core.tomlfile import StrictModel
from otters_lab.instruments.drivers.entries import (
    AttributeMap,
    BiasDriver,
    LightDriver,
    MeterDriver,
    PowerDriver,
    StageDriver,
    SwitchDriver,
)

_Positive = Field(gt=0)
_Interval = Annotated[list[Seconds], Field(min_length=2, max_length=2)]

_EVIDENCE = "the lab's own driver"


class MeterAbilities(StrictModel):
    """The table [meter.abilities]: fixed ranges, apertures in power-line cycles, intervals, samples, largest bias."""

    ranges: Annotated[list[Annotated[Amperes, _Positive]], Field(min_length=1)]
    nplc: Annotated[list[float], Field(min_length=2, max_length=2)]
    interval: _Interval
    samples: Annotated[list[int], Field(min_length=2, max_length=2)]
    bias: Volts

    def as_driver(self, name: str) -> MeterDriver:
        """As the registry states it for drivers of ours."""
        return MeterDriver(
            model=name,
            validated="none",
            evidence=_EVIDENCE,
            build="",
            twin="",
            ranges_A=tuple(self.ranges),
            nplc=(self.nplc[0], self.nplc[1]),
            interval_s=(self.interval[0], self.interval[1]),
            samples=(self.samples[0], self.samples[1]),
            bias_V=self.bias,
            compliance_over_range=0.0,
        )


class LightAbilities(StrictModel):
    """The table [light.abilities]: pulse widths, trigger delays, drive levels."""

    width: _Interval
    delay: _Interval
    drive: Annotated[list[Volts], Field(min_length=2, max_length=2)]

    def as_driver(self, name: str, load: str) -> LightDriver:
        """As the registry states it for drivers of ours."""
        return LightDriver(
            model=name,
            validated="none",
            evidence=_EVIDENCE,
            build="",
            twin="",
            width_s=(self.width[0], self.width[1]),
            delay_s=(self.delay[0], self.delay[1]),
            drive_V={load: (self.drive[0], self.drive[1])},
        )


def own_switch(name: str) -> SwitchDriver:
    """A switch of the lab's own; its channels are plain numbers."""
    return SwitchDriver(model=name, validated="none", evidence=_EVIDENCE, build="", twin="")


_MAPPED = "a PyMeasure class by the bench file's map"


class BiasAbilities(StrictModel):
    """The table [gate.abilities] or [drain.abilities]: largest voltage, and the current limits that can be set."""

    bias: Annotated[Volts, _Positive]
    compliance: Annotated[list[Annotated[Amperes, _Positive]], Field(min_length=2, max_length=2)]

    def as_driver(self, name: str, map_: AttributeMap | None, error_query: str | None) -> BiasDriver:
        """As the registry states it for drivers of ours."""
        return BiasDriver(
            model=name,
            validated="none",
            evidence=_MAPPED if map_ else _EVIDENCE,
            build="",
            twin="",
            error_query=error_query,
            map=map_,
            bias_V=self.bias,
            compliance_A=(self.compliance[0], self.compliance[1]),
        )


class StageAbilities(StrictModel):
    """The table [temperature.abilities]: set points, and what switches the heater on and off."""

    temperature: Annotated[list[Annotated[Kelvin, _Positive]], Field(min_length=2, max_length=2)]
    heater_on: bool | int | str = True
    heater_off: bool | int | str = False

    def as_driver(self, name: str, map_: AttributeMap | None, error_query: str | None) -> StageDriver:
        """As the registry states it for drivers of ours."""
        return StageDriver(
            model=name,
            validated="none",
            evidence=_MAPPED if map_ else _EVIDENCE,
            build="",
            twin="",
            error_query=error_query,
            map=map_,
            temperature_K=(self.temperature[0], self.temperature[1]),
            heater_on=self.heater_on,
            heater_off=self.heater_off,
        )


def own_power_meter(name: str, map_: AttributeMap | None, error_query: str | None) -> PowerDriver:
    """A power meter of the lab's own, or a mapped one."""
    evidence = _MAPPED if map_ else _EVIDENCE
    return PowerDriver(
        model=name, validated="none", evidence=evidence, build="", twin="", error_query=error_query, map=map_
    )
