"""Energy of an inference, of many networks side by side: terms, intervals, ratios, break-even, latency and area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array
from otters_lab.core.quantity import format_quantity
from otters_lab.energy.constants import LIGHT, READ, STATIC, Constant
from otters_lab.energy.counter import count
from otters_lab.energy.hardware import Area, Latency, area, latency
from otters_lab.energy.networks import BASELINES, DEVICE_NETWORKS, NETWORKS, Network, Rate
from otters_lab.energy.pricing import (
    DRAWS,
    LEVEL,
    Interval,
    NetworkEnergy,
    Table,
    Term,
    draw,
    drawn_J,
    interval,
    price,
    table,
)
from otters_lab.energy.settings import Settings
from otters_lab.ttfs.summary import SiteSummary

DEVICE = (LIGHT, READ)


@dataclass(frozen=True)
class BreakEven:
    """What the device may cost before a network of devices takes as much as a baseline.

    per_read_J : a level read with its share of the light pulses, pulses_a_read of them; negative: the network takes
        more even with a free device; None: a term of either has no price, or nothing is read
    per_pulse_J : a light pulse where reading is free
    """

    network: str
    baseline: str
    encoding: str
    per_read_J: Interval
    per_pulse_J: Interval
    pulses_a_read: float | None


@dataclass(frozen=True)
class EnergyReport:
    """One inference. `totals` and `ratios` have an entry a network; ratios are baseline over the first network's
    known energy, of the same draws: with an unknown device they are what it would be with a free one, at most.
    """

    preset: str
    settings: Settings
    constants: Table
    networks: list[NetworkEnergy]
    totals: dict[str, Interval]
    ratios: dict[str, Interval]
    break_even: list[BreakEven]
    latency: Latency
    areas: dict[str, Area]

    @property
    def main(self) -> NetworkEnergy:
        """The network of devices that others are compared with."""
        return self.networks[0]


def energy_report(
    sites: Sequence[SiteSummary], preset: str = "open22", settings: Settings | None = None
) -> EnergyReport:
    """Prices what the sites of a network fire, and its baselines of the same shape, under a preset.

    Raises
    ------
    InputError
        for a preset that does not exist, no sites, or sites that are no blocks of an encoder.
    """
    settings = settings or Settings()
    if not sites:
        raise InputError("no sites to count", expected="a network with spiking layers")
    constants = table(settings, preset)
    draws = draw(constants)
    networks = all_energies(sites, constants, settings)
    drawn = {energy.network.name: drawn_J(energy, draws) for energy in networks}
    main = networks[0]
    ratios = {}
    for energy in networks[1:]:
        known = main.known_J > 0 and not set(energy.unknown)
        over = np.divide(drawn[energy.network.name], drawn[main.network.name]) if known else np.zeros(DRAWS)
        ratios[energy.network.name] = interval(energy.known_J / main.known_J if known else None, over)
    return EnergyReport(
        preset,
        settings,
        constants,
        networks,
        {energy.network.name: interval(energy.known_J, drawn[energy.network.name]) for energy in networks},
        ratios,
        [one for how in _encodings(settings) for one in _all_break_evens(sites, constants, how, draws)],
        latency(sites, settings),
        {network.name: area(sites, network, settings) for network in DEVICE_NETWORKS},
    )


def energy_of(sites: Sequence[SiteSummary], network: Network, constants: Table, settings: Settings) -> NetworkEnergy:
    """One network's terms. Static power, if given, is counted where a latency is known: in time code."""
    result = price(network, count(sites, network, settings), constants)
    if settings.static_power_W is None or network.code != "time":
        return result
    seconds = latency(sites, settings).inference_s
    static = Term(STATIC, seconds, (constants[STATIC],))
    return NetworkEnergy(
        network, [*result.terms, static], {**result.layers, "network": {STATIC: settings.static_power_W * seconds}}
    )


def all_energies(sites: Sequence[SiteSummary], constants: Table, settings: Settings) -> list[NetworkEnergy]:
    """Every network's terms."""
    return [energy_of(sites, network, constants, settings) for network in NETWORKS]


def _encodings(settings: Settings) -> list[Settings]:
    """The settings, and the same with the other encoding of spikes: it decides a break-even like nothing else."""
    others = [name for name in get_args(Settings.model_fields["encoding"].annotation) if name != settings.encoding]
    return [settings, *(settings.model_copy(update={"encoding": name}) for name in others)]


