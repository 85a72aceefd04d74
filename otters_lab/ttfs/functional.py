"""Stateless quantisers and the 1-bit layer, each with its formula and its gradient; `layers` stands on these.

Levels N and what a device makes of them, L, are kept in units of levels, not of value: sums of levels over 1-bit
synapses are integers for an ideal device, exact in float32 below 2**24, and one scaling follows. That is why the
spiking path under an ideal device and the quantised path are the same bits.

Three codings of a real x, with r = (x - shift)/alpha and T the largest level:

    two rails   N = sign(r) * min(T, floor(|r| + 1/2))       shift = 0; rounds half away from zero; sign(0) is silence
    one rail    N = min(T, floor(max(r, 0) + 1/2))           shift = 0; negatives are silent
    shift       N = min(T, floor(max(r, 0) + 1/2))           a learned shift; silence stands for the shift itself

The half is the pre-charge alpha/2 of a membrane. The value coded is alpha*N + shift. With a dead zone c, what would be
coded as a level of 1..c is silent: N = 0 unless |r| >= c + 1/2, the neurons' window ending c ticks early.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import Function

from otters_lab.ttfs.config import Coding, WeightScale

# The largest float below one half: floor(r + this) rounds half up for every r >= 0, while floor(r + 0.5) takes the
# largest float below one half to 1, since that sum itself is rounded up.
_BELOW_HALF = {
    torch.float32: 0.5 - 2.0**-25,
    torch.float64: 0.5 - 2.0**-54,
    torch.bfloat16: 0.5 - 2.0**-9,
    torch.float16: 0.5 - 2.0**-12,
}


_ENOUGH = 100_000  # values, evenly spread, that a scale is found on


class Device(Protocol):
    """What the functions here ask of a site's device in one forward pass; see `device.SiteDevice`."""

    def moved(self, x: Tensor, alpha: Tensor) -> Tensor:
        """Values as the site's thresholds see them; x itself where they are exact."""

    def read(self, nominal: Tensor) -> Tensor:
        """Levels as read for nominal ones [B, ..., lines]."""

    def disturb(self, sums: Tensor, nominal: Tensor, signs: Tensor) -> Tensor:
        """Sums [B, ..., out] with the noise of single synapses on top; signs [.., out, lines]."""


def levels_of(
    x: Tensor, alpha: Tensor, top: int, signed: bool, shift: Tensor | None = None, dead_zone: int = 0
) -> Tensor:
    """N of x, same shape, no gradient. Saturates at T; levels 1..dead_zone are silent."""
    return _rounded((x if shift is None else x - shift) / alpha, top, signed, dead_zone)


def _rounded(ratio: Tensor, top: int, signed: bool, dead_zone: int) -> Tensor:
    # Vectorised throughout, as trunc, where and comparisons to bool are not: those cost as much as the products.
    half = _BELOW_HALF[ratio.dtype]
    level = (ratio.abs().add_(half) if signed else ratio + half).floor_().clamp_(0, top)
    if dead_zone:
        torch.threshold_(level, dead_zone, 0.0)
    return level.copysign_(ratio) if signed else level


def read_table(table: Tensor, nominal: Tensor) -> Tensor:
    """Levels as a device gives them: L = sign(N) * table[k] with k = T - |N|; silence stays 0.

    `nominal` [B, ..., d] holds signed levels N. `table` [b, P, T + 1] holds T*O(t_k): b = B, each example has its own,
    or 1; P = 1, one device serves the whole site, or d, a device an input line (all reads of a sequence share it).
    """
    signed, top = mirrored(table), table.shape[-1] - 1
    index = level_index(nominal, top)
    if signed.shape[:2].numel() > 1:
        starts = torch.arange(signed.shape[:2].numel(), dtype=index.dtype, device=index.device) * signed.shape[2]
        index = index.reshape(nominal.shape[0], -1, nominal.shape[-1]) + starts.reshape(*signed.shape[:2])[:, None]
    return signed.reshape(-1).index_select(0, index.reshape(-1)).reshape(nominal.shape)


