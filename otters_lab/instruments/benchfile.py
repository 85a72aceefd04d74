"""Bench files: what stands on the bench, at which address, within which limits. Reading one touches no instrument."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from otters_lab.core.errors import InputError
from otters_lab.core.notify import NotifyTable
from otters_lab.core.quantity import Hertz, format_quantity
from otters_lab.core.tomlfile import StrictModel, TomlText, load_model, read_toml
from otters_lab.instruments.benchtables import (
    OFF_ORDER,
    LightEntry,
    Limits,
    MeterEntry,
    Safety,
    SwitchEntry,
    Sync,
)
from otters_lab.instruments.conditiontables import BiasEntry, PowerEntry, StageEntry
from otters_lab.instruments.drivers.mapped import is_mapped
from otters_lab.instruments.drivers.own import is_own
from otters_lab.instruments.entrytables import InstrumentEntry
from otters_lab.instruments.lightcal import LightCalibration, read_light_calibration
from otters_lab.instruments.virtual.tables import VirtualTable


class BenchFile(StrictModel):
    """A bench file, validated. `path` and `text` are where it came from, for messages and for provenance.

    `transcript`: the file, beside this one, that a bench with backend = "transcript" replays. `retries`: after how
    many failed takes in a row the links are opened anew and the sweep goes on. Without a switch there is one device,
    number 1. `drain` biases the device where the meter does not; `power` is no part of a sweep.
    """

    backend: Literal["visa", "virtual", "transcript"]
    name: str = Field(min_length=1)
    line_frequency: Hertz
    meter: MeterEntry
    light: LightEntry
    switch: SwitchEntry | None = None
    gate: BiasEntry | None = None
    drain: BiasEntry | None = None
    temperature: StageEntry | None = None
    power: PowerEntry | None = None
    sync: Sync
    limits: Limits
    safety: Safety = Safety()
    notify: NotifyTable | None = None
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
    def files(self) -> tuple[tuple[Path, str], ...]:
        """The file that was read, with its SHA-256; none where the text came from no file."""
        return self._source.files

    @property
    def light_calibration_path(self) -> Path | None:
        """Where the light calibration stands."""
        return None if self.light.calibration is None else self.path.parent / self.light.calibration

    @property
    def instruments(self) -> dict[str, InstrumentEntry]:
        """Every instrument of the file by its role."""
        roles = ("meter", "light", "switch", "gate", "drain", "temperature", "power")
        return {role: entry for role in roles if (entry := getattr(self, role)) is not None}

    @property
    def addresses(self) -> dict[str, str]:
        """The address of everything that a link leads to, by role; an amplifier that is driven among it."""
        found = {role: entry.address for role, entry in self.instruments.items()}
        amplifier = self.meter.amplifier
        return found if amplifier is None or amplifier.address is None else {**found, "amplifier": amplifier.address}

    @property
    def off_order(self) -> list[str]:
        """The roles that a sweep uses, in the order in which they are switched off."""
        if "off" in self.safety.model_fields_set:
            return self.safety.off
        return [role for role in OFF_ORDER if role in self.instruments]

    @property
    def channels(self) -> dict[int, int | str]:
        """The switch's channel of each device; empty without a switch."""
        return {} if self.switch is None else self.switch.channels

    @property
    def devices(self) -> tuple[int, ...]:
        """Devices that can be connected, by number."""
        return (1,) if self.switch is None else tuple(sorted(self.channels))

    @model_validator(mode="after")
    def _conditions_have_limits(self) -> BenchFile:
        if (self.gate is None) != (self.limits.gate is None):
            raise ValueError("a [gate] and limits.gate go together: one of them is missing")
        if (self.temperature is None) != (self.limits.temperature is None):
            raise ValueError("a [temperature] stage and limits.temperature go together: one of them is missing")
        if self.limits.temperature and self.limits.temperature[0] >= self.limits.temperature[1]:
            raise ValueError('limits.temperature falls, expected the lowest and the highest, like ["290 K", "340 K"]')
        if self.drain is not None and self.drain.compliance > self.limits.compliance:
            raise ValueError("drain.compliance is over limits.compliance")
        used = [role for role in self.instruments if role != "power"]
        if sorted(self.off_order) != sorted(used):
            raise ValueError(f"safety.off is {self.safety.off}, expected {', '.join(used)}, each once")
        return self

    @model_validator(mode="after")
    def _hangs_together(self) -> BenchFile:
        if self.backend == "virtual" and self.virtual is None:
            raise ValueError('backend = "virtual" needs a [virtual] table: what the virtual bench is made of')
        if self.virtual is not None and self.power is not None and self.virtual.light is None:
            raise ValueError("a [power] meter on a virtual bench needs [virtual.light]: the optical power by drive")
        if self.backend == "transcript" and self.transcript is None:
            raise ValueError('backend = "transcript" needs the key transcript: the file that is replayed')
        drivers = [entry.driver for entry in self.instruments.values()]
        strange = [driver for driver in drivers if is_own(driver) or is_mapped(driver)]
        if self.backend == "virtual" and strange:
            raise ValueError(f"{strange[0]} is no driver of this package and has no virtual twin")
        if self.line_frequency not in (50.0, 60.0):
            raise ValueError(f'line_frequency is {self.line_frequency:g} Hz, expected "50 Hz" or "60 Hz"')
        addresses = [address.upper() for address in self.addresses.values()]
        if len(set(addresses)) < len(addresses):
            raise ValueError("two instruments have the same address")
        amplifier = self.meter.amplifier
        if amplifier is not None and abs(amplifier.bias or 0.0) > self.limits.bias:
            raise ValueError(f"meter.amplifier.bias is {amplifier.bias:g} V, over limits.bias")
        if self.limits.optical_power is not None and self.light.calibration is None:
            raise ValueError("limits.optical_power needs light.calibration: without one no optical power is known")
        channels = list(self.channels.values())
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
