"""Modules on top of `functional`: where spikes are made (a site), the linear layer, the 1-bit attention.

Neurons that fire from a membrane belong to the layer whose membrane it is: queries, and the signs of keys and values,
are made at the output of their projections. What is digital in between (LayerNorm, softmax, activation) is coded anew
at the input of the next synapse array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from otters_lab.ttfs.code import top_level
from otters_lab.ttfs.config import Coding, WeightScale
from otters_lab.ttfs.functional import (
    Device,
    binary_state,
    binary_value,
    fire,
    hybrid_linear,
    least_squares_code,
    levels_of,
    read,
    scaled,
    weight_scale,
    weight_signs,
)
from otters_lab.ttfs.statistics import LevelCounter
from otters_lab.ttfs.summary import SiteSummary


@dataclass(frozen=True)
class SiteShape:
    """What a site is, and its size; see `summary.SiteSummary`. A size of 0 is that of the tokens there are.

    The synapse array has `heads * d_in` input lines: d_in of a linear layer, head_dim of queries, the positions of
    attention probabilities (0: as many as there are).
    """

    kind: str
    heads: int
    d_in: int
    d_out: int


class Machine(Protocol):
    """What computes the spiking parts exactly: integer thresholds (`exact.ClosedForm`), or spike by spike
    (`events.Simulator`). Everything digital is common to both.
    """

    def encode(self, site: TTFSCode, x: Tensor) -> Tensor:
        """Nominal levels of digital values x [B, ..., lines]."""

    def accumulate(self, site: TTFSCode, nominal: Tensor, signs: Tensor) -> Tensor:
        """Membrane sums [.., reads, out] of levels [.., reads, lines] over synapses [.., out, lines], in float32 or
        wider whatever the levels' dtype.
        """

    def fire(self, layer: TTFSLinear, sums: Tensor) -> Tensor:
        """Levels, or signs, that a layer's neurons fire from sums [B, ..., out]."""


class TTFSCode(nn.Module):
    """A site: turns real values into the levels that the next synapse array reads.

    `alpha` [] and, for the coding "shift", `shift` [] are learned. `device` is what the lines are read from in this
    forward pass (None: the ideal device), `machine` what computes it (None: floats, with gradients); both are state of
    the pass, not of the model, and are set by `device.using` and `exact.running_on`. Levels 1..dead_zone never fire.
    """

    def __init__(self, shape: SiteShape, bits: int, coding: Coding, dead_zone: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.top = top_level(bits)
        self.dead_zone = dead_zone
        self.coding: Coding = coding
        self.enabled = True
        self.alpha = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(())) if coding == "shift" else None
        self.device: Device | None = None
        self.counter: LevelCounter | None = None
        self.machine: Machine | None = None

    @property
    def signed(self) -> bool:
        """Whether it has two rails."""
        return self.coding == "two rails"

    def forward(self, x: Tensor) -> Tensor:
        """Nominal levels N of x, same shape; the value is alpha*N + shift."""
        if self.machine is not None:
            nominal = self.machine.encode(self, x)
        else:
            nominal = fire(self.moved(x), self.alpha, self.top, self.signed, self.shift, self.dead_zone)
        self.count(x, nominal)
        return nominal

    def moved(self, x: Tensor) -> Tensor:
        """x as this pass's thresholds see it."""
        return x if self.device is None else self.device.moved(x, self.alpha)

    def read(self, nominal: Tensor) -> Tensor:
        """What this pass's device gives for nominal levels; gradients go straight through."""
        return read(nominal, self.alpha, self.device)

    def count(self, x: Tensor, nominal: Tensor | None = None) -> None:
        """Adds to the statistics, where they are wanted."""
        if self.counter is None:
            return
        with torch.no_grad():
            if nominal is None:
                nominal = levels_of(x, self.alpha, self.top, self.signed, self.shift, self.dead_zone)
            self.counter.add(x, nominal, self.alpha, self.shift, self.shape.d_out)

    def fit(self, x: Tensor) -> None:
        """Sets alpha and shift to those of least squared error on x."""
        alpha, shift = least_squares_code(x, self.top, self.coding, self.dead_zone)
        with torch.no_grad():
            self.alpha.copy_(alpha)
            if self.shift is not None:
                self.shift.copy_(shift)

    def summary(self, name: str) -> SiteSummary:
        """What was counted since `counter` was set.

        Raises
        ------
        ValueError
            if nothing was.
        """
        counter = self.counter
        if counter is None or counter.examples == 0:
            raise ValueError(f"{name}: nothing was counted")
        shares = (counter.histogram.double() / counter.histogram.sum()).tolist()
        tokens, n = counter.tokens / counter.examples, counter.examples
        return SiteSummary(
            name=name,
            kind=self.shape.kind,
            tokens=tokens,
            heads=self.shape.heads,
            d_in=self.shape.d_in or tokens,
            d_out=self.shape.d_out or tokens,
            rails=2 if self.signed else 1,
            dead_zone=self.dead_zone,
            neurons=float(counter.histogram.sum()) / n,
            mean_spikes=float(counter.histogram[1:].sum()) / n,
            mean_synaptic_operations=counter.synaptic / n,
            dense_operations=counter.dense / n,
            fire_rate=1.0 - shares[0],
            saturation=shares[-1],
            kept_mass=counter.coded / counter.offered if counter.offered > 0 else None,
            level_histogram=shares,
        )


