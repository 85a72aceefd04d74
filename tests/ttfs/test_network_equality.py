"""Whole encoders give the same logits, to the last bit, by events and by tables of thresholds."""

from __future__ import annotations

import ast
import copy
import csv
import os
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from otters_lab.core.errors import InputError
from otters_lab.ttfs import events, spikes
from otters_lab.ttfs.code import IdealReader
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert, set_stage
from otters_lab.ttfs.device import Devices, counting, sites, summaries, using
from otters_lab.ttfs.events import simulate
from otters_lab.ttfs.exact import running_on
from otters_lab.ttfs.functional import Coding

CODINGS: tuple[Coding, ...] = get_args(Coding)
DTYPES = (torch.float32, torch.float64)
VOCABULARY = 500
SENTENCES = (
    "a charming and often affecting journey",
    "bleak",
    "it is not a bad film , only a very long one , and the ending is worth it",
    "the actors look as bored as we are",
)


def ids_of(sentences: list[str] | tuple[str, ...]) -> dict[str, Tensor]:
    """Words hashed to ids, padded to the longest, with the mask."""
    rows = [[1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in text.split()][:16] for text in sentences]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def plain_bert(activation: str = "gelu") -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=VOCABULARY, initializer_range=0.3, hidden_act=activation, **shape)
    return BertForSequenceClassification(config).eval()


def plain_distilbert() -> Any:
    torch.manual_seed(0)
    shape = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    config = DistilBertConfig(vocab_size=VOCABULARY, initializer_range=0.3, **shape)
    return DistilBertForSequenceClassification(config).eval()


def converted(plain: Any, inputs: dict[str, Tensor], dtype: torch.dtype, **code: Any) -> tuple[Any, Callable[[], Any]]:
    """A calibrated network in time code, and what gives its logits."""
    model = convert(copy.deepcopy(plain), CodeConfig(**code)).to(dtype)
    inputs = {name: part.to(dtype) if part.is_floating_point() else part for name, part in inputs.items()}

    def logits() -> Any:
        return model(**inputs).logits

    calibrate_scales(model, logits)
    return model, logits


def assert_equal(model: Any, logits: Callable[[], Any]) -> spikes.Record:
    with running_on(model):
        tables = logits()
    by_events, record = simulate(model, logits)
    assert torch.isfinite(tables).all()
    assert torch.equal(by_events, tables)
    assert torch.unique(tables, dim=0).shape[0] == len(tables), "different inputs give different logits"
    assert all(site.machine is None for site in sites(model).values())
    assert all((train.ticks < train.top).sum(axis=0).max() <= 1 for train in record.spikes)
    assert all(0 < count < 2 * record.neurons[site] for site, count in record.counts().items())
    return record


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_a_bert_with_padding_gives_the_same_bits(bits: int, coding: Coding, dtype: torch.dtype) -> None:
    model, logits = converted(plain_bert(), ids_of(SENTENCES), dtype, bits=bits, coding=coding)
    record = assert_equal(model, logits)
    assert record.windows == 2 * 8  # six linear inputs, the queries and the probabilities of each layer


