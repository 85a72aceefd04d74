"""Modules on top of `functional`: where spikes are made (a site), the linear layer, the 1-bit attention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from otters_lab.ttfs.code import top_level
from otters_lab.ttfs.functional import (
    binary_state,
    binary_weight,
    hybrid_levels,
    one_rail_levels,
    two_rail_levels,
)
from otters_lab.ttfs.statistics import LevelCounter, SiteSummary


@dataclass(frozen=True)
class SiteShape:
    """What a site is, and its size; see `statistics.SiteSummary`. `tokens` is 0 until the first forward pass.

    `lines` is the number of input lines of its synapse array: d_in of a linear layer, heads*head_dim of queries,
    heads*tokens of attention probabilities.
    """

    kind: str
    heads: int
    d_in: int
    d_out: int
    lines: int
    tokens: int = 0


class TTFSCode(nn.Module):
    """A site: turns real inputs [B, reads, lines] into the levels that the next synapse array reads.

    `alpha` [] is the learned scale. `table` [B, P, T + 1] holds this batch's devices in units of T*O (None: ideal);
    it is state of a forward pass, not of the model, and is set by `device.using`.
    """

    def __init__(self, shape: SiteShape, bits: int, signed: bool) -> None:
        super().__init__()
        self.shape = shape
        self.top = top_level(bits)
        self.signed = signed
        self.enabled = True
        self.alpha = nn.Parameter(torch.ones(()))
        self.table: Tensor | None = None
        self.counter: LevelCounter | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Levels of x, same shape, in units of levels; the value is alpha times that."""
        if self.counter is not None:
            with torch.no_grad():
                self.counter.add(x, self.nominal(x), self.alpha)
                self.shape = replace(self.shape, tokens=x.shape[1] if x.dim() == 3 else 1)
        return hybrid_levels(x, self.alpha, self.table, self.top, self.signed)

    def nominal(self, x: Tensor) -> Tensor:
        """The integer levels of the quantised path."""
        return (two_rail_levels if self.signed else one_rail_levels)(x, self.alpha, self.top)

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
        return SiteSummary(
            name=name,
            kind=self.shape.kind,
            tokens=self.shape.tokens,
            heads=self.shape.heads,
            d_in=self.shape.d_in,
            d_out=self.shape.d_out,
            rails=2 if self.signed else 1,
            mean_spikes=float(counter.histogram[1:].sum()) / counter.examples,
            fire_rate=1.0 - shares[0],
            saturation=shares[-1],
            kept_mass=counter.coded / counter.offered if counter.offered > 0 else None,
            level_histogram=shares,
        )


class TTFSLinear(nn.Module):
    """A linear layer with a time-coded input and 1-bit weights: y_j = s_j*alpha * sum_i B_ji L_i + b_j.

    The sum is taken over levels (integers, for an ideal device) and scaled once. `code.enabled` and `binary` switch
    the two approximations on, so that training can take them one after the other.
    """

    def __init__(self, linear: nn.Linear, bits: int, signed: bool) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.binary = True
        shape = SiteShape("linear input", 1, linear.in_features, linear.out_features, linear.in_features)
        self.code = TTFSCode(shape, bits, signed)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ..., in] to y [B, ..., out]."""
        weight, scale = binary_weight(self.weight) if self.binary else (self.weight, None)
        if self.code.enabled:
            x = self.code(x)
            scale = self.code.alpha if scale is None else self.code.alpha * scale
        y = nn.functional.linear(x, weight)
        if scale is not None:
            y = y * scale
        return y if self.bias is None else y + self.bias


class TTFSAttention(nn.Module):
    """Attention with time-coded queries and probabilities against 1-bit keys and values.

    scores = alpha_Q*s_K * (L_Q . B_K), one s_K a head; output = alpha_A*s_V * (L_A . B_V), one s_V a head and channel.
    The softmax between them, with its scaling, is digital.
    """

    def __init__(self, heads: int, head_dim: int, tokens: int, bits: int) -> None:
        super().__init__()
        self.query = TTFSCode(SiteShape("query", heads, head_dim, tokens, heads * head_dim), bits, signed=True)
        self.probability = TTFSCode(
            SiteShape("attention probability", heads, tokens, head_dim, heads * tokens), bits, signed=False
        )
        self.key_scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.value_scale = nn.Parameter(torch.ones(heads, 1, head_dim))
        self.binary = True

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float
    ) -> tuple[Tensor, Tensor]:
        """query, key, value [B, heads, tokens, head_dim] to (context [B, tokens, heads, head_dim], probabilities)."""
        q_scale: Tensor | float = scaling
        a_scale: Tensor | None = None
        if self.query.enabled:
            query = _apply(self.query, query)
            q_scale = q_scale * self.query.alpha
        if self.binary:
            key = binary_state(key, self.key_scale)
            value = binary_state(value, self.value_scale)
            q_scale = q_scale * self.key_scale
            a_scale = self.value_scale
        scores = torch.matmul(query, key.transpose(2, 3)) * q_scale
        probabilities = nn.functional.softmax(scores if mask is None else scores + mask, dim=-1)
        coded = probabilities
        if self.probability.enabled:
            coded = _apply(self.probability, probabilities)
            a_scale = self.probability.alpha if a_scale is None else a_scale * self.probability.alpha
        context = torch.matmul(coded, value)
        if a_scale is not None:
            context = context * a_scale
        return context.transpose(1, 2).contiguous(), probabilities


def _apply(code: TTFSCode, x: Tensor) -> Tensor:
    """Codes x [B, heads, reads, d] as [B, reads, heads*d], the order of the array's input lines, and back."""
    batch, heads, reads, width = x.shape
    lines = x.transpose(1, 2).reshape(batch, reads, heads * width)
    levels: Tensor = code(lines)
    return levels.view(batch, reads, heads, width).transpose(1, 2)
