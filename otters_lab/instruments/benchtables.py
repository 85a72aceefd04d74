"""The tables of a bench file: what each instrument's entry says, how they are synchronised, and the limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from otters_lab.core.errors import closest
from otters_lab.core.quantity import Amperes, Fraction, Kelvin, KelvinPerSecond, Seconds, Volts, VoltsPerSecond, Watts
from otters_lab.core.tomlfile import StrictModel
from otters_lab.instruments.abilities import (
    BiasAbilities,
    LightAbilities,
    MeterAbilities,
    StageAbilities,
    own_power_meter,
    own_switch,
)
from otters_lab.instruments.drivers.conditions import BIASES, POWER_METERS, STAGES
from otters_lab.instruments.drivers.entries import (
    AttributeMap,
    BiasDriver,
    Entry,
    LightDriver,
    MeterDriver,
    PowerDriver,
    StageDriver,
    SwitchDriver,
)
from otters_lab.instruments.drivers.mapped import is_mapped, map_problems
from otters_lab.instruments.drivers.options import NAMES, MeterOptions, not_offered
from otters_lab.instruments.drivers.own import is_own
from otters_lab.instruments.drivers.registry import LIGHTS, METERS, SWITCHES
from otters_lab.instruments.setups import AmplifierTable, LedTable

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


def _known(drivers: Mapping[str, Entry], *, mapped: bool = False) -> Any:
    """A field that takes the short name of a registered driver, a lab's own ``path.py:Class``, or a PyMeasure class."""

    def check(name: str) -> str:
        if name not in drivers and not is_own(name) and not (mapped and is_mapped(name)):
            near = closest(name, drivers)
            hint = f' (did you mean "{near}"?)' if near else ""
            classes = "path.py:Class or pymeasure.instruments.MODULE:Class" if mapped else "path.py:Class"
            raise ValueError(
                f"found the driver {name!r}, expected one of {', '.join(sorted(drivers))}, or {classes}{hint}"
            )
        return name

    return AfterValidator(check)


def _check_abilities(driver: str, abilities: object, role: str) -> None:
    if is_own(driver) and abilities is None:
        raise ValueError(f"{driver} is the lab's own: its [{role}.abilities] are missing")
    if not is_own(driver) and abilities is not None:
        raise ValueError(f"the abilities of {driver} are known, expected no [{role}.abilities]")


class InstrumentEntry(StrictModel):
    """What every instrument entry says. `identity` must be part of the *IDN? reply, else nothing is done."""

    address: str = Field(min_length=1)
    identity: str = Field(min_length=1)
    timeout: Annotated[Seconds, Positive] = 5.0
    driver: str

    @property
    def known(self) -> Any:
        """What is known of the driver: an `Entry`."""
        raise NotImplementedError


class MeterEntry(InstrumentEntry):
    """The meter. `settle`: from bias on to the trigger; `amplifier`: what stands before one that measures volts.

    The other settings are refused where the model lacks them. `filter`: conversions averaged into one reading, whose
    aperture grows as much; 1 is none. `guard`: what the guard terminal is for.
    """

    driver: Annotated[str, _known(METERS)]
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
        """What is known of the driver: from the registry, or for a lab's own from `abilities`.

        The ranges of a voltmeter are those in amperes, seen through its amplifier.
        """
        driver = METERS[self.driver] if self.abilities is None else self.abilities.as_driver(self.driver)
        if self.amplifier is None:
            return driver
        return replace(driver, ranges_A=tuple(volts / self.amplifier.gain for volts in driver.ranges_V))

    @model_validator(mode="after")
    def _own_states_its_abilities(self) -> MeterEntry:
        _check_abilities(self.driver, self.abilities, "meter")
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

    driver: Annotated[str, _known(LIGHTS)]
    load: str = "high impedance"
    led: LedTable | None = None
    start: Literal["trigger", "software"] | None = None
    calibration: str | None = None
    abilities: LightAbilities | None = None

    @property
    def known(self) -> LightDriver:
        """What is known of the driver: from the registry, or for a lab's own from `abilities`."""
        driver = LIGHTS[self.driver] if self.abilities is None else self.abilities.as_driver(self.driver, self.load)
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
    def _own_states_its_abilities(self) -> LightEntry:
        _check_abilities(self.driver, self.abilities, "light")
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

    driver: Annotated[str, _known(SWITCHES)]
    settle: Annotated[Seconds, NotNegative] = 0.0

    @property
    def known(self) -> SwitchDriver:
        """What is known of the driver."""
        return SWITCHES[self.driver] if self.driver in SWITCHES else own_switch(self.driver)

    channels: Annotated[
        dict[int, Annotated[int | str, BeforeValidator(_channel)]], BeforeValidator(_device_keys), Field(min_length=1)
    ]


