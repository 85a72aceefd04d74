"""What spikes cost while a network learns: sites that fire more than they are meant to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from otters_lab.training.measure import wide
from otters_lab.training.parallel import mean_over_processes
from otters_lab.ttfs.layers import TTFSAttention, TTFSCode, TTFSLinear

PRICE = 2.0  # of a spike a neuron too many, against the soft cross-entropy


@contextmanager
def priced(model: nn.Module, rail_rate: float) -> Iterator[list[Tensor]]:
    """While open, each linear input and query that is computed adds a term [] to the list that is given: its share of
    neurons that fire, less `rail_rate` times its rails. Attention probabilities are left alone. A rate of 1 is free.

    A neuron fires at |x| >= w/2, with w = (2c + 1)*alpha and c its dead zone. Its share is followed by min(|x|/w, 1),
    whose mean is the same where x is evenly spread below w, and which has a gradient to x and alpha. Padding counts as
    any token.
    """
    terms: list[Tensor] = []
    if rail_rate == 1:
        yield terms
        return

    def count(site: TTFSCode, x: Tensor) -> None:
        if site.enabled:
            magnitude = x.abs() if site.signed else x.relu()
            width = (2 * site.dead_zone + 1) * site.alpha
            share = wide((magnitude / width).clamp(max=1.0)).mean()
            terms.append(share - rail_rate * (2 if site.signed else 1))

    def on_linear(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, TTFSLinear)
        count(layer.code, args[0])

    def on_code(site: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(site, TTFSCode)
        count(site, args[0])

    queries = [m.__dict__["query"] for m in model.modules() if isinstance(m, TTFSAttention)]
    hooks = [query.register_forward_pre_hook(on_code) for query in queries]
    hooks += [m.register_forward_pre_hook(on_linear) for m in model.modules() if isinstance(m, TTFSLinear)]
    try:
        yield terms
    finally:
        for hook in hooks:
            hook.remove()


def price(terms: list[Tensor]) -> Tensor:
    """The loss of the terms of one forward pass: what is beyond, of the batch as a whole."""
    return PRICE * mean_over_processes(torch.stack(terms)).relu().mean() if terms else torch.zeros(())
