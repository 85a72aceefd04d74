"""With an ideal device the spiking path is the quantised path, to the last bit.

Three that share no code: the event simulator, the tables of thresholds, and here the quantised network by its
definition, y = s*(alpha*N + shift*R) + b and m = floor(|y|/alpha + 1/2), in rational numbers.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from otters_lab.ttfs import events
from otters_lab.ttfs.events import Simulator
from otters_lab.ttfs.exact import ClosedForm
from otters_lab.ttfs.functional import Coding, weight_signs
from otters_lab.ttfs.layers import SignNeurons, SiteShape, TTFSCode, TTFSLinear

ALL_BITS = range(2, 7)
CODINGS: tuple[Coding, ...] = get_args(Coding)
DTYPES = (torch.float32, torch.float64)
KINDS = ("random", "ties", "near ties", "silent", "saturated", "negative", "no weight")


@dataclass(frozen=True)
class Case:
    """A layer whose neurons fire, and real inputs [reads, in]."""

    layer: TTFSLinear
    x: Tensor


def make_code(coding: Coding, bits: int, alpha: float, shift: float, dead_zone: int = 0) -> TTFSCode:
    code = TTFSCode(SiteShape("query", 1, 1, 0), bits, coding, 0 if coding == "shift" else dead_zone)
    with torch.no_grad():
        code.alpha.fill_(alpha)
        if code.shift is not None:
            code.shift.fill_(shift)
    return code


def next_to_thresholds(code: TTFSCode, rng: np.random.Generator, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Values at, one float below and one float above where a level begins, of either sign."""
    steps = rng.integers(-code.top - 1, code.top + 2, shape) + 0.5
    shift = 0.0 if code.shift is None else code.shift.item()
    exact = torch.from_numpy(steps * code.alpha.item() + shift).to(dtype)
    towards = torch.from_numpy(rng.choice([-np.inf, np.inf], shape)).to(dtype)
    return torch.where(torch.from_numpy(rng.random(shape) < 0.5), torch.nextafter(exact, towards), exact)


def make_case(kind: str, bits: int, codings: tuple[Coding, Coding], dtype: torch.dtype, seed: int, reads: int) -> Case:
    rng = np.random.default_rng([seed, bits, KINDS.index(kind), *(CODINGS.index(c) for c in codings)])
    torch.set_default_dtype(dtype)
    try:
        top, fan_in, rows = 2**bits - 1, int(rng.integers(1, 40)), int(rng.integers(1, 24))
        per = "row" if rng.random() < 0.6 else "tensor"
        a_in, a_out = rng.random() * 0.3 + 0.01, rng.random() * 0.3 + 0.01
        shifts = rng.standard_normal(2) * 0.3
        silent = [int(n) for n in rng.integers(0, top, 2) * (rng.random(2) < 0.4)]
        weight, bias = rng.standard_normal((rows, fan_in)) * 0.2, rng.standard_normal(rows) * 0.3
        if kind == "ties":  # membranes are multiples of alpha_out/2: half of them stand on a threshold exactly
            unit = float(2.0 ** -rng.integers(0, 9)) * float(rng.integers(1, 9))
            per, a_in, a_out = "row", 2 * unit, 2 * unit
            weight = np.sign(weight) * 0.5 * rng.integers(1, 4, (rows, 1))
            bias, shifts = unit * rng.integers(-4, 5, rows), 2 * unit * rng.integers(-2, 3, 2)
        elif kind == "near ties":  # alpha_out/(s*alpha_in) an integer but for rounding: where floats go wrong
            bias, shifts = bias * 0, shifts * 0
            scale = torch.full((fan_in,), float(rng.random() * 0.2)).mean()
            weight = np.sign(weight) * float(scale)
            a_out = float(scale) * a_in * 2 * float(rng.integers(1, 4))
        elif kind == "saturated":
            a_out = 1e-3
        elif kind == "negative":
            bias = -np.abs(bias)
        elif kind == "no weight":
            weight, bias = weight * 0, a_out * (rng.integers(-2 * top, 2 * top + 1, rows) / 2)
        linear = nn.Linear(fan_in, rows, bias=bool(rng.random() < 0.9))
        made = make_code(codings[1], bits, a_out, shifts[1], silent[1])
        layer = TTFSLinear(linear, bits, codings[0], per, made)  # type: ignore[arg-type]
        layer.code = make_code(codings[0], bits, a_in, shifts[0], silent[0])
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(bias))
        x = torch.from_numpy(rng.standard_normal((reads, fan_in)) * a_in * top * 0.7 + shifts[0] * 0.5).to(dtype)
        half = reads // 2
        x[:half] = next_to_thresholds(layer.code, rng, (half, fan_in), dtype)
        if kind == "silent":
            x = torch.zeros_like(x) if layer.code.shift is None else layer.code.shift.detach() - x.abs()
        elif kind == "saturated":
            x = x * 1e3
        elif kind == "negative":
            x = -x.abs()
        return Case(layer, x)
    finally:
        torch.set_default_dtype(torch.float32)


