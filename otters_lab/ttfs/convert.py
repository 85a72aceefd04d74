"""Turns a `transformers` encoder into a time-to-first-spike one, in place and of the same class.

The linear layers of every encoder layer are replaced, and attention goes through transformers' own attention registry;
no modelling code is copied. Digital stay: embeddings and heads (so the first matrix is not a spiking one), LayerNorm,
softmax, activation, residual sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import AttentionInterface, PreTrainedModel

from otters_lab.core.errors import InputError
from otters_lab.core.tomlfile import StrictModel
from otters_lab.ttfs.device import NoiseConfig, sites
from otters_lab.ttfs.functional import Coding
from otters_lab.ttfs.layers import SignNeurons, SiteShape, TTFSAttention, TTFSCode, TTFSLinear

Model = TypeVar("Model", bound=PreTrainedModel)

ATTENTION_NAME = "otters_ttfs"
# Names of the projections in an attention module, by family.
_PROJECTIONS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("q_proj", "k_proj", "v_proj"))
# Linear layers that come right behind the feed-forward's activation: after a ReLU one rail is enough for them.
_AFTER_ACTIVATION = ("fc2", "lin2", "output.dense")


class CodeConfig(StrictModel):
    """How a converted network codes; stored in the checkpoint's config.json.

    `coding` is that of linear inputs and queries; attention probabilities, and what follows a ReLU, are never negative
    and take one rail.
    """

    bits: int = Field(4, ge=2, le=6)
    coding: Coding = "two rails"
    weight_scale: Literal["row", "tensor"] = "row"
    weight_gradient: Literal["read", "nominal"] = "read"  # the levels in the weights' gradient
    noise: NoiseConfig = NoiseConfig()


def convert(model: Model, config: CodeConfig) -> Model:
    """Replaces the linears and the attention of every encoder layer; returns the same object.

    Scales are 1 until `calibrate_scales` sets them from data (or a state dict is loaded).

    Raises
    ------
    InputError
        for a model without layers of a known kind, or one already converted.
    """
    if sites(model):
        raise InputError("this model is converted already", found=type(model).__name__)
    attentions = {name: module for name, module in model.named_modules() if _projections(module)}
    if not attentions:
        raise InputError(
            "cannot convert this model: no attention with separate projections of queries, keys and values",
            found=type(model).__name__,
            expected="an encoder like BERT, RoBERTa, DistilBERT or ViT",
        )
    relu = _activation(model) == "relu"
    stacks = {_stack_of(name) for name in attentions}
    for name in list(attentions):
        _convert_attention(attentions[name], config, model.config)
    for stack in sorted(stacks):
        for name, linear in list(model.get_submodule(stack).named_modules()):
            if type(linear) is nn.Linear:
                behind = relu and name.endswith(_AFTER_ACTIVATION) and "attention" not in name
                coding: Coding = "one rail" if behind else config.coding
                _replace(model.get_submodule(stack), name, _linear(linear, config, coding, None))
    register_attention()
    model.set_attn_implementation(ATTENTION_NAME)
    return model


def _projections(module: nn.Module) -> tuple[str, str, str] | None:
    for names in _PROJECTIONS:
        if all(type(getattr(module, name, None)) is nn.Linear for name in names):
            return names
    return None


def _stack_of(name: str) -> str:
    """The list of layers that an attention module stands in: what comes before the first number of its name."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[:place])
    raise InputError("an attention stands outside a stack of layers", found=name)


def _activation(model: PreTrainedModel) -> str:
    config: Any = model.config
    return str(getattr(config, "hidden_act", getattr(config, "activation", "")))


def _convert_attention(module: Any, config: CodeConfig, shape: Any) -> None:
    names = _projections(module)
    assert names is not None
    query, key = (getattr(module, name) for name in names[:2])
    heads = int(getattr(shape, "num_attention_heads", getattr(shape, "n_heads", 0)))
    if key.out_features != query.out_features or query.out_features % heads:
        raise InputError("cannot convert grouped keys and values", found=type(module).__name__)
    head_dim = query.out_features // heads
    fires = TTFSCode(SiteShape("query", heads, head_dim, 0), config.bits, config.coding)
    keys, values = SignNeurons(heads, head_dim, per_channel=False), SignNeurons(heads, head_dim, per_channel=True)
    for name, neurons in zip(names, (fires, keys, values), strict=True):
        setattr(module, name, _linear(getattr(module, name), config, config.coding, neurons))
    module.ttfs = TTFSAttention(fires, keys, values, config.bits).to(query.weight.dtype)


def _linear(linear: nn.Linear, config: CodeConfig, coding: Coding, neurons: Any) -> TTFSLinear:
    made = TTFSLinear(linear, config.bits, coding, config.weight_scale, neurons)
    made.nominal_weight_gradient = config.weight_gradient == "nominal"
    return made.to(linear.weight.dtype)


def _replace(root: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(root.get_submodule(parent), last, new)


def register_attention() -> None:
    """Makes our attention, and a mask function for it, known to transformers; doing so again changes nothing."""
    AttentionInterface.register(ATTENTION_NAME, _attend)
    # Without a mask function of the same name transformers passes no mask, and padding would be attended to.
    AttentionMaskInterface.register(ATTENTION_NAME, eager_mask)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    result: tuple[Tensor, Tensor] = module.ttfs(query, key, value, attention_mask, scaling, dropout)
    return result


def set_stage(model: nn.Module, *, activations: bool, weights: bool, states: bool) -> None:
    """Switches the approximations of a converted model: coded activations, 1-bit weights, 1-bit keys and values."""
    for module in model.modules():
        if isinstance(module, TTFSCode):
            module.enabled = activations
        elif isinstance(module, TTFSLinear):
            module.binary = weights
        elif isinstance(module, SignNeurons):
            module.enabled = states


@torch.no_grad()
def calibrate_scales(model: nn.Module, forward: Callable[[], object]) -> None:
    """Sets every scale from what flows through the model as it is now, site after site in the order of computation.

    `forward` runs the model on some data. A site's alpha (and shift) is that of least squared error on its own inputs,
    which already carry the errors of the sites before it; a key's scale is mean|k| over a head, a value's mean|v| over
    a head and channel.
    """

    def on_code(site: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(site, TTFSCode | SignNeurons)
        site.fit(args[0])

    def on_linear(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, TTFSLinear)
        layer.code.fit(args[0])

    # A linear's own code is part of its product and is not called as a module.
    inner = {id(m.code) for m in model.modules() if isinstance(m, TTFSLinear)}
    hooks = [m.register_forward_pre_hook(on_linear) for m in model.modules() if isinstance(m, TTFSLinear)]
    hooks += [
        m.register_forward_pre_hook(on_code)
        for m in model.modules()
        if isinstance(m, TTFSCode | SignNeurons) and id(m) not in inner
    ]
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
