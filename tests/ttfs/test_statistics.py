from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import torch

from otters_lab.core.log import logger
from otters_lab.ttfs.device import counting, sites, summaries
from otters_lab.ttfs.layers import SiteShape, TTFSCode
from otters_lab.ttfs.statistics import LevelCounter
from otters_lab.ttfs.summary import SiteSummary


def counted(x: torch.Tensor, alpha: float = 1.0) -> SiteSummary:
    code = TTFSCode(SiteShape("linear input", 1, 4, 7), bits=2, coding="two rails")
    code.alpha.data.fill_(alpha)
    code.counter = LevelCounter.empty(code.top)
    code(x)
    return code.summary("site")


def test_rates_histogram_saturation_and_kept_mass_are_counted_exactly() -> None:
    summary = counted(torch.tensor([[[0.0, 1.0, -2.0, 9.0]], [[0.25, 0.25, -0.25, 3.0]]]))
    assert summary.level_histogram == [0.5, 0.125, 0.125, 0.25]
    assert (summary.mean_spikes, summary.fire_rate, summary.saturation) == (2.0, 0.5, 0.25)
    assert summary.kept_mass == pytest.approx((1 + 2 + 3 + 3) / (1 + 2 + 9 + 0.75 + 3))
    assert (summary.neurons, summary.mean_synaptic_operations) == (4, 14.0)


def test_a_site_that_got_only_zeros_keeps_no_share_of_nothing() -> None:
    assert counted(torch.zeros(1, 1, 4)).kept_mass is None


def test_sites_of_a_network_add_up_to_its_neurons_and_survive_json(spiking_vit: Any, images: torch.Tensor) -> None:
    with torch.no_grad(), counting(spiking_vit):
        spiking_vit(images)
        spiking_vit(images)
        found = summaries(spiking_vit)
    by_kind = {kind: [s for s in found if s.kind == kind] for kind in {s.kind for s in found}}
    assert all(s.neurons == 5 * 32 and s.d_out == 5 for s in by_kind["query"])
    assert all(s.neurons == 4 * 5 * 5 and s.d_out == 8 and s.rails == 1 for s in by_kind["attention probability"])
    last = next(s for s in found if s.name.endswith("1.mlp.fc2.code"))
    assert (last.tokens, last.d_in, last.d_out, last.rails) == (5, 48, 32, 1)
    for s in found:
        assert s.fire_rate == pytest.approx(s.mean_spikes / s.neurons)
        assert sum(s.level_histogram) == pytest.approx(1.0)
        assert SiteSummary.model_validate(json.loads(json.dumps(s.model_dump()))) == s


def test_counting_changes_no_result_and_stops_when_it_is_left(spiking_vit: Any, images: torch.Tensor) -> None:
    with torch.no_grad():
        before = spiking_vit(images).logits
        with counting(spiking_vit):
            assert torch.equal(spiking_vit(images).logits, before)
    assert all(site.counter is None for site in sites(spiking_vit).values())


def test_a_site_where_almost_nothing_fires_raises_the_alarm(
    spiking_vit: Any, images: torch.Tensor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    name, site = next((n, s) for n, s in sites(spiking_vit).items() if s.shape.kind == "attention probability")
    site.alpha.data.fill_(100.0)
    with torch.no_grad(), counting(spiking_vit), caplog.at_level(logging.WARNING):
        spiking_vit(images)
        summaries(spiking_vit)
    alarms = [text for text in caplog.messages if text.startswith(name)]
    assert alarms == [f"{name} (attention probability): only 0.0 % of neurons fire, 0% of the mass is kept"]


def test_padding_is_not_counted_and_each_example_counts_with_its_own_length() -> None:
    codes = {
        "linear input": TTFSCode(SiteShape("linear input", 1, 4, 7), bits=2, coding="two rails"),
        "attention probability": TTFSCode(SiteShape("attention probability", 2, 0, 5), bits=2, coding="one rail"),
    }
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    x = {"linear input": torch.ones(2, 3, 4), "attention probability": torch.ones(2, 2, 3, 3)}
    found = {}
    for kind, code in codes.items():
        code.counter = LevelCounter.empty(code.top)
        code.counter.mask = mask
        code(x[kind])
        found[kind] = code.summary(kind)
    linear, probability = found["linear input"], found["attention probability"]
    assert (linear.tokens, linear.neurons, linear.fire_rate) == (2.0, (3 * 4 + 1 * 4) / 2, 1.0)
    assert linear.mean_synaptic_operations == linear.dense_operations == 7 * 8.0
    assert probability.neurons == (2 * 3 * 3 + 2 * 1 * 1) / 2
    assert probability.dense_operations == 5 * 10.0


def test_a_query_s_fan_out_is_its_own_example_s_length() -> None:
    code = TTFSCode(SiteShape("query", 2, 2, 0), bits=2, coding="two rails")
    code.counter = LevelCounter.empty(code.top)
    code.counter.mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    code(torch.ones(2, 3, 4))
    summary = code.summary("q")
    assert summary.dense_operations == (3 * 4 * 3 + 1 * 4 * 1) / 2
    assert summary.mean_synaptic_operations == summary.dense_operations
