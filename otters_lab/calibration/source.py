"""A calibration as a source of decays: a chip that never was, with the statistics of one that was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from otters_lab.calibration.file import Calibration
from otters_lab.calibration.laws import drop_from_progress
from otters_lab.calibration.model import PARAMETERS, DeviceModel
from otters_lab.calibration.readers import root
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array, Pulse

_SAME = 1e-5
_nodes, _weights = np.polynomial.legendre.leggauss(8)


class SampledDecays:
    """A `DecaySource` that samples a calibration's device model; memoryless, drawn by (seed, device) and pulse.

    Current(t) = I_end + (I_edge - I_end)*O(t) after the edge, its value at 0 while lit, the calibration's dark current
    before. Devices are drawn device-to-device, pulses run-to-run; an unresolved spread is none. The calibration's
    drift is applied in proportion to the time the bench is on. Beyond the window the law is an extrapolation. Read
    noise is the bench file's, not the calibration's.
    """

    origin = "synthetic"

    def __init__(self, calibration: Calibration, devices: Sequence[int], seed: int) -> None:
        """Raises RefusedError without a device model, InputError without a dark current."""
        self._model: DeviceModel = calibration.device_model()
        assert calibration.device is not None  # device_model() has seen to it
        constants = calibration.device.constants
        if constants.I_dark_A is None:
            raise InputError("the calibration has no dark current: what its device does before the light is not known")
        self._calibration = calibration
        self._devices = tuple(devices)
        self._seed = seed
        self._dark_A = constants.I_dark_A
        self._end_A = constants.I_end_A
        self._swing_A = constants.I_edge_A - constants.I_end_A
        drift = self._model.drift_per_h
        self._drift_per_h = np.zeros(len(self._model.mean)) if drift is None else drift
        self._roots = [root(self._model.device_to_device), root(self._model.run_to_run)]

    @property
    def devices(self) -> tuple[int, ...]:
        """The device numbers it was given."""
        return self._devices

    def dark_current_A(self, device: int) -> float:
        """The calibration's dark current (A)."""
        return self._dark_A

    def parameters(self, pulse: Pulse) -> Array:
        """theta [3 + m] = (O0, D, logit beta, scores of modes) of the run that follows a pulse.

        Raises
        ------
        InputError
            if the pulse has another drive or width than the calibration was measured at.
        """
        self._check(pulse)
        device = self._roots[0] @ self._normals(0, pulse.device)
        run = self._roots[1] @ self._normals(1, pulse.device, pulse.index)
        return np.asarray(self._model.mean + device + run + self._drift_per_h * pulse.elapsed_s / 3600)

    def mean_current_A(self, pulse: Pulse, start_s: Array, stop_s: Array) -> Array:
        """Mean current (A) over apertures [start, stop] (s, 0 at the falling edge)."""
        O0, D, logit_beta, *scores = self.parameters(pulse)
        start_s, stop_s = np.asarray(start_s, dtype=np.float64), np.asarray(stop_s, dtype=np.float64)
        lit_from = -pulse.width_s
        dark_s = np.minimum(stop_s, lit_from) - np.minimum(start_s, lit_from)
        lit_s = np.clip(stop_s, lit_from, 0) - np.clip(start_s, lit_from, 0)
        begin, end = np.maximum(start_s, 0), np.maximum(stop_s, 0)
        after_s = end - begin
        model = self._model
        dropped_s = _integral(
            begin, end, model.window_s, float(expit(logit_beta)), lambda x: drop_from_progress(x, model.c)
        )
        charge = (
            self._dark_A * dark_s
            + (self._end_A + self._swing_A * O0) * (lit_s + after_s)
            - self._swing_A * D * dropped_s
        )
        if scores:  # the modes' own progress is that of the mean curve
            beta = float(expit(model.logit_beta))
            charge += self._swing_A * _integral(
                begin, end, model.window_s, beta, lambda x: scores @ model.mode_curves(x ** (1 / beta))
            )
        return np.asarray(charge / (stop_s - start_s))

    def describe(self) -> dict[str, Any]:
        """Which calibration is sampled, and with which seed."""
        header = self._calibration.header
        return {
            "sampled": f"calibration of chip {self._calibration.chip}",
            "uid": header.uid,
            "payload_digest": header.payload_digest,
            "seed": self._seed,
            "drift_per_h": dict(zip(PARAMETERS, self._drift_per_h.tolist()[:3], strict=True)),
            "memory": "none",
        }

    def _check(self, pulse: Pulse) -> None:
        for name, asked in (("drive", pulse.drive_V), ("width", pulse.width_s)):
            known = {setting[name] for setting in self._calibration.settings if name in setting}
            if known and not any(abs(value - asked) <= _SAME * abs(asked) for value in known):
                expected = " or ".join(f"{value:g}" for value in sorted(known))
                raise InputError(f"the calibration was not measured at this {name}", found=asked, expected=expected)

    def _normals(self, *key: int) -> Array:
        # 6 keeps these draws apart from the virtual bench's own of the same seed (its read noise).
        sequence = np.random.SeedSequence(self._seed, spawn_key=(6, *key))
        return np.random.Generator(np.random.Philox(sequence)).standard_normal(len(self._model.mean))


def _integral(begin_s: Array, end_s: Array, window_s: float, beta: float, of: Callable[[Array], Array]) -> Array:
    """Integral (s) of a function of x = (t/W)**beta from begin to end (s, >= 0).

    dt = W/beta * x**(1/beta - 1) dx: what is analytic in x needs no more than eight Gauss-Legendre nodes where its
    slope in t is infinite.
    """
    x0, x1 = (begin_s / window_s) ** beta, (end_s / window_s) ** beta
    total: Array = np.zeros_like(x0)
    for node, weight in zip(_nodes, _weights, strict=True):
        x = (x0 + x1) / 2 + node * (x1 - x0) / 2
        total += weight * of(x) * x ** (1 / beta - 1)
    return np.asarray(total * (x1 - x0) / 2 * window_s / beta)
