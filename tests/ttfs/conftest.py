from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from otters_lab.core.protocols import Array, LevelReader
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert


@dataclass(frozen=True)
class CurveReader:
    """Bent power laws O = O0 - D*u**beta at the level times of the mean curve; sd in per cent of the full scale."""

    n_levels: int = 16
    run_sd: float = 0.02
    device_sd: float = 0.0
    depth: float = 1.0  # this device's D

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        draws = np.random.default_rng(seed).standard_normal((3, n, 1))
        u = np.linspace(0.0, 1.0, self.n_levels) ** (1 / 0.495)
        beta = 0.495 + 0.005 * draws[2] * (self.run_sd > 0)
        return 1 + self.run_sd / 4 * draws[1] - (self.depth + self.run_sd * draws[0]) * u**beta

    def for_run(self, seed: tuple[int, ...]) -> LevelReader:
        if self.device_sd == 0:
            return self
        return replace(
            self, depth=1 + self.device_sd * float(np.random.default_rng(seed).standard_normal()), device_sd=0
        )


@pytest.fixture
def curve_reader() -> type[CurveReader]:
    return CurveReader


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.fixture
def plain_vit() -> ViTForImageClassification:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    image = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10}
    config = ViTConfig(**shape, **image, hidden_act="relu", initializer_range=0.3)
    return ViTForImageClassification(config).eval()


@pytest.fixture
def spiking_vit(plain_vit: ViTForImageClassification, images: torch.Tensor) -> ViTForImageClassification:
    converted = convert(plain_vit, CodeConfig())
    calibrate_scales(converted, images)
    return converted