class SignNeurons(nn.Module):
    """1-bit keys or values at the output of their projection: B = sign(y), the value scale*B.

    scale [out]: one a head for keys (all its channels alike), one a channel for values.
    """

    def __init__(self, heads: int, head_dim: int, per_channel: bool) -> None:
        super().__init__()
        self.enabled = True
        self.head_dim = head_dim
        self.scale = nn.Parameter(torch.ones(heads, head_dim if per_channel else 1))

    def forward(self, y: Tensor) -> Tensor:
        """y [B, ..., heads*head_dim] to signs, or itself while this is off."""
        if not self.enabled:
            return y
        return binary_state(y, self.scale.expand(-1, self.head_dim).reshape(-1))

    def fit(self, y: Tensor) -> None:
        """Sets the scale to mean|y|."""
        size = y.detach().abs().reshape(-1, self.scale.shape[0], self.head_dim).mean(dim=0)
        with torch.no_grad():
            self.scale.copy_(size if self.scale.shape[1] > 1 else size.mean(dim=1, keepdim=True))


class TTFSLinear(nn.Module):
    """A linear layer with a time-coded input and 1-bit weights (see `functional.hybrid_linear`).

    `neurons` fire from its membranes: None where the output is read digitally. `code.enabled` and `binary` switch the
    approximations on, so that training can take them one after the other.
    """

    def __init__(
        self,
        linear: nn.Linear,
        bits: int,
        coding: Coding,
        per: WeightScale,
        neurons: TTFSCode | SignNeurons | None,
        *,
        dead_zone: int = 0,
    ) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.binary = True
        self.per: WeightScale = per
        self.nominal_weight_gradient = False
        shape = SiteShape("linear input", 1, linear.in_features, linear.out_features)
        self.code = TTFSCode(shape, bits, coding, dead_zone)
        self.neurons = neurons

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ..., in] to y [B, ..., out], to levels or signs where neurons fire."""
        if self.code.machine is not None:
            return self._on(self.code.machine, x)
        if self.code.enabled:
            self.code.count(x)
            y = hybrid_linear(
                self.code.moved(x),
                self.weight,
                self.bias,
                self.code.alpha,
                self.code.top,
                self.code.signed,
                shift=self.code.shift,
                dead_zone=self.code.dead_zone,
                per=self.per if self.binary else None,
                device=self.code.device,
                nominal_weight_gradient=self.nominal_weight_gradient,
            )
        else:
            weight = binary_value(self.weight, self.per) if self.binary else self.weight
            y = nn.functional.linear(x, weight, self.bias)
        if self.neurons is None or not self.neurons.enabled:
            return y
        fired: Tensor = self.neurons(y)
        return fired

    def _on(self, machine: Machine, x: Tensor) -> Tensor:
        signs = weight_signs(self.weight)
        sums = machine.accumulate(self.code, self.code(x), signs)
        if self.neurons is None:
            scale = weight_scale(self.weight, self.per)
            y = scaled(sums, signs, scale, self.bias, self.code.alpha, self.code.shift)
            return y.to(self.weight.dtype)  # sums of a machine may be wider
        fired = machine.fire(self, sums)
        if isinstance(self.neurons, TTFSCode):
            self.neurons.count(fired * self.neurons.alpha, fired)
        return fired


class TTFSAttention(nn.Module):
    """Attention with time-coded queries and probabilities against 1-bit keys and values.

    scores = s_K * ((alpha_Q*L_Q + shift_Q) . B_K), one s_K a head; output = alpha_A*s_V * (L_A . B_V), one s_V a head
    and channel. The softmax between them, with its scaling, is digital. Queries, keys and values come as their
    projections' neurons fired them; where those are off, as real numbers.
    """

    def __init__(self, query: TTFSCode, key: SignNeurons, value: SignNeurons, bits: int) -> None:
        super().__init__()
        # Plain references: the parameters belong to the projections.
        self.__dict__["query"], self.__dict__["key"], self.__dict__["value"] = query, key, value
        shape = SiteShape("attention probability", query.shape.heads, 0, key.head_dim)
        self.probability = TTFSCode(shape, bits, "one rail")
        self.checked = False  # whether what reaches it was seen to be what its neurons fired

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float,
        dropout: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """query, key, value [B, heads, tokens, head_dim] to (context [B, tokens, heads, head_dim], probabilities)."""
        code: TTFSCode = self.__dict__["query"]
        keys: SignNeurons = self.__dict__["key"]
        values: SignNeurons = self.__dict__["value"]
        gain: Tensor | float = scaling
        nominal = query
        if code.enabled:
            query = code.read(nominal)
        scores = accumulated(code, nominal, query, key)
        if code.enabled:
            gain = gain * code.alpha
            if code.shift is not None:
                scores = scores + (code.shift / code.alpha) * key.sum(dim=-1)[:, :, None, :]
        if keys.enabled:
            gain = gain * keys.scale[:, :, None]
        scores = scores * gain
        if mask is not None:
            scores = scores + mask
        probabilities = nn.functional.softmax(scores, dim=-1)
        coded = nn.functional.dropout(probabilities, dropout, self.training) if dropout else probabilities
        back: Tensor | None = values.scale[:, None, :] if values.enabled else None
        nominal = coded
        site = self.probability
        if site.enabled:
            nominal = site(coded)
            coded = site.read(nominal)
            back = site.alpha if back is None else back * site.alpha
        context = accumulated(site, nominal, coded, value.transpose(2, 3))
        if back is not None:
            context = context * back
        return context.transpose(1, 2).contiguous(), probabilities


def accumulated(site: TTFSCode, nominal: Tensor, levels: Tensor, signs: Tensor) -> Tensor:
    """Sums [.., reads, out] of levels [.., reads, lines] over signs [.., out, lines]."""
    if site.machine is not None:
        return site.machine.accumulate(site, nominal, signs)
    sums = torch.matmul(levels.to(signs.dtype), signs.transpose(-1, -2))
    return sums if site.device is None or not site.enabled else site.device.disturb(sums, nominal, signs)
