"""Stateless quantisers, each with its formula and its gradient. The modules of `layers` stand on these.

Signed levels N and device levels L are kept in units of levels (N = -T..T), not of value: matrix products of them
with 1-bit weights are then sums of integers, exact in float32 below 2**24, and one shared scaling follows. That is
why the spiking path under an ideal device and the quantised path agree to the last bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

# The largest float below one half: floor(r + this) rounds half up for every r, while floor(r + 0.5) takes the
# largest float below one half to 1, since that sum itself is rounded up.
_BELOW_HALF = {torch.float32: 0.5 - 2.0**-25, torch.float64: 0.5 - 2.0**-54}


def two_rail_levels(x: Tensor, alpha: Tensor, top: int) -> Tensor:
    """N = sign(x) * min(T, floor(|x|/alpha + 1/2)): signed levels, rounded half away from zero, saturating at T.

    The half is the pre-charge alpha/2 of each rail's membrane. No gradient: see `hybrid_levels`.
    """
    return _levels(x / alpha, top, signed=True)


def one_rail_levels(x: Tensor, alpha: Tensor, top: int) -> Tensor:
    """N = min(T, floor(max(x, 0)/alpha + 1/2)): unsigned levels 0..T, for attention probabilities and after a ReLU."""
    return _levels(x / alpha, top, signed=False)


def _levels(ratio: Tensor, top: int, signed: bool) -> Tensor:
    magnitude = ratio.abs() if signed else ratio.clamp(min=0)
    magnitude = magnitude.add_(_BELOW_HALF[ratio.dtype]).floor_().clamp_(max=top)
    return magnitude.mul_(ratio.sign()) if signed else magnitude


def read_table(table: Tensor, nominal: Tensor, top: int) -> Tensor:
    """Levels as a device gives them: L = sign(N) * table[k] with k = T - |N|; silence stays 0.

    `nominal` [B, ..., d] holds signed levels N. `table` [B, P, T + 1] holds T*O(t_k) of each example's devices: P = 1,
    one device serves the whole layer, or P = d, one device an input line (all positions of a sequence share it).
    """
    batch, lines = table.shape[0], table.shape[1]
    index = (top - nominal.abs()).long().reshape(batch, -1, nominal.shape[-1])
    if lines == 1:
        read = table[:, 0].gather(1, index.reshape(batch, -1))
    else:
        read = table.gather(2, index.transpose(1, 2)).transpose(1, 2)
    return read.reshape(nominal.shape) * nominal.sign()


class _HybridLevels(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, table: Tensor | None, top: int, signed: bool) -> Tensor:
        ratio = x / alpha
        nominal = _levels(ratio, top, signed)
        levels = nominal if table is None else read_table(table, nominal, top)
        ctx.save_for_backward(ratio, nominal, levels, alpha)
        ctx.top, ctx.signed = top, signed
        return levels

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ratio, nominal, levels, alpha = ctx.saved_tensors
        passes = (ratio.abs() if ctx.signed else ratio) <= ctx.top
        if not ctx.signed:
            passes &= ratio >= 0
        to_x = grads[0] * passes / alpha
        to_alpha = torch.sum(grads[0] * (nominal - levels)) / alpha - torch.sum(to_x * ratio)
        return to_x, to_alpha, None, None, None


def hybrid_levels(x: Tensor, alpha: Tensor, table: Tensor | None, top: int, signed: bool = True) -> Tensor:
    """Forward: the levels L that the spiking path reads. Backward: straight through the quantised network.

    Tensors: x [B, ..., d]; alpha [] (one scale a site); table [B, P, T + 1] in units of T*O, or None for the ideal
    device (L = N without a look-up); L [B, ..., d] in levels. With r = x/alpha, N the nominal levels and G = dLoss/dL,

        dx     = G/alpha * c          c = 1 where |r| <= T (unsigned: 0 <= r <= T), else 0: the clip mask
        dalpha = sum(G * (N - c*r - L))/alpha

    A layer uses the value v = alpha*L, and the product rule adds sum(G*L)/alpha to dalpha. In all, with dLoss/dv =
    G/alpha, dx = c * dLoss/dv and dalpha = sum(dLoss/dv * (N - c*r)): the learned-step-size rule (Esser et al., LSQ,
    2020, eq. 3) with nominal levels, whatever the device's noise. The gradient of the weights, by autograd outside,
    uses the noisy L. LSQ's extra factor 1/sqrt(n*T) on dalpha is left out: Adam does not see it.
    """
    result: Tensor = _HybridLevels.apply(x, alpha, table, top, signed)
    return result


class _Sign(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, clip: float) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.clip = clip
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        inverse = torch.where(scale > 0, 1 / scale, 0)
        to_x = grads[0] * inverse
        return (to_x if ctx.clip == float("inf") else to_x * (x.abs() <= ctx.clip * scale)), None, None


def binary_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """1-bit weights of `weight` [out, in]: (B, s), B = sign(w), sign(0) = +1, and the row's scale s_j = mean_i |w_ji|.

    s [out] minimises |w - s*B| (Rastegari et al., XNOR-Net, 2016, eq. 6). Backward: dw = dB/s + ds * sign(w)/d_in, so
    the value s*B passes its gradient straight to w; a row of zeros has s = 0 and gets none through B.
    """
    scale = weight.abs().mean(dim=1)
    signs: Tensor = _Sign.apply(weight, scale.detach()[:, None], float("inf"))
    return signs, scale


def binary_state(x: Tensor, scale: Tensor, clip: float = 3.0) -> Tensor:
    """Signs B of 1-bit keys or values x [B, heads, tokens, head_dim]; sign(0) = +1, the value is scale*B.

    `scale` must broadcast to x. Keys: one a head ([heads, 1, 1]) or token ([.., tokens, 1]), never a channel, so that
    Q.K is a signed sum. Values: one a head or channel ([heads, 1, head_dim]), never a token, so that A.V is one.
    Backward: dx = dB/scale where |x| <= clip*scale, else 0; none to `scale` here (the product scale*B has it).
    """
    signs: Tensor = _Sign.apply(x, scale.detach(), clip)
    return signs


def least_squares_scale(x: Tensor, top: int, signed: bool, candidates: int = 80) -> Tensor:
    """The scale alpha [] of least squared error |x - alpha*N|, out of `candidates` values up to max|x|/(T - 1/2).

    All-zero x gives 1: any scale codes it exactly.
    """
    x = x.detach().flatten()
    peak = x.abs().max() if signed else x.max()
    if peak <= 0:
        return torch.ones((), dtype=x.dtype)
    trial = peak / (top - 0.5) * torch.linspace(1.0 / candidates, 1.0, candidates, dtype=x.dtype)
    error = torch.stack([(alpha * _levels(x / alpha, top, signed) - x).square().sum() for alpha in trial])
    return trial[error.argmin()]