class ConditionEntry(InstrumentEntry):
    """An instrument that runs through a PyMeasure class: one that is known, or any other by a map in the file.

    `attributes`, `preset`, `reset`: the map, as in `AttributeMap`. `error_query`: the message that takes the oldest
    entry off its error queue.
    """

    kind: ClassVar[str]
    driver: str
    attributes: dict[str, str] | None = None
    preset: dict[str, bool | int | float | str] = Field(default_factory=dict)
    reset: list[str] | None = None
    error_query: str | None = None

    @property
    def map(self) -> AttributeMap | None:
        """The file's own map, where it gives one."""
        if self.attributes is None:
            return None
        found = AttributeMap(self.driver, self.attributes, self.preset)
        return found if self.reset is None else replace(found, reset=tuple(self.reset))

    @model_validator(mode="after")
    def _map_belongs_to_a_class(self) -> ConditionEntry:
        if is_mapped(self.driver):
            if self.attributes is None:
                raise ValueError(f"{self.driver} is a PyMeasure class: its [attributes] are missing")
            problems = map_problems(self.kind, self.attributes)
            if problems:
                raise ValueError("; ".join(problems))
        elif self.attributes is not None or self.preset or self.reset is not None or self.error_query is not None:
            raise ValueError(f"attributes, preset, reset and error_query go with a PyMeasure class, not {self.driver}")
        return self

    def _needs_abilities(self, abilities: object) -> None:
        known = not (is_own(self.driver) or is_mapped(self.driver))
        if known != (abilities is None):
            found = "known, expected no" if known else "not known, expected a table of"
            raise ValueError(f"what {self.driver} can do is {found} abilities")


class BiasEntry(ConditionEntry):
    """A source that biases a gate or a drain. `compliance`: its current limit; `ramp`: how fast its level moves.

    `settle`: from the level being reached on.
    """

    kind: ClassVar[str] = "bias"
    driver: Annotated[str, _known(BIASES, mapped=True)]
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


class StageEntry(ConditionEntry):
    """A temperature stage. It is at its set point once the sensor has stayed within `tolerance` of it for `soak`.

    `timeout_stable`: how long that may take; `ramp`: how fast the set point moves; `after`: what becomes of the heater
    when a sweep has ended.
    """

    kind: ClassVar[str] = "temperature"
    driver: Annotated[str, _known(STAGES, mapped=True)]
    tolerance: Annotated[Kelvin, Positive]
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


class PowerEntry(ConditionEntry):
    """The optical power meter that stands in the device's place while the light is calibrated; a sweep leaves it."""

    kind: ClassVar[str] = "power"
    driver: Annotated[str, _known(POWER_METERS, mapped=True)]

    @property
    def known(self) -> PowerDriver:
        """What is known of the driver."""
        if self.driver in POWER_METERS:
            return POWER_METERS[self.driver]
        return own_power_meter(self.driver, self.map, self.error_query)


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


class NotifyTable(StrictModel):
    """Who is told when a sweep has ended. `command`: a program and its arguments, given the facts as JSON on its
    standard input, after ``otters-lab trust`` of the bench file. `webhook_env`: the environment variable that holds the
    address they are posted to, since an address may be a secret.
    """

    command: Annotated[list[str], Field(min_length=1)] | None = None
    webhook_env: str | None = None

    @model_validator(mode="after")
    def _somebody(self) -> NotifyTable:
        if self.command is None and self.webhook_env is None:
            raise ValueError("neither command nor webhook_env is given")
        return self
