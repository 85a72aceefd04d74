"""Quantisers and the hybrid layer against plain rules, and gradients against autograd's own parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from otters_lab.ttfs.functional import (
    binary_state,
    binary_value,
    fire,
    hybrid_linear,
    least_squares_code,
    levels_of,
    read,
    read_table,
    weight_scale,
    weight_signs,
)

ONE = torch.ones(())
CODINGS = ("two rails", "one rail", "shift")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("top", [3, 15, 63])
def test_two_rails_round_half_away_from_zero_and_nothing_below_a_half_up(dtype: torch.dtype, top: int) -> None:
    halves = torch.arange(top, dtype=dtype) + 0.5
    below = torch.nextafter(halves, torch.zeros_like(halves))
    one = torch.ones((), dtype=dtype)
    for sign in (1, -1):
        assert levels_of(sign * halves, one, top, True).tolist() == [sign * (m + 1) for m in range(top)]
        assert levels_of(sign * below, one, top, True).tolist() == [sign * m for m in range(top)]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.floats(-10, 10), st.integers(2, 6), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_levels_agree_with_a_scalar_rule_written_in_plain_python(
    x: float, alpha: float, shift: float, bits: int, dead: float
) -> None:
    top = 2**bits - 1
    silent = int(dead * (top - 1))

    def rounded(ratio: float) -> int:
        whole = math.floor(abs(ratio))
        level = min(top, whole + (abs(ratio) - whole >= 0.5))
        return level if level > silent else 0

    value, scale, offset = (torch.tensor(v, dtype=torch.float64) for v in (x, alpha, shift))
    assert levels_of(value, scale, top, True, None, silent).item() == math.copysign(rounded(x / alpha), x)
    assert levels_of(value, scale, top, False, None, silent).item() == (rounded(x / alpha) if x > 0 else 0)
    above = (x - shift) / alpha
    assert levels_of(value, scale, top, False, offset, silent).item() == (rounded(above) if above > 0 else 0)


def test_levels_saturate_at_T_and_one_rail_cuts_negatives() -> None:
    x = torch.tensor([-99.0, -0.2, 0.0, 0.5, 14.4, 15.6, 1e30])
    assert levels_of(x, ONE, 15, True).tolist() == [-15, 0, 0, 1, 14, 15, 15]
    assert levels_of(x, ONE, 15, False).tolist() == [0, 0, 0, 1, 14, 15, 15]


def test_zero_weights_count_as_plus_one_and_are_scaled_by_their_mean_magnitude() -> None:
    weight = torch.tensor([[0.0, -0.0, -2.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    assert weight_signs(weight).tolist() == [[1, 1, -1, 1], [1, 1, 1, 1]]
    assert weight_scale(weight, "row").tolist() == [1.0, 0.0]
    assert weight_scale(weight, "tensor").item() == 0.5


@pytest.mark.parametrize("per", ["row", "tensor"])
def test_the_gradient_of_a_binary_value_goes_straight_through_the_sign_and_through_the_scale(per: Any) -> None:
    weight = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    out = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    grads = []
    for ours in (True, False):
        leaf = weight.clone().requires_grad_(True)
        if ours:
            value = binary_value(leaf, per)
        else:
            scale = leaf.abs().mean(dim=1, keepdim=True) if per == "row" else leaf.abs().mean()
            value = scale * leaf.detach().sign() + (leaf - leaf.detach())
        (value * out).sum().backward()
        grads.append((value.detach(), leaf.grad))
    torch.testing.assert_close(grads[0], grads[1])


def test_a_binary_state_passes_gradient_only_within_its_clip() -> None:
    x = torch.tensor([-7.0, -1.0, 0.0, 5.9, 6.1], requires_grad=True)
    signs = binary_state(x, torch.tensor(2.0))
    assert signs.tolist() == [-1, -1, 1, 1, 1]
    signs.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0.5, 0.5, 0.5, 0]


@pytest.mark.parametrize("lines", [1, 3])
@pytest.mark.parametrize("own", [True, False])
def test_a_table_is_read_at_the_time_index_of_the_level_and_silence_reads_nothing(lines: int, own: bool) -> None:
    table = torch.arange(2 * lines * 4, dtype=torch.float64).reshape(2, lines, 4)[: 2 if own else 1] + 100  # T = 3
    nominal = torch.tensor([[[3, -1, 0], [2, 2, -3]], [[0, 0, 1], [-2, 3, 3]]], dtype=torch.float64)
    levels = read_table(table, nominal)
    for b, t, i in np.ndindex(2, 2, 3):
        level = int(nominal[b, t, i])
        entry = table[b if own else 0, i % lines, 3 - abs(level)].item()
        assert levels[b, t, i] == (0.0 if level == 0 else math.copysign(entry, level))


class Table:
    """A device of one table; it adds a fixed disturbance to sums."""

    def __init__(self, table: Tensor, disturbance: Tensor | float = 0.0) -> None:
        self.table, self.disturbance = table, disturbance

    def moved(self, x: Tensor, alpha: Tensor) -> Tensor:
        return x

    def read(self, nominal: Tensor) -> Tensor:
        return read_table(self.table, nominal)

    def disturb(self, sums: Tensor, nominal: Tensor, signs: Tensor) -> Tensor:
        return sums + self.disturbance


def reference(
    x: Tensor, alpha: Tensor, shift: Tensor | None, w: Tensor, b: Tensor, table: Tensor | None, top: int, signed: bool,
    per: str | None, silent: int,
) -> Tensor:  # fmt: skip
    """Learned step size and offset, straight through, out of autograd's own parts; noise is a constant."""
    ratio = ((x if shift is None else x - shift) / alpha).clamp(-top if signed else 0, top)
    nominal = ratio.detach().sign() * (ratio.detach().abs() + 0.5).floor()
    nominal = torch.where(nominal.abs() > silent, nominal, 0.0)
    value = alpha * (ratio + (nominal - ratio).detach()) + (0 if shift is None else shift)
    if table is not None:
        levels = torch.zeros_like(nominal)
        for b_, t, i in np.ndindex(*x.shape):
            if level := int(nominal[b_, t, i]):
                levels[b_, t, i] = np.sign(level) * table[b_, i if table.shape[1] > 1 else 0, top - abs(level)]
        value = value + (alpha * (levels - nominal)).detach()
    if per is not None:
        scale = w.abs().mean(dim=1, keepdim=True) if per == "row" else w.abs().mean()
        w = scale * w.detach().sign() + (w - w.detach())
    return value @ w.T + b


