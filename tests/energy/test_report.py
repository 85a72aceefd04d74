from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otters_lab.core.errors import InputError
from otters_lab.energy.constants import LIGHT, READ, sourced
from otters_lab.energy.counter import Count, count
from otters_lab.energy.networks import DEVICE_NETWORKS, NETWORKS, QNN, SORBET
from otters_lab.energy.pricing import draw, drawn_J, interval, price, table
from otters_lab.energy.report import break_even_sentence, energy_of, energy_report, report_document
from otters_lab.energy.settings import Settings
from otters_lab.energy.shapes import shape_sites
from otters_lab.energy.sweeps import Crossing, Sweep, sentence, sweeps

choices = st.fixed_dictionaries(
    {
        "light": st.sampled_from(["window", "spike"]),
        "level_read": st.sampled_from(["once", "synapse"]),
        "sharing": st.integers(1, 100),
        "reads_a_pulse": st.none() | st.integers(1, 20),
        "adc_bits": st.integers(4, 8),
        "steps": st.none() | st.integers(1, 63),
        "hops": st.just("mesh") | st.floats(0, 10),
        "encoding": st.sampled_from(["event", "dense"]),
        "weights_in": st.sampled_from(["32 KiB", "256 KiB", "1 MiB", "DRAM"]),
        "wired_weights": st.booleans(),
        "baseline_bits": st.sampled_from(["equal", "own"]),
        "light_pulse_J": st.none() | st.floats(0, 1e-9),
        "device_read_J": st.none() | st.floats(0, 1e-9),
        "static_power_W": st.none() | st.floats(0, 1.0),
    }
)


@settings(max_examples=60)
@given(choices, st.sampled_from(NETWORKS), st.sampled_from(["open22", "horowitz45"]), st.floats(0, 1))
def test_nothing_is_lost_between_counts_terms_layers_and_the_total(chosen, network, preset, rate):
    sites, how = shape_sites(2, 16, 24, 3, rate, heads=2), Settings(**chosen)
    constants = table(how, preset)
    energy = energy_of(sites, network, constants, how)
    known = [term.energy_J for term in energy.terms if term.energy_J is not None]
    assert energy.known_J == math.fsum(known)
    assert {term.name for term in energy.terms if term.energy_J is None} == set(energy.unknown)
    # Once more without floats, from the counts.
    exact = Fraction(0)
    for one in count(sites, network, how):
        values = [constants[name].value for name in one.factors]
        if None not in values:
            exact += Fraction(one.amount) * math.prod(map(Fraction, values))
    if how.static_power_W is not None and network.code == "time":
        exact += Fraction(how.static_power_W) * Fraction(12e-4)
    assert energy.known_J == pytest.approx(float(exact), rel=1e-12)
    by_layer = math.fsum(value for by_term in energy.layers.values() for value in by_term.values())
    assert by_layer == pytest.approx(energy.known_J, rel=1e-12)


def test_an_interval_is_that_of_the_log_uniform_it_was_drawn_from():
    constants = {"x": sourced("x", 2.0, "J", "bit", "-", "somebody", low=1.0, high=4.0)}
    energy = price(QNN, [Count("layer", "term", 3.0, ("x",))], constants)
    found = interval(energy.known_J, drawn_J(energy, draw(constants, n=20_000)))
    assert found.value == 6.0
    # The standard error of a drawn 2.5 % quantile is 0.0011 in rank, 0.15 % in value.
    assert (found.low, found.high) == pytest.approx((3 * 4**0.025, 3 * 4**0.975), rel=0.01)


def test_two_networks_of_the_same_constants_have_a_ratio_without_spread():
    constants = {"x": sourced("x", 2.0, "J", "bit", "-", "somebody")}
    draws = draw(constants)
    once, twice = (drawn_J(price(QNN, [Count("l", "t", n, ("x",))], constants), draws) for n in (1.0, 2.0))
    assert np.ptp(twice / once) == pytest.approx(0.0, abs=1e-12)


def test_draws_do_not_depend_on_what_else_is_known():
    known, more = table(Settings(), "open22"), table(Settings(light_pulse_J=1e-15), "open22")
    assert set(draw(more)) - set(draw(known)) == {LIGHT}
    assert all(np.array_equal(drawn, draw(more)[name]) for name, drawn in draw(known).items())


@pytest.mark.parametrize("encoding", ["event", "dense"])
@pytest.mark.parametrize("network", DEVICE_NETWORKS)
def test_at_the_break_even_both_totals_meet(small, network, encoding):
    how = Settings(encoding=encoding, hops=1.0)
    report = energy_report(small, settings=how)
    checked = 0
    for one in report.break_even:
        if one.network != network.name or one.encoding != encoding or one.per_read_J.value <= 0:
            continue
        for light, read in ((0.0, one.per_read_J.value), (one.per_pulse_J.value, 0.0)):
            priced = energy_report(
                small, settings=how.model_copy(update={"light_pulse_J": light, "device_read_J": read})
            )
            totals = {energy.network.name: energy.known_J for energy in priced.networks}
            assert totals[one.network] == pytest.approx(totals[one.baseline])
        checked += 1
    assert checked >= 3


def test_a_break_even_is_open_where_a_digital_term_has_no_price_and_says_so(small):
    report = energy_report(small, "horowitz45")
    assert all(one.per_read_J.value is None for one in report.break_even)
    assert "no price" in break_even_sentence(report.break_even[0])


def test_without_spikes_no_read_breaks_even():
    report = energy_report(shape_sites(1, 16, 24, 3, 0.0, heads=2))
    assert all(one.per_read_J.value is None and one.pulses_a_read is None for one in report.break_even)