def cases(per_setting: int, reads: int, kinds: tuple[str, ...] = KINDS) -> Iterator[Case]:
    for settings in itertools.product(kinds, ALL_BITS, itertools.product(CODINGS, CODINGS), DTYPES):
        for seed in range(per_setting):
            yield make_case(*settings, seed, reads)


def integers(values: list[Fraction], unit: int) -> Any:
    return np.array([int(value * unit) for value in values], dtype=object)


def fractions(x: Tensor) -> list[Fraction]:
    return [Fraction(value) for value in x.detach().double().flatten().tolist()]


def by_definition(y: Any, alpha: int, code: TTFSCode) -> Any:
    """m = clip(floor(|y|/alpha + 1/2)), 0 in the dead zone, with the sign of y, or of what is positive alone; integers
    over one unit.
    """
    m = np.minimum((2 * abs(y) + alpha) // (2 * alpha), code.top)
    m = m * (m > code.dead_zone)
    return m * (np.sign(y) if code.coding == "two rails" else y > 0)


def quantised_levels(code: TTFSCode, x: Tensor) -> Any:
    values, alpha = fractions(x), Fraction(code.alpha.item())
    shift = Fraction(0) if code.shift is None else Fraction(code.shift.item())
    unit = max(part.denominator for part in [*values, alpha, shift])
    return by_definition(integers([v - shift for v in values], unit), int(alpha * unit), code).reshape(tuple(x.shape))


def quantised_neurons(layer: TTFSLinear, levels: Any) -> Any:
    """The levels (or signs) behind a 1-bit layer, each number a rational over one power of two."""
    weight, code, neurons = layer.weight.detach(), layer.code, layer.neurons
    signs = np.where(weight.numpy() >= 0, 1, -1).astype(object)
    scale = weight.abs().mean(dim=1) if layer.per == "row" else weight.abs().mean().expand(len(weight))
    s, bias = fractions(scale), [Fraction(0)] * len(weight) if layer.bias is None else fractions(layer.bias)
    alpha, out = Fraction(code.alpha.item()), Fraction(1)
    shift_in = Fraction(0) if code.shift is None else Fraction(code.shift.item())
    shift_out = Fraction(0)
    if isinstance(neurons, TTFSCode):
        out = Fraction(neurons.alpha.item())
        shift_out = Fraction(0) if neurons.shift is None else Fraction(neurons.shift.item())
    units = [part.denominator for part in (alpha, shift_in, out, shift_out)]
    unit = max(part.denominator for part in s) * max(units) * max(part.denominator for part in bias)
    values = levels * int(alpha * max(units)) + int(shift_in * max(units))  # of the lines, over max(units)
    y = (values @ signs.T) * integers(s, unit // max(units)) + integers(bias, unit) - int(shift_out * unit)
    if not isinstance(neurons, TTFSCode):
        return np.where(y >= 0, 1, -1)
    return by_definition(y, int(out * unit), neurons)


def run(machine: Any, case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """(levels of the lines, sums, what fired)."""
    levels = machine.encode(case.layer.code, case.x)
    sums = machine.accumulate(case.layer.code, levels, weight_signs(case.layer.weight.detach()))
    return levels, sums, machine.fire(case.layer, sums)


def compare(case: Case) -> int:
    """Asserts that all three agree on every bit; returns the neurons compared."""
    simulator = Simulator()
    found = run(simulator, case)
    for event, table in zip(found, run(ClosedForm(), case), strict=True):
        assert event.dtype == table.dtype
        assert torch.equal(event, table)
    levels = quantised_levels(case.layer.code, case.x)
    assert np.array_equal(found[0].numpy(), levels.astype(float))
    assert np.array_equal(found[2].numpy(), quantised_neurons(case.layer, levels).astype(float))
    trains = simulator.record().spikes
    assert all((train.ticks < train.top).sum(axis=0).max() <= 1 for train in trains), "a neuron fired both its rails"
    return case.x.numel() + found[2].numel()


def test_events_tables_and_definition_agree_on_a_million_neurons() -> None:
    assert sum(compare(case) for case in cases(per_setting=1, reads=60)) > 1e6


@pytest.mark.long
def test_events_tables_and_definition_agree_on_ten_million_neurons() -> None:
    assert sum(compare(case) for case in cases(per_setting=3, reads=170)) > 1e7


@pytest.mark.parametrize("dtype", DTYPES)
def test_signs_of_keys_and_values_agree_and_a_membrane_of_zero_is_positive(dtype: torch.dtype) -> None:
    zeros = 0
    for kind, bits, coding in itertools.product(("random", "ties", "no weight"), ALL_BITS, CODINGS):
        case = make_case(kind, bits, (coding, coding), dtype, 0, 20)
        case.layer.neurons = SignNeurons(1, case.layer.weight.shape[0], per_channel=True)
        levels, sums, signs = run(Simulator(), case)
        assert torch.equal(signs, run(ClosedForm(), case)[2])
        assert np.array_equal(signs.numpy(), quantised_neurons(case.layer, levels.numpy().astype(int).astype(object)))
        if case.layer.bias is None and case.layer.code.shift is None:
            assert (signs[sums == 0] == 1).all()
            zeros += int((sums == 0).sum())
    assert zeros > 0


def test_the_ties_of_the_test_are_real_and_fire_away_from_zero() -> None:
    on_a_half = 0
    for case in cases(2, 8, kinds=("ties",)):
        _, sums, fired = run(Simulator(), case)
        layer, neurons = case.layer, case.layer.neurons
        if layer.code.coding != "two rails" or not isinstance(neurons, TTFSCode) or neurons.coding != "two rails":
            continue
        y = sums * layer.weight.abs().mean(dim=1) * layer.code.alpha  # exact: all are multiples of one power of two
        ratio = (y if layer.bias is None else y + layer.bias).detach() / neurons.alpha.detach()
        tie = (ratio.abs() % 1 == 0.5) & (ratio.abs() < neurons.top) & (ratio.abs() > neurons.dead_zone)
        on_a_half += int(tie.sum())
        assert torch.equal(fired[tie].abs(), ratio[tie].abs() + 0.5)
    assert on_a_half > 100


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("coding", CODINGS)
def test_values_a_float_from_a_threshold_fall_on_their_side_of_it(coding: Coding, dtype: torch.dtype) -> None:
    rng, machine = np.random.default_rng(7), ClosedForm()
    for bits in ALL_BITS:
        for alpha, shift in ((0.1, 0.3), (1.0, 0.0), (1 / 3, -1e-3), (1e-30, 1e-30), (3e5, -2.0)):
            code = make_code(coding, bits, alpha, shift).to(dtype)
            x = next_to_thresholds(code, rng, (40, 25), dtype)
            levels = Simulator().encode(code, x)
            assert torch.equal(levels, machine.encode(code, x))
            assert np.array_equal(levels.numpy(), quantised_levels(code, x).astype(float))


def test_sums_come_from_spikes_and_are_the_integers_that_int64_gives() -> None:
    rng = torch.Generator().manual_seed(0)
    signs, levels = torch.randn(64, 3072, generator=rng).sign(), torch.randint(-63, 64, (32, 3072), generator=rng)
    code = make_code("two rails", 6, 1.0, 0.0)
    for machine in (Simulator(), ClosedForm()):
        assert torch.equal(machine.accumulate(code, levels.float(), signs).long(), levels @ signs.T.long())


def test_values_wider_than_their_code_s_parameters_meet_exact_thresholds() -> None:
    rng = np.random.default_rng(8)
    for coding, (narrow, wide) in itertools.product(CODINGS, [(torch.bfloat16, torch.float32), DTYPES]):
        code = make_code(coding, 4, 0.1, 0.3).to(narrow)
        x = next_to_thresholds(code, rng, (40, 25), wide)
        levels = ClosedForm().encode(code, x)
        assert torch.equal(Simulator().encode(code, x), levels)
        assert np.array_equal(levels.numpy(), quantised_levels(code, x).astype(float))


@pytest.mark.parametrize("machine", [ClosedForm(), Simulator()])
def test_a_step_that_is_not_positive_is_refused(machine: Any) -> None:
    for alpha in (0.0, -0.1):
        with pytest.raises(ValueError, match="positive"):
            machine.encode(make_code("two rails", 4, alpha, 0.0), torch.ones(1, 1))


def test_silent_input_makes_no_spikes() -> None:
    case = make_case("silent", 4, ("two rails", "two rails"), torch.float32, 0, 8)
    layer, simulator = case.layer, Simulator()
    layer.bias = None
    _, sums, fired = run(simulator, case)
    assert simulator.record().total() == 0
    assert not sums.any()
    assert not fired.any()


def disagreements(**options: Any) -> int:
    kinds = ("random", "ties")
    settings = itertools.product(kinds, (3, 4), [("two rails", "two rails"), ("shift", "two rails")], DTYPES)
    found = [make_case(*setting, 3, 8) for setting in settings]  # type: ignore[arg-type]
    pairs = [(run(Simulator(**options), case), run(ClosedForm(), case)) for case in found]
    return sum(not all(map(torch.equal, events, tables)) for events, tables in pairs)


def test_equality_fails_when_the_threshold_must_be_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert disagreements() == 0
    monkeypatch.setattr(events, "reaches", operator.gt)
    assert disagreements() > 0


def test_equality_fails_without_a_precharge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "precharge", lambda step: 0)
    assert disagreements() > 0


def test_equality_fails_when_a_rail_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(events.RAILS, "two rails", (1,))
    assert disagreements() > 0


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("by", [-1, 1])
def test_equality_fails_when_level_times_are_a_tick_off(bits: int, by: int) -> None:
    top = 2**bits - 1
    case = make_case("random", bits, ("two rails", "two rails"), torch.float64, 0, 8)
    off = [min(top, max(0, top - k - by)) for k in range(top + 1)]
    assert not torch.equal(run(Simulator(off), case)[1], run(ClosedForm(), case)[1])


def test_a_device_that_is_not_ideal_is_read_exactly() -> None:
    code = make_code("two rails", 2, 1.0, 0.0)
    device = [Fraction(3), Fraction(7, 3), Fraction(1, 3), Fraction(0)]
    sums = Simulator(device).accumulate(code, torch.tensor([[3.0, -2.0, 1.0, 0.0]]), torch.ones(1, 4))
    assert sums.item() == 1.0  # 3 - 7/3 + 1/3


def test_membranes_rise_only_when_a_spike_arrives_and_end_where_the_neuron_fires() -> None:
    layer = TTFSLinear(nn.Linear(2, 2), 2, "two rails", "row", make_code("two rails", 2, 1.0, 0.0))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, 0.5], [0.25, -0.25]]))
        layer.bias.zero_()
        layer.code.alpha.fill_(2.0)
    simulator = Simulator(watch=2)
    run(simulator, Case(layer, torch.tensor([[6.0, -2.0]])))
    first, second = simulator.record().membranes
    assert first.charging == (3.0, 3.0, 2.0, 2.0)
    assert second.charging == (1.5, 1.5, 2.0, 2.0)
    assert (first.potential, first.rail, first.tick, first.staircase) == (2.0, 1, 1, (3.0, 2.0, 1.0))
    assert (first.input_window, first.window) == (0, 1)


def test_what_is_no_level_no_sign_or_not_finite_is_refused() -> None:
    code = make_code("one rail", 2, 1.0, 0.0)
    for levels in (torch.tensor([[-1.0]]), torch.tensor([[4.0]]), torch.tensor([[0.5]])):
        with pytest.raises(ValueError, match="levels"):
            Simulator().accumulate(code, levels, torch.ones(1, 1))
    with pytest.raises(ValueError, match="synapse"):
        Simulator().accumulate(code, torch.ones(1, 1), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="finite"):
        Simulator().encode(code, torch.tensor([[torch.nan]]))
    with pytest.raises(ValueError, match="device"):
        Simulator([1, 0]).accumulate(code, torch.ones(1, 1), torch.ones(1, 1))
