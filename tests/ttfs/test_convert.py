from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, ViTForImageClassification

from otters_lab.core.errors import InputError
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert, correct_biases, set_stage, take_layers
from otters_lab.ttfs.device import Devices, sites, using
from otters_lab.ttfs.functional import Coding
from otters_lab.ttfs.layers import SignNeurons, TTFSLinear

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.2,
    "pad_token_id": 1,
}
DISTIL = {"vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "initializer_range": 0.2}
IMAGE = {**TEXT, "image_size": 8, "patch_size": 4, "num_channels": 1}
T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
GPT2 = {"vocab_size": 64, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 40}
ENCODERS = {
    "bert": TEXT,
    "roberta": TEXT,
    "camembert": TEXT,
    "xlm-roberta": TEXT,
    "distilbert": DISTIL,
    "electra": {**TEXT, "embedding_size": 16},
    "vit": IMAGE,
    "deit": IMAGE,
    "dinov2": IMAGE,
}


def model_of(kind: str, **shape: Any) -> Any:
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(kind, **shape)).eval()


def inputs_of(model: Any) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(3, 1, 8, 8, generator=made)}
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3, [1] * 4 + [0] * 5])
    ids = torch.randint(2, 64, (3, 9), generator=made)
    return {"input_ids": torch.where(mask == 1, ids, 1), "attention_mask": mask}


def out(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**inputs)[0]
    return found


def spiking(kind: str, coding: Coding = "two rails", **shape: Any) -> Any:
    model = convert(model_of(kind, **shape), CodeConfig(coding=coding))
    calibrate_scales(model, lambda: out(model, **inputs_of(model)))
    return model


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


@pytest.mark.parametrize("kind", ENCODERS)
def test_with_every_approximation_off_the_outputs_are_the_original_s(kind: str) -> None:
    model = model_of(kind, **ENCODERS[kind])
    inputs = inputs_of(model)
    before = out(model, **inputs)
    convert(model, CodeConfig())
    set_stage(model, activations=False, weights=False, states=False)
    torch.testing.assert_close(out(model, **inputs), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
def test_all_linears_of_all_layers_are_converted_and_no_other(kind: str) -> None:
    model = model_of(kind, **ENCODERS[kind])
    layers = {name for name, module in model.named_modules() if type(module) is nn.Linear and ".0." in name}
    outside = {name for name, module in model.named_modules() if type(module) is nn.Linear and ".layer" not in name}
    outside -= {name for name in outside if name.startswith("layers.")}
    convert(model, CodeConfig())
    assert {name for name, m in model.named_modules() if isinstance(m, TTFSLinear) and ".0." in name} == layers
    assert {name for name, m in model.named_modules() if type(m) is nn.Linear} == outside


def test_a_feed_forward_in_a_block_of_its_own_is_converted_too() -> None:
    model = convert(transformers.T5EncoderModel(transformers.T5Config(**T5)), CodeConfig())
    assert [name for name, m in model.named_modules() if type(m) is nn.Linear] == []
    one_rail = {name for name, m in model.named_modules() if isinstance(m, TTFSLinear) and m.code.coding == "one rail"}
    assert one_rail == {f"encoder.block.{n}.layer.1.DenseReluDense.wo" for n in (0, 1)}


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "vit"])
def test_only_what_follows_a_relu_takes_one_rail(kind: str) -> None:
    relu = {"activation": "relu"} if kind == "distilbert" else {"hidden_act": "relu"}
    for extra, expected in (({}, 0), (relu, 2)):
        model = convert(model_of(kind, **ENCODERS[kind], **extra), CodeConfig())
        linears = [m for m in model.modules() if isinstance(m, TTFSLinear) and m.code.coding == "one rail"]
        assert [m.weight.shape for m in linears] == [(32, 48)] * expected


@pytest.mark.parametrize("kind", ["bert", "distilbert", "vit"])
def test_relus_in_the_feed_forward_make_the_network_a_relu_model_gives(kind: str, tmp_path: Path) -> None:
    field = "activation" if kind == "distilbert" else "hidden_act"
    plain, born = model_of(kind, **ENCODERS[kind]), model_of(kind, **ENCODERS[kind], **{field: "relu"})
    inputs = inputs_of(plain)
    assert not torch.equal(out(plain, **inputs), out(born, **inputs))
    put, had = convert(plain, CodeConfig(feed_forward="relu")), convert(born, CodeConfig())
    for model in (put, had):
        calibrate_scales(model, lambda: out(model, **inputs))  # noqa: B023 (called at once)
    assert torch.equal(out(put, **inputs), out(had, **inputs))
    assert getattr(put.config, field) == "relu"
    put.save_pretrained(tmp_path)
    assert torch.equal(out(type(put).from_pretrained(tmp_path).eval(), **inputs), out(put, **inputs))


