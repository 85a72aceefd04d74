"""The tables of a bench file: meter, light and switch, how they are synchronised, and the limits."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from otters_lab.core.quantity import Amperes, Fraction, Kelvin, Seconds, Volts, Watts
from otters_lab.core.tomlfile import StrictModel
from otters_lab.instruments.abilities import LightAbilities, MeterAbilities, unknown_switch
from otters_lab.instruments.drivers.entries import LightDriver, MeterDriver, SwitchDriver
from otters_lab.instruments.drivers.lights import LIGHTS
from otters_lab.instruments.drivers.mapped import is_mapped
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.drivers.options import NAMES, MeterOptions, not_offered
from otters_lab.instruments.drivers.switches import SWITCHES
from otters_lab.instruments.entrytables import InstrumentEntry, NotNegative, Positive, known_driver
from otters_lab.instruments.setups import AmplifierTable, LedTable


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
    if is_mapped(info.data.get("driver", "")) and isinstance(value, str) and value:
        return value  # as the class takes it
    if driver is None or not driver.channel:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"found {value!r}, expected a valid integer")
        return value
    if isinstance(value, bool) or not re.fullmatch(driver.channel, str(value)):
        raise ValueError(f"found {value!r}, expected a channel of the {driver.model} ({driver.channel})")
    return str(value)


class MeterEntry(InstrumentEntry):
    """The meter. `settle`: from bias on to the trigger; `amplifier`: what stands before one that measures volts.

    The other settings are refused where the model lacks them. `filter`: conversions averaged into one reading, whose
    aperture grows as much; 1 is none. `guard`: what the guard terminal is for.
    """

    kind: ClassVar[str] = "meter"
    driver: Annotated[str, known_driver(METERS)]
    settle: Annotated[Seconds, NotNegative] = 0.0
    wires: Literal[2, 4] = 2
    terminals: Literal["front", "rear"] = "front"
    output_off: Literal["normal", "high impedance", "zero", "guard"] = "normal"
    filter: int = Field(default=1, ge=1, le=100)
    guard: Literal["cable", "ohms"] | None = None
    abilities: MeterAbilities | None = None
    amplifier: AmplifierTable | None = None

    @property
    def known(self) -> MeterDriver:
        """What is known of the driver: from the registry, or from the file's `abilities`.

        The ranges of a voltmeter are those in amperes, seen through its amplifier.
        """
        if self.abilities is None:
            driver = METERS[self.driver]
        else:
            driver = self.abilities.as_driver(self.driver, self.map, self.error_query)
        if self.amplifier is None:
            return driver
        return replace(driver, ranges_A=tuple(volts / self.amplifier.gain for volts in driver.ranges_V))

    @model_validator(mode="after")
    def _abilities_where_needed(self) -> MeterEntry:
        self._needs_abilities(self.abilities)
        if self.abilities is not None:
            self.abilities.check(self.map)
        return self

    @model_validator(mode="after")
    def _amplifier_fits_the_driver(self) -> MeterEntry:
        volts = bool(self.known.ranges_V)
        if volts and self.amplifier is None:
            raise ValueError(f"a [meter.amplifier] table is missing, {self.driver} needs one: it measures volts")
        if self.amplifier and not volts:
            raise ValueError(f"a [meter.amplifier] table is given, {self.driver} needs none: it measures amperes")
        return self

    @property
    def options(self) -> MeterOptions:
        """The settings beyond the common ones, as the drivers take them."""
        return MeterOptions(self.wires, self.terminals, self.output_off, self.filter, self.guard)

    @model_validator(mode="after")
    def _model_has_what_is_asked(self) -> MeterEntry:
        driver = self.known
        asked = {name: getattr(self, name) for name in NAMES if name in self.model_fields_set}
        problems = not_offered(asked, driver.options, driver.model)
        if problems:
            raise ValueError("; ".join(problems))
        return self


class LightEntry(InstrumentEntry):
    """The generator that gates the LED, and what it drives; `led` for a driver that sets the LED's current.

    `start`: what begins a pulse, where the driver leaves a choice: the meter's trigger, or a command ("software").
    `calibration`: file of the light calibration, relative to the bench file.
    """

    kind: ClassVar[str] = "light"
    driver: Annotated[str, known_driver(LIGHTS)]
    load: str = "high impedance"
    led: LedTable | None = None
    start: Literal["trigger", "software"] | None = None
    calibration: str | None = None
    abilities: LightAbilities | None = None

    @property
    def known(self) -> LightDriver:
        """What is known of the driver: from the registry, or from the file's `abilities`."""
        if self.abilities is not None:
            return self.abilities.as_driver(self.driver, self.load, self.map, self.error_query)
        driver = LIGHTS[self.driver]
        return replace(driver, sync="software") if self.start == "software" else driver

    @model_validator(mode="after")
    def _start_is_offered(self) -> LightEntry:
        ours = LIGHTS.get(self.driver)
        if ours is None and self.start is not None:
            raise ValueError("start is for the drivers that come with the package")
        if ours and self.start == "trigger" and ours.sync == "software":
            raise ValueError(f'start is "trigger", {self.driver} can be started by software alone')
        if ours and self.start == "software" and not ours.sync_uncertainty_s:
            raise ValueError(f'start is "software", {self.driver} can be started by a trigger alone')
        return self

    @model_validator(mode="after")
    def _abilities_where_needed(self) -> LightEntry:
        self._needs_abilities(self.abilities)
        if self.abilities is not None:
            self.abilities.check(self.map)
        return self

    @model_validator(mode="after")
    def _load_is_known(self) -> LightEntry:
        loads = self.known.drive_V
        if self.load not in loads:
            raise ValueError(f"load is {self.load!r}, expected {' or '.join(repr(load) for load in loads)}")
        return self

    @model_validator(mode="after")
    def _led_fits_the_driver(self) -> LightEntry:
        allowed = self.known.full_scale_A
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

    kind: ClassVar[str] = "switch"
    driver: Annotated[str, known_driver(SWITCHES)]
    settle: Annotated[Seconds, NotNegative] = 0.0

    @property
    def known(self) -> SwitchDriver:
        """What is known of the driver."""
        if self.driver in SWITCHES:
            return SWITCHES[self.driver]
        return unknown_switch(self.driver, self.map, self.error_query)

    channels: Annotated[
        dict[int, Annotated[int | str, BeforeValidator(_channel)]], BeforeValidator(_device_keys), Field(min_length=1)
    ]


