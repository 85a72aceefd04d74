"""What the event simulator saw: spike trains, membranes, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ticks = npt.NDArray[np.int8]


@dataclass(frozen=True)
class SpikeTrain:
    """The spikes of one array of neurons in one window.

    `ticks` int8 [rails, B, ..., lines]: the tick k = 0..T-1 at which a rail fired, T where it stayed silent. `rails`
    are its signs, +1 first. `fired_from` says what charged the neurons: a "value" (digital) or a "membrane".
    """

    site: str
    window: int
    top: int
    rails: tuple[int, ...]
    fired_from: str
    ticks: Ticks

    @property
    def count(self) -> int:
        """How many spikes there are."""
        return int((self.ticks < self.top).sum())

    def events(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(neuron, rail, tick) of every spike in order of time; a neuron's number is its place in [B, ..., lines]."""
        flat = self.ticks.reshape(len(self.rails), -1)
        rail, neuron = np.nonzero(flat < self.top)
        tick = flat[rail, neuron].astype(np.int64)
        order = np.argsort(tick, kind="stable")
        return neuron[order], np.array(self.rails)[rail[order]], tick[order]

    def signed_levels(self) -> npt.NDArray[np.int64]:
        """What the spikes stand for, [B, ..., lines]: the sum of rail * (T - k)."""
        levels = self.top - self.ticks.astype(np.int64)
        return np.tensordot(np.array(self.rails), levels, axes=1)


@dataclass(frozen=True)
class MembraneTrace:
    """One watched neuron that fires from its membrane, in the units of its layer's output.

    charging : [T_in + 1], the membrane after each tick of the input's window, bias included, less the output's shift
    potential : where it ends
    precharge : what each rail has on top, alpha/2
    staircase : [T], the threshold at each tick of its own window
    rails : those it has; rail, tick : its spike, 0 and T where it stayed silent
    """

    layer: str
    neuron: int
    input_window: int
    window: int
    charging: tuple[float, ...]
    potential: float
    precharge: float
    staircase: tuple[float, ...]
    rails: tuple[int, ...]
    rail: int
    tick: int


@dataclass(frozen=True)
class Record:
    """A run of a network. `spikes` is empty where trains were not kept; the tallies always hold all of them.

    `fired` and `neurons` count spikes, and neurons that could have fired, by site; `windows` is how many passed.
    """

    spikes: tuple[SpikeTrain, ...]
    membranes: tuple[MembraneTrace, ...]
    fired: Mapping[str, int]
    neurons: Mapping[str, int]
    windows: int

    def counts(self) -> dict[str, int]:
        """Spikes by site."""
        return dict(self.fired)

    def total(self) -> int:
        """Spikes of the whole run."""
        return sum(self.fired.values())
