from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from otters_lab.ttfs.functional import (
    binary_state,
    binary_weight,
    hybrid_levels,
    least_squares_scale,
    one_rail_levels,
    read_table,
    two_rail_levels,
)

ONE = torch.ones(())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("top", [3, 15, 63])
def test_two_rails_round_half_away_from_zero_and_nothing_below_a_half_up(dtype: torch.dtype, top: int) -> None:
    halves = torch.arange(top, dtype=dtype) + 0.5
    below = torch.nextafter(halves, torch.zeros_like(halves))
    one = torch.ones((), dtype=dtype)
    for sign in (1, -1):
        assert two_rail_levels(sign * halves, one, top).tolist() == [sign * (m + 1) for m in range(top)]
        assert two_rail_levels(sign * below, one, top).tolist() == [sign * m for m in range(top)]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.integers(2, 6))
@settings(max_examples=300, deadline=None)
def test_levels_agree_with_a_scalar_rule_written_in_plain_python(x: float, alpha: float, bits: int) -> None:
    top = 2**bits - 1
    ratio = x / alpha
    whole = math.floor(abs(ratio))
    expected = min(top, whole + (abs(ratio) - whole >= 0.5))
    value, scale = torch.tensor([x], dtype=torch.float64), torch.tensor(alpha, dtype=torch.float64)
    assert two_rail_levels(value, scale, top).item() == math.copysign(expected, x)
    assert one_rail_levels(value, scale, top).item() == (expected if x > 0 else 0)


def test_levels_saturate_at_T_and_one_rail_cuts_negatives() -> None:
    x = torch.tensor([-99.0, -0.2, 0.0, 0.5, 14.4, 15.6, 1e30])
    assert two_rail_levels(x, ONE, 15).tolist() == [-15, 0, 0, 1, 14, 15, 15]
    assert one_rail_levels(x, ONE, 15).tolist() == [0, 0, 0, 1, 14, 15, 15]


def test_zero_weights_count_as_plus_one_and_rows_are_scaled_by_their_mean_magnitude() -> None:
    signs, scale = binary_weight(torch.tensor([[0.0, -0.0, -2.0, 2.0], [0.0, 0.0, 0.0, 0.0]]))
    assert signs.tolist() == [[1, 1, -1, 1], [1, 1, 1, 1]]
    assert scale.tolist() == [1.0, 0.0]


def test_the_gradient_of_a_binary_weight_s_value_is_passed_straight_to_the_weight() -> None:
    weight = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight[2] = 0.0
    weight.requires_grad_(True)
    signs, scale = binary_weight(weight)
    weights = torch.randn(3, 7, dtype=torch.float64)
    (signs * scale.detach()[:, None] * weights).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad[:2], weights[:2])
    assert torch.equal(weight.grad[2], torch.zeros(7, dtype=torch.float64)), "a row of zeros has no scale to pass it by"
    weight.grad = None
    (binary_weight(weight)[1] * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    torch.testing.assert_close(weight.grad, weight.sign() * torch.tensor([[1.0], [2.0], [3.0]]) / 7)


def test_a_binary_state_passes_gradient_only_within_its_clip() -> None:
    x = torch.tensor([-7.0, -1.0, 0.0, 5.9, 6.1], requires_grad=True)
    signs = binary_state(x, torch.tensor(2.0))
    assert signs.tolist() == [-1, -1, 1, 1, 1]
    signs.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0.5, 0.5, 0.5, 0]


@pytest.mark.parametrize("lines", [1, 3])
def test_a_table_is_read_at_the_time_index_of_the_level_and_silence_reads_nothing(lines: int) -> None:
    table = torch.arange(2 * lines * 4, dtype=torch.float64).reshape(2, lines, 4) + 100  # T = 3
    nominal = torch.tensor([[[3, -1, 0], [2, 2, -3]], [[0, 0, 1], [-2, 3, 3]]], dtype=torch.float64)
    levels = read_table(table, nominal, 3)
    for b, t, i in np.ndindex(2, 2, 3):
        level = int(nominal[b, t, i])
        expected = 0.0 if level == 0 else math.copysign(table[b, i % lines, 3 - abs(level)].item(), level)
        assert levels[b, t, i] == expected


def reference_layer(x: Tensor, alpha: Tensor, weight: Tensor, table: Tensor | None, top: int, signed: bool) -> Tensor:
    """Learned step size with a straight-through estimator, out of autograd's own parts; noise enters as a constant."""
    ratio = (x / alpha).clamp(-top if signed else 0, top)
    nominal = ratio.detach().sign() * (ratio.detach().abs() + 0.5).floor()
    value = alpha * (ratio + (nominal - ratio).detach())
    if table is not None:
        read = torch.zeros_like(nominal)
        for b, t, i in np.ndindex(*x.shape):
            level = int(nominal[b, t, i])
            if level:
                read[b, t, i] = np.sign(level) * table[b, i if table.shape[1] > 1 else 0, top - abs(level)]
        value = value + (alpha * read - value).detach()
    return value @ weight.T


@pytest.mark.parametrize("place", ["ideal", "layer", "line"])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4])
def test_the_hybrid_gradient_is_the_learned_step_size_rule_with_and_without_noise(
    place: str, signed: bool, bits: int
) -> None:
    top, rng = 2**bits - 1, torch.Generator().manual_seed(bits)
    x = torch.randn(3, 4, 5, generator=rng, dtype=torch.float64) * 1.5
    weight = torch.randn(6, 5, generator=rng, dtype=torch.float64)
    out_grad = torch.randn(3, 4, 6, generator=rng, dtype=torch.float64)
    table = None
    if place != "ideal":
        lines = 1 if place == "layer" else 5
        ideal = torch.arange(top, -1, -1, dtype=torch.float64)
        table = ideal + 0.3 * torch.randn(3, lines, top + 1, generator=rng, dtype=torch.float64)
    grads = []
    for ours in (True, False):
        leaves = [t.clone().requires_grad_(True) for t in (x, torch.tensor(0.2, dtype=torch.float64), weight)]
        a, s, w = leaves
        y = (
            s * (hybrid_levels(a, s, table, top, signed) @ w.T)
            if ours
            else reference_layer(a, s, w, table, top, signed)
        )
        y.backward(out_grad)
        grads.append([y.detach(), *(leaf.grad for leaf in leaves)])
    assert (x.abs() / 0.2 > top).any() or bits == 4, "some inputs saturate"
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_the_gradient_to_the_input_does_not_depend_on_the_device() -> None:
    rng = torch.Generator().manual_seed(0)
    x, weights = torch.randn(2, 9, generator=rng), torch.randn(2, 9, generator=rng)
    tables = [None, torch.rand(2, 1, 16, generator=rng) * 15]
    found = []
    for table in tables:
        leaf = x.clone().requires_grad_(True)
        (hybrid_levels(leaf, torch.tensor(0.1), table, 15) * weights).sum().backward()
        found.append(leaf.grad)
    assert found[0] is not None
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("signed", [True, False])
def test_the_scale_from_statistics_is_as_good_as_a_fine_search(signed: bool) -> None:
    x = torch.randn(4000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    levels = two_rail_levels if signed else one_rail_levels

    def error(alpha: float) -> float:
        scale = torch.tensor(alpha, dtype=torch.float64)
        return float((scale * levels(x, scale, 15) - x).square().mean())

    found = error(float(least_squares_scale(x, 15, signed)))
    best = min(error(alpha) for alpha in np.linspace(0.02, 0.5, 600))
    assert found <= 1.02 * best
    assert least_squares_scale(torch.zeros(5), 15, signed) == 1.0
