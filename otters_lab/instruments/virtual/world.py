"""What the virtual instruments share: the clock, the wires, and the device under test."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from otters_lab.core.clock import Clock
from otters_lab.core.protocols import Array, DecaySource, Pulse
from otters_lab.instruments.virtual.memory import Memory, MemoryState, memory_of
from otters_lab.instruments.virtual.noise import Hum, flicker_noise_A, hum_A, white_noise_sd_A
from otters_lab.instruments.virtual.tables import LightTable, NoiseTable

# What a bench without a switch is wired through: always closed.
WIRED = "wired"

# Device, drive (V), width (s), each to six digits: no instrument sets its levels better.
Setting = tuple[int, float, float]


def _setting(device: int, drive_V: float, width_s: float) -> Setting:
    return device, float(f"{drive_V:.6g}"), float(f"{width_s:.6g}")


@dataclass(frozen=True)
class History:
    """What the devices have been through: light pulses so far by device, and how long the bench has been on (s).

    `settings` counts them by device, drive (V) and width (s) too; `memory` is what a chip with memory has not
    forgotten yet. A resumed sweep hands it to the new virtual bench, which goes on as if nothing had happened.
    """

    pulses: Mapping[int, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    settings: Mapping[Setting, int] = field(default_factory=dict)
    memory: Mapping[int, MemoryState] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As plain JSON; `read` takes it back."""
        return {
            "pulses": {str(device): count for device, count in self.pulses.items()},
            "elapsed_s": self.elapsed_s,
            "settings": [[*setting, count] for setting, count in self.settings.items()],
            "memory": {str(device): state.record() for device, state in self.memory.items()},
        }

    @staticmethod
    def read(record: Mapping[str, Any]) -> History:
        """From `record`."""
        return History(
            {int(device): count for device, count in record["pulses"].items()},
            record["elapsed_s"],
            {(device, drive, width): count for device, drive, width, count in record.get("settings", [])},
            {int(device): MemoryState.read(state) for device, state in record.get("memory", {}).items()},
        )


@dataclass(frozen=True)
class LightPulse:
    """Light on a device, in seconds of the virtual clock; `stop_s` is infinite while nothing has ended it."""

    device: int
    index: int
    start_s: float
    stop_s: float
    drive_V: float
    setting: Setting  # as it was asked for: a pulse cut short is still one of its kind
    repeat: int
    temperature_K: float | None = None  # of the chip when the pulse was begun


