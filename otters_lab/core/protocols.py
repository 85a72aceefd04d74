"""What rooms hand to each other without knowing each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
AnyArray = npt.NDArray[Any]  # indices, masks, codes


@dataclass(frozen=True)
class Trace:
    """One recording: dark baseline, light pulse, decay.

    `time_s` [sample] is mid-aperture with 0 at the light's falling edge, so dark and lit samples have t < 0;
    `current_A` [sample] is NaN nowhere: samples that are no readings are left out and `status` says so. `readings` is
    what other instruments said at this take, by name (SI units, which the capture states).
    """

    time_s: Array
    current_A: Array
    aperture_s: float
    edge_uncertainty_s: float
    pulse_width_s: float
    range_A: float
    start_utc: str
    status: str = "ok"  # "ok", "overflow", "compliance", "late", "failed": every take is kept, whatever its status
    readings: Mapping[str, float] = field(default_factory=dict)


Kind = Literal["decay", "reference", "dark", "lit"]


@dataclass(frozen=True)
class TraceKey:
    """Where a trace belongs: which chip and device, which setting, and which repeat of it.

    `parameters` are the swept and fixed settings of the point in SI units, by name; `point_id` is a hash of all that
    the point sets, the same in every plan. `kind` says what the trace is for: a "decay", the same as a "reference" of
    slow drift, or the meter's noise in the "dark" and in steady light ("lit").
    """

    chip: str
    device: int
    point: int
    repeat: int
    parameters: Mapping[str, float] = field(default_factory=dict)
    kind: Kind = "decay"
    point_id: str = ""


@dataclass(frozen=True)
class Pulse:
    """A light pulse that a simulated device has just received."""

    device: int
    index: int  # how many pulses this device had before, 0 for its first
    drive_V: float
    width_s: float
    elapsed_s: float  # since the bench was switched on, for slow drift
    repeat: int = 0  # how many pulses of the same drive and width this device had before
    temperature_K: float | None = None  # of the device, where the bench has a stage


@runtime_checkable
class DecaySource(Protocol):
    """Gives the virtual device its decays: a synthetic chip, a recorded capture, a calibration sampled.

    The same pulse always gives the same current (seeded by device and index), so a resumed sweep equals an
    undisturbed one. A source may have more, which a virtual bench looks for by name: `describe() -> dict` (its true
    numbers), `read_noise_factor(device) -> float`, `brings_dark: bool` (its pulses answer for the dark samples before
    them too), and `excess_A(pulse, start_s, stop_s) -> Array` with `memory: bool` (`MemorySource`).
    """

    @property
    def origin(self) -> str:
        """What a capture of these decays must be called: "synthetic" or "replayed"."""

    @property
    def devices(self) -> tuple[int, ...]:
        """Device numbers on the chip."""

    def dark_current_A(self, device: int) -> float:
        """Current in amperes with no light, ever."""

    def mean_current_A(self, pulse: Pulse, start_s: Array, stop_s: Array) -> Array:
        """Mean current (A) over each aperture [start, stop] (s, 0 at the falling edge; the pulse began at -width)."""


@runtime_checkable
class MemorySource(DecaySource, Protocol):
    """A `DecaySource` whose pulses can be added up: what each leaves behind is known for all times after it."""

    @property
    def memory(self) -> bool:
        """Whether earlier pulses are to be remembered."""

    def excess_A(self, pulse: Pulse, start_s: Array, stop_s: Array) -> Array:
        """What the pulse alone adds to the dark current (A), over apertures as in `mean_current_A`; 0 before it."""


@runtime_checkable
class LevelReader(Protocol):
    """Gives a network its levels: a device model sampled, a recorded capture, or a bench in the loop.

    A level table is O(t_k) for k = 0..T, normalised by the calibration's constants (1 at the light's edge, 0 at
    the window's end, both of the mean curve).
    """

    @property
    def n_levels(self) -> int:
        """T + 1."""

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        """`n` independent level tables, shape [n, T + 1]; the same seed gives the same tables."""
