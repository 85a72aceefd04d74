"""What one site of a network does in an inference: statistics gather it, energy counts with it. Loads no torch."""

from __future__ import annotations

from otters_lab.core.tomlfile import StrictModel


class SiteSummary(StrictModel):
    """One site of a network, per inference, padding left out; what the energy model counts with.

    A site has `tokens * heads * d_in` input neurons (a signed neuron, two rails, counts once), and each of their spikes
    drives `d_out` synapses. Linear inputs have one head; queries have d_in = head_dim, d_out = tokens; attention
    probabilities d_in = tokens, d_out = head_dim. Where examples differ in length tokens are means, and so are products
    of them: `neurons`, `mean_synaptic_operations` and `dense_operations` are means of what each example has.
    """

    name: str
    kind: str  # "linear input", "query" or "attention probability"
    tokens: float
    heads: int
    d_in: float
    d_out: float
    rails: int
    dead_zone: int = 0  # levels 1 to so many never fire: the window ends so many ticks early
    neurons: float  # an inference
    mean_spikes: float
    mean_synaptic_operations: float  # spikes times their fan-out
    dense_operations: float  # neurons times their fan-out: what a network without spikes would do
    fire_rate: float  # spikes a neuron
    saturation: float  # share of neurons at level T
    kept_mass: float | None  # sum |value coded| / sum |value|; None if all inputs were zero
    level_histogram: list[float]  # share of neurons at level 0..T
