"""Operations of one inference, counted from what each site of a network fires, for any description of a network.

Rules. A signed neuron has two lines and two comparators. A spike of a time code is one address, and a sign bit where
the neuron is signed; its time is when it comes. A comparator rests once its rail has fired. Keys and values are written
once and fired by one comparator each, as signs, where they have one bit. Weights are read for every synaptic operation:
nothing is held across positions, in no network (but see `Settings.wired_weights`). Scores, contexts and sums of the
feed-forward do not fire; they are read where they arise. Padding is in no statistic, so in no count. Embedding, pooler
and classifier are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otters_lab.energy.constants import (
    ADD,
    DENSE,
    EVENT,
    LIGHT,
    READ,
    STATE_MEMORY,
    STATE_WRITE,
    conversion,
    memory_read,
)
from otters_lab.energy.mapping import Hops, Layer, constant_hops, layers_of, mesh_hops
from otters_lab.energy.networks import Network
from otters_lab.energy.settings import Settings
from otters_lab.ttfs.summary import SiteSummary

# Elementary operations an element: (multiply-accumulates, adds, compares). exp is a cubic after range reduction (4).
_FLOAT = {
    "softmax": (4 + 1, 2, 1),  # exp, times 1/sum; less the maximum, sum; maximum
    "LayerNorm": (3, 2, 0),  # square, times 1/sd, scale and shift; mean, less the mean
    "GELU": (4 + 3, 0, 0),  # x times a logistic function: exp, argument, reciprocal, product
    "ReLU": (0, 0, 1),
    "residual sum": (0, 1, 0),
}
# Powers of two in integers, as Sorbet has them: shifts counted as adds.
_SHIFT = {**_FLOAT, "softmax": (0, 3, 1), "LayerNorm": (0, 3, 0), "GELU": (0, 3, 1)}


@dataclass(frozen=True)
class Count:
    """`amount` times the product of the constants (and rates) named by `factors`, for one term of one layer."""

    layer: str
    term: str
    amount: float
    factors: tuple[str, ...]


def count(sites: Sequence[SiteSummary], network: Network, settings: Settings) -> list[Count]:
    """Counts one inference of a network whose sites have the shape, and in time code the spikes, of `sites`."""
    weight_bits = network.own_weight_bits if settings.baseline_bits == "own" else network.weight_bits
    hops = (
        mesh_hops(sites, weight_bits, network.state_bits, settings.tile_bits)
        if settings.hops == "mesh"
        else constant_hops(sites, settings.hops)
    )
    result: list[Count] = []
    for place, layer in enumerate(layers_of(sites)):
        for number in layer.sites:
            site = _Site(sites[number], network, settings, weight_bits)
            found = site.computing() + site.moving(hops.into[number]) + site.states(hops.state[number])
            result += [Count(layer.name, *one) for one in found]
        result += [Count(layer.name, *one) for one in _digital(sites, layer, network)]
        result += [Count(layer.name, *_residual(sites, layer, network, settings, hops, place))]
    return result


def levels(site: SiteSummary, settings: Settings) -> int:
    """T of a site: as measured, or as the settings have it."""
    return settings.steps or len(site.level_histogram) - 1


def compares(site: SiteSummary, top: int) -> float:
    """Threshold compares of a site in time code: T - m + 1 on a rail that fires level m; on one that is silent T, less
    the ticks that its dead zone spares.
    """
    measured = len(site.level_histogram) - 1
    fired = [
        share * (top - level * top / measured + 1)
        for level, share in enumerate(site.level_histogram)
        if level and share
    ]
    silent = site.rails - math.fsum(site.level_histogram[1:])
    return site.neurons * (math.fsum(fired) + silent * (top - site.dead_zone * top / measured))


def devices_a_line(site: SiteSummary, network: Network, settings: Settings) -> int:
    """Devices that serve the fan-out of one line."""
    return math.ceil(site.d_out / (settings.sharing if network.shares else 1))


_Found = tuple[str, float, tuple[str, ...]]


@dataclass(frozen=True)
class _Site:
    """A site as one network has it; what it finds is (term, amount, factors)."""

    site: SiteSummary
    network: Network
    settings: Settings
    weight_bits: int

    @property
    def rate(self) -> tuple[str, ...]:
        return (self.network.rate.name,) if self.network.rate else ()

    @property
    def spikes(self) -> float:
        """Spikes, or values that travel; of a rate code all that could be, times `rate`."""
        if self.network.code == "time":
            return self.site.mean_spikes
        return self.site.neurons * self.network.steps

    @property
    def synaptic(self) -> float:
        if self.network.code == "time":
            return self.site.mean_synaptic_operations
        return self.site.dense_operations * self.network.steps

    @property
    def value_bits(self) -> float:
        """Bits of a value without its sign."""
        return self.network.value_bits or math.ceil(math.log2(levels(self.site, self.settings) + 1))

    @property
    def linear(self) -> bool:
        return self.site.kind == "linear input"

    def computing(self) -> list[_Found]:
        bits = self.weight_bits if self.linear else self.network.state_bits
        memory = memory_read(self.settings.weights_in) if self.linear else STATE_MEMORY
        found: list[_Found] = [
            ("synaptic operations", self.synaptic, (name, *self.rate)) for name in self.network.operations
        ]
        if not (self.linear and self.network.device and self.settings.wired_weights):
            found.append(("weight reads" if self.linear else "KV reads", bits * self.synaptic, (memory, *self.rate)))
        if self.network.code == "values":
            if self.network.reals != "fp32":
                found.append(("quantising", self.site.neurons, ("fp16 multiply-accumulate",)))
            return found
        if self.network.code == "time":
            found.append(("threshold compares", compares(self.site, levels(self.site, self.settings)), (ADD,)))
        else:
            comparators = 2 if self.network.signed_spikes else 1
            found.append(("threshold compares", self.site.neurons * self.network.steps * comparators, (ADD,)))
        return found + (self._device() if self.network.device else [])

    def _device(self) -> list[_Found]:
        """Pulses, reads and conversions. A line's fan-out is served by so many devices, each read at its spike."""
        site, settings = self.site, self.settings
        devices = devices_a_line(site, self.network, settings)
        once = settings.level_read == "once"
        reads = site.mean_spikes * devices if once else site.mean_synaptic_operations
        reads_a_device = 1.0 if once else site.d_out / devices
        again = math.ceil(reads_a_device / settings.reads_a_pulse) - 1 if settings.reads_a_pulse else 0
        lit = site.neurons * site.rails if settings.light == "window" else site.mean_spikes
        return [
            ("light pulses", (lit + again * site.mean_spikes) * devices, (LIGHT,)),
            ("device reads", reads, (READ,)),
            ("ADC conversions", reads, (conversion(settings.adc_bits),)),
        ]

    def moving(self, hops: float) -> list[_Found]:
        signed = self.network.signed_spikes if self.network.code == "rate" else self.site.rails == 2
        if self.network.code == "values" or self.settings.encoding == "dense":
            bits = 1.0 if self.network.code == "rate" else self.value_bits
            travelling = self.site.neurons * self.network.steps
            found: list[_Found] = [("value movement", travelling * bits * hops, (DENSE,))]
            return found + ([("sign movement", travelling * hops, (DENSE,))] if signed else [])
        bits = max(1, math.ceil(math.log2(self.site.heads * self.site.d_in)))
        found = [("spike movement", self.spikes * bits * hops, (EVENT, *self.rate))]
        return found + ([("sign movement", self.spikes * hops, (EVENT, *self.rate))] if signed else [])

    def states(self, hops: float) -> list[_Found]:
        """Keys of a query's site, values of a probability's: fired, written and moved once an inference."""
        if self.linear:
            return []
        elements = state_elements(self.site)
        bits = self.network.state_bits
        found: list[_Found] = [
            ("KV writes", bits * elements, (STATE_WRITE,)),
            ("KV movement", bits * elements * hops, (DENSE,)),
        ]
        return found + ([("threshold compares", elements, (ADD,))] if bits == 1 else [])


