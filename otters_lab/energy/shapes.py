"""Sites of a network that is not there: a shape and a rate; and measured sites at another length."""

from __future__ import annotations

from collections.abc import Sequence

from otters_lab.core.errors import InputError
from otters_lab.ttfs.summary import SiteSummary


def shape_sites(
    layers: int,
    hidden: int,
    ffn: int,
    length: int,
    rate: float,
    heads: int | None = None,
    steps: int = 15,
    relu: bool = False,
) -> list[SiteSummary]:
    """Sites of an encoder in which every neuron fires with probability `rate`, levels 1..T alike.

    Eight sites a layer: inputs of q, k, v (hidden -> hidden), queries, probabilities, then inputs of the context's
    linear and of the feed-forward's two. Signed but the probabilities and, with `relu`, what the last linear gets.

    Raises
    ------
    InputError
        for sizes below 1, heads that do not divide `hidden` (default: 64 wide), or a rate outside [0, 1].
    """
    heads = max(1, hidden // 64) if heads is None else heads
    for key, size in (("layers", layers), ("hidden", hidden), ("ffn", ffn), ("length", length), ("heads", heads)):
        if size < 1:
            raise InputError(key=key, found=size, expected="1 or more")
    if hidden % heads:
        raise InputError(key="heads", found=heads, expected=f"a number that divides hidden, {hidden}")
    if not 0 <= rate <= 1:
        raise InputError(key="rate", found=rate, expected="from 0 to 1")
    width = hidden // heads
    sizes = (  # name, kind, heads, d_in, d_out, rails
        ("query", "linear input", 1, hidden, hidden, 2),
        ("queries", "query", heads, width, length, 2),
        ("key", "linear input", 1, hidden, hidden, 2),
        ("value", "linear input", 1, hidden, hidden, 2),
        ("probabilities", "attention probability", heads, length, width, 1),
        ("context", "linear input", 1, hidden, hidden, 2),
        ("up", "linear input", 1, hidden, ffn, 2),
        ("down", "linear input", 1, ffn, hidden, 1 if relu else 2),
    )
    histogram = [1 - rate] + [rate / steps] * steps
    result = []
    for layer in range(layers):
        for name, kind, of, d_in, d_out, rails in sizes:
            neurons = length * of * d_in
            site = SiteSummary(
                name=f"layer.{layer}.{name}",
                kind=kind,
                tokens=length,
                heads=of,
                d_in=d_in,
                d_out=d_out,
                rails=rails,
                neurons=neurons,
                mean_spikes=neurons * rate,
                mean_synaptic_operations=neurons * rate * d_out,
                dense_operations=neurons * d_out,
                fire_rate=rate,
                saturation=histogram[-1],
                kept_mass=None,
                level_histogram=histogram,
            )
            result.append(site)
    return result


def at_length(sites: Sequence[SiteSummary], length: float) -> list[SiteSummary]:
    """The same network on inputs of another length, its rates held (those of probabilities fall as it grows)."""
    result = []
    for site in sites:
        many = length / site.tokens
        # Queries and probabilities have a token more in their fan-out, or in their number.
        squared = many if site.kind == "linear input" else many * many
        changed: dict[str, float] = {
            "tokens": length,
            "neurons": site.neurons * (squared if site.kind == "attention probability" else many),
            "mean_spikes": site.mean_spikes * (squared if site.kind == "attention probability" else many),
            "mean_synaptic_operations": site.mean_synaptic_operations * squared,
            "dense_operations": site.dense_operations * squared,
        }
        if site.kind == "query":
            changed["d_out"] = length
        elif site.kind == "attention probability":
            changed["d_in"] = length
        result.append(site.model_copy(update=changed))
    return result