@pytest.mark.parametrize(
    ("bits", "dead_zone", "coding"), [(2, 2, "two rails"), (4, 3, "two rails"), (4, 5, "one rail")]
)
def test_a_dead_zone_gives_the_same_bits_and_none_of_its_levels(bits: int, dead_zone: int, coding: Coding) -> None:
    code = {"bits": bits, "dead_zone": dead_zone, "coding": coding}
    model, logits = converted(plain_bert("relu"), ids_of(SENTENCES), torch.float32, **code)
    record = assert_equal(model, logits)
    probabilities = {name for name, site in sites(model).items() if site.shape.kind == "attention probability"}
    for train in record.spikes:
        last = train.top - (0 if train.site in probabilities else dead_zone)
        assert ((train.ticks < last) | (train.ticks == train.top)).all(), train.site
    with counting(model):
        logits()
        counted = summaries(model)
    for site in counted:
        silent = 0 if site.kind == "attention probability" else dead_zone
        assert sum(site.level_histogram[1 : 1 + silent]) == 0
        assert site.fire_rate > 0


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bert_in_bfloat16_gives_the_same_bits_and_so_does_autocast(coding: Coding) -> None:
    # Sums go beyond 256, the largest integer up to which bfloat16 holds all.
    assert_equal(*converted(plain_bert(), ids_of(SENTENCES), torch.bfloat16, bits=6, coding=coding))
    model, logits = converted(plain_bert(), ids_of(SENTENCES), torch.float32, bits=6, coding=coding)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(model, logits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bert_with_one_scale_a_matrix_and_relu_gives_the_same_bits(dtype: torch.dtype) -> None:
    assert_equal(*converted(plain_bert("relu"), ids_of(SENTENCES), dtype, bits=3, weight_scale="tensor"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_distilbert_gives_the_same_bits(coding: Coding, dtype: torch.dtype) -> None:
    assert_equal(*converted(plain_distilbert(), ids_of(SENTENCES), dtype, bits=4, coding=coding))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bits", "coding"), [(3, "two rails"), (4, "shift"), (5, "one rail")])
def test_a_vit_gives_the_same_bits_on_scanned_digits(
    plain_vit: Any, bits: int, coding: Coding, dtype: torch.dtype
) -> None:
    images = torch.from_numpy(load_digits().images[:12] / 8 - 1)[:, None]
    assert_equal(*converted(plain_vit, {"pixel_values": images}, dtype, bits=bits, coding=coding))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bert_gives_the_same_bits_on_real_sentences(dtype: torch.dtype) -> None:
    data = Path(os.environ.get("OTTERS_LAB_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = data / "glue" / "SST-2" / "dev.tsv"
    if not path.exists():
        pytest.skip(f"the sentences of SST-2 are not at {path} (set OTTERS_LAB_DATA)")
    with path.open(encoding="utf-8") as lines:
        rows = [row["sentence"] for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    assert_equal(*converted(plain_bert(), ids_of(rows[:24]), dtype, bits=4))


def test_a_network_s_equality_fails_when_its_times_are_a_tick_late() -> None:
    model, logits = converted(plain_bert(), ids_of(SENTENCES), torch.float64, bits=4)
    with running_on(model):
        tables = logits()
    late = [max(0, 14 - k) for k in range(16)]
    assert not torch.equal(simulate(model, logits, device=late)[0], tables)
    ideal = [Fraction(15 - k, 15) * 15 for k in range(16)]
    assert torch.equal(simulate(model, logits, device=ideal)[0], tables)


@pytest.mark.parametrize("off", ["activations", "weights", "states"])
def test_a_network_that_is_not_wholly_coded_is_refused(off: str) -> None:
    model, logits = converted(plain_bert(), ids_of(SENTENCES), torch.float32, bits=4)
    set_stage(model, **{stage: stage != off for stage in ("activations", "weights", "states")})
    with pytest.raises(InputError, match="approximation"), running_on(model):
        logits()
    with pytest.raises(ValueError, match="approximation"):
        simulate(model, logits)


def test_a_network_that_reads_devices_is_refused() -> None:
    model, logits = converted(plain_bert(), ids_of(SENTENCES), torch.float32, bits=4)
    with using(model, Devices(IdealReader(4), (0,)), range(len(SENTENCES))):
        with pytest.raises(InputError, match="device"), running_on(model):
            logits()
        with pytest.raises(ValueError, match="device"):
            simulate(model, logits)


def test_floats_through_an_ideal_device_s_tables_give_the_bits_of_floats_without_them() -> None:
    for dtype in DTYPES:
        model, logits = converted(plain_bert(), ids_of(SENTENCES), dtype, bits=5)
        with torch.no_grad(), using(model, Devices(IdealReader(5), (0,)), range(len(SENTENCES))):
            through = logits()
        with torch.no_grad():
            assert torch.equal(logits(), through)


def test_the_record_counts_what_the_sites_count() -> None:
    model, logits = converted(plain_bert(), ids_of(SENTENCES), torch.float64, bits=4)
    with counting(model):
        _, record = simulate(model, logits)
        counted = {
            name: round(s.mean_spikes * len(SENTENCES)) for name, s in zip(sites(model), summaries(model), strict=True)
        }
    assert record.counts() == counted
    assert {train.site: train.count for train in record.spikes} == record.counts()
    assert sorted(train.window for train in record.spikes) == list(range(record.windows))


def test_spikes_are_events_in_order_of_time_and_stand_for_the_levels() -> None:
    model, logits = converted(plain_bert(), ids_of(SENTENCES), torch.float32, bits=4)
    _, record = simulate(model, logits, watch={"bert.encoder.layer.0.attention.self.query": (0, 5)})
    assert [trace.neuron for trace in record.membranes] == [0, 5]
    train = next(t for t in record.spikes if t.fired_from == "membrane")
    neuron, rail, tick = train.events()
    assert (np.diff(tick) >= 0).all()
    levels = train.signed_levels().reshape(-1)
    assert np.array_equal(levels[neuron], rail * (train.top - tick))
    assert np.count_nonzero(levels) == len(neuron) == train.count
    assert simulate(model, logits, keep_spikes=False)[1].spikes == ()


def test_the_simulator_shares_no_code_with_what_it_proves() -> None:
    allowed = {"otters_lab.ttfs.spikes"}
    for module in (events, spikes):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        named |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        assert {name for name in named if str(name).startswith(("otters_lab", "."))} <= allowed