def state_elements(site: SiteSummary) -> float:
    """Keys (of a query's site) or values (of a probability's) of an inference."""
    return site.heads * (site.tokens * site.d_in if site.kind == "query" else site.d_in * site.d_out)


def _digital(sites: Sequence[SiteSummary], layer: Layer, network: Network) -> list[_Found]:
    """Softmax, norms, activation and residual sums of a layer."""
    members = [sites[number] for number in layer.sites]
    last = sites[layer.rest[-1]]
    hidden = 2 * last.tokens * last.d_out
    elements = {
        "softmax": math.fsum(site.neurons for site in members if site.kind == "attention probability"),
        "LayerNorm": hidden,
        # A feed-forward whose activation is never negative has one rail.
        "ReLU" if last.rails == 1 else "GELU": last.neurons,
        "residual sum": hidden,
    }
    table = _SHIFT if network.reals == "shift" else _FLOAT
    kind = "int32" if network.reals == "shift" else network.reals
    found: list[_Found] = []
    for term, many in elements.items():
        names = (f"{kind} multiply-accumulate", f"{kind} add", ADD)
        found += [(term, many * each, (name,)) for each, name in zip(table[term], names, strict=True) if each]
    return found


def _residual(
    sites: Sequence[SiteSummary], layer: Layer, network: Network, settings: Settings, hops: Hops, place: int
) -> _Found:
    last = sites[layer.rest[-1]]
    bits = 32 if network.reals == "fp32" else settings.residual_bits
    return ("residual movement", last.tokens * last.d_out * bits * sum(hops.residual[place]), (DENSE,))