class Sync(StrictModel):
    """How the light's edge lies on the meter's time axis. Both latencies count from the meter's trigger-out event.

    Where the light triggers the meter they count from the edge of the light's sync output: `light_latency` to the
    beginning of the pulse, `meter_latency` to the 0 of the meter's time axis.

    `meter_latency`: to the start of the first aperture. `light_latency`: to the beginning of the pulse that was
    programmed without delay. `edge_uncertainty`: how well their difference is known (one standard deviation).
    """

    meter_latency: Annotated[Seconds, NotNegative]
    light_latency: Annotated[Seconds, NotNegative]
    edge_uncertainty: Annotated[Seconds, NotNegative]


class Limits(StrictModel):
    """What no recipe may exceed.

    `bias`: magnitude of the bias; `current`: largest measuring range; `compliance`: the current limit that the meter
    is set to, so that no more flows; `drive`: level of the light's drive; `pulse_width`: of one light pulse;
    `optical_power`: on the spot, by the light calibration; `duty`: share of the time that the light shines; `gate`:
    magnitude of the gate's bias; `temperature`: lowest and highest set point of the stage.
    """

    bias: Annotated[Volts, Positive]
    current: Annotated[Amperes, Positive]
    compliance: Annotated[Amperes, Positive]
    drive: Annotated[Volts, Positive]
    pulse_width: Annotated[Seconds, Positive]
    optical_power: Annotated[Watts, Positive] | None = None
    duty: Annotated[Fraction, Field(gt=0, le=1)] | None = None
    gate: Annotated[Volts, Positive] | None = None
    temperature: Annotated[list[Annotated[Kelvin, Positive]], Field(min_length=2, max_length=2)] | None = None


# Light first: it is what cannot be undone. Heat last: it goes slowest.
OFF_ORDER = ("light", "meter", "drain", "gate", "switch", "temperature")


class Safety(StrictModel):
    """How the bench is made safe. `off`: in which order the instruments are switched off; all of the bench, each once.

    On they go the other way: gate, drain, meter, light.
    """

    off: list[str] = Field(default_factory=lambda: list(OFF_ORDER))
