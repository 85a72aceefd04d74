from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otters_lab.core.errors import InputError
from otters_lab.energy.constants import DENSE, EVENT
from otters_lab.energy.counter import compares, count
from otters_lab.energy.networks import (
    DIGITAL_TTFS,
    FP32,
    INT8,
    OTTERS,
    OTTERS_4,
    OTTERS_PP,
    QNN,
    SORBET,
    SPIKE_LM,
    SPIKING_BERT,
)
from otters_lab.energy.settings import Settings
from otters_lab.energy.shapes import at_length, shape_sites


def amounts(sites, network, **settings):
    found: dict[str, float] = {}
    for one in count(sites, network, Settings(**settings)):
        found[one.term] = found.get(one.term, 0.0) + one.amount
    return found


def test_the_paper_s_products_are_counted_as_it_counts_them():
    by_name = {site.name: site for site in shape_sites(1, 768, 3072, 512, 1.0)}
    assert by_name["layer.0.up"].mean_synaptic_operations == 512 * 768 * 3072 == pytest.approx(1.208e9, rel=1e-3)
    for name in ("queries", "probabilities"):
        assert by_name[f"layer.0.{name}"].dense_operations == 512 * 512 * 768 == pytest.approx(2.013e8, rel=1e-3)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 40), st.integers(1, 20), st.floats(0, 1))
def test_a_shape_s_operations_have_a_closed_form(layers, heads, ffn, n, rate):
    d = 8 * heads
    sites = shape_sites(layers, d, ffn, n, rate, heads=heads)
    dense = layers * (4 * n * d * d + 2 * n * n * d + 2 * n * d * ffn)
    assert amounts(sites, QNN)["synaptic operations"] == dense
    assert amounts(sites, OTTERS)["synaptic operations"] == pytest.approx(rate * dense)
    assert amounts(sites, SORBET)["synaptic operations"] == 16 * dense
    found = amounts(sites, FP32, hops=1.0)
    assert found["softmax"] == layers * heads * n * n * (5 + 2 + 1)
    assert found["LayerNorm"] == 2 * layers * n * d * (3 + 2)
    assert found["GELU"] == layers * n * ffn * 7
    assert found["residual sum"] == 2 * layers * n * d
    assert found["residual movement"] == 2 * layers * n * d * 32
    assert found["KV writes"] == 32 * 2 * layers * n * d


def test_a_neuron_that_is_silent_compares_all_along_both_rails_and_one_that_fires_at_once_on_one():
    silent, loud = (shape_sites(1, 8, 8, 1, rate, heads=1, steps=15)[0] for rate in (0.0, 1.0))
    assert compares(silent, 15) == 8 * 2 * 15
    at_once = loud.model_copy(update={"level_histogram": [0.0] * 15 + [1.0]})
    assert compares(at_once, 15) == 8 * (15 + 1)
    assert compares(at_once, 31) == 8 * (31 + 1)


def test_signs_are_moved_where_neurons_are_signed(small):
    found = amounts(small, OTTERS, hops=2.0)
    signed = sum(site.mean_spikes for site in small if site.rails == 2)
    assert found["sign movement"] == pytest.approx(2 * signed)
    bits = sum(site.mean_spikes * math.ceil(math.log2(site.heads * site.d_in)) for site in small)
    assert found["spike movement"] == pytest.approx(2 * bits)
    assert "sign movement" not in amounts(small, SORBET)
    assert amounts(small, SPIKE_LM, hops=1.0)["sign movement"] == 4 * sum(site.neurons for site in small)


def test_dense_messages_carry_every_value_and_event_messages_every_spike(small):
    neurons = sum(site.neurons for site in small)
    assert amounts(small, OTTERS, hops=1.0, encoding="dense")["value movement"] == 4 * neurons
    assert amounts(small, QNN, hops=1.0)["value movement"] == 4 * neurons
    assert amounts(small, SORBET, hops=1.0, encoding="dense")["value movement"] == 16 * neurons
    priced = {one.term: one.factors for one in count(small, SORBET, Settings())}
    assert priced["spike movement"] == (EVENT, "spike rate of Sorbet")
    assert priced["residual movement"] == (DENSE,)


