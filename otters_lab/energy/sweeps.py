"""One choice varied at a time: energies of all networks, and where two of them cross."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from otters_lab.core.quantity import format_quantity
from otters_lab.energy.constants import LIGHT, READ
from otters_lab.energy.networks import BASELINES, DEVICE_NETWORKS
from otters_lab.energy.pricing import NetworkEnergy, table
from otters_lab.energy.report import all_energies
from otters_lab.energy.settings import Settings
from otters_lab.energy.shapes import at_length
from otters_lab.ttfs.summary import SiteSummary

Case = tuple[Sequence[SiteSummary], Settings]


@dataclass(frozen=True)
class Crossing:
    """Where a network of devices stops, or begins, to take less than a baseline; by interpolation between two points.

    below : whether it takes less at the sweep's first point
    at : crossings in order, in the sweep's unit; none where one takes less all the way
    """

    network: str
    baseline: str
    below: bool
    at: list[float]


@dataclass(frozen=True)
class Sweep:
    """Known energy (J) by network at each of `values`; without the device where its constants are unknown."""

    name: str
    unit: str
    logarithmic: bool
    values: list[float]
    energies_J: dict[str, list[float]]
    crossings: list[Crossing]


def sweeps(sites: Sequence[SiteSummary], preset: str, settings: Settings) -> list[Sweep]:
    """Hops, sharing, length, T, converter bits, and what an analog level read costs with its share of the light.

    Raises
    ------
    InputError
        as `energy_report`.
    """
    constants = table(settings, preset)

    def changed(**update: Any) -> Case:
        return sites, settings.model_copy(update=update)

    def run(name: str, unit: str, logarithmic: bool, values: Iterable[float], case: Callable[[float], Case]) -> Sweep:
        points = [(value, all_energies(of, constants, chosen)) for value in values for of, chosen in [case(value)]]
        series = {
            energy.network.name: [found[place].known_J for _, found in points]
            for place, energy in enumerate(points[0][1])
        }
        return _sweep(name, unit, logarithmic, [value for value, _ in points], series)

    return [
        run("hops", "", False, (float(hops) for hops in range(11)), lambda x: changed(hops=x)),
        run("sharing", "synapses a device", True, (float(2**n) for n in range(11)), lambda x: changed(sharing=int(x))),
        run(
            "sequence length",
            "tokens",
            True,
            (float(2**n) for n in range(4, 13)),
            lambda x: (at_length(sites, x), settings),
        ),
        run("T", "levels", True, (3.0, 7.0, 15.0, 31.0, 63.0), lambda x: changed(steps=int(x))),
        run("converter resolution", "bits", False, (4.0, 5.0, 6.0, 7.0, 8.0), lambda x: changed(adc_bits=int(x))),
        _analog_read(all_energies(sites, constants, settings)),
    ]


def _analog_read(energies: Sequence[NetworkEnergy]) -> Sweep:
    values = [10.0 ** (power / 4) for power in range(-16 * 4, -9 * 4 + 1)]
    series = {}
    for energy in energies:
        free = math.fsum(
            term.energy_J or 0.0 for term in energy.terms if not {f.name for f in term.factors} & {LIGHT, READ}
        )
        series[energy.network.name] = [free + energy.amount("device reads") * value for value in values]
    return _sweep("level read with its light", "J", True, values, series)


def _sweep(name: str, unit: str, logarithmic: bool, values: list[float], series: dict[str, list[float]]) -> Sweep:
    crossings = []
    for network in DEVICE_NETWORKS:
        for baseline in BASELINES:
            saved = [b - a for a, b in zip(series[network.name], series[baseline.name], strict=True)]
            crossings.append(Crossing(network.name, baseline.name, saved[0] > 0, _zeros(values, saved)))
    return Sweep(name, unit, logarithmic, values, series, crossings)


def _zeros(x: Sequence[float], y: Sequence[float]) -> list[float]:
    """Where y changes sign, linear between points: exact for hops and for what a read costs."""
    found = []
    for (a, at_a), (b, at_b) in pairwise(zip(x, y, strict=True)):
        if (at_a > 0) != (at_b > 0):
            found.append(a + (b - a) * at_a / (at_a - at_b))
    return found


def sentence(sweep: Sweep, crossing: Crossing) -> str:
    """A crossing in words."""

    def shown(value: float) -> str:
        return format_quantity(value, "J", 3) if sweep.unit == "J" else f"{value:.3g} {sweep.unit}".strip()

    start = f"{crossing.network} takes less than {crossing.baseline}"
    if not crossing.at:
        where = "everywhere" if crossing.below else "nowhere"
        return f"{start} {where} in {sweep.name} {shown(sweep.values[0])} to {shown(sweep.values[-1])}"
    ends = [sweep.values[0], *crossing.at, sweep.values[-1]]
    if len(crossing.at) == 1:
        return f"{start} when {sweep.name} {'<' if crossing.below else '>'} {shown(crossing.at[0])}"
    spans = list(pairwise(ends))[0 if crossing.below else 1 :: 2]
    return f"{start} when {sweep.name} is in " + " or ".join(f"{shown(a)} to {shown(b)}" for a, b in spans)


def sweeps_document(found: Sequence[Sweep]) -> list[dict[str, Any]]:
    """Sweeps as JSON, each crossing with its sentence."""
    return [
        {
            **asdict(sweep),
            "crossings": [{**asdict(crossing), "text": sentence(sweep, crossing)} for crossing in sweep.crossings],
        }
        for sweep in found
    ]
