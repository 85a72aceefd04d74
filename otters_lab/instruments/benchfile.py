"""Bench files: what stands on the bench, at which address, within which limits. Reading one touches no instrument."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from otters_lab.core.errors import InputError, closest
from otters_lab.core.quantity import Amperes, Hertz, Seconds, Volts, Watts, format_quantity
from otters_lab.core.tomlfile import StrictModel, TomlText, load_model, read_toml
from otters_lab.instruments.abilities import LightAbilities, MeterAbilities, own_switch
from otters_lab.instruments.drivers.entries import Entry, LightDriver, MeterDriver, SwitchDriver
from otters_lab.instruments.drivers.options import NAMES, MeterOptions, not_offered
from otters_lab.instruments.drivers.own import is_own
from otters_lab.instruments.drivers.registry import LIGHTS, METERS, SWITCHES
from otters_lab.instruments.lightcal import LightCalibration, read_light_calibration
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
    """A field that takes the short name of a registered driver, or a lab's own ``path.py:Class``."""

    def check(name: str) -> str:
        if name not in drivers and not is_own(name):
            near = closest(name, drivers)
            hint = f' (did you mean "{near}"?)' if near else ""
            raise ValueError(
                f"found the driver {name!r}, expected one of {', '.join(sorted(drivers))}, or path.py:Class{hint}"
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
    `optical_power`: on the spot, by the light calibration.
    """

    bias: Annotated[Volts, Positive]
    current: Annotated[Amperes, Positive]
    compliance: Annotated[Amperes, Positive]
    drive: Annotated[Volts, Positive]
    pulse_width: Annotated[Seconds, Positive]
    optical_power: Annotated[Watts, Positive] | None = None


class Safety(StrictModel):
    """How the bench is made safe. `off`: in which order the instruments are switched off."""

    off: list[Literal["light", "meter", "switch"]] = Field(default=["light", "meter", "switch"])

    @model_validator(mode="after")
    def _each_once(self) -> Safety:
        if sorted(self.off) != ["light", "meter", "switch"]:
            raise ValueError(f"off is {self.off}, expected light, meter and switch, each once")
        return self


class BenchFile(StrictModel):
    """A bench file, validated. `path` and `text` are where it came from, for messages and for provenance.

    `transcript`: the file, beside this one, that a bench with backend = "transcript" replays. `retries`: after how
    many failed takes in a row the links are opened anew and the sweep goes on.
    """

    backend: Literal["visa", "virtual", "transcript"]
    name: str = Field(min_length=1)
    line_frequency: Hertz
    meter: MeterEntry
    light: LightEntry
    switch: SwitchEntry
    sync: Sync
    limits: Limits
    safety: Safety = Safety()
    retries: int = Field(default=1, ge=0, le=10)
    virtual: VirtualTable | None = None
    transcript: str | None = None
    _source: TomlText = PrivateAttr(default_factory=lambda: TomlText(Path("bench"), "", {}))
    _light_calibration: LightCalibration | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path:
        """The file it was read from."""
        return self._source.path

    @property
    def text(self) -> str:
        """The file's text as it was read."""
        return self._source.text

    @property
    def light_calibration(self) -> LightCalibration | None:
        """Drive to optical power, if the file names a light calibration."""
        return self._light_calibration

    @property
    def light_calibration_path(self) -> Path | None:
        """Where the light calibration stands."""
        return None if self.light.calibration is None else self.path.parent / self.light.calibration

    @model_validator(mode="after")
    def _hangs_together(self) -> BenchFile:
        if self.backend == "virtual" and self.virtual is None:
            raise ValueError('backend = "virtual" needs a [virtual] table: what the virtual bench is made of')
        if self.backend == "transcript" and self.transcript is None:
            raise ValueError('backend = "transcript" needs the key transcript: the file that is replayed')
        own = [entry.driver for entry in (self.meter, self.light, self.switch) if is_own(entry.driver)]
        if self.backend == "virtual" and own:
            raise ValueError(f"{own[0]} is the lab's own driver and has no virtual twin")
        if self.line_frequency not in (50.0, 60.0):
            raise ValueError(f'line_frequency is {self.line_frequency:g} Hz, expected "50 Hz" or "60 Hz"')
        addresses = [entry.address.upper() for entry in (self.meter, self.light, self.switch)]
        if len(set(addresses)) < len(addresses):
            raise ValueError("two instruments have the same address")
        if self.limits.optical_power is not None and self.light.calibration is None:
            raise ValueError("limits.optical_power needs light.calibration: without one no optical power is known")
        channels = list(self.switch.channels.values())
        if len(set(channels)) < len(channels):
            raise ValueError("switch.channels leads to two devices through one channel")
        if not self.meter.known.trigger_out and self.light.known.sync == "trigger":
            raise ValueError(
                f"{self.meter.driver} gives no trigger at the start of an acquisition, which {self.light.driver} waits "
                'for: it needs a light with start = "software"'
            )
        if self.meter.known.triggered_by_light and not self.light.known.sync_out:
            raise ValueError(
                f"{self.meter.driver} is triggered by the light's sync output, and {self.light.driver} has none"
            )
        compliances = self.meter.known.compliances_A
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
    DamagedFileError
        if its light calibration was altered.
    """
    bench = bench_of(read_toml(path))
    if bench.light_calibration_path is not None:
        bench._light_calibration = _read_light(bench, bench.light_calibration_path)
    return bench


def bench_of(source: TomlText) -> BenchFile:
    """Validates a bench file that has been read; of its light calibration only the name.

    Raises
    ------
    InputError
        as `load_bench`.
    """
    bench = load_model(BenchFile, source)
    bench._source = source
    return bench


def _read_light(bench: BenchFile, path: Path) -> LightCalibration:
    if not path.exists():
        raise InputError(f"no such file: {bench.light.calibration}", file=bench.path, key="light.calibration")
    calibration = read_light_calibration(path)
    if calibration.drive_unit != "V":
        raise InputError("the light calibration is of another drive", file=path, found="A", expected="V")
    return calibration
