"""The price of spikes: closed forms on one linear layer, and that a network which pays fires less."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from otters_lab.training.sparsity import PRICE, price, priced
from otters_lab.ttfs.functional import Coding
from otters_lab.ttfs.layers import TTFSLinear


def layer(coding: Coding, alpha: float = 1.0, dead_zone: int = 0) -> TTFSLinear:
    made = TTFSLinear(nn.Linear(4, 2), 4, coding, "row", None, dead_zone=dead_zone)
    with torch.no_grad():
        made.code.alpha.fill_(alpha)
    return made


def paid(made: TTFSLinear, x: torch.Tensor, rail_rate: float) -> torch.Tensor:
    with priced(made, rail_rate) as terms:
        made(x)
    return price(terms)


@pytest.mark.parametrize(("coding", "share"), [("two rails", (0.5 + 1 + 0.25) / 4), ("one rail", (0.5 + 0.25) / 4)])
def test_the_price_is_of_the_followed_share_beyond_what_the_rails_are_allowed(coding: Coding, share: float) -> None:
    x = torch.tensor([[0.5, -3.0, 0.25, 0.0]])
    rails = 2 if coding == "two rails" else 1
    assert float(paid(layer(coding), x, 0.1)) == pytest.approx(PRICE * (share - 0.1 * rails))
    assert float(paid(layer(coding), x, 0.25)) == 0.0
    assert float(paid(layer(coding), x, 1.0)) == 0.0


@pytest.mark.parametrize("dead_zone", [0, 1, 3])
def test_the_share_that_is_followed_is_that_of_neurons_that_fire_where_inputs_are_evenly_spread(dead_zone: int) -> None:
    made, x = layer("two rails", 0.25, dead_zone), torch.linspace(-2, 2, 40_004).reshape(1, -1, 4)
    fired = float((made.code(x) != 0).float().mean())
    assert float(paid(made, x, 1e-9)) / PRICE == pytest.approx(fired, abs=1e-3)


def test_paying_pushes_small_inputs_to_silence_and_the_scale_up_and_leaves_large_inputs_alone() -> None:
    made, x = layer("two rails"), torch.tensor([[0.8, -0.6, 2.0, -7.0]], requires_grad=True)
    paid(made, x, 0.05).backward()
    assert x.grad is not None
    assert made.code.alpha.grad is not None
    assert (x.grad.sign() == torch.tensor([[1, -1, 0, 0]])).all()
    assert float(made.code.alpha.grad) < 0
