"""Operations of one inference, counted from what each site of a network really fires."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otters_lab.ttfs.statistics import SiteSummary


@dataclass(frozen=True)
class Counts:
    """Operations of one inference of one kind of network, by the constant that prices them.

    Not counted yet, for any kind of network, and the same for all: softmax, LayerNorm, residual sums, activation
    functions, patch embedding, classifier.
    """

    network: str
    operations: dict[str, float]


def count_ttfs(sites: Sequence[SiteSummary], hops: float) -> Counts:
    """The spiking network: work only where a neuron fires.

    A spike reads one level of its device (one ADC conversion), travels as an address with its sign or rail, and adds
    to `d_out` membranes, each a 1-bit weight read. Every neuron compares its membrane with each of the T steps of the
    staircase on each rail. Light: one pulse a window, and a window a site and token position. Keys and values are
    written once, 1 bit each: they are the outputs that a query's and a probability's synapses hold.
    """
    spikes = sum(site.mean_spikes for site in sites)
    synaptic = sum(site.mean_synaptic_operations for site in sites)
    address_bits = sum(site.mean_spikes * (_address_bits(site) + 1) for site in sites)
    return Counts(
        "TTFS, 1-bit weights",
        {
            "light pulse": float(sum(site.tokens for site in sites)),
            "device read": spikes,
            "ADC conversion": spikes,
            "accumulate": synaptic,
            "weight read": synaptic,
            "compare": float(sum(site.neurons * site.rails * (len(site.level_histogram) - 1) for site in sites)),
            "state write": _state_bits(sites),
            "event movement": address_bits * hops,
        },
    )


def count_quantised(sites: Sequence[SiteSummary], hops: float) -> Counts:
    """The same network run densely with the same bits (W1A4): every neuron works, values travel as they are."""
    dense = sum(site.dense_operations for site in sites)
    value_bits = sum(site.neurons * (math.log2(len(site.level_histogram)) + site.rails - 1) for site in sites)
    return Counts(
        "quantised, same bits, dense",
        {
            "accumulate": dense,
            "weight read": dense,
            "state write": _state_bits(sites),
            "dense movement": value_bits * hops,
        },
    )


def count_full_precision(sites: Sequence[SiteSummary], hops: float) -> Counts:
    """The full-precision teacher of the same shape: fp32 multiply-accumulates and 32-bit traffic."""
    dense = sum(site.dense_operations for site in sites)
    return Counts(
        "full precision (fp32)",
        {
            "multiply-accumulate fp32": dense,
            "weight read": 32 * dense,
            "state write": 32 * _state_bits(sites),
            "dense movement": 32.0 * sum(site.neurons for site in sites) * hops,
        },
    )


def _address_bits(site: SiteSummary) -> int:
    return max(1, math.ceil(math.log2(site.heads * site.d_in)))


def _state_bits(sites: Sequence[SiteSummary]) -> float:
    """Keys (against queries) and values (against probabilities) of one inference, one bit each."""
    keys = sum(site.heads * site.d_in * site.d_out for site in sites if site.kind == "query")
    values = sum(site.heads * site.d_in * site.d_out for site in sites if site.kind == "attention probability")
    return float(keys + values)
