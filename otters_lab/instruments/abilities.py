"""What a driver that is none of ours can do, stated in the bench file: a recipe is checked without running its code."""

from __future__ import annotations

import math
from typing import Annotated, Any

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

_OUR_DELAY_S = 1000.0


def _evidence(map_: AttributeMap | None) -> str:
    return "the lab's own driver" if map_ is None else "a PyMeasure class by the bench file's map"


def _names(map_: AttributeMap, word: str) -> str:
    return "names" if word in map_.attributes else "has no"


def _unproved(name: str, map_: AttributeMap | None, error_query: str | None) -> dict[str, Any]:
    """What every driver that is none of ours has in common: nothing stands behind it, and it has no twin."""
    said = {"model": name, "validated": "none", "evidence": _evidence(map_), "build": "", "twin": ""}
    return {**said, "error_query": error_query, "map": map_}


class MeterAbilities(StrictModel):
    """The table [meter.abilities]: fixed ranges, intervals, samples in one acquisition, largest bias.

    Apertures are given in power-line cycles (`nplc`), or, where they cannot be set, as the one `aperture` that is.
    """

    ranges: Annotated[list[Annotated[Amperes, _Positive]], Field(min_length=1)]
    nplc: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    aperture: Annotated[Seconds, _Positive] | None = None
    interval: _Interval
    samples: Annotated[list[int], Field(min_length=2, max_length=2)]
    bias: Volts

    def check(self, map_: AttributeMap | None) -> None:
        """Raises ValueError for abilities that do not fit the map."""
        if (self.nplc is None) == (self.aperture is None):
            raise ValueError("abilities has both or none of nplc and aperture, expected one of them")
        if map_ is None:
            return
        if ("nplc" in map_.attributes) != (self.nplc is not None):
            wanted = "nplc" if "nplc" in map_.attributes else "aperture"
            raise ValueError(f"abilities has no {wanted}, attributes {_names(map_, 'nplc')} nplc")
        if ("bias" in map_.attributes) != (self.bias > 0):
            raise ValueError(f"abilities.bias is {self.bias:g} V, attributes {_names(map_, 'bias')} bias")

    def as_driver(self, name: str, map_: AttributeMap | None, error_query: str | None) -> MeterDriver:
        """As the registry states it for drivers of ours. A mapped one is paced by software and gives no trigger."""
        return MeterDriver(
            **_unproved(name, map_, error_query),
            ranges_A=tuple(self.ranges),
            nplc=(0.0, math.inf) if self.nplc is None else (self.nplc[0], self.nplc[1]),
            interval_s=(self.interval[0], self.interval[1]),
            samples=(self.samples[0], self.samples[1]),
            bias_V=self.bias,
            compliance_over_range=0.0,
            aperture_s=None if self.aperture is None else (self.aperture, self.aperture),
            trigger_out=map_ is None,
        )


class LightAbilities(StrictModel):
    """The table [light.abilities]: pulse widths, delays after the trigger, drive levels.

    `start_uncertainty`: how well the edge of a pulse that software begins is known. Where it is given, no trigger
    reaches the source.
    """

    width: _Interval
    delay: _Interval | None = None
    drive: Annotated[list[Volts], Field(min_length=2, max_length=2)]
    start_uncertainty: Annotated[Seconds, _Positive] | None = None

    def check(self, map_: AttributeMap | None) -> None:
        """Raises ValueError for abilities that do not fit the map."""
        if map_ is None:
            if self.delay is None:
                raise ValueError("abilities has no delay")
            return
        if ("fire" in map_.attributes) != (self.start_uncertainty is not None):
            found = "no" if self.start_uncertainty is None else "a"
            raise ValueError(f"abilities has {found} start_uncertainty, attributes {_names(map_, 'fire')} fire")
        if ("delay" in map_.attributes) != (self.delay is not None):
            found = "no" if self.delay is None else "a"
            raise ValueError(f"abilities has {found} delay, attributes {_names(map_, 'delay')} delay")

    def as_driver(self, name: str, load: str, map_: AttributeMap | None, error_query: str | None) -> LightDriver:
        """As the registry states it for drivers of ours."""
        software = self.start_uncertainty is not None
        # Without a delay of its own a pulse that software begins is delayed by us, a triggered one by nobody.
        delay = self.delay or ([0.0, _OUR_DELAY_S] if software else [0.0, 0.0])
        return LightDriver(
            **_unproved(name, map_, error_query),
            width_s=(self.width[0], self.width[1]),
            delay_s=(delay[0], delay[1]),
            drive_V={load: (self.drive[0], self.drive[1])},
            sync="software" if software else "trigger",
            sync_uncertainty_s=self.start_uncertainty or 0.0,
        )


def unknown_switch(name: str, map_: AttributeMap | None, error_query: str | None) -> SwitchDriver:
    """A switch of the lab's own, or a mapped one; its channels are plain numbers, or what the class takes."""
    said = _unproved(name, map_, error_query)
    if map_ is not None and "closed" not in map_.attributes:
        said["evidence"] += "; its channels are not confirmed: the map has no closed"
    return SwitchDriver(**said)


class BiasAbilities(StrictModel):
    """The table [gate.abilities] or [drain.abilities]: largest voltage, and the current limits that can be set."""

    bias: Annotated[Volts, _Positive]
    compliance: Annotated[list[Annotated[Amperes, _Positive]], Field(min_length=2, max_length=2)]

    def as_driver(self, name: str, map_: AttributeMap | None, error_query: str | None) -> BiasDriver:
        """As the registry states it for drivers of ours."""
        return BiasDriver(
            **_unproved(name, map_, error_query),
            bias_V=self.bias,
            compliance_A=(self.compliance[0], self.compliance[1]),
        )


class StageAbilities(StrictModel):
    """The table [temperature.abilities]: set points."""

    temperature: Annotated[list[Annotated[Kelvin, _Positive]], Field(min_length=2, max_length=2)]

    def as_driver(self, name: str, map_: AttributeMap | None, error_query: str | None) -> StageDriver:
        """As the registry states it for drivers of ours."""
        return StageDriver(
            **_unproved(name, map_, error_query),
            temperature_K=(self.temperature[0], self.temperature[1]),
        )


def own_power_meter(name: str, map_: AttributeMap | None, error_query: str | None) -> PowerDriver:
    """A power meter of the lab's own, or a mapped one."""
    return PowerDriver(**_unproved(name, map_, error_query))
