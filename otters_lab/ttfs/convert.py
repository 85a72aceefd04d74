"""Turns a `transformers` encoder into a time-to-first-spike one, in place and of the same class.

The linear layers of every encoder layer are replaced, and attention goes through transformers' own attention registry;
no modelling code is copied. Digital stay: embeddings and heads (so the first matrix is not a spiking one), LayerNorm,
softmax, activation, residual sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from otters_lab.core.errors import InputError
from otters_lab.ttfs.anatomy import (
    Attention,
    activation,
    activations,
    attentions,
    layer_of,
    set_activation,
    synapses,
)
from otters_lab.ttfs.attention import ATTENTION_NAME, register_attention
from otters_lab.ttfs.config import CodeConfig, Coding
from otters_lab.ttfs.device import sites
from otters_lab.ttfs.layers import SignNeurons, SiteShape, TTFSAttention, TTFSCode, TTFSLinear

Model = TypeVar("Model", bound=PreTrainedModel)


def convert(model: Model, config: CodeConfig) -> Model:
    """Replaces the linears and the attention of every encoder layer; returns the same object.

    Scales are 1 until `calibrate_scales` sets them from data (or a state dict is loaded).

    Raises
    ------
    InputError
        for a model that cannot be carried (see `anatomy`), or one already converted; nothing is changed then.
    """
    from otters_lab.ttfs.hub import mark  # which stands on this module

    if sites(model):
        raise InputError("this model is converted already", found=type(model).__name__)
    found = attentions(model)
    linears = synapses(model, found)
    if config.feed_forward == "relu":
        _rectify(model, found)
    relu = activation(model.config) == "relu"
    for attention in found:
        _convert_attention(attention, config)
    for name, after_activation in linears.items():
        linear = model.get_submodule(name)
        if type(linear) is nn.Linear:  # projections stand replaced already
            coding = "one rail" if relu and after_activation else config.coding
            _replace(model, name, _linear(linear, config, coding, None))
    register_attention()
    model.set_attn_implementation(ATTENTION_NAME)
    mark(model, config)
    return model


def _rectify(model: PreTrainedModel, found: list[Attention]) -> None:
    names = activations(model, {layer_of(attention.name) for attention in found})
    if not names:
        raise InputError("cannot put ReLUs into this model: its activation is not known", found=type(model).__name__)
    for name in names:
        _replace(model, name, nn.ReLU())
    set_activation(model.config, "relu")


def _convert_attention(attention: Attention, config: CodeConfig) -> None:
    module, heads, head_dim = attention.module, attention.heads, attention.head_dim
    fires = TTFSCode(SiteShape("query", heads, head_dim, 0), config.bits, config.coding, config.dead_zone)
    keys, values = SignNeurons(heads, head_dim, per_channel=False), SignNeurons(heads, head_dim, per_channel=True)
    all_neurons: tuple[TTFSCode | SignNeurons, ...] = fires, keys, values
    for name, neurons in zip(attention.projections, all_neurons, strict=True):
        setattr(module, name, _linear(getattr(module, name), config, config.coding, neurons))
    module.ttfs = TTFSAttention(fires, keys, values, config.bits).to(fires.alpha)


def _linear(
    linear: nn.Linear, config: CodeConfig, coding: Coding, neurons: TTFSCode | SignNeurons | None
) -> TTFSLinear:
    made = TTFSLinear(linear, config.bits, coding, config.weight_scale, neurons, dead_zone=config.dead_zone)
    made.nominal_weight_gradient = config.weight_gradient == "nominal"
    return made.to(linear.weight)  # its dtype and device


def _replace(root: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(root.get_submodule(parent), last, new)


@torch.no_grad()
def take_layers(model: PreTrainedModel, trained: PreTrainedModel, file: Path | None = None) -> None:
    """Gives the encoder layers of a converted model the weights, biases and norms of a trained one's.

    What stands around the layers stays, and so do the scales, which `calibrate_scales` sets for the model's own code.

    Raises
    ------
    InputError
        naming the `file` of the trained one, for layers of another shape or activation; nothing is changed then.
    """
    if activation(model.config) != activation(trained.config):
        raise InputError("its layers have another activation", file=file, found=activation(trained.config),
                         expected=activation(model.config))  # fmt: skip
    wanted, given = _of_layers(model), _of_layers(trained)
    for name in sorted({*wanted, *given}):
        found, expected = (tuple(part[name].shape) if name in part else None for part in (given, wanted))
        if found != expected:
            raise InputError("its layers are others", file=file, key=name, found=found, expected=str(expected))
    for name, parameter in wanted.items():
        parameter.copy_(given[name])


def _of_layers(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Parameters of the layers, by name; without the scales of codes and 1-bit states."""
    layers = tuple({layer_of(name) + "." for name, part in model.named_modules() if isinstance(part, TTFSAttention)})
    scales = {id(scale) for scale in scale_parameters(model)}
    return {name: own for name, own in model.named_parameters() if name.startswith(layers) and id(own) not in scales}


