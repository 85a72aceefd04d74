"""Counts times constants: terms, totals, and both again over the constants' ranges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.energy.constants import LIGHT, PITCH, READ, STATIC, Constant, find_preset, given
from otters_lab.energy.counter import Count
from otters_lab.energy.networks import NETWORKS, Network, Rate
from otters_lab.energy.settings import Settings

LEVEL = 0.95  # of intervals
DRAWS = 2000
Table = Mapping[str, Constant | Rate]


@dataclass(frozen=True)
class Term:
    """One line: `amount` times its constants; None where one of them is unknown."""

    name: str
    amount: float
    factors: tuple[Constant | Rate, ...]

    @property
    def energy_J(self) -> float | None:
        """Amount times constants; nothing costs nothing, whatever it would cost each."""
        if self.amount == 0:
            return 0.0
        product = self.amount
        for factor in self.factors:
            if factor.value is None:
                return None
            product *= factor.value
        return product


@dataclass(frozen=True)
class NetworkEnergy:
    """All terms of a network, and known energy by layer and term (J).

    known_J is the exact sum of the terms that have a price, rounded once; `unknown` names the others.
    """

    network: Network
    terms: list[Term]
    layers: dict[str, dict[str, float]]

    @property
    def known_J(self) -> float:
        """The sum of the priced terms: a lower bound where some are not."""
        return math.fsum(energy for term in self.terms if (energy := term.energy_J) is not None)

    @property
    def unknown(self) -> list[str]:
        """Names of the terms that no published constant prices."""
        return [term.name for term in self.terms if term.energy_J is None]

    def amount(self, name: str) -> float:
        """How many of a term there are."""
        return math.fsum(term.amount for term in self.terms if term.name == name)


@dataclass(frozen=True)
class Interval:
    """A value with its interval (95 %); all None where it is unknown."""

    value: float | None
    low: float | None
    high: float | None


def table(settings: Settings, preset: str) -> dict[str, Constant | Rate]:
    """A preset's constants, what the user gives in their place, and the baselines' rates.

    Raises
    ------
    InputError
        for a preset that does not exist.
    """
    result: dict[str, Constant | Rate] = dict(find_preset(preset))
    mine = (
        given(name, value, unit, per)
        for name, value, unit, per in (
            (LIGHT, settings.light_pulse_J, "J", "device and pulse"),
            (READ, settings.device_read_J, "J", "level read"),
            (PITCH, settings.device_pitch_m, "m", "device"),
            (STATIC, settings.static_power_W, "W", "network"),
        )
        if value is not None
    )
    result |= {constant.name: constant for constant in mine}
    result |= {network.rate.name: network.rate for network in NETWORKS if network.rate}
    return result


def price(network: Network, counts: Iterable[Count], constants: Table) -> NetworkEnergy:
    """Counts as terms, one for each name and its constants."""
    amounts: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    cells: dict[str, dict[str, list[float]]] = {}
    for one in counts:
        amounts.setdefault((one.term, one.factors), []).append(one.amount)
        each = Term(one.term, one.amount, tuple(constants[name] for name in one.factors)).energy_J
        if each is not None:
            cells.setdefault(one.layer, {}).setdefault(one.term, []).append(each)
    terms = [
        Term(name, math.fsum(found), tuple(constants[factor] for factor in factors))
        for (name, factors), found in amounts.items()
    ]
    layers = {layer: {name: math.fsum(found) for name, found in by_term.items()} for layer, by_term in cells.items()}
    return NetworkEnergy(network, terms, layers)


def draw(constants: Table, n: int = DRAWS, seed: int = 0) -> dict[str, Array]:
    """Each known constant n times, log-uniform from low to high, independent of the others; the rest are left out.

    A range that begins at 0 is drawn uniformly. A constant's draws depend on its place in the table and the seed alone,
    so every network of a report meets the same ones.
    """
    rng = np.random.default_rng(seed)
    result = {}
    for name, constant in constants.items():
        uniform = rng.random(n)
        low, high = constant.low, constant.high
        if low is None or high is None:
            continue
        if low > 0:
            result[name] = np.exp(math.log(low) + uniform * (math.log(high) - math.log(low)))
        else:
            result[name] = low + uniform * (high - low)
    return result


def drawn_J(energy: NetworkEnergy, draws: Mapping[str, Array], without: Sequence[str] = ()) -> Array:
    """Known energy [n] of a network at every draw, without the terms of some constants."""
    n = len(next(iter(draws.values())))
    total = np.zeros(n)
    for term in energy.terms:
        names = [factor.name for factor in term.factors]
        if all(name in draws for name in names) and not set(names) & set(without):
            product = np.full(n, term.amount)
            for name in names:
                product = product * draws[name]
            total += product
    return total


def interval(value: float | None, drawn: Array) -> Interval:
    """A value with the central 95 % of what was drawn for it."""
    if value is None:
        return Interval(None, None, None)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
