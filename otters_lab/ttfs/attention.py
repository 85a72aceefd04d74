"""Our attention as transformers' own attention registry knows it, by name; no modelling code is copied."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import AttentionInterface

from otters_lab.core.errors import InputError
from otters_lab.ttfs.layers import SignNeurons, TTFSAttention, TTFSCode

ATTENTION_NAME = "otters_ttfs"
# What a model may hand its attention beyond scores, mask and bias, and ours would have to leave out.
_NOT_CARRIED = ("softcap", "s_aux", "sinks", "indices", "block_indices", "cu_seq_lens_q")


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
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor]:
    """What transformers calls: tensors [B, heads, tokens, head_dim], mask and bias added to the scores.

    Raises
    ------
    InputError
        where a model was not converted, or does to its queries, keys or scores what is not carried.
    """
    ours: TTFSAttention | None = getattr(module, "ttfs", None)
    if ours is None:
        raise InputError("this attention was not converted: load the model with from_pretrained, or convert it")
    for name in _NOT_CARRIED:
        if others.get(name) is not None:
            raise InputError(f'cannot carry "{name}" in the attention', found=type(module).__name__)
    if not ours.checked:
        _check_fired(module, ours, query, key, value)
    if position_bias is not None:
        attention_mask = position_bias if attention_mask is None else attention_mask + position_bias
    return ours(query, key, value, attention_mask, query.shape[-1] ** -0.5 if scaling is None else scaling, dropout)


def _check_fired(module: Any, ours: TTFSAttention, query: Tensor, key: Tensor, value: Tensor) -> None:
    """Levels and signs must reach the attention as their neurons fired them: a rotation or a scaling in between would
    pass for levels. Looked at until a pass with all switched on and a query that is not silent: it costs a
    synchronisation.
    """
    code: TTFSCode = ours.__dict__["query"]
    signs: tuple[SignNeurons, SignNeurons] = ours.__dict__["key"], ours.__dict__["value"]
    if code.enabled and not bool((query == query.round()).all() & (query.abs() <= code.top).all()):
        raise InputError("cannot convert an attention that alters queries before it", found=type(module).__name__)
    for neurons, fired in zip(signs, (key, value), strict=True):
        if neurons.enabled and not bool((fired.abs() == 1).all()):
            raise InputError(
                "cannot convert an attention that alters keys or values before it", found=type(module).__name__
            )
    ours.checked = code.enabled and all(neurons.enabled for neurons in signs) and bool(query.any())