def scale_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The learned scales of a converted model."""
    found: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, TTFSCode):
            found.append(module.alpha)
            found += [] if module.shift is None else [module.shift]
        elif isinstance(module, SignNeurons):
            found.append(module.scale)
    return found


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
def correct_biases(model: nn.Module, original: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Moves biases so that each channel of every converted linear has the mean that it has in the original, on `inputs`
    (padding left out), layer after layer in the order of computation.

    What moves means is put right at once that would take training long: ReLUs in the place of GELUs cut off the small
    negative values that nearly all neurons have. Linears without a bias, and those whose neurons fire, are left alone.

    Nagel et al., Data-free quantization through weight equalization and bias correction, 2019, section 4.2.
    """
    mask = inputs.get("attention_mask")

    def mean(y: Tensor) -> Tensor:
        return y.flatten(0, -2).mean(dim=0) if mask is None else y[mask.bool()].mean(dim=0)

    linears = {name: module for name, module in model.named_modules() if isinstance(module, TTFSLinear)}
    wanted: dict[str, Tensor] = {}

    def on_original(name: str, _module: nn.Module, _args: object, y: Tensor) -> None:
        wanted[name] = mean(y)

    def on_converted(name: str, layer: nn.Module, _args: object, y: Tensor) -> Tensor:
        assert isinstance(layer, TTFSLinear)
        if layer.bias is None or (layer.neurons is not None and layer.neurons.enabled):
            return y
        off = wanted[name] - mean(y)
        layer.bias.add_(off)
        return y + off

    for of, hook in ((original, on_original), (model, on_converted)):
        hooks = [of.get_submodule(name).register_forward_hook(partial(hook, name)) for name in linears]
        try:
            of(**inputs)
        finally:
            for one in hooks:
                one.remove()


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

    # What is switched off is not called: it is given what it would have been called with.
    def after_linear(layer: nn.Module, _: object, y: Tensor) -> None:
        assert isinstance(layer, TTFSLinear)
        if layer.neurons is not None and not layer.neurons.enabled:
            layer.neurons.fit(y)

    def after_attention(attention: nn.Module, _: object, result: tuple[Tensor, Tensor]) -> None:
        assert isinstance(attention, TTFSAttention)
        if not attention.probability.enabled:
            attention.probability.fit(result[1])

    # A linear's own code is part of its product and is not called as a module.
    inner = {id(m.code) for m in model.modules() if isinstance(m, TTFSLinear)}
    hooks = []
    for module in model.modules():
        if isinstance(module, TTFSLinear):
            hooks += [module.register_forward_pre_hook(on_linear), module.register_forward_hook(after_linear)]
        elif isinstance(module, TTFSAttention):
            hooks.append(module.register_forward_hook(after_attention))
        elif isinstance(module, TTFSCode | SignNeurons) and id(module) not in inner:
            hooks.append(module.register_forward_pre_hook(on_code))
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