class World:
    """One chip under one light, wired to one meter through one switch.

    The light falls on the connected device alone. An acquisition sees the pulses that begin in it, or that are still
    on when it begins; of earlier ones a device shows what is left only if its decays have a memory (`memory`).
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
        hum: Hum | None = None,
        ambient_A: float = 0.0,
        light: LightTable | None = None,
    ) -> None:
        history = history or History()
        self.decays = decays
        self.clock = clock
        self.meter_latency_s = meter_latency_s
        self.light_latency_s = light_latency_s
        self.trigger_inputs: list[Callable[[float], None]] = []
        self.sync_inputs: list[Callable[[float], None]] = []  # of meters that the light triggers
        self.closed_channels: set[Any] = {WIRED} & set(channels.values())  # as the switch calls them
        self.thermometer: Callable[[], float] | None = None  # temperature of the chip (K), where there is a stage
        self.amplifier_V_per_A: Callable[[], float] | None = None  # of one that is not set by hand, with its sign
        self.pulses: list[LightPulse] = []
        self._seed = seed
        self._noise = noise
        self._device_at = {channel: device for device, channel in channels.items()}
        self._hum = hum
        self._ambient_A = ambient_A
        self._counts = dict(history.pulses)
        self._settings = Counter(history.settings)
        self._on_since_s = clock.monotonic_s() - history.elapsed_s
        self._dark_records = 0
        self._memory: Memory | None = memory_of(decays, history.memory)
        self._levels: dict[str, float] = {}
        self._light = light
        self._shining: list[tuple[float, float, float]] = []  # start, stop (s), drive (V), wherever it falls

    def set_level(self, role: str, voltage_V: float) -> None:
        """A gate or a drain stands at a voltage from now on.

        A gate that comes down from the chip's reset voltage or more has emptied the traps of the connected device.
        """
        before_V, self._levels[role] = self._levels.get(role, 0.0), voltage_V
        reset_V = getattr(self.decays, "gate_reset_V", None)
        device = self.connected
        if self._memory and role == "gate" and reset_V is not None and before_V >= reset_V > voltage_V and device:
            self._remember(self.now_s)
            self._memory.forget(device)

    def optical_power_W(self) -> float:
        """What a power meter in the device's place reads now: the light that shines, and the dark (W)."""
        now, light = self.now_s, self._light
        if light is None:
            return 0.0
        self._shining = [one for one in self._shining if one[1] > now]
        return light.dark + sum(light.power_W(drive) for start, _, drive in self._shining if start <= now)

    @property
    def history(self) -> History:
        """What a later bench must be told to go on from here."""
        memory = {}
        if self._memory:
            after = self._memory.copy()
            self._pass_on(after, self.now_s)
            memory = after.states()
        return History(dict(self._counts), self.now_s - self._on_since_s, dict(self._settings), memory)

    def describe(self) -> dict[str, Any]:
        """Read noise (A/sqrt(Hz), and at 1 Hz for 1/f) and latencies (s) as they truly are."""
        return {
            "seed": self._seed,
            "meter_latency_s": self.meter_latency_s,
            "light_latency_s": self.light_latency_s,
            "white_noise_A_per_rtHz": self._noise.white if self._noise else 0.0,
            "flicker_noise_1Hz_A_per_rtHz": self._noise.flicker_1Hz if self._noise else 0.0,
            **({"hum_A": self._hum.amplitude_A} if self._hum else {}),
            **({"ambient_A": self._ambient_A} if self._ambient_A else {}),
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

    def sync_edge(self, at_s: float) -> None:
        """A rising edge of TTL on the light's sync output."""
        for listen in self.sync_inputs:
            listen(at_s)

    def light_on(self, start_s: float, stop_s: float, drive_V: float) -> None:
        """Light from start to stop on the connected device; nothing happens to anybody if there is none."""
        self._shining.append((start_s, stop_s, drive_V))
        device = self.connected
        if device is None:
            return
        index = self._counts.get(device, 0)
        self._counts[device] = index + 1
        setting = _setting(device, drive_V, stop_s - start_s)
        repeat = self._settings[setting]
        self._settings[setting] += 1
        temperature_K = None if self.thermometer is None else self.thermometer()
        self.pulses.append(LightPulse(device, index, start_s, stop_s, drive_V, setting, repeat, temperature_K))

    def light_off(self) -> None:
        """Dark from now on: a running pulse ends, a coming one never was."""
        now = self.now_s
        self._shining.clear()
        for pulse in self.pulses:
            if pulse.start_s >= now:
                self._counts[pulse.device] -= 1
                self._settings[pulse.setting] -= 1
        begun = [pulse for pulse in self.pulses if pulse.start_s < now]
        self.pulses = [replace(pulse, stop_s=min(pulse.stop_s, now)) for pulse in begun]

    def currents_A(self, start_s: Array, stop_s: Array) -> Array:
        """Readings (A) of the connected device over apertures [start, stop] in seconds of the clock, noise included."""
        device = self.connected
        if device is None or device not in self.decays.devices:
            return np.zeros_like(start_s) + self._read_noise(0, None, start_s, stop_s)
        self._remember(float(start_s[0]))
        current = np.full_like(start_s, self.decays.dark_current_A(device))
        if self._memory:
            current = current + self._memory.residual_A(device, start_s - self._on_since_s, stop_s - self._on_since_s)
        seen = [p for p in self.pulses if p.device == device and p.start_s < stop_s[-1]]
        for number, pulse in enumerate(seen):
            # A pulse that has not ended yet is lit to the end of the acquisition.
            edge_s = pulse.stop_s if math.isfinite(pulse.stop_s) else max(float(stop_s[-1]), self.now_s)
            given = self._given(pulse, edge_s)
            begin, end = np.round(start_s - edge_s, 9), np.round(stop_s - edge_s, 9)
            if self._memory:
                current = current + self._memory.source.excess_A(given, begin, end)
                continue
            touched = stop_s > pulse.start_s
            if number == 0 and getattr(self.decays, "brings_dark", False):
                touched = np.ones_like(touched)
            current[touched] = self.decays.mean_current_A(given, begin[touched], end[touched])
        current = current + self._ambient_A
        return current + self._read_noise(device, seen[-1].index if seen else None, start_s, stop_s)

    def _given(self, pulse: LightPulse, edge_s: float) -> Pulse:
        """The pulse as its device knows it."""
        # Differences of clock readings are good to a nanosecond: rounding makes a decay the same at any hour.
        width_s, elapsed_s = round(edge_s - pulse.start_s, 9), round(pulse.start_s - self._on_since_s, 6)
        return Pulse(pulse.device, pulse.index, pulse.drive_V, width_s, elapsed_s, pulse.repeat, pulse.temperature_K)

    def _remember(self, before_s: float) -> None:
        """Pulses that ended before a clock time pass into the memory, where there is one, and out of mind otherwise."""
        if self._memory:
            self._pass_on(self._memory, before_s)
        self.pulses = [pulse for pulse in self.pulses if pulse.stop_s > before_s]

    def _pass_on(self, memory: Memory, before_s: float) -> None:
        for pulse in self.pulses:
            if pulse.stop_s <= before_s:
                memory.add(self._given(pulse, pulse.stop_s), round(pulse.stop_s - self._on_since_s, 9))

    def _read_noise(self, device: int, index: int | None, start_s: Array, stop_s: Array) -> Array:
        """Noise and hum of a record, seeded by device and pulse; records without a pulse are numbered as they come."""
        if self._noise is None and self._hum is None:
            return np.zeros_like(start_s)
        if index is None:
            key = (2, device, self._dark_records)
            self._dark_records += 1
        else:
            key = (1, device, index)
        noise = np.zeros_like(start_s)
        if self._noise is not None:
            rng = self._rng(key)
            factor = getattr(self.decays, "read_noise_factor", lambda device: 1.0)(device)
            white_sd = white_noise_sd_A(self._noise.white, float(stop_s[0] - start_s[0]))
            noise = white_sd * rng.standard_normal(start_s.size)
            if start_s.size > 1:
                noise = noise + flicker_noise_A(rng, start_s.size, self._noise.flicker_1Hz)
            noise = factor * noise
        if self._hum is not None:
            # The mains wander: their phase is another in each record.
            phase = float(self._rng((5, *key)).uniform(0, 2 * math.pi))
            begin_s = start_s[0]
            noise = noise + hum_A(self._hum, start_s - begin_s, stop_s - begin_s, phase)
        return noise

    def _rng(self, key: tuple[int, ...]) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self._seed, spawn_key=key)))
