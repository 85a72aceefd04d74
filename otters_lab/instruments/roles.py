"""What the instruments of a bench are for: small Protocols that real, virtual and replayed ones satisfy alike.

Every method may raise `otters_lab.core.errors.InstrumentError`: the instrument did not answer, answered
nonsense, or reports another setting than the one asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from otters_lab.core.protocols import Array

Flags = npt.NDArray[np.uint8]


class ReadingFlag(IntFlag):
    """What is wrong with one reading; 0 is a good one."""

    OK = 0
    OVERFLOW = 1  # beyond the fixed range: there is no value
    COMPLIANCE = 2  # the source was limiting: the value is true, the bias was not


@dataclass(frozen=True)
class MeterSettings:
    """One timed acquisition: bias and current limit, fixed range, and `n_samples` apertures every `interval_s`.

    `before_s` of it lie before the trigger, for a meter that the light triggers.
    """

    bias_V: float
    compliance_A: float
    range_A: float
    aperture_s: float
    interval_s: float
    n_samples: int
    before_s: float = 0.0


@dataclass(frozen=True)
class MeterReadings:
    """What an acquisition gave.

    `start_s` [sample]: start of each aperture (s); the first at 0, or at a delay that the meter was told to keep after
    its trigger, or for a meter that the light triggers before 0, its trigger's time; the bench's `[sync]
    meter_latency` places 0 on the trigger's time axis. `current_A` [sample]: finite,
    or NaN where `flags` [sample] has OVERFLOW.
    """

    start_s: Array
    current_A: Array
    flags: Flags


@runtime_checkable
class Meter(Protocol):
    """Biases a device and records its current on a grid of apertures."""

    def identify(self) -> str:
        """The *IDN? reply."""

    def reset(self) -> None:
        """Goes to the instrument's defaults, output off, and checks what cannot be set (the line frequency)."""

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets everything with the output off; returns the settings as the instrument reads them back."""

    def bias_on(self) -> None:
        """Switches the bias on. Nothing is measured yet."""

    def start(self) -> None:
        """Emits the trigger and begins the acquisition; returns at once, or when ready for the light's trigger."""

    def fetch(self) -> MeterReadings:
        """Waits for the end of the acquisition and reads it."""

    def make_safe(self) -> None:
        """Stops any acquisition, switches the bias off, and confirms it."""


@runtime_checkable
class LightSource(Protocol):
    """Gives finite light pulses that the instrument itself times."""

    def identify(self) -> str:
        """The *IDN? reply."""

    def reset(self) -> None:
        """Goes to the instrument's defaults, output off."""

    def arm_pulse(self, drive_V: float, delay_s: float, width_s: float) -> None:
        """Arms ONE pulse of `width_s` (s) that begins `delay_s` (s) after the next hardware trigger."""

    def make_safe(self) -> None:
        """Light off, whatever was armed or running, and confirms it."""


@runtime_checkable
class SoftwareStarted(Protocol):
    """A light source that no trigger reaches: its armed pulse is begun by a command, once the meter has started."""

    def fire(self) -> float:
        """Waits for the armed delay, begins the pulse; the clock's seconds at which the command was handed over."""


@runtime_checkable
class SoftwarePaced(Protocol):
    """A meter that software asks for each reading: it begins the light itself, between two readings."""

    def record(self, fire: Callable[[], float] | None, fire_at_s: float) -> tuple[MeterReadings, float]:
        """Takes all readings, calling `fire` before the first that is due `fire_at_s` (s) after the start or later.

        Returns the readings, and when (s, after the start) `fire` says that it handed the command over; `fire_at_s`
        where there is nothing to fire.
        """


@runtime_checkable
class BiasSource(Protocol):
    """Holds a terminal of the device at a voltage, for as long as a take lasts: a gate, a drain."""

    def identify(self) -> str:
        """The *IDN? reply."""

    def reset(self) -> None:
        """Goes to the instrument's defaults, output off."""

    def apply(self, voltage_V: float) -> None:
        """Output on at 0 V if it is off, then to `voltage_V` at the ramp rate of the bench file; confirmed."""

    def make_safe(self) -> None:
        """To 0 V at the same rate, output off, and confirms it."""


@runtime_checkable
class TemperatureStage(Protocol):
    """Holds the chip at a temperature."""

    def identify(self) -> str:
        """The *IDN? reply."""

    def reset(self) -> None:
        """Takes the stage over as it is: no heater is switched on or off by it."""

    def go_to(self, temperature_K: float) -> None:
        """Sets the set point (K) and switches the heater on; returns at once."""

    def temperature_K(self) -> float:
        """What the sensor reads now (K)."""

    def make_safe(self) -> None:
        """As the bench file's `after` says: heater off and confirmed, or held where it is."""


@runtime_checkable
class PowerMeter(Protocol):
    """Reads optical power."""

    def identify(self) -> str:
        """The *IDN? reply."""

    def reset(self) -> None:
        """Goes to the instrument's defaults."""

    def expect(self, wavelength_m: float) -> None:
        """Sets the wavelength (m) that the sensor's responsivity is taken at; confirmed."""

    def power_W(self) -> float:
        """Optical power now (W), zero not subtracted."""

    def make_safe(self) -> None:
        """Nothing can be on; the answer shows that it is still there."""


@runtime_checkable
class Switch(Protocol):
    """Connects one device of the chip at a time."""

    def identify(self) -> str:
        """The *IDN? reply."""

    def reset(self) -> None:
        """Goes to the instrument's defaults, all open."""

    def close(self, device: int) -> None:
        """Connects `device` and no other, and confirms it."""

    def make_safe(self) -> None:
        """Opens everything and confirms it."""
