"""What a chip has not forgotten: the residual decays of all earlier light pulses, added up.

Persistent photoconductivity in its simplest form, linear superposition: nothing saturates. The last `KEPT` pulses of a
device are added up exactly. Older ones share one sum of exponentials with fixed time constants, three a decade: a
stretched exponential with beta <= 1 is such a sum (it is completely monotone), so the tail stays of one size however
many pulses it holds. For the published law and 200 pulses the sum is off by less than 1e-3 of what one pulse adds at
its edge, at any later time (a test holds it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from otters_lab.core.protocols import Array, DecaySource, MemorySource, Pulse

KEPT = 8
TAUS_S: Array = np.logspace(-6, 12, 55)


@dataclass(frozen=True)
class MemoryState:
    """One device: recent pulses with the time of their edges, and the tail's amplitudes (A) at `tail_at_s`.

    Times are seconds since the bench was switched on.
    """

    recent: tuple[tuple[Pulse, float], ...] = ()
    tail_A: tuple[float, ...] = ()
    tail_at_s: float = 0.0

    def record(self) -> dict[str, Any]:
        """As plain JSON; `read` takes it back."""
        recent = [{**asdict(pulse), "edge_s": edge_s} for pulse, edge_s in self.recent]
        return {"recent": recent, "tail_A": list(self.tail_A), "tail_at_s": self.tail_at_s}

    @staticmethod
    def read(record: Mapping[str, Any]) -> MemoryState:
        """From `record`."""
        recent = tuple(
            (Pulse(**{name: value for name, value in entry.items() if name != "edge_s"}), entry["edge_s"])
            for entry in record["recent"]
        )
        return MemoryState(recent, tuple(record["tail_A"]), record["tail_at_s"])


class Memory:
    """The states of all devices, for decays of one source."""

    def __init__(self, source: MemorySource, states: Mapping[int, MemoryState]) -> None:
        self.source = source
        self._states = dict(states)

    def states(self) -> dict[int, MemoryState]:
        """By device; devices that never had a pulse are not in it."""
        return dict(self._states)

    def copy(self) -> Memory:
        """One that goes its own way."""
        return Memory(self.source, self._states)

    def add(self, pulse: Pulse, edge_s: float) -> None:
        """A pulse is over: its edge fell at `edge_s` (s since the bench was switched on)."""
        state = self._states.get(pulse.device, MemoryState())
        recent = (*state.recent, (pulse, edge_s))
        state = replace(state, recent=recent[-KEPT:])
        for old, old_edge_s in recent[:-KEPT]:
            state = _retire(self.source, state, old, old_edge_s, edge_s)
        self._states[pulse.device] = state

    def forget(self, device: int) -> None:
        """The device is in its dark state again."""
        self._states.pop(device, None)

    def residual_A(self, device: int, start_s: Array, stop_s: Array) -> Array:
        """Mean of what earlier pulses left (A), over apertures [start, stop] in seconds since the bench is on."""
        state = self._states.get(device, MemoryState())
        total: Array = np.zeros_like(start_s)
        if state.tail_A:
            total = _means(start_s - state.tail_at_s, stop_s - state.tail_at_s) @ np.array(state.tail_A)
        for pulse, edge_s in state.recent:
            total = total + self.source.excess_A(pulse, np.round(start_s - edge_s, 9), np.round(stop_s - edge_s, 9))
        return total


def memory_of(decays: DecaySource, states: Mapping[int, MemoryState]) -> Memory | None:
    """A memory for decays that want one."""
    return Memory(decays, states) if isinstance(decays, MemorySource) and decays.memory else None


def _retire(source: MemorySource, state: MemoryState, pulse: Pulse, edge_s: float, now_s: float) -> MemoryState:
    """The state with one more pulse in its tail, whose amplitudes are then those at `now_s`."""
    later_s = (now_s - edge_s) * np.concatenate([[0.0], np.logspace(-3, 8, 220)])
    width_s = 0.01 * (now_s - edge_s + later_s)
    left_A = source.excess_A(pulse, now_s - edge_s + later_s, now_s - edge_s + later_s + width_s)
    scale_A = float(np.max(np.abs(left_A)))
    tail = np.array(state.tail_A or (0.0,) * TAUS_S.size) * np.exp(-(now_s - state.tail_at_s) / TAUS_S)
    if scale_A > 0:
        from scipy.optimize import nnls  # slow to load, and few sweeps give a device so many pulses

        sign = float(np.sign(left_A[0]))
        tail = tail + sign * scale_A * nnls(_means(later_s, later_s + width_s), sign * left_A / scale_A)[0]
    return replace(state, tail_A=tuple(tail.tolist()), tail_at_s=now_s)


def _means(start_s: Array, stop_s: Array) -> Array:
    """Mean of exp(-t/tau) over each [start, stop] (s), [aperture, tau]."""
    ratio = (stop_s - start_s)[:, None] / TAUS_S
    return np.exp(-start_s[:, None] / TAUS_S) * -np.expm1(-ratio) / ratio
