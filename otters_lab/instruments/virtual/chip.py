"""A synthetic chip: decays from a stated law with stated variation, each drawn from its own seed.

Memoryless unless the table says otherwise: a pulse meets a device in its dark state, whatever came before. Neither
bias nor drive of the light changes what the device does; the currents are those at the settings the table was written
for. Temperature changes D, and a gate pulse empties the memory, where the table says so.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import expit, logit

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array, Pulse
from otters_lab.instruments.virtual.law import Decay, Kww
from otters_lab.instruments.virtual.tables import ROOM_K, ChipTable

# In apertures after the edge: there the middle of an aperture is its mean to 1e-10 of a stretched exponential's start.
_LATE = 1e4


class SyntheticChip:
    """A `DecaySource` from a `[virtual.chip]` table.

    Current(t) = I_end + swing*O(t) after the edge, I_end + swing*O0 while lit, the dark current before; the dark
    current is the law's limit for t -> infinity, so I_end = dark - swing*I_offset. Drawn once a device: D, logit
    beta. Drawn anew each pulse: D, O0, logit beta; Gaussian and independent. The curvature c keeps its published
    value. D drifts in proportion to the time since the bench was switched on.

    With memory, what every pulse adds to the dark current must vanish in the end, whatever its D: the curvature of a
    run is then D/(O0 - I_offset), which leaves O(0) = O0, the drop D over the window and the mean curve as they are.
    """

    origin = "synthetic"

    def __init__(self, table: ChipTable, seed: int) -> None:
        law = table.law
        self._table = table
        self._seed = seed
        self._kww = Kww(law.I0, law.tau, law.beta, law.I_offset)
        self._end_A = table.dark_current - table.swing * law.I_offset
        self._dead = {dead.device: dead.stuck for dead in table.dead}
        self._noisy = {noisy.device: noisy.factor for noisy in table.noisy}

    @property
    def devices(self) -> tuple[int, ...]:
        """Device numbers, from 1."""
        return tuple(range(1, self._table.devices + 1))

    def dark_current_A(self, device: int) -> float:
        """Current in amperes with no light, ever."""
        self._check(device)
        if self._dead.get(device) == "plateau":
            return self._end_A + self._table.swing
        return self._table.dark_current

    @property
    def memory(self) -> bool:
        """Whether earlier pulses are to be added up."""
        return self._table.memory

    @property
    def gate_reset_V(self) -> float | None:
        """From which gate voltage on the memory is emptied."""
        return self._table.gate_reset

    def read_noise_factor(self, device: int) -> float:
        """What the meter's noise is multiplied by on this device."""
        return self._noisy.get(device, 1.0)

    def device_parameters(self, device: int) -> tuple[float, float]:
        """The device's own mean (D, logit beta), before drift."""
        self._check(device)
        spread = self._table.device_to_device
        z = self._draws(device)
        return 1 + spread.D * z[0], float(logit(self._kww.beta)) + spread.logit_beta * z[1]

    def decay(self, pulse: Pulse) -> Decay:
        """The true curve that follows a pulse."""
        mean_D, mean_logit = self.device_parameters(pulse.device)
        spread, z = self._table.run_to_run, self._draws(pulse.device, pulse.index)
        D = (mean_D + spread.D * z[0]) * (1 + self._table.drift * pulse.elapsed_s)
        if pulse.temperature_K is not None:
            D *= 1 + self._table.D_per_kelvin * (pulse.temperature_K - ROOM_K)
        O0 = 1 + spread.O0 * z[1]
        for outlier in self._table.outliers:
            if (outlier.device, outlier.pulse) == (pulse.device, pulse.index):
                D, O0 = D * outlier.D_factor, O0 + outlier.O0_shift
        chance = self._table.random_outliers
        if chance is not None and self._rng(3, pulse.device, pulse.index).random() < chance.probability:
            D, O0 = D * chance.D_factor, O0 + chance.O0_shift
        beta = float(expit(mean_logit + spread.logit_beta * z[2]))
        c = D / (O0 - self._table.law.I_offset) if self._table.memory else self._kww.c
        return Decay(O0=O0, D=D, beta=beta, c=c, window_s=self._table.window)

    def mean_current_A(self, pulse: Pulse, start_s: Array, stop_s: Array) -> Array:
        """Exact mean current (A) over apertures [start, stop] (s, 0 at the falling edge).

        An aperture that straddles an edge is the weighted sum of its dark, lit and decaying parts.
        """
        if pulse.device in self._dead:
            return np.full(np.shape(start_s), self.dark_current_A(pulse.device))
        decay = self.decay(pulse)
        start_s, stop_s = np.asarray(start_s, dtype=np.float64), np.asarray(stop_s, dtype=np.float64)
        lit_from = -pulse.width_s
        dark_s = np.minimum(stop_s, lit_from) - np.minimum(start_s, lit_from)
        lit_s = np.clip(stop_s, lit_from, 0) - np.clip(start_s, lit_from, 0)
        after = np.stack([np.maximum(start_s, 0), np.maximum(stop_s, 0)])
        decayed = np.diff(decay.integral(after), axis=0)[0]
        after_s = after[1] - after[0]
        charge = (
            self._table.dark_current * dark_s
            + (self._end_A + self._table.swing * decay.O0) * lit_s
            + self._end_A * after_s
            + self._table.swing * decayed
        )
        return charge / (stop_s - start_s)

    def excess_A(self, pulse: Pulse, start_s: Array, stop_s: Array) -> Array:
        """What the pulse alone adds to the dark current (A), over apertures as above; with `memory` it dies away."""
        if pulse.device in self._dead:
            return np.zeros(np.shape(start_s))
        near = self.mean_current_A(pulse, start_s, stop_s) - self.dark_current_A(pulse.device)
        # Late after the edge the difference of two integrals has lost its digits, and the curve is all but straight.
        decay, middle_s = self.decay(pulse), np.maximum((start_s + stop_s) / 2, 0)
        far = self._end_A - self._table.dark_current + self._table.swing * decay.at(middle_s)
        return np.where(middle_s > _LATE * (stop_s - start_s), far, near)

    def describe(self) -> dict[str, Any]:
        """Every true number, for the attributes of a capture: the table's, and what was drawn for each device."""
        drawn = {device: self.device_parameters(device) for device in self.devices}
        return {
            "chip": "synthetic",
            "seed": self._seed,
            "window_s": self._table.window,
            "swing_A": self._table.swing,
            "dark_current_A": self._table.dark_current,
            "end_current_A": self._end_A,
            "edge_current_A": self._end_A + self._table.swing,
            "law": self._table.law.model_dump(),
            "tau_s": self._kww.tau_for_window(self._table.window),
            "c": self._kww.c,
            "drift_per_s": self._table.drift,
            "device_to_device_sd": self._table.device_to_device.model_dump(),
            "run_to_run_sd": self._table.run_to_run.model_dump(),
            "outliers": [outlier.model_dump() for outlier in self._table.outliers],
            "device_D": {str(device): D for device, (D, _) in drawn.items()},
            "device_beta": {str(device): 1 / (1 + math.exp(-value)) for device, (_, value) in drawn.items()},
            "memory": "superposition" if self.memory else "none",
            **({"gate_reset_V": self.gate_reset_V} if self.gate_reset_V is not None else {}),
            **({"D_per_kelvin": self._table.D_per_kelvin} if self._table.D_per_kelvin else {}),
            **({"dead": self._dead_record()} if self._dead else {}),
            **({"noise_factor": {str(d): factor for d, factor in self._noisy.items()}} if self._noisy else {}),
            **({"random_outliers": chance.model_dump()} if (chance := self._table.random_outliers) else {}),
        }

    def _dead_record(self) -> dict[str, str]:
        return {str(device): stuck for device, stuck in self._dead.items()}

    def _draws(self, *key: int) -> Array:
        """Three standard normals for a device, or for one pulse of a device."""
        return self._rng(0, *key).standard_normal(3)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self._seed, spawn_key=key)))

    def _check(self, device: int) -> None:
        if device not in self.devices:
            raise InputError(f"the synthetic chip has no device {device}", expected=f"1 to {self._table.devices}")
