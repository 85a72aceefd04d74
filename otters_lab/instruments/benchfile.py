"""Bench files: what stands on the bench, at which address, within which limits. Reading one touches no instrument."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from otters_lab.core.errors import closest
from otters_lab.core.quantity import Amperes, Hertz, Seconds, Volts, format_quantity
from otters_lab.core.tomlfile import StrictModel, TomlText, load_model, read_toml
from otters_lab.instruments.drivers.entries import Entry
from otters_lab.instruments.drivers.registry import LIGHTS, METERS, SWITCHES
from otters_lab.instruments.setups import AmplifierTable, LedTable
from otters_lab.instruments.virtual.tables import VirtualTable

Positive = Field(gt=0)
NotNegative = Field(ge=0)


def _device_keys(value: Any) -> Any:
    """Keys of a TOML table are text; those of the channel map are device numbers."""
    if not isinstance(value, dict):
        return value
    for key in value:
        if not (isinstance(key, str) and key.isascii() and key.isdecimal()):
            raise ValueError(f"found the device {key!r}, expected a number")
    return {int(key): channel for key, channel in value.items()}


def _channel(value: Any, info: ValidationInfo) -> Any:
    """A channel as its switch calls it: a number, or a name of the form that the switch's entry gives."""
    driver = SWITCHES.get(info.data.get("driver", ""))
    if driver is None or not driver.channel:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"found {value!r}, expected a valid integer")
        return value
    if isinstance(value, bool) or not re.fullmatch(driver.channel, str(value)):
        raise ValueError(f"found {value!r}, expected a channel of the {driver.model} ({driver.channel})")
    return str(value)


def _known(drivers: Mapping[str, Entry]) -> Any:
    """A field that takes the short name of a registered driver."""

    def check(name: str) -> str:
        if name not in drivers:
            near = closest(name, drivers)
            hint = f' (did you mean "{near}"?)' if near else ""
            raise ValueError(f"found the driver {name!r}, expected one of {', '.join(sorted(drivers))}{hint}")
        return name

    return AfterValidator(check)


class InstrumentEntry(StrictModel):
    """What every instrument entry says. `identity` must be part of the *IDN? reply, else nothing is done."""

    address: str = Field(min_length=1)
    identity: str = Field(min_length=1)
    timeout: Annotated[Seconds, Positive] = 5.0


class MeterEntry(InstrumentEntry):
    """The meter. `settle`: from bias on to the trigger; `amplifier`: what stands before one that measures volts."""

    driver: Annotated[str, _known(METERS)]
    settle: Annotated[Seconds, NotNegative] = 0.0
    amplifier: AmplifierTable | None = None

    @model_validator(mode="after")
    def _amplifier_fits_the_driver(self) -> MeterEntry:
        volts = bool(METERS[self.driver].ranges_V)
        if volts and self.amplifier is None:
            raise ValueError(f"a [meter.amplifier] table is missing, {self.driver} needs one: it measures volts")
        if self.amplifier and not volts:
            raise ValueError(f"a [meter.amplifier] table is given, {self.driver} needs none: it measures amperes")
        return self

    @property
    def ranges_A(self) -> tuple[float, ...]:
        """Fixed ranges in amperes, those of a voltmeter seen through its amplifier."""
        driver = METERS[self.driver]
        if self.amplifier is None:
            return driver.ranges_A
        return tuple(volts / self.amplifier.gain for volts in driver.ranges_V)


class LightEntry(InstrumentEntry):
    """The generator that gates the LED, and what it drives; `led` for a driver that sets the LED's current."""

    driver: Annotated[str, _known(LIGHTS)]
    load: str = "high impedance"
    led: LedTable | None = None

    @model_validator(mode="after")
    def _load_is_known(self) -> LightEntry:
        loads = LIGHTS[self.driver].drive_V
        if self.load not in loads:
            raise ValueError(f"load is {self.load!r}, expected {' or '.join(repr(load) for load in loads)}")
        return self

    @model_validator(mode="after")
    def _led_fits_the_driver(self) -> LightEntry:
        allowed = LIGHTS[self.driver].full_scale_A
        if (allowed is None) != (self.led is None):
            wants = "none: it sets no LED current" if allowed is None else "one: it sets the LED's current"
            raise ValueError(
                f"a [light.led] table is {'missing' if self.led is None else 'given'}, {self.driver} needs {wants}"
            )
        if allowed and self.led and not allowed[0] <= self.led.full_scale <= allowed[1]:
            raise ValueError(
                f"led.full_scale is {self.led.full_scale:g} A, expected {allowed[0]:g} to {allowed[1]:g} A"
            )
        return self


