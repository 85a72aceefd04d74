import pytest

from otters_lab.core.errors import InputError
from otters_lab.energy.constants import PRESETS
from otters_lab.energy.report import energy_report
from otters_lab.ttfs.statistics import SiteSummary


def site(kind="linear input", tokens=4, heads=1, d_in=8, d_out=16, rails=2, spikes=10.0):
    histogram = [1 - spikes / (tokens * heads * d_in)] + [spikes / (tokens * heads * d_in) / 15] * 15
    return SiteSummary(
        name=kind, kind=kind, tokens=tokens, heads=heads, d_in=d_in, d_out=d_out, rails=rails, mean_spikes=spikes,
        neurons=tokens * heads * d_in, mean_synaptic_operations=spikes * d_out,
        dense_operations=tokens * heads * d_in * d_out,
        fire_rate=1 - histogram[0], saturation=histogram[-1], kept_mass=0.9, level_histogram=histogram,
    )  # fmt: skip


SITES = [
    site(),
    site("query", heads=2, d_in=4, d_out=4, spikes=12.0),
    site("attention probability", heads=2, d_in=4, d_out=4, rails=1, spikes=6.0),
]


def test_operations_are_those_counted_by_hand():
    spiking, dense, full = energy_report(SITES).networks
    count = {term.name: term.count for term in spiking.terms}
    assert count["accumulate"] == count["weight read"] == 10 * 16 + 12 * 4 + 6 * 4
    assert count["device read"] == count["ADC conversion"] == 28
    assert count["light pulse"] == 12  # a window a site and token position
    assert count["compare"] == 4 * 8 * 2 * 15 + 4 * 2 * 4 * 2 * 15 + 4 * 2 * 4 * 15
    assert count["state write"] == 2 * 4 * 4 + 2 * 4 * 4
    assert count["event movement"] == pytest.approx((10 * 4 + 12 * 4 + 6 * 4) * 4.75)
    dense_operations = 4 * 8 * 16 + 2 * (4 * 2 * 4 * 4)
    assert {t.name: t.count for t in dense.terms}["accumulate"] == dense_operations
    assert {t.name: t.count for t in full.terms}["multiply-accumulate fp32"] == dense_operations


@pytest.mark.parametrize("preset", PRESETS)
def test_the_terms_sum_to_the_total_and_every_priced_constant_has_a_source(preset):
    for network in energy_report(SITES, preset).networks:
        known = [term.energy_J for term in network.terms if term.energy_J is not None]
        assert network.known_J == sum(known)
        assert {term.name for term in network.terms if term.energy_J is None} == set(network.unknown)
        for term in network.terms:
            assert (term.constant.status == "sourced") == (term.energy_J is not None)
            if term.energy_J is not None:
                assert any(character.isdigit() for character in term.constant.source)


def test_the_break_even_makes_both_networks_equal():
    report = energy_report(SITES, "open22", hops=0.0)
    spiking, dense, _ = report.networks
    assert report.break_even_read_J * 28 + spiking.known_J == pytest.approx(dense.known_J)


def test_what_has_no_source_leaves_the_break_even_open():
    assert energy_report(SITES, "horowitz45").break_even_read_J is None


def test_a_preset_that_does_not_exist_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match='did you mean "open22"'):
        energy_report(SITES, "open2")
