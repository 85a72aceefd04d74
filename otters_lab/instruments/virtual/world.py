"""What the virtual instruments share: the clock, the wires, and the device under test."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from otters_lab.core.clock import Clock
from otters_lab.core.protocols import Array, DecaySource, Pulse
from otters_lab.instruments.virtual.noise import flicker_noise_A, white_noise_sd_A
from otters_lab.instruments.virtual.tables import NoiseTable


@dataclass(frozen=True)
class History:
    """What the devices have been through: light pulses so far by device, and how long the bench has been on (s).

    A resumed sweep hands it to the new virtual bench, whose decays then go on as if nothing had happened.
    """

    pulses: Mapping[int, int] = field(default_factory=dict)
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class LightPulse:
    """Light on a device, in seconds of the virtual clock; `stop_s` is infinite while nothing has ended it."""

    device: int
    index: int
    start_s: float
    stop_s: float
    drive_V: float


class World:
    """One memoryless chip under one light, wired to one meter through one switch.

    The light falls on the connected device alone. An acquisition sees the pulses that begin in it, or that are still
    on when it begins; a device has forgotten everything else (a memory of earlier pulses is not modelled).
    """

    def __init__(
        self,
        decays: DecaySource,
        clock: Clock,
        *,
        seed: int,
        channels: Mapping[int, int | str],
        noise: NoiseTable | None = None,
        meter_latency_s: float = 0.0,
        light_latency_s: float = 0.0,
        history: History | None = None,
    ) -> None:
        history = history or History()
        self.decays = decays
        self.clock = clock
        self.meter_latency_s = meter_latency_s
        self.light_latency_s = light_latency_s
        self.trigger_inputs: list[Callable[[float], None]] = []
        self.closed_channels: set[Any] = set()  # numbers or names, as the switch calls them
        self.pulses: list[LightPulse] = []
        self._seed = seed
        self._noise = noise
        self._device_at = {channel: device for device, channel in channels.items()}
        self._counts = dict(history.pulses)
        self._on_since_s = clock.monotonic_s() - history.elapsed_s
        self._dark_records = 0

    @property
    def history(self) -> History:
        """What a later bench must be told to go on from here."""
        return History(dict(self._counts), self.now_s - self._on_since_s)

    def describe(self) -> dict[str, Any]:
        """Read noise (A/sqrt(Hz), and at 1 Hz for 1/f) and latencies (s) as they truly are."""
        return {
            "seed": self._seed,
            "meter_latency_s": self.meter_latency_s,
            "light_latency_s": self.light_latency_s,
            "white_noise_A_per_rtHz": self._noise.white if self._noise else 0.0,
            "flicker_noise_1Hz_A_per_rtHz": self._noise.flicker_1Hz if self._noise else 0.0,
        }

    @property
    def now_s(self) -> float:
        """The clock's seconds."""
        return self.clock.monotonic_s()

    @property
    def connected(self) -> int | None:
        """The device on the meter; None for no closed channel, or for several."""
        devices = [self._device_at[channel] for channel in self.closed_channels if channel in self._device_at]
        return devices[0] if len(devices) == 1 else None

    @property
    def lit(self) -> bool:
        """Whether light falls on a device now."""
        return any(pulse.start_s <= self.now_s < pulse.stop_s for pulse in self.pulses)

    def trigger(self, at_s: float) -> None:
        """An edge on the trigger wire."""
        for listen in self.trigger_inputs:
            listen(at_s)

    def light_on(self, start_s: float, stop_s: float, drive_V: float) -> None:
        """Light from start to stop on the connected device; nothing happens to anybody if there is none."""
        device = self.connected
        if device is None:
            return
        index = self._counts.get(device, 0)
        self._counts[device] = index + 1
        self.pulses.append(LightPulse(device, index, start_s, stop_s, drive_V))

    def light_off(self) -> None:
        """Dark from now on: a running pulse ends, a coming one never was."""
        now = self.now_s
        for pulse in self.pulses:
            if pulse.start_s >= now:
                self._counts[pulse.device] -= 1
        begun = [pulse for pulse in self.pulses if pulse.start_s < now]
        self.pulses = [replace(pulse, stop_s=min(pulse.stop_s, now)) for pulse in begun]

    def currents_A(self, start_s: Array, stop_s: Array) -> Array:
        """Readings (A) of the connected device over apertures [start, stop] in seconds of the clock, noise included."""
        device = self.connected
        if device is None or device not in self.decays.devices:
            return np.zeros_like(start_s) + self._read_noise(0, None, start_s, stop_s)
        current = np.full_like(start_s, self.decays.dark_current_A(device))
        seen = [p for p in self.pulses if p.device == device and p.start_s < stop_s[-1] and p.stop_s > start_s[0]]
        for pulse in seen:
            touched = stop_s > pulse.start_s
            # A pulse that has not ended yet is lit to the end of the acquisition.
            edge_s = pulse.stop_s if math.isfinite(pulse.stop_s) else max(float(stop_s[-1]), self.now_s)
            # Differences of clock readings are good to a nanosecond: rounding makes a decay the same at any hour.
            width_s, elapsed_s = round(edge_s - pulse.start_s, 9), round(pulse.start_s - self._on_since_s, 6)
            given = Pulse(device, pulse.index, pulse.drive_V, width_s, elapsed_s)
            begin, end = np.round(start_s[touched] - edge_s, 9), np.round(stop_s[touched] - edge_s, 9)
            current[touched] = self.decays.mean_current_A(given, begin, end)
        self.pulses = [pulse for pulse in self.pulses if pulse.stop_s > start_s[0]]
        return current + self._read_noise(device, seen[-1].index if seen else None, start_s, stop_s)

    def _read_noise(self, device: int, index: int | None, start_s: Array, stop_s: Array) -> Array:
        """Noise of one record, seeded by device and pulse; records without a pulse are numbered as they come."""
        if self._noise is None:
            return np.zeros_like(start_s)
        if index is None:
            key = (2, device, self._dark_records)
            self._dark_records += 1
        else:
            key = (1, device, index)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(self._seed, spawn_key=key)))
        white_sd = white_noise_sd_A(self._noise.white, float(stop_s[0] - start_s[0]))
        noise = white_sd * rng.standard_normal(start_s.size)
        if start_s.size > 1:
            noise = noise + flicker_noise_A(rng, start_s.size, self._noise.flicker_1Hz)
        return noise