def mirrored(table: Tensor) -> Tensor:
    """[..., T + 1] by k as [..., 2*T + 1] by N + T: odd, f(-N) = -f(N), and 0 at silence."""
    positive = table[..., :-1].flip(-1)
    return torch.cat([-table[..., :-1], torch.zeros_like(table[..., :1]), positive], dim=-1)


def level_index(nominal: Tensor, top: int) -> Tensor:
    """N + T, int32: what a mirrored table is read by."""
    return (nominal + top).int()


def _inside(ratio: Tensor, top: int, signed: bool) -> Tensor:
    """The clip mask c, 1 where the quantiser does not saturate, else 0."""
    return ratio.clamp(-top if signed else 0, top).eq_(ratio)


class _Fire(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, alpha: Tensor, shift: Tensor | None, top: int, signed: bool, dead_zone: int
    ) -> Tensor:
        ctx.save_for_backward(x, alpha, shift)
        ctx.top, ctx.signed = top, signed
        return levels_of(x, alpha, top, signed, shift, dead_zone)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, shift = ctx.saved_tensors
        ratio = (x if shift is None else x - shift) / alpha
        to_x = _inside(ratio, ctx.top, ctx.signed).mul_(grads[0]).div_(alpha)
        to_shift = None if shift is None else -to_x.sum()
        return to_x, -_dot(to_x, ratio).to(alpha.dtype), to_shift, None, None, None


def fire(x: Tensor, alpha: Tensor, top: int, signed: bool, shift: Tensor | None = None, dead_zone: int = 0) -> Tensor:
    """Forward: N. Backward, with c the clip mask (1 where |r| <= T, unsigned: 0 <= r <= T) and G = dLoss/dN:

        dx = c*G/alpha      dalpha = -sum(c*G*r)/alpha      dshift = -sum(c*G)/alpha

    With the value alpha*N + shift formed outside, that is the learned-step-size rule with offset (Esser et al., LSQ,
    2020, eq. 3; Bhalgat et al., LSQ+, 2020): dalpha = sum(dv*(N - c*r)), dshift = sum(dv*(1 - c)), dx = c*dv. LSQ's
    extra factor 1/sqrt(n*T) on dalpha is left out: Adam does not see it.
    """
    result: Tensor = _Fire.apply(x, alpha, shift, top, signed, dead_zone)
    return result


class _Read(Function):
    @staticmethod
    def forward(ctx: Any, nominal: Tensor, alpha: Tensor, device: Device) -> Tensor:
        levels = device.read(nominal)
        ctx.save_for_backward(nominal - levels, alpha)
        return levels

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        error, alpha = ctx.saved_tensors
        return grads[0], _dot(grads[0], error).to(alpha.dtype) / alpha, None


def read(nominal: Tensor, alpha: Tensor, device: Device | None) -> Tensor:
    """Forward: the levels L that a device gives for N (None: N itself). Backward: straight through, dN = G.

    dalpha = sum(G*(N - L))/alpha: what the value alpha*L, formed outside, gives alpha is then as with N, so that
    gradients of scales use nominal levels whatever the device's noise.
    """
    if device is None:
        return nominal
    result: Tensor = _Read.apply(nominal, alpha, device)
    return result


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1).float(), b.reshape(-1).float()) if a.dtype != torch.float64 else (a * b).sum()


def weight_scale(weight: Tensor, per: WeightScale) -> Tensor:
    """s = mean|w| over each row of [out, in], or over all: of all scales it makes |w - s*sign(w)| least (Rastegari et
    al., XNOR-Net, 2016, eq. 6). [out], or [].
    """
    return weight.abs().mean(dim=1) if per == "row" else weight.abs().mean()


def weight_signs(weight: Tensor) -> Tensor:
    """B = sign(w) with sign(0) = +1, in the dtype of w."""
    return weight.detach().clone().ge_(0).mul_(2).sub_(1)