def _all_break_evens(
    sites: Sequence[SiteSummary], constants: Table, settings: Settings, draws: dict[str, Array]
) -> list[BreakEven]:
    energies = {energy.network.name: energy for energy in all_energies(sites, constants, settings)}
    return [
        break_even(energies[network.name], energies[baseline.name], settings.encoding, draws)
        for network in DEVICE_NETWORKS
        for baseline in BASELINES
    ]


def break_even(network: NetworkEnergy, baseline: NetworkEnergy, encoding: str, draws: dict[str, Array]) -> BreakEven:
    """Where the two totals meet: pulses * light + reads * read = what the network saves with a free device."""
    free = [term for term in network.terms if not {factor.name for factor in term.factors} & set(DEVICE)]
    rest = NetworkEnergy(network.network, free, {})
    reads, pulses = network.amount("device reads"), network.amount("light pulses")
    priced = not rest.unknown and not baseline.unknown
    gap = baseline.known_J - rest.known_J
    gaps = drawn_J(baseline, draws) - drawn_J(rest, draws)

    def per(many: float) -> Interval:
        return interval(gap / many, gaps / many) if priced and many > 0 else interval(None, gaps)

    return BreakEven(
        network.network.name,
        baseline.network.name,
        encoding,
        per(reads),
        per(pulses),
        pulses / reads if reads > 0 else None,
    )


def report_document(report: EnergyReport) -> dict[str, Any]:
    """The report as a JSON document; unknown is null."""
    return {
        "preset": report.preset,
        "settings": report.settings.model_dump(),
        "interval": {"level": LEVEL, "draws": DRAWS, "distribution": "log-uniform from low to high, independent"},
        "constants": [constant_document(constant) for constant in report.constants.values()],
        "networks": [
            {
                "network": energy.network.name,
                "source": energy.network.source,
                "known_J": energy.known_J,
                "known_interval_J": asdict(report.totals[energy.network.name]),
                "ratio": asdict(found) if (found := report.ratios.get(energy.network.name)) else None,
                "unknown": energy.unknown,
                "terms": [
                    {
                        "name": term.name,
                        "amount": term.amount,
                        "constants": [factor.name for factor in term.factors],
                        "energy_J": term.energy_J,
                    }
                    for term in energy.terms
                ],
                "layers_J": energy.layers,
            }
            for energy in report.networks
        ],
        "break_even": [asdict(one) for one in report.break_even],
        "latency": asdict(report.latency),
        "area": {name: asdict(found) for name, found in report.areas.items()},
    }


def constant_document(constant: Constant | Rate) -> dict[str, Any]:
    """A constant or a rate as JSON."""
    return asdict(constant)


def break_even_sentence(one: BreakEven) -> str:
    """What the device may cost, in one sentence."""
    start = f"{one.network}, spikes as {one.encoding} messages"
    limit = one.per_read_J
    if limit.value is None or limit.low is None or limit.high is None:
        return f"{start}: no break-even against {one.baseline}, since a digital term of one of them has no price"
    if limit.value <= 0:
        turns = f" (up to {format_quantity(limit.high, 'J', 3)} within its interval)" if limit.high > 0 else ""
        return f"{start}, takes more than {one.baseline} even with a free device{turns}"
    low = "0" if limit.low <= 0 else format_quantity(limit.low, "J", 3)
    return (
        f"{start}, takes less than {one.baseline} if a level read with its light costs less than "
        f"{format_quantity(limit.value, 'J', 3)} [{low}, {format_quantity(limit.high, 'J', 3)}]"
    )


CONSTANT_COLUMNS = ("constant", "value", "low", "high", "per", "node", "status", "source")


def constant_row(constant: Constant | Rate) -> tuple[str, ...]:
    """A constant or a rate for people, by `CONSTANT_COLUMNS`."""
    values = (constant.value, constant.low, constant.high)
    if isinstance(constant, Rate):
        status = "assumed" if constant.assumed else "sourced"
        return (constant.name, *(f"{value:.4g}" for value in values), "neuron and step", "-", status, constant.source)
    shown = (format_quantity(value, constant.unit) for value in values)
    return (constant.name, *shown, constant.per, constant.node, constant.status, constant.source)