def test_sentences_tell_a_limit_with_its_interval_and_a_loss(small):
    by_pair = {(o.network, o.baseline, o.encoding): break_even_sentence(o) for o in energy_report(small).break_even}
    assert "costs less than" in by_pair["Otters++, shared devices", "BERT, fp32", "event"]
    assert "even with a free device" in by_pair["Otters, 1-bit KV", "digital TTFS", "event"]


def total(sites, network, **chosen):
    how = Settings(light_pulse_J=1e-15, device_read_J=1e-14, **chosen)
    return energy_of(sites, network, table(how, "open22"), how).known_J


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_more_of_anything_costs_no_less(small, network):
    def rising(energies):
        return all(a <= b + 1e-12 * abs(b) for a, b in pairwise(energies))

    assert rising([total(small, network, hops=float(hops)) for hops in range(5)])
    assert rising([total(small, network, adc_bits=bits) for bits in range(4, 9)])
    assert rising([total(small, network, steps=steps) for steps in (3, 7, 15, 31)])
    assert rising([total(small, network, weights_in=size) for size in ("32 KiB", "256 KiB", "1 MiB", "DRAM")])
    assert rising([total(shape_sites(1, 32, 48, 6, rate, heads=4), network) for rate in (0.0, 0.1, 0.5, 1.0)])
    assert rising([total(shape_sites(1, 32, 48, n, 0.2, heads=4), network) for n in (2, 4, 8)])
    assert rising([-total(small, network, sharing=k) for k in (1, 4, 16, 64)])
    assert total(small, network, light="spike") <= total(small, network, light="window")


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_wired_weights_spare_device_networks_their_weight_reads_and_nothing_else(small, network):
    how = Settings()
    energy = energy_of(small, network, table(how, "open22"), how)
    reads_J = sum(term.energy_J for term in energy.terms if term.name == "weight reads")
    wired = how.model_copy(update={"wired_weights": True})
    spared_J = energy.known_J - energy_of(small, network, table(wired, "open22"), wired).known_J
    assert reads_J > 0
    assert spared_J == pytest.approx(reads_J if network.device else 0.0, rel=1e-9, abs=1e-9 * energy.known_J)


def test_a_ratio_is_known_where_the_baseline_s_price_is(small):
    report = energy_report(small)
    known = {energy.network.name: energy.known_J for energy in report.networks}
    sorbet = report.ratios[SORBET.name]
    assert sorbet.value == pytest.approx(known[SORBET.name] / report.main.known_J)
    assert sorbet.low < sorbet.value < sorbet.high
    assert report.ratios["Otters, 1-bit KV"].value is None


def test_the_document_is_json_and_unknown_is_null(small):
    report = energy_report(small)
    document = json.loads(json.dumps(report_document(report), allow_nan=False))
    terms = {term["name"]: term["energy_J"] for term in document["networks"][0]["terms"]}
    assert terms["light pulses"] is terms["device reads"] is None
    assert {constant["name"] for constant in document["constants"] if constant["value"] is None} >= {LIGHT, READ}


def test_no_sites_are_refused():
    with pytest.raises(InputError, match="no sites"):
        energy_report([])


def test_a_crossing_of_the_hops_is_where_energies_are_equal():
    # Event messages are dear: at some number of hops a dense network of values takes less.
    sites = shape_sites(1, 64, 64, 8, 0.5, heads=1)
    how = Settings(sharing=1024, weights_in="32 KiB")
    (hops,) = (sweep for sweep in sweeps(sites, "open22", how) if sweep.name == "hops")
    (crossing,) = (c for c in hops.crossings if (c.network, c.baseline) == (DEVICE_NETWORKS[0].name, QNN.name))
    (at,) = crossing.at
    found = {
        network.name: energy_of(sites, network, table(how, "open22"), how.model_copy(update={"hops": at})).known_J
        for network in NETWORKS
    }
    assert found[DEVICE_NETWORKS[0].name] == pytest.approx(found[QNN.name])
    assert f"when hops < {at:.3g}" in sentence(hops, crossing)


def test_the_sweep_of_a_read_crosses_at_the_break_even(small):
    report = energy_report(small)
    (reads,) = (s for s in sweeps(small, "open22", Settings()) if s.name == "level read with its light")
    limits = {(o.network, o.baseline): o.per_read_J.value for o in report.break_even if o.encoding == "event"}
    crossed = {(c.network, c.baseline): c.at[0] for c in reads.crossings if c.at}
    assert len(crossed) >= 5
    for pair, at in crossed.items():
        assert at == pytest.approx(limits[pair])


def test_sweeps_cover_what_they_promise(small):
    found = {sweep.name: (sweep.values[0], sweep.values[-1]) for sweep in sweeps(small, "open22", Settings())}
    assert found["hops"] == (0, 10)
    assert found["sharing"] == (1, 1024)
    assert found["sequence length"] == (16, 4096)
    assert found["converter resolution"] == (4, 8)
    assert found["T"] == (3, 63)


def test_a_sentence_tells_where_it_holds():
    def said(below, at):
        return sentence(Sweep("hops", "", False, [0.0, 10.0], {}, []), Crossing("A", "B", below, at))

    assert said(True, []) == "A takes less than B everywhere in hops 0 to 10"
    assert said(False, []) == "A takes less than B nowhere in hops 0 to 10"
    assert said(True, [2.5]) == "A takes less than B when hops < 2.5"
    assert said(False, [2.5]) == "A takes less than B when hops > 2.5"
    assert said(True, [2.0, 3.0]) == "A takes less than B when hops is in 0 to 2 or 3 to 10"
    assert said(False, [2.0, 3.0]) == "A takes less than B when hops is in 2 to 3"