class _BinaryValue(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, per: WeightScale) -> Tensor:
        signs, scale = weight_signs(weight), weight_scale(weight, per)
        ctx.save_for_backward(signs)
        ctx.per = per
        return signs * (scale[:, None] if per == "row" else scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (signs,) = ctx.saved_tensors
        return _to_weight(grads[0], signs, ctx.per), None


def _to_weight(to_value: Tensor, signs: Tensor, per: WeightScale) -> Tensor:
    along = to_value * signs
    share = along.mean(dim=1, keepdim=True) if per == "row" else along.mean()
    return torch.addcmul(to_value, signs, share)


def binary_value(weight: Tensor, per: WeightScale = "row") -> Tensor:
    """v = s*B of `weight` [out, in]. Backward, with V = dLoss/dv: dw = V + B * mean(V*B), the mean over the row (or
    all): straight through the sign at the value's own size, and through s.
    """
    result: Tensor = _BinaryValue.apply(weight, per)
    return result


class _HybridLinear(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        alpha: Tensor,
        shift: Tensor | None,
        device: Device | None,
        top: int,
        signed: bool,
        dead_zone: int,
        per: WeightScale | None,
        nominal_weight_gradient: bool,
        dtype: torch.dtype,
    ) -> Tensor:
        nominal = levels_of(x, alpha, top, signed, shift, dead_zone)
        found = nominal if device is None else device.read(nominal)
        levels = found.to(dtype)
        signs = (weight if per is None else weight_signs(weight)).to(dtype)
        scale = None if per is None else weight_scale(weight, per)
        sums = torch.nn.functional.linear(levels, signs)
        if device is not None:
            sums = device.disturb(sums, nominal, signs)
        ctx.save_for_backward(x, alpha, shift, signs, scale, nominal.to(dtype) if nominal_weight_gradient else levels)
        ctx.top, ctx.signed, ctx.dead_zone, ctx.per, ctx.has_bias = top, signed, dead_zone, per, bias is not None
        ctx.nominal = found is nominal or nominal_weight_gradient  # what was saved need not be worked out again
        return scaled(sums, signs, scale, bias, alpha, shift)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, shift, signs, scale, levels = ctx.saved_tensors
        rows = grads[0].reshape(-1, grads[0].shape[-1])
        to_value = (rows if scale is None else rows * scale.to(rows.dtype)) @ signs  # dLoss/dv, v = alpha*N + shift
        to_value = to_value.to(x.dtype).reshape(x.shape)
        ratio = (x if shift is None else x - shift) / alpha
        to_x = _inside(ratio, ctx.top, ctx.signed).mul_(to_value)
        to_shift = None if shift is None else to_value.sum() - to_x.sum()
        nominal = levels if ctx.nominal else _rounded(ratio, ctx.top, ctx.signed, ctx.dead_zone)
        to_alpha = (_dot(to_value, nominal) - _dot(to_x, ratio)).to(alpha.dtype)
        to_weight = (rows.T @ levels.reshape(-1, levels.shape[-1])).to(alpha.dtype).mul_(alpha)
        if shift is not None:
            to_weight += shift * rows.sum(dim=0, dtype=alpha.dtype)[:, None]
        if ctx.per is not None:
            to_weight = _to_weight(to_weight, signs.to(alpha.dtype), ctx.per)
        to_bias = rows.sum(dim=0, dtype=alpha.dtype) if ctx.has_bias else None
        return to_x, to_weight, to_bias, to_alpha, to_shift, *[None] * 7


def scaled(
    sums: Tensor, signs: Tensor, scale: Tensor | None, bias: Tensor | None, alpha: Tensor, shift: Tensor | None
) -> Tensor:
    """y_j = s_j*alpha*sum_j + s_j*shift*R_j + b_j of sums [.., out], in place: the digital scaling behind an array.

    R_j is the row sum of the signs [out, in].
    """
    y = sums.mul_((alpha if scale is None else alpha * scale).to(sums.dtype))
    offset = bias
    if shift is not None:
        moved = shift * signs.sum(dim=1).to(alpha.dtype)
        moved = moved if scale is None else moved * scale
        offset = moved if bias is None else moved + bias
    return y if offset is None else y.add_(offset.to(y.dtype))


def hybrid_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    alpha: Tensor,
    top: int,
    signed: bool,
    *,
    shift: Tensor | None = None,
    dead_zone: int = 0,
    per: WeightScale | None = "row",
    device: Device | None = None,
    nominal_weight_gradient: bool = False,
) -> Tensor:
    """A linear layer with time-coded input: forward through the device, backward through the quantised network.

    x [B, ..., in], weight [out, in], bias [out], alpha [] and shift [] of the input's code; y [B, ..., out] with

        y_j = s_j * (alpha * sum_i B_ji*L_i + shift * sum_i B_ji) + b_j        `per` None: weights as they are, s = 1

    L the levels the device reads for N (N itself without one). Backward, with G = dLoss/dy, c the clip mask,
    v = alpha*N + shift and V = s*B (the products of the chain rule at nominal levels):

        dLoss/dv = G @ V        dx = c * dLoss/dv
        dalpha = sum(dLoss/dv * (N - c*r))        dshift = sum(dLoss/dv * (1 - c))        db = sum(G)
        dV = G^T @ (alpha*L + shift)        dw as in `binary_value`

    dV takes the levels that were read, or the nominal ones with `nominal_weight_gradient`. Noise of single synapses
    (`Device.disturb`) is in the forward value alone. Under autocast the product and y are of its dtype; levels of an
    ideal device are exact in it.
    """
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    result: Tensor = _HybridLinear.apply(
        x, weight, bias, alpha, shift, device, top, signed, dead_zone, per, nominal_weight_gradient, dtype
    )
    return result


