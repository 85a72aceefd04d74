from __future__ import annotations

import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.energy.counter import count
from otters_lab.energy.hardware import area, latency
from otters_lab.energy.mapping import constant_hops, layers_of, mesh_hops, placement, producers
from otters_lab.energy.networks import FP32, OTTERS, OTTERS_PP
from otters_lab.energy.settings import Settings
from otters_lab.energy.shapes import shape_sites


def test_tiles_are_filled_row_by_row_back_and_forth():
    placed = placement([1.0] * 9, 1)
    assert [tuple(tiles[0]) for tiles in placed] == [
        (0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0), (2, 0), (2, 1), (2, 2),
    ]  # fmt: skip


def test_an_array_takes_as_many_tiles_as_its_bits_need():
    assert [len(tiles) for tiles in placement([10.0, 1.0, 25.0], 10)] == [1, 1, 3]


def test_messages_go_where_the_computation_goes(small):
    layers = layers_of(small)
    names = {number: site.name for number, site in enumerate(small)}
    source = {names[a]: None if b is None else names[b] for a, b in producers(layers).items()}
    assert source["layer.0.query"] is source["layer.0.key"] is source["layer.0.value"] is None
    assert source["layer.0.queries"] == "layer.0.query"
    assert source["layer.0.probabilities"] == "layer.0.queries"
    assert source["layer.0.context"] == "layer.0.probabilities"
    assert source["layer.0.up"] == "layer.0.context"
    assert source["layer.0.down"] == "layer.0.up"
    assert source["layer.1.value"] == "layer.0.down"


def test_sites_in_the_order_of_modules_are_put_in_the_order_of_computation(small):
    order = [0, 2, 3, 5, 1, 4, 6, 7]  # as a ViT has them: all projections, then queries and probabilities
    vit = [small[number] for number in order]
    (layer,) = layers_of(vit)
    assert [vit[number].name for number in layer.sites] == [
        f"layer.0.{name}" for name in ("query", "key", "value", "queries", "probabilities", "context", "up", "down")
    ]


def test_hops_are_manhattan_distances_between_tiles():
    sites = shape_sites(1, 32, 32, 4, 0.5, heads=4)
    hops = mesh_hops(sites, 1, 1, 32 * 32)  # one tile an array, eight on a mesh of three by three
    place = {"query": (0, 0), "key": (0, 1), "value": (0, 2), "queries": (1, 2), "probabilities": (1, 1)}
    place |= {"context": (1, 0), "up": (2, 0), "down": (2, 1)}

    def between(a, b):
        return sum(abs(p - q) for p, q in zip(place[a], place[b], strict=True))

    found = {site.name.removeprefix("layer.0."): number for number, site in enumerate(sites)}
    for a, b in (("query", "queries"), ("queries", "probabilities"), ("context", "up"), ("up", "down")):
        assert hops.into[found[b]] == between(a, b)
    assert hops.into[found["value"]] == 2  # from the first tile
    assert hops.state[found["queries"]] == between("key", "queries")
    assert hops.state[found["probabilities"]] == between("value", "probabilities")
    assert hops.residual == [(between("query", "context"), between("context", "down"))]


def test_more_bits_lie_further_apart(small):
    sizes = [np.mean(mesh_hops(small, bits, 1, 512).into) for bits in (1, 8, 32)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_a_plain_number_of_hops_holds_for_every_message(small):
    assert set(constant_hops(small, 3.0).into) == {3.0}
    moved = {one.term for one in count(small, FP32, Settings(hops=0.0)) if one.amount > 0}
    assert not {term for term in moved if "movement" in term}


def test_a_layer_without_a_linear_behind_its_attention_is_refused(small):
    with pytest.raises(InputError, match=r"layer\.0"):
        layers_of(small[:5])


def test_a_block_s_latency_is_its_windows_and_readouts(small):
    six = latency(small, Settings(window_s=1e-4))
    assert (six.stages, six.passes, six.readout_known) == (6, 1, False)
    assert six.block_s == pytest.approx(6e-4)
    assert six.inference_s == pytest.approx(12e-4)
    slow = latency(small, Settings(window_s=1e-4, recovery_s=1e-4, conversion_s=1e-6, adc_sharing=100))
    assert slow.block_s == pytest.approx(6 * 3e-4)


def test_a_pipeline_is_filled_twice_a_block_since_scores_wait_for_all_keys(small):
    plain, filled = (latency(small, Settings(tokens_at_once=1, pipelined=p)) for p in (False, True))
    assert plain.block_s == pytest.approx(6 * 6e-4)
    assert filled.block_s == pytest.approx((6 + (5 + 6 - 1)) * 1e-4)


def test_area_is_devices_times_the_pitch_squared_and_unknown_without_it(small):
    lines = sum(site.neurons * site.rails for site in small)
    found = area(small, OTTERS_PP, Settings(sharing=1024, adc_sharing=8))
    assert (found.devices, found.comparators, found.device_m2) == (lines, lines, None)
    assert found.converters == np.ceil(lines / 8)
    known = area(small, OTTERS_PP, Settings(sharing=1024, device_pitch_m=1e-5))
    assert known.device_m2 == pytest.approx(lines * 1e-10)
    one = area(small, OTTERS, Settings(tokens_at_once=1))
    assert one.devices == pytest.approx(area(small, OTTERS, Settings()).devices / 6)