@pytest.mark.parametrize("place", ["ideal", "layer", "line"])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("per", ["row", "tensor", None])
@pytest.mark.parametrize(("bits", "silent"), [(2, 0), (4, 0), (4, 3)])
def test_the_hybrid_gradient_is_the_learned_step_size_rule_with_and_without_noise(
    place: str, coding: str, per: Any, bits: int, silent: int
) -> None:
    top, signed, rng = 2**bits - 1, coding == "two rails", torch.Generator().manual_seed(bits)
    x = torch.randn(3, 4, 5, generator=rng, dtype=torch.float64) * 1.5
    weight = torch.randn(6, 5, generator=rng, dtype=torch.float64)
    bias = torch.randn(6, generator=rng, dtype=torch.float64)
    out_grad = torch.randn(3, 4, 6, generator=rng, dtype=torch.float64)
    table = None
    if place != "ideal":
        lines = 1 if place == "layer" else 5
        ideal = torch.arange(top, -1, -1, dtype=torch.float64)
        table = ideal + 0.3 * torch.randn(3, lines, top + 1, generator=rng, dtype=torch.float64)
    grads = []
    for ours in (True, False):
        a, s, w, b = (t.clone().requires_grad_(True) for t in (x, torch.tensor(0.2, dtype=torch.float64), weight, bias))
        shift = torch.tensor(-1.3, dtype=torch.float64, requires_grad=True) if coding == "shift" else None
        if ours:
            device = None if table is None else Table(table)
            y = hybrid_linear(a, w, b, s, top, signed, shift=shift, dead_zone=silent, per=per, device=device)
        else:
            y = reference(a, s, shift, w, b, table, top, signed, per, silent)
        y.backward(out_grad)
        found = [y.detach(), a.grad, w.grad, b.grad, s.grad]
        grads.append([*found, shift.grad] if shift is not None else found)
    assert (x.abs() / 0.2 > top).any() or bits == 4, "some inputs saturate"
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_the_weights_gradient_takes_the_levels_that_were_read_or_nominal_ones_as_asked() -> None:
    rng = torch.Generator().manual_seed(3)
    x, weight = torch.randn(2, 4, 5, generator=rng), torch.randn(6, 5, generator=rng)
    out_grad, alpha = torch.randn(2, 4, 6, generator=rng), torch.tensor(0.2)
    table = Table(torch.rand(2, 1, 16, generator=rng) * 15)
    grads = {}
    for name, device, nominal in (("ideal", None, False), ("read", table, False), ("nominal", table, True)):
        leaf = weight.clone().requires_grad_(True)
        hybrid_linear(x, leaf, None, alpha, 15, True, device=device, nominal_weight_gradient=nominal).backward(out_grad)
        grads[name] = leaf.grad
    assert torch.equal(grads["nominal"], grads["ideal"])
    assert not torch.allclose(grads["read"], grads["ideal"])