class _State(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, clip: float) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.clip = clip
        return weight_signs(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        return x.abs().le_(ctx.clip * scale).mul_(grads[0] / scale), None, None


def binary_state(x: Tensor, scale: Tensor, clip: float = 3.0) -> Tensor:
    """Signs B of 1-bit keys or values x; sign(0) = +1, the value is scale*B.

    `scale` > 0 must broadcast to x. Keys: one a head or token, never a channel, so that Q.K is a signed sum. Values:
    one a head or channel, never a token, so that A.V is one. Backward: dx = dB/scale where |x| <= clip*scale, else 0;
    none to `scale` here (the product scale*B has it).
    """
    signs: Tensor = _State.apply(x, scale.detach(), clip)
    return signs


def least_squares_code(
    x: Tensor, top: int, coding: Coding, dead_zone: int = 0, candidates: int = 80
) -> tuple[Tensor, Tensor]:
    """(alpha, shift) [] of least squared error, out of `candidates` ranges: shares of max|x| (of the whole range from
    the mean both ways, for a shift). The shift is 0 but for that coding.

    Nothing to code (all zero, or all negative on one rail; all alike, for a shift) gives alpha 1: any codes it exactly.
    """
    x = x.detach().flatten()
    zero, one = x.new_zeros(()), x.new_ones(())
    share = torch.linspace(1.0 / candidates, 1.0, candidates, dtype=x.dtype, device=x.device)
    if coding == "shift":
        middle = x.mean()
        low, high = middle - share * (middle - x.min()), middle + share * (x.max() - middle)
        alphas, shifts = (high - low) / top, low
        if x.max() <= x.min():
            return one, x.min()
    else:
        peak = x.abs().max() if coding == "two rails" else x.max()
        if peak <= 0:
            return one, zero
        alphas, shifts = share * peak / (top - 0.5), zero.expand(candidates)
    signed = coding == "two rails"
    x = x[:: max(1, x.numel() // _ENOUGH)]  # its error is known well enough from so many
    errors = [
        (alpha * levels_of(x, alpha, top, signed, shift, dead_zone) + shift - x).square().sum()
        for alpha, shift in zip(alphas, shifts, strict=True)
    ]
    best = int(torch.stack(errors).argmin())
    return alphas[best], shifts[best].clone()