@pytest.mark.parametrize("kind", ["bert", "distilbert", "vit"])
def test_biases_take_up_what_relus_cut_off(kind: str) -> None:
    plain = model_of(kind, **ENCODERS[kind])
    inputs = inputs_of(plain)
    model = convert(copy.deepcopy(plain), CodeConfig(feed_forward="relu"))
    set_stage(model, activations=False, weights=False, states=False)
    seen = inputs["attention_mask"].bool() if "attention_mask" in inputs else slice(None)
    wanted = out(plain, **inputs)[seen]
    before = float((out(model, **inputs)[seen] - wanted).square().mean())
    correct_biases(model, plain, inputs)
    after = float((out(model, **inputs)[seen] - wanted).square().mean())
    assert after < before / 2
    found: dict[str, dict[str, torch.Tensor]] = {"plain": {}, "model": {}}
    for which, network in (("plain", plain), ("model", model)):
        for name, layer in model.named_modules():
            if isinstance(layer, TTFSLinear):
                network.get_submodule(name).register_forward_hook(
                    lambda _m, _a, y, name=name, which=which: found[which].update(
                        {name: y[seen].flatten(0, -2).mean(0)}
                    )
                )
        out(network, **inputs)
    for name, mean in found["plain"].items():
        torch.testing.assert_close(found["model"][name], mean, rtol=1e-4, atol=1e-4)
    assert len(found["plain"]) == 2 * 6


@pytest.mark.parametrize("kind", ["bert", "distilbert", "vit"])
def test_layers_of_a_trained_network_are_taken_without_its_scales_and_what_stands_around_them(kind: str) -> None:
    trained, own = model_of(kind, **ENCODERS[kind]), model_of(kind, **ENCODERS[kind])
    inputs = inputs_of(own)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1)
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    convert(trained, CodeConfig(dead_zone=1))
    convert(own, CodeConfig(dead_zone=2))
    for model in (trained, own):
        calibrate_scales(model, lambda: out(model, **inputs))  # noqa: B023 (called at once)
    scales = {name: t.clone() for name, t in own.state_dict().items() if name not in before}
    take_layers(own, trained)
    found, given = own.state_dict(), trained.state_dict()
    layers = {name for name in before if any(part.isdigit() for part in name.split("."))}
    assert len(layers) == 2 * 16, "weights and biases of six linears and two norms in each of two layers"
    for name in layers:
        assert torch.equal(found[name], given[name]), name
    for name in before.keys() - layers:
        assert torch.equal(found[name], before[name]), name
    for name, scale in scales.items():
        assert torch.equal(found[name], scale), name


