"""Energy of an inference: counts times constants, with what is not known left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from otters_lab.core.errors import InputError, closest
from otters_lab.energy.constants import MEAN_HOPS, PRESETS, Constant
from otters_lab.energy.counter import Counts, count_full_precision, count_quantised, count_ttfs
from otters_lab.ttfs.statistics import SiteSummary


@dataclass(frozen=True)
class Term:
    """One line: `count` operations at `constant`; `energy_J` is None where the constant is unknown."""

    name: str
    count: float
    constant: Constant

    @property
    def energy_J(self) -> float | None:
        """Count times constant."""
        return None if self.constant.value_J is None else self.count * self.constant.value_J


@dataclass(frozen=True)
class NetworkEnergy:
    """All terms of a network. `known_J` sums the terms with a source; `unknown` names the others."""

    network: str
    terms: list[Term]

    @property
    def known_J(self) -> float:
        """The sum of the priced terms: a lower bound where some are not."""
        return sum(energy for term in self.terms if (energy := term.energy_J) is not None)

    @property
    def unknown(self) -> list[str]:
        """Names of the terms that no published constant prices."""
        return [term.name for term in self.terms if term.energy_J is None]


@dataclass(frozen=True)
class EnergyReport:
    """Energy of one inference under a preset.

    break_even_read_J : what one level read (its share of the light included) may cost before the spiking network
    takes as much as the same network run densely; None where a digital term of either is unknown. Negative: it takes
    more even with a free device.
    """

    preset: str
    hops: float
    networks: list[NetworkEnergy]
    break_even_read_J: float | None


def energy_report(sites: Sequence[SiteSummary], preset: str = "open22", hops: float = MEAN_HOPS) -> EnergyReport:
    """Prices a network's measured statistics under a preset.

    Raises
    ------
    InputError
        for a preset that does not exist.
    """
    if preset not in PRESETS:
        raise InputError(
            "no such preset", found=preset, expected=f"one of {', '.join(PRESETS)}", suggestion=closest(preset, PRESETS)
        )
    constants = PRESETS[preset]
    spiking, dense, full = (
        _price(count(sites, hops), constants) for count in (count_ttfs, count_quantised, count_full_precision)
    )
    reads = next(term.count for term in spiking.terms if term.name == "device read")
    digital_unknown = set(spiking.unknown) - {"light pulse", "device read"} | set(dense.unknown)
    break_even = None if digital_unknown or reads == 0 else (dense.known_J - spiking.known_J) / reads
    return EnergyReport(preset, hops, [spiking, dense, full], break_even)


def _price(counts: Counts, constants: Mapping[str, Constant]) -> NetworkEnergy:
    return NetworkEnergy(
        counts.network, [Term(name, count, constants[name]) for name, count in counts.operations.items()]
    )
