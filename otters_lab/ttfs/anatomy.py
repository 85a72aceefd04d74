"""What of a transformers model becomes spiking: its attentions, known by the names of their projections, and all
linears of the layers they stand in. What cannot be carried is refused here, before anything is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_utils import PreTrainedModel

from otters_lab.core.errors import InputError

# Names of the projections in an attention module, by family.
_PROJECTIONS = (
    ("query", "key", "value"),  # BERT and its relatives
    ("q_lin", "k_lin", "v_lin"),  # DistilBERT, XLM
    ("q_proj", "k_proj", "v_proj"),  # ViT, CLIP, BART
    ("q", "k", "v"),  # MPNet, T5
)
_FUSED = ("c_attn", "qkv", "Wqkv", "qkv_proj", "query_key_value", "in_proj", "att_proj")
_HEAD_DIMS = ("attention_head_size", "head_dim", "key_value_proj_dim")
_HEADS = ("num_attention_heads", "num_heads", "n_heads")
_ACTIVATIONS = ("hidden_act", "activation", "activation_function", "feed_forward_proj", "dense_act_fn")
# Linear layers that come right behind the feed-forward's activation: after a ReLU one rail is enough for them.
_AFTER_ACTIVATION = (".fc2", ".lin2", ".output.dense", ".ffn_output", ".wo")
_EXPECTED = "an encoder like BERT, RoBERTa, DistilBERT or ViT"


@dataclass(frozen=True)
class Attention:
    """An attention module to convert, its projections' names (query, key, value) and its heads."""

    name: str
    module: Any
    projections: tuple[str, str, str]
    heads: int
    head_dim: int


def attentions(model: PreTrainedModel) -> list[Attention]:
    """All attentions of a model.

    Raises
    ------
    InputError
        for a model without any, or with one that cannot be carried.
    """
    found = []
    for name, module in model.named_modules():
        names = _projections(module)
        if names is not None:
            found.append(_attention(name, module, names, model.config))
    if not found:
        raise InputError(f"cannot convert this model: {_why_none(model)}", found=_kind(model), expected=_EXPECTED)
    for part in [m for m in model.modules() if isinstance(m, PreTrainedModel)]:
        # transformers itself only warns, and then goes on with full precision attention.
        if not part._can_set_attn_implementation():
            raise InputError(
                "cannot convert this model: its attention is not one of transformers' registry", found=_kind(part)
            )
    rotary = [name for name, module in model.named_modules() if _rotates(module)]
    if rotary or getattr(model.config, "rope_parameters", None):
        raise InputError(
            "cannot convert this model: queries and keys are rotated (RoPE) after their projections, so what neurons "
            "fire at the projections is not what attention multiplies",
            found=_kind(model),
            expected=_EXPECTED,
        )
    return found


def synapses(model: PreTrainedModel, found: list[Attention]) -> dict[str, bool]:
    """Names of all linears in the layers of attentions, and whether the feed-forward's activation is before each."""
    result = {}
    for layer in sorted({layer_of(attention.name) for attention in found}):
        for name, module in model.get_submodule(layer).named_modules():
            if type(module) is nn.Linear:
                behind = f".{name}".endswith(_AFTER_ACTIVATION) and "attention" not in name.lower()
                result[f"{layer}.{name}"] = behind
    return result


def activations(model: PreTrainedModel, layers: set[str]) -> list[str]:
    """Names of the activation modules in some layers, of the kind that its config tells; none where it tells none."""
    known = activation(model.config)
    if known not in ACT2FN:
        return []
    kind = type(ACT2FN[known])
    return [
        f"{layer}.{name}"
        for layer in sorted(layers)
        for name, module in model.get_submodule(layer).named_modules()
        if type(module) is kind
    ]


def layer_of(name: str) -> str:
    """The layer that an attention module stands in: its name up to the first number."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: place + 1])
    raise InputError("cannot convert this model: an attention stands outside a stack of layers", found=name)


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _projections(module: nn.Module) -> tuple[str, str, str] | None:
    for names in _PROJECTIONS:
        if all(type(getattr(module, name, None)) is nn.Linear for name in names):
            return names
    return None


def _attention(name: str, module: Any, names: tuple[str, str, str], config: Any) -> Attention:
    query, key, value = (getattr(module, part) for part in names)
    if not query.out_features == key.out_features == value.out_features:
        raise InputError("cannot convert grouped keys and values: fewer heads than queries", found=_kind(module))
    for part, _ in module.named_children():
        if "norm" in part.lower() and part.lower().startswith(("q", "k", "v")):
            raise InputError("cannot convert an attention that normalises queries or keys", found=f"{name}.{part}")
    head_dim = next((int(found) for part in _HEAD_DIMS if (found := getattr(module, part, None))), 0)
    if not head_dim:
        owners = [owner for owner in (module, config) if any(getattr(owner, part, None) for part in _HEADS)]
        heads = next((int(h) for owner in owners for part in _HEADS if (h := getattr(owner, part, None))), 0)
        head_dim = query.out_features // heads if heads else 0
    if not head_dim or query.out_features % head_dim:
        raise InputError("cannot convert an attention whose heads are not known", found=_kind(module))
    return Attention(name, module, names, query.out_features // head_dim, head_dim)


def _rotates(module: nn.Module) -> bool:
    kind = _kind(module).lower()
    return "rotary" in kind or "rope" in kind


def _why_none(model: PreTrainedModel) -> str:
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _FUSED:
            return f"queries, keys and values share one projection, {name} ({_kind(module)})"
    return "it has no attention with separate projections of queries, keys and values"


def activation(config: Any) -> str:
    """The feed-forward's activation by its name in transformers; "" where a config tells none."""
    return next((str(found) for name in _ACTIVATIONS if (found := getattr(config, name, None))), "")


def set_activation(config: Any, name: str) -> None:
    """Writes another activation into a config, for whoever builds a model from it."""
    for field in _ACTIVATIONS:
        if getattr(config, field, None):
            setattr(config, field, name)
            return