def test_layers_of_another_shape_or_activation_are_refused_before_any_is_taken() -> None:
    own = convert(model_of("bert", **ENCODERS["bert"]), CodeConfig())
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    for other, said in (
        (model_of("bert", **ENCODERS["bert"] | {"intermediate_size": 24}), r"its layers are others.*24.*48"),
        (model_of("bert", **ENCODERS["bert"], hidden_act="relu"), r"another activation; found 'relu', expected gelu"),
    ):
        with pytest.raises(InputError, match=said):
            take_layers(own, convert(other, CodeConfig()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())


def test_finer_codes_come_closer_to_full_precision(plain_vit: Any, images: torch.Tensor) -> None:
    errors = []
    before = out(plain_vit, pixel_values=images)
    for bits in (2, 4, 6):
        converted = convert(copy.deepcopy(plain_vit), CodeConfig(bits=bits))
        set_stage(converted, activations=True, weights=False, states=False)
        calibrate_scales(converted, lambda: converted(images))  # noqa: B023 (called at once)
        errors.append(float((out(converted, pixel_values=images) - before).square().mean()))
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


@pytest.mark.parametrize("coding", ["two rails", "one rail", "shift"])
def test_every_weight_and_scale_receives_a_gradient(plain_vit: Any, images: torch.Tensor, coding: Coding) -> None:
    converted = convert(plain_vit, CodeConfig(coding=coding))
    calibrate_scales(converted, lambda: converted(images))
    converted(images).logits.square().sum().backward()
    without = [name for name, p in converted.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_masked_tokens_are_not_attended_to() -> None:
    model = spiking("bert", **TEXT)
    inputs = inputs_of(model)
    seen = inputs["attention_mask"] == 1
    changed = {**inputs, "input_ids": torch.where(seen, inputs["input_ids"], 17)}
    assert torch.equal(out(model, **inputs)[seen], out(model, **changed)[seen])
    assert not torch.equal(
        out(model, input_ids=inputs["input_ids"])[seen], out(model, input_ids=changed["input_ids"])[seen]
    )


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("coding", ["two rails", "one rail", "shift"])
def test_a_padded_sentence_gives_what_it_gives_unpadded(kind: str, coding: Coding) -> None:
    model = spiking(kind, coding, **ENCODERS[kind]).double()
    inputs = inputs_of(model)
    padded = out(model, **inputs)
    for row, length in enumerate(inputs["attention_mask"].sum(dim=1).tolist()):
        alone = out(model, **{name: value[row : row + 1, :length] for name, value in inputs.items()})
        # Floats before the first code are sums of another order; what is coded is not.
        torch.testing.assert_close(padded[row : row + 1, :length], alone, rtol=0, atol=1e-13)


def test_scales_follow_the_data_in_the_order_of_computation(spiking_vit: Any, images: torch.Tensor) -> None:
    before = {name: float(site.alpha.detach()) for name, site in sites(spiking_vit).items()}
    calibrate_scales(spiking_vit, lambda: spiking_vit(images))
    after = {name: float(site.alpha.detach()) for name, site in sites(spiking_vit).items()}
    assert after == before, "it depends on nothing else"
    assert len(set(before.values())) > len(before) // 2
    assert all(0 < alpha < 2 for alpha in before.values())
    # The first site sees the embeddings whatever follows it; later ones see what comes of the sites before.
    set_stage(spiking_vit, activations=False, weights=False, states=False)
    calibrate_scales(spiking_vit, lambda: spiking_vit(images))
    uncoded = {name: float(site.alpha.detach()) for name, site in sites(spiking_vit).items()}
    changed = [uncoded[name] != before[name] for name in before]
    assert not changed[0]
    assert changed[-1]


def test_scales_of_what_is_switched_off_are_set_as_well(plain_vit: Any, images: torch.Tensor) -> None:
    converted = convert(plain_vit, CodeConfig())
    set_stage(converted, activations=False, weights=False, states=False)
    calibrate_scales(converted, lambda: converted(images))
    assert all(float(site.alpha.detach()) != 1 for site in sites(converted).values())
    assert all(bool((m.scale != 1).all()) for m in converted.modules() if isinstance(m, SignNeurons))


def test_a_converted_model_is_refused(spiking_vit: Any) -> None:
    with pytest.raises(InputError, match="converted already"):
        convert(spiking_vit, CodeConfig())


@pytest.mark.parametrize(
    ("kind", "shape", "complaint"),
    [
        ("gpt2", GPT2, r"share one projection, h\.0\.attn\.c_attn \(Conv1D\)"),
        ("modernbert", TEXT, r"share one projection, layers\.0\.attn\.Wqkv \(Linear\)"),
        ("llama", {**TEXT, "num_key_value_heads": 2}, "grouped keys and values"),
        ("llama", TEXT, r"rotated \(RoPE\)"),
        ("qwen3", {**TEXT, "num_key_value_heads": 4, "head_dim": 8}, r"normalises queries or keys; found .*q_norm"),
        ("mpnet", TEXT, "not one of transformers' registry"),
        ("deberta-v2", TEXT, "no attention with separate projections"),
    ],
)
def test_what_cannot_be_carried_is_refused_and_left_as_it_was(kind: str, shape: Any, complaint: str) -> None:
    model = model_of(kind, **shape)
    before = [type(module) for module in model.modules()]
    with pytest.raises(InputError, match=complaint):
        convert(model, CodeConfig())
    assert [type(module) for module in model.modules()] == before


def test_queries_that_are_altered_on_their_way_are_refused_in_the_first_pass() -> None:
    shape = {**TEXT, "word_embed_proj_dim": 32, "ffn_dim": 48}
    model = convert(model_of("opt", **shape), CodeConfig())
    with pytest.raises(InputError, match="alters queries before it; found 'OPTAttention'"):
        calibrate_scales(model, lambda: out(model, **inputs_of(model)))


def test_noise_of_examples_is_refused_where_attention_goes_over_windows() -> None:
    class Reader:
        n_levels = 16

        def read(self, n: int, seed: tuple[int, ...]) -> Any:
            return np.linspace(1, 0, 16) + 0.01 * np.random.default_rng(seed).normal(size=(n, 16))

    shape = {"image_size": 8, "patch_size": 2, "num_channels": 1, "embed_dim": 16, "depths": [1], "num_heads": [2]}
    model = convert(model_of("swin", **shape, window_size=2), CodeConfig())
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    calibrate_scales(model, lambda: out(model, pixel_values=images))
    with (
        using(model, Devices(Reader(), (1,)), range(3)),
        pytest.raises(InputError, match="found 12, expected 3 examples"),
    ):
        out(model, pixel_values=images)


def test_an_attention_that_was_not_converted_says_so(spiking_vit: Any, images: torch.Tensor) -> None:
    bare = ViTForImageClassification(spiking_vit.config).eval()
    with pytest.raises(InputError, match="this attention was not converted"):
        bare(images)