class SwitchEntry(InstrumentEntry):
    """The switch; `channels` names the channel that leads to each device. `settle`: from closing on."""

    driver: Annotated[str, _known(SWITCHES)]
    settle: Annotated[Seconds, NotNegative] = 0.0
    channels: Annotated[
        dict[int, Annotated[int | str, BeforeValidator(_channel)]], BeforeValidator(_device_keys), Field(min_length=1)
    ]


class Sync(StrictModel):
    """How the light's edge lies on the meter's time axis. Both latencies count from the meter's trigger-out event.

    `meter_latency`: to the start of the first aperture. `light_latency`: to the beginning of the pulse that was
    programmed without delay. `edge_uncertainty`: how well their difference is known (one standard deviation).
    """

    meter_latency: Annotated[Seconds, NotNegative]
    light_latency: Annotated[Seconds, NotNegative]
    edge_uncertainty: Annotated[Seconds, NotNegative]


class Limits(StrictModel):
    """What no recipe may exceed.

    `bias`: magnitude of the bias; `current`: largest measuring range; `compliance`: the current limit that the meter
    is set to, so that no more flows; `drive`: level of the light's drive; `pulse_width`: of one light pulse.
    """

    bias: Annotated[Volts, Positive]
    current: Annotated[Amperes, Positive]
    compliance: Annotated[Amperes, Positive]
    drive: Annotated[Volts, Positive]
    pulse_width: Annotated[Seconds, Positive]


class BenchFile(StrictModel):
    """A bench file, validated. `path` and `text` are where it came from, for messages and for provenance."""

    backend: Literal["visa", "virtual"]
    name: str = Field(min_length=1)
    line_frequency: Hertz
    meter: MeterEntry
    light: LightEntry
    switch: SwitchEntry
    sync: Sync
    limits: Limits
    virtual: VirtualTable | None = None
    _source: TomlText = PrivateAttr(default_factory=lambda: TomlText(Path("bench"), "", {}))

    @property
    def path(self) -> Path:
        """The file it was read from."""
        return self._source.path

    @property
    def text(self) -> str:
        """The file's text as it was read."""
        return self._source.text

    @model_validator(mode="after")
    def _hangs_together(self) -> BenchFile:
        if self.backend == "virtual" and self.virtual is None:
            raise ValueError('backend = "virtual" needs a [virtual] table: what the virtual bench is made of')
        if self.line_frequency not in (50.0, 60.0):
            raise ValueError(f'line_frequency is {self.line_frequency:g} Hz, expected "50 Hz" or "60 Hz"')
        addresses = [entry.address.upper() for entry in (self.meter, self.light, self.switch)]
        if len(set(addresses)) < len(addresses):
            raise ValueError("two instruments have the same address")
        channels = list(self.switch.channels.values())
        if len(set(channels)) < len(channels):
            raise ValueError("switch.channels leads to two devices through one channel")
        if not METERS[self.meter.driver].trigger_out and LIGHTS[self.light.driver].sync == "trigger":
            raise ValueError(
                f"{self.meter.driver} gives no trigger at the start of an acquisition, which {self.light.driver} waits "
                "for: it needs a light that software starts"
            )
        compliances = METERS[self.meter.driver].compliances_A
        if compliances and not any(math.isclose(self.limits.compliance, known) for known in compliances):
            known = ", ".join(format_quantity(limit, "A") for limit in compliances)
            found = format_quantity(self.limits.compliance, "A")
            raise ValueError(f"limits.compliance is {found}, {self.meter.driver} can be set to {known}")
        return self


def load_bench(path: Path) -> BenchFile:
    """Reads and validates a bench file.

    Raises
    ------
    InputError
        for a missing or unreadable file, and for the first thing wrong in it, with line and key.
    """
    source = read_toml(path)
    bench = load_model(BenchFile, source)
    bench._source = source
    return bench
