"""The counter's numbers are those that the event simulator makes, one by one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from otters_lab.energy.counter import compares, count, state_elements
from otters_lab.energy.networks import OTTERS, OTTERS_PP
from otters_lab.energy.settings import Settings
from otters_lab.ttfs import events
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert
from otters_lab.ttfs.device import counting, sites, summaries
from otters_lab.ttfs.events import Simulator, simulate

EXAMPLES = 3


@pytest.fixture(params=[("gelu", 0), ("relu", 0), ("relu", 3)], ids=str)
def counted(request, monkeypatch):
    """A small BERT's statistics, and what a simulation of it did, seen from outside the counter."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    activation, dead_zone = request.param
    config = BertConfig(vocab_size=50, initializer_range=0.3, hidden_act=activation, **shape)
    model = convert(BertForSequenceClassification(config).eval(), CodeConfig(bits=3, dead_zone=dead_zone))
    ids = torch.randint(1, 50, (EXAMPLES, 5), generator=torch.Generator().manual_seed(1))
    calibrate_scales(model, lambda: model(input_ids=ids))
    names = {id(module): name for name, module in sites(model).items()}
    done: dict[str, Counter[str]] = {"synaptic": Counter(), "compares": Counter()}
    compare, accumulate = events.reaches, Simulator.accumulate

    def counting_compares(charge, threshold):
        done["compares"]["all"] += len(charge)
        return compare(charge, threshold)

    def counting_synapses(self, site, nominal, signs):
        for spike in torch.nonzero(nominal):
            line = int(spike[-1])
            done["synaptic"][names[id(site)]] += int((signs[..., line] != 0).flatten()[: signs.shape[-2]].sum())
        return accumulate(self, site, nominal, signs)

    monkeypatch.setattr(events, "reaches", counting_compares)
    monkeypatch.setattr(Simulator, "accumulate", counting_synapses)
    with counting(model):
        _, record = simulate(model, lambda: model(input_ids=ids).logits)
        found = summaries(model)
    return found, record, done


def whole(mean: float) -> int:
    """The sum over all examples, which is a whole number but for rounding."""
    total = mean * EXAMPLES
    assert total == pytest.approx(round(total), abs=1e-6)
    return round(total)


def amount(found, network, term, settings=None):
    return sum(one.amount for one in count(found, network, settings or Settings()) if one.term == term)


def test_spikes_and_synaptic_operations_are_the_simulator_s_site_by_site(counted):
    found, record, done = counted
    assert {site.name: whole(site.mean_spikes) for site in found} == record.counts()
    assert {site.name: whole(site.mean_synaptic_operations) for site in found} == done["synaptic"]
    assert whole(amount(found, OTTERS, "synaptic operations")) == sum(done["synaptic"].values())


def test_a_device_for_each_synapse_is_read_once_a_synaptic_operation_and_one_a_line_once_a_spike(counted):
    found, record, done = counted
    assert whole(amount(found, OTTERS, "device reads")) == sum(done["synaptic"].values())
    assert whole(amount(found, OTTERS_PP, "device reads", Settings(sharing=1024))) == record.total()


def test_threshold_compares_are_those_the_simulator_makes(counted):
    found, _, done = counted
    assert whole(amount(found, OTTERS, "threshold compares")) == done["compares"]["all"]


def test_compares_of_levels_are_those_of_the_spike_trains(counted):
    found, record, _ = counted
    by_site, dead_zones = Counter[str](), {site.name: site.dead_zone for site in found}
    for train in record.spikes:
        for tick in train.ticks.reshape(-1):
            by_site[train.site] += min(int(tick) + 1, train.top - dead_zones[train.site])
    assert {site.name: whole(compares(site, 7)) for site in found} == by_site


def test_keys_and_values_are_written_once(counted):
    found, _, _ = counted
    states = [state_elements(site) for site in found if site.kind != "linear input"]
    assert states == [5 * 16] * 4
    assert amount(found, OTTERS, "KV writes") == 2 * 2 * 5 * 16
