"""With an ideal device the spiking path is the quantised path, to the last bit."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from otters_lab.ttfs import events
from otters_lab.ttfs.code import IdealReader
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert
from otters_lab.ttfs.device import draw, using
from otters_lab.ttfs.events import Spike, run_layer
from otters_lab.ttfs.exact import integer_thresholds
from otters_lab.ttfs.functional import binary_weight, two_rail_levels
from otters_lab.ttfs.layers import TTFSLinear

ALL_BITS = range(2, 7)
KINDS = ("random", "ties", "silent", "saturated", "negative", "no weight")


@dataclass(frozen=True)
class Layer:
    """A layer and one input to it."""

    levels: npt.NDArray[np.int64]
    signs: npt.NDArray[np.int64]
    scale: list[float]
    alpha_in: float
    bias: list[float]
    alpha_out: float


def layers(kind: str, top: int, count: int, seed: int) -> Iterator[Layer]:
    rng = np.random.default_rng([seed, top, KINDS.index(kind)])
    for _ in range(count):
        fan_in, rows = int(rng.integers(1, 20)), int(rng.integers(1, 9))
        levels = rng.integers(-top, top + 1, fan_in) * (rng.random(fan_in) < 0.6)
        scale, bias = rng.random(rows) * 0.2, rng.standard_normal(rows) * 0.3
        alpha_in, alpha_out = rng.random() * 0.3 + 0.01, rng.random() * 0.3 + 0.01
        if kind == "ties":  # every membrane is a multiple of alpha_out/2: half of them exactly on a threshold
            unit = float(2.0 ** -rng.integers(0, 9)) * float(rng.integers(1, 9))
            alpha_in, scale = 2 * unit, np.full(rows, 0.5) * rng.integers(1, 4, rows)
            bias, alpha_out = unit * rng.integers(-4, 5, rows), 2 * unit
        elif kind == "silent":
            levels = levels * 0
        elif kind == "saturated":
            levels, alpha_out = np.full(fan_in, top), 1e-3
        elif kind == "negative":
            levels, bias = -np.abs(levels), -np.abs(bias)
        elif kind == "no weight":
            scale = scale * 0
            bias = alpha_out * (rng.integers(-2 * top, 2 * top + 1, rows) / 2)
        yield Layer(
            levels,
            rng.choice([-1, 1], (rows, fan_in)),
            scale.tolist(),
            float(alpha_in),
            bias.tolist(),
            float(alpha_out),
        )


def to_spikes(levels: npt.NDArray[np.int64], top: int) -> list[Spike]:
    return [Spike(i, 1 if m > 0 else -1, top - abs(int(m))) for i, m in enumerate(levels) if m != 0]


def ideal_device(top: int) -> list[Fraction]:
    return [Fraction(top - k, top) for k in range(top + 1)]


def simulated(
    layer: Layer, top: int, device: list[Fraction] | None = None, rails: tuple[int, ...] = (1, -1)
) -> list[int]:
    spikes = [s for s in to_spikes(layer.levels, top) if s.rail in rails]
    run = run_layer(spikes, layer.signs.tolist(), layer.scale, layer.alpha_in, layer.bias, layer.alpha_out,
                    device or ideal_device(top))  # fmt: skip
    out = [0] * len(layer.scale)
    for spike in run.spikes:
        assert out[spike.neuron] == 0, "a neuron fired twice, or both its rails"
        out[spike.neuron] = spike.rail * (top - spike.tick)
    return out


def closed_form(layer: Layer, top: int) -> list[int]:
    table = integer_thresholds(layer.scale, layer.alpha_in, layer.bias, layer.alpha_out, top, len(layer.levels))
    return [int(m) for m in table.levels(layer.signs @ layer.levels)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_simulated_events_and_integer_thresholds_fire_the_same_levels(kind: str, bits: int) -> None:
    top = 2**bits - 1
    for layer in layers(kind, top, count=25, seed=0):
        assert simulated(layer, top) == closed_form(layer, top)


def test_the_ties_of_the_test_are_real_and_fire_away_from_zero() -> None:
    on_a_half = 0
    for layer in layers("ties", 15, count=25, seed=0):
        sums = layer.signs @ layer.levels
        for n, s, b, m in zip(sums, layer.scale, layer.bias, simulated(layer, 15), strict=True):
            ratio = (Fraction(s) * Fraction(layer.alpha_in) * int(n) + Fraction(b)) / Fraction(layer.alpha_out)
            if ratio.denominator == 2 and abs(ratio) < 15:
                on_a_half += 1
                assert abs(m) == abs(ratio) + Fraction(1, 2)
    assert on_a_half > 20


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_simulated_events_and_the_torch_layer_fire_the_same_levels_where_floats_are_exact(
    bits: int, dtype: torch.dtype
) -> None:
    top = 2**bits - 1
    for layer in layers("ties", top, count=25, seed=1):
        linear = torch.nn.Linear(len(layer.levels), len(layer.scale), dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(layer.signs) * torch.tensor(layer.scale)[:, None])
            linear.bias.copy_(torch.tensor(layer.bias))
        site = TTFSLinear(linear, bits, signed=True).to(dtype)
        site.code.alpha.data.fill_(layer.alpha_in)
        y = site(torch.tensor(layer.levels, dtype=dtype)[None] * layer.alpha_in)
        found = two_rail_levels(y[0], torch.tensor(layer.alpha_out, dtype=dtype), top)
        assert [int(m) for m in found] == simulated(layer, top)


def disagreements(top: int, **mutation: Any) -> int:
    found = [layer for kind in ("random", "ties") for layer in layers(kind, top, count=15, seed=2)]
    return sum(simulated(layer, top, **mutation) != closed_form(layer, top) for layer in found)


def test_equality_fails_when_the_threshold_must_be_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert disagreements(15) == 0
    monkeypatch.setattr(events, "reaches", operator.gt)
    assert disagreements(15) > 0


def test_equality_fails_when_level_times_are_a_tick_late() -> None:
    late = [Fraction(max(0, 15 - k - 1), 15) for k in range(16)]
    assert disagreements(15, device=late) > 0


def test_equality_fails_when_a_rail_is_dropped() -> None:
    assert disagreements(15, rails=(1,)) > 0


def test_membranes_rise_only_when_a_spike_arrives_and_by_the_device_s_reading() -> None:
    device = [Fraction(3 - k, 3) for k in range(4)]
    run = run_layer([Spike(0, 1, 0), Spike(1, -1, 2)], [[1, 1], [1, -1]], [0.5, 0.25], 2.0, [0.0, 0.0], 1.0, device)
    assert run.membrane == ((3, Fraction(3, 2)), (3, Fraction(3, 2)), (2, 2), (2, 2))
    assert run.spikes == (Spike(0, 1, 1), Spike(1, 1, 1))


def test_a_neuron_that_spikes_twice_or_after_its_window_is_refused() -> None:
    device = ideal_device(3)
    with pytest.raises(ValueError, match="twice"):
        run_layer([Spike(0, 1, 0), Spike(0, -1, 1)], [[1]], [1.0], 1.0, [0.0], 1.0, device)
    with pytest.raises(ValueError, match="outside"):
        run_layer([Spike(0, 1, 3)], [[1]], [1.0], 1.0, [0.0], 1.0, device)


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("place", ["layer", "line"])
def test_a_whole_network_gives_the_same_bits_through_an_ideal_device_s_tables(
    plain_vit: Any, images: torch.Tensor, bits: int, dtype: torch.dtype, place: Any
) -> None:
    model = convert(plain_vit, CodeConfig(bits=bits)).to(dtype)
    images = images.to(dtype)
    calibrate_scales(model, images)
    tables = draw(model, IdealReader(bits), len(images), (0, 0), place)
    with torch.no_grad():
        quantised = model(images).logits
        with using(model, tables):
            spiking = model(images).logits
        with using(model, {name: torch.roll(table, 1, dims=-1) for name, table in tables.items()}):
            shifted = model(images).logits
    assert torch.equal(quantised, spiking)
    assert not torch.equal(quantised, shifted), "a shifted level table must show"


def test_sums_of_levels_are_the_integers_that_int64_gives() -> None:
    rng = torch.Generator().manual_seed(0)
    weight, levels = torch.randn(64, 3072, generator=rng), torch.randint(-63, 64, (32, 3072), generator=rng)
    signs, _ = binary_weight(weight)
    assert torch.equal((levels.float() @ signs.T).long(), levels @ signs.T.long())
