from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, ViTForImageClassification

from otters_lab.core.errors import InputError
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert, set_stage
from otters_lab.ttfs.device import sites
from otters_lab.ttfs.layers import TTFSLinear


def test_the_class_stays_and_so_do_the_digital_parts(plain_vit: Any) -> None:
    first, last = plain_vit.vit.embeddings.patch_embeddings.projection, plain_vit.classifier
    converted = convert(plain_vit, CodeConfig())
    assert type(converted) is ViTForImageClassification
    assert converted.vit.embeddings.patch_embeddings.projection is first
    assert converted.classifier is last
    assert sum(isinstance(m, TTFSLinear) for m in converted.modules()) == 2 * 6
    assert [m for m in converted.vit.layers.modules() if type(m) is nn.Linear] == []
    kinds = [site.shape.kind for site in sites(converted).values()]
    assert (kinds.count("query"), kinds.count("attention probability"), kinds.count("linear input")) == (2, 2, 12)


def test_with_every_approximation_off_the_logits_are_the_original_s(plain_vit: Any, images: torch.Tensor) -> None:
    with torch.no_grad():
        before = plain_vit(images).logits
        converted = convert(plain_vit, CodeConfig())
        set_stage(converted, activations=False, weights=False, states=False)
        torch.testing.assert_close(converted(images).logits, before, rtol=1e-4, atol=1e-5)


def test_finer_codes_come_closer_to_full_precision(plain_vit: Any, images: torch.Tensor) -> None:
    errors = []
    with torch.no_grad():
        before = plain_vit(images).logits
        for bits in (2, 4, 6):
            converted = convert(copy.deepcopy(plain_vit), CodeConfig(bits=bits))
            set_stage(converted, activations=True, weights=False, states=False)
            calibrate_scales(converted, images)
            errors.append(float((converted(images).logits - before).square().mean()))
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_every_weight_and_scale_receives_a_gradient(spiking_vit: Any, images: torch.Tensor) -> None:
    spiking_vit(images).logits.square().sum().backward()
    without = [name for name, p in spiking_vit.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_a_state_dict_round_trip_gives_the_same_bits(spiking_vit: Any, images: torch.Tensor) -> None:
    other = convert(ViTForImageClassification(spiking_vit.config), CodeConfig()).eval()
    other.load_state_dict(spiking_vit.state_dict())
    with torch.no_grad():
        assert torch.equal(other(images).logits, spiking_vit(images).logits)


def test_masked_tokens_are_not_attended_to(spiking_vit: Any, images: torch.Tensor) -> None:
    mask = torch.ones(len(images), 5)
    mask[:, -1] = 0  # the last patch: the lower right quarter
    changed = images.clone()
    changed[:, :, 4:, 4:] = 7.0
    with torch.no_grad():
        assert torch.equal(
            spiking_vit(images, attention_mask=mask).logits, spiking_vit(changed, attention_mask=mask).logits
        )
        assert not torch.equal(spiking_vit(images).logits, spiking_vit(changed).logits)


def test_scales_follow_the_data_in_the_order_of_computation(spiking_vit: Any, images: torch.Tensor) -> None:
    before = {name: float(site.alpha.detach()) for name, site in sites(spiking_vit).items()}
    calibrate_scales(spiking_vit, images)
    assert {name: float(site.alpha.detach()) for name, site in sites(spiking_vit).items()} == before, (
        "it depends on nothing else"
    )
    assert len(set(before.values())) > len(before) // 2
    assert all(0 < alpha < 2 for alpha in before.values())


def test_models_that_are_unknown_or_converted_already_are_refused(spiking_vit: Any) -> None:
    with pytest.raises(InputError, match="converted already"):
        convert(spiking_vit, CodeConfig())
    bert = BertModel(
        BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    with pytest.raises(InputError, match="found 'bert', expected one of vit"):
        convert(bert, CodeConfig())
