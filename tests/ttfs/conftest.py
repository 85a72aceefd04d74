from __future__ import annotations

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert


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
    calibrate_scales(converted, lambda: converted(images))
    return converted