def test_fire_and_read_together_have_the_hybrid_layer_s_gradients() -> None:
    rng = torch.Generator().manual_seed(0)
    x, out = (torch.randn(2, 3, 9, generator=rng, dtype=torch.float64) for _ in range(2))
    table = Table(torch.rand(2, 1, 16, generator=rng, dtype=torch.float64) * 15)
    identity, grads = torch.eye(9, dtype=torch.float64), []
    for apart in (True, False):
        a, s = x.clone().requires_grad_(True), torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
        if apart:
            y = s * read(fire(a, s, 15, True), s, table)
        else:
            y = hybrid_linear(a, identity, None, s, 15, True, per=None, device=table)
        y.backward(out)
        grads.append((y.detach(), a.grad, s.grad))
    torch.testing.assert_close(grads[0], grads[1])


def test_noise_of_single_synapses_is_in_the_value_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 3, 9, generator=rng), torch.randn(4, 9, generator=rng)
    ideal = torch.arange(15.0, -1, -1)[None, None]
    found = []
    for disturbance in (0.0, torch.randn(2, 3, 4, generator=rng)):
        a, v, s = x.clone().requires_grad_(True), w.clone().requires_grad_(True), torch.tensor(0.1, requires_grad=True)
        y = hybrid_linear(a, v, None, s, 15, True, device=Table(ideal, disturbance))
        y.sum().backward()
        found.append((y.detach(), a.grad, v.grad, s.grad))
    assert not torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(a, b) for a, b in zip(found[0][1:], found[1][1:], strict=True))


def test_under_autocast_the_product_is_of_its_dtype_and_levels_lose_nothing() -> None:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 3, 9, generator=rng), torch.randn(4, 9, generator=rng, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        low = hybrid_linear(x, w, None, torch.tensor(0.1), 15, True)
    assert low.dtype == torch.bfloat16
    low.float().sum().backward()
    assert w.grad is not None
    assert w.grad.dtype == torch.float32
    full = hybrid_linear(x, w, None, torch.tensor(0.1), 15, True)
    torch.testing.assert_close(low.float(), full, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_code_from_statistics_is_as_good_as_a_fine_search(coding: Any) -> None:
    x = torch.randn(4000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    signed = coding == "two rails"

    def error(alpha: float, shift: float) -> float:
        a, b = (torch.tensor(v, dtype=torch.float64) for v in (alpha, shift))
        return float((a * levels_of(x, a, 15, signed, b) + b - x).square().mean())

    alpha, shift = least_squares_code(x, 15, coding)
    shifts = np.linspace(-4, -1, 31) if coding == "shift" else [0.0]
    best = min(error(a, b) for a in np.linspace(0.02, 0.5, 200) for b in shifts)
    assert error(float(alpha), float(shift)) <= 1.03 * best


def test_nothing_to_code_is_coded_exactly() -> None:
    assert least_squares_code(torch.zeros(5), 15, "two rails") == (1.0, 0.0)
    assert least_squares_code(-torch.ones(5), 15, "one rail") == (1.0, 0.0)
    assert least_squares_code(torch.full((5,), 2.5), 15, "shift") == (1.0, 2.5)
