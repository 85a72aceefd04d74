"""An event simulator of one linear layer: explicit spikes, membranes, a staircase threshold, exact rational numbers.

It is the proof's other side, so it shares no code with the closed form: spikes arrive tick by tick, each synapse adds
its charge to a membrane, and in the layer's own window a neuron fires at the first tick whose threshold its membrane
has reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

POSITIVE, NEGATIVE = +1, -1


@dataclass(frozen=True)
class Spike:
    """A spike of neuron `neuron` on rail +1 or -1 at tick k = 0..T-1 of its window."""

    neuron: int
    rail: int
    tick: int


@dataclass(frozen=True)
class LayerRun:
    """What a simulated layer did: its spikes in order of time, and every membrane after each tick of the input window.

    `membrane` [T + 1][out], in the units of the layer's output.
    """

    spikes: tuple[Spike, ...]
    membrane: tuple[tuple[Fraction, ...], ...]


def reaches(membrane: Fraction, threshold: Fraction) -> bool:
    """A neuron fires when its membrane is at the threshold or above."""
    return membrane >= threshold


def run_layer(
    spikes: Sequence[Spike],
    weight_sign: Sequence[Sequence[int]],
    row_scale: Sequence[float],
    alpha_in: float,
    bias: Sequence[float],
    alpha_out: float,
    device: Sequence[Fraction],
) -> LayerRun:
    """Runs one layer of 1-bit synapses w_ji = s_j*sign_ji through its input's window and its own.

    `weight_sign` [out][in] of +1/-1; `device` [T + 1] is O(t_k), (T - k)/T for an ideal one. In the input's window a
    spike at tick k adds rail * gamma_ji * O(t_k) to membrane j, with gamma_ji = w_ji*alpha_in*T. In the layer's own
    window each rail sees rail*V_j + alpha_out/2 (the pre-charge) against the staircase theta(t_k) = alpha_out*(T - k),
    k = 0..T-1, and fires once at most.

    Raises
    ------
    ValueError
        if an input neuron spikes twice, or outside its window.
    """
    top = len(device) - 1
    if len({spike.neuron for spike in spikes}) != len(spikes):
        raise ValueError("a neuron spikes twice in one window")
    if any(not 0 <= spike.tick < top for spike in spikes):
        raise ValueError(f"a spike lies outside ticks 0..{top - 1}")
    gamma = [Fraction(scale) * Fraction(alpha_in) * top for scale in row_scale]
    membrane = [Fraction(0)] * len(gamma)
    history = []
    for tick in range(top + 1):
        for spike in (spike for spike in spikes if spike.tick == tick):
            for row, gain in enumerate(gamma):
                membrane[row] += spike.rail * weight_sign[row][spike.neuron] * gain * device[tick]
        history.append(tuple(membrane))
    potential = [charge + Fraction(offset) for charge, offset in zip(membrane, bias, strict=True)]
    return LayerRun(_fire(potential, Fraction(alpha_out), top), tuple(history))


def _fire(potential: Sequence[Fraction], step: Fraction, top: int) -> tuple[Spike, ...]:
    fired: set[tuple[int, int]] = set()
    out = []
    for tick in range(top):
        threshold = step * (top - tick)
        for neuron, charge in enumerate(potential):
            for rail in (POSITIVE, NEGATIVE):
                if (neuron, rail) not in fired and reaches(rail * charge + step / 2, threshold):
                    fired.add((neuron, rail))
                    out.append(Spike(neuron, rail, tick))
    return tuple(out)
