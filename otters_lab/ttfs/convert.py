"""Turns a `transformers` encoder into a time-to-first-spike one, in place and of the same class.

The encoder's linear layers are replaced and its attention goes through transformers' own attention registry; no
modelling code is copied. Digital stay: patch embedding and classifier (so the first matrix is not a spiking one),
position embeddings, LayerNorm, softmax, activation, residual sums.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import AttentionInterface, PreTrainedModel

from otters_lab.core.errors import InputError
from otters_lab.core.tomlfile import StrictModel
from otters_lab.ttfs.device import sites
from otters_lab.ttfs.functional import least_squares_scale
from otters_lab.ttfs.layers import TTFSAttention, TTFSCode, TTFSLinear

Model = TypeVar("Model", bound=PreTrainedModel)

ATTENTION_NAME = "otters_ttfs"
# Where a model class keeps its stack of encoder layers, by config.model_type.
_ENCODERS = {"vit": "layers"}


class CodeConfig(StrictModel):
    """How a converted network codes; stored in the checkpoint's config.json."""

    bits: int = Field(4, ge=2, le=6)
    coding: Literal["two rails"] = "two rails"
    place: Literal["layer", "line"] = "layer"


def convert(model: Model, config: CodeConfig) -> Model:
    """Replaces the linears and the attention of every encoder layer; returns the same object.

    Scales are 1 until `calibrate_scales` sets them from data (or a state dict is loaded).

    Raises
    ------
    InputError
        for a model class that is not known here, or one already converted.
    """
    kind = str(model.config.model_type)
    if kind not in _ENCODERS:
        raise InputError("cannot convert this model", found=kind, expected=f"one of {', '.join(sorted(_ENCODERS))}")
    if sites(model):
        raise InputError("this model is converted already", found=type(model).__name__)
    body: Any = model.base_model
    tokens = int(body.embeddings.position_embeddings.shape[1])
    relu = model.config.hidden_act == "relu"
    layers: Any = body.get_submodule(_ENCODERS[kind])
    for layer in layers:
        attention = layer.attention
        attention.ttfs = TTFSAttention(attention.num_attention_heads, attention.head_dim, tokens, config.bits)
        for parent, name in ((attention, "q_proj"), (attention, "k_proj"), (attention, "v_proj"), (attention, "o_proj"),
                             (layer.mlp, "fc1"), (layer.mlp, "fc2")):  # fmt: skip
            # After a ReLU nothing is negative: one rail is enough.
            signed = not (name == "fc2" and relu)
            setattr(parent, name, TTFSLinear(getattr(parent, name), config.bits, signed))
    register_attention()
    model.set_attn_implementation(ATTENTION_NAME)
    return model


def register_attention() -> None:
    """Makes our attention, and a mask function for it, known to transformers; doing so again changes nothing."""
    AttentionInterface.register(ATTENTION_NAME, _attend)
    # Without a mask function of the same name transformers passes no mask, and padding would be attended to.
    AttentionMaskInterface.register(ATTENTION_NAME, eager_mask)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    result: tuple[Tensor, Tensor] = module.ttfs(query, key, value, attention_mask, scaling)
    return result


def set_stage(model: nn.Module, *, activations: bool, weights: bool, states: bool) -> None:
    """Switches the approximations of a converted model: coded activations, 1-bit weights, 1-bit keys and values."""
    for module in model.modules():
        if isinstance(module, TTFSCode):
            module.enabled = activations
        elif isinstance(module, TTFSLinear):
            module.binary = weights
        elif isinstance(module, TTFSAttention):
            module.binary = states


@torch.no_grad()
def calibrate_scales(model: nn.Module, *inputs: Tensor) -> None:
    """Sets every scale from what flows through the model as it is now, site after site in the order of computation.

    A site's alpha is that of least squared error on its own inputs, which already carry the errors of the sites before
    it; a key's scale is mean|k| over a head, a value's mean|v| over a head and channel.
    """

    def on_site(site: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(site, TTFSCode)
        site.alpha.copy_(least_squares_scale(args[0], site.top, site.signed))

    def on_attention(attention: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(attention, TTFSAttention)
        key, value = args[1], args[2]
        attention.key_scale.copy_(key.abs().mean(dim=(0, 2, 3))[:, None, None])
        attention.value_scale.copy_(value.abs().mean(dim=(0, 2))[:, None, :])

    hooks = [m.register_forward_pre_hook(on_site) for m in model.modules() if isinstance(m, TTFSCode)]
    hooks += [m.register_forward_pre_hook(on_attention) for m in model.modules() if isinstance(m, TTFSAttention)]
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