def test_four_bit_keys_and_values_cost_four_times_the_reads_and_writes_and_no_sign_compare(small):
    one, four = amounts(small, OTTERS), amounts(small, OTTERS_4)
    for term in ("KV reads", "KV writes", "KV movement"):
        assert four[term] == 4 * one[term]
    assert one["threshold compares"] - four["threshold compares"] == 2 * 2 * 6 * 32
    assert one["weight reads"] == four["weight reads"]


def test_a_digital_decay_costs_a_multiply_a_synaptic_operation_and_no_device(small):
    found = count(small, DIGITAL_TTFS, Settings())
    multiplies = sum(one.amount for one in found if one.factors == ("int8 multiply",))
    assert multiplies == sum(site.mean_synaptic_operations for site in small)
    assert not {"light pulses", "device reads", "ADC conversions"} & {one.term for one in found}


def test_weights_of_baselines_are_compared_at_equal_bits_or_as_published(small):
    equal, own = (amounts(small, SPIKING_BERT, baseline_bits=bits)["weight reads"] for bits in ("equal", "own"))
    assert own == 32 * equal
    assert amounts(small, INT8)["weight reads"] == 8 * amounts(small, QNN)["weight reads"]


def test_sharing_goes_from_a_device_a_synapse_to_a_device_a_line(small):
    spikes = sum(site.mean_spikes for site in small)
    lines = sum(site.neurons * site.rails for site in small)
    alone, whole = (amounts(small, OTTERS_PP, sharing=k) for k in (1, 1024))
    assert alone["device reads"] == amounts(small, OTTERS)["device reads"]
    assert alone["device reads"] == sum(site.mean_synaptic_operations for site in small)
    assert (whole["device reads"], whole["ADC conversions"], whole["light pulses"]) == (spikes, spikes, lines)
    reads = [amounts(small, OTTERS_PP, sharing=k)["device reads"] for k in (1, 2, 4, 8, 16, 64)]
    assert reads == sorted(reads, reverse=True)


def test_light_comes_once_a_window_or_once_a_spike(small):
    assert amounts(small, OTTERS_PP, sharing=64, light="spike")["light pulses"] == sum(s.mean_spikes for s in small)
    silent = shape_sites(1, 32, 48, 6, 0.0, heads=4)
    assert amounts(silent, OTTERS, light="spike")["light pulses"] == 0
    assert amounts(silent, OTTERS, light="window")["light pulses"] > 0


def test_a_level_read_once_a_synapse_is_not_made_fewer_by_sharing_but_its_light_is(small):
    shared, alone = (amounts(small, OTTERS_PP, level_read="synapse", sharing=k) for k in (1024, 1))
    assert shared["device reads"] == alone["device reads"]
    assert shared["light pulses"] < alone["light pulses"]


def test_a_device_that_a_pulse_serves_for_few_reads_is_lit_again():
    (site, *_) = shape_sites(1, 32, 32, 1, 1.0, heads=4)
    sites = [site.model_copy(update={"name": "layer.0.only"})]
    often = {"level_read": "synapse", "sharing": 32, "light": "spike"}
    assert amounts(sites, OTTERS_PP, **often)["light pulses"] == 32
    assert amounts(sites, OTTERS_PP, **often, reads_a_pulse=8)["light pulses"] == 32 * 4
    windowed = amounts(sites, OTTERS_PP, **{**often, "light": "window"}, reads_a_pulse=8)["light pulses"]
    assert windowed == 32 * 2 + 32 * 3


def test_a_relu_in_front_of_the_last_linear_is_known_by_its_one_rail():
    assert "ReLU" in amounts(shape_sites(1, 32, 48, 6, 0.2, heads=4, relu=True), QNN)
    assert "ReLU" not in amounts(shape_sites(1, 32, 48, 6, 0.2, heads=4), QNN)


def test_another_length_is_the_shape_of_that_length(small):
    longer = shape_sites(2, 32, 48, 24, 0.25, heads=4)
    for found, expected in zip(at_length(small, 24), longer, strict=True):
        histogram = {"level_histogram"}
        assert found.model_dump(exclude=histogram) == pytest.approx(expected.model_dump(exclude=histogram))


@pytest.mark.parametrize(("key", "value"), [("layers", 0), ("heads", 3), ("rate", 1.5), ("length", 0)])
def test_a_shape_that_cannot_be_is_refused(key, value):
    shape = {"layers": 1, "hidden": 32, "ffn": 8, "length": 4, "rate": 0.2, "heads": 4} | {key: value}
    with pytest.raises(InputError, match=key):
        shape_sites(**shape)
