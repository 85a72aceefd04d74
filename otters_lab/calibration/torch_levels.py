"""The samplers in torch, for draws on any device from a `torch.Generator`. The only module here that imports torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from otters_lab.calibration.readers import SampledLevels, root
from otters_lab.core.protocols import Array


def sample(reader: SampledLevels, n: int, generator: torch.Generator, dtype: torch.dtype | None = None) -> Tensor:
    """`n` runs of the reader's mean device, [n, T + 1], on the generator's device."""
    device, dtype = generator.device, dtype or torch.float64

    def tensor(values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    def normal(covariance: Array) -> Tensor:
        size = len(covariance)
        return torch.randn((n, size), generator=generator, dtype=dtype, device=device) @ tensor(root(covariance)).T

    if reader.recorded is None:
        runs = normal(reader.model.run_to_run)
    else:
        rows = torch.randint(len(reader.recorded), (n,), generator=generator, device=device)
        runs = tensor(reader.recorded)[rows]
    theta = tensor(reader.centre) + runs
    levels = unified(tensor(reader.u), theta, reader.model.c) + theta[:, 3:] @ tensor(
        reader.model.mode_curves(reader.u)
    )
    if reader.read_noise is not None:
        levels = levels + normal(reader.read_noise)
    if reader.adc_bits is None:
        return levels
    steps = 2**reader.adc_bits - 1
    return (levels.clamp(0.0, 1.0) * steps).round() / steps


def unified(u: Tensor, theta: Tensor, c: float) -> Tensor:
    """O(u) [n, level] of runs theta [n, 3 or more] = (O0, D, logit beta, ...), as `laws.unified`."""
    x = u ** torch.sigmoid(theta[:, 2:3])
    g = x if abs(c) < 1e-15 else -torch.expm1(math.log1p(-c) * x) / c
    return theta[:, 0:1] - theta[:, 1:2] * g
