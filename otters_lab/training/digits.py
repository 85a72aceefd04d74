"""Hand-written digits, 8 x 8 pixels: a task that needs no download and no minute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, ViTConfig, ViTForImageClassification

from otters_lab.core.errors import InputError
from otters_lab.training.config import TrainingConfig
from otters_lab.training.examples import Examples, Splits
from otters_lab.training.loop import INITIAL_WEIGHTS, JITTER
from otters_lab.ttfs.device import generator

SIZE = 8
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Digits:
    """1797 images (UCI, in scikit-learn) in ten classes: 1068 train, 189 validation, 540 test."""

    name: ClassVar[str] = "digits"
    recorded: ClassVar[str] = "digits"
    labels: ClassVar[int] = 10
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def splits(self, config: TrainingConfig) -> Splits:
        """The data, always cut the same way; pixels are in -1..1."""
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        images, labels = load_digits(return_X_y=True)
        x = torch.tensor(images / 8.0 - 1.0, dtype=torch.float32).view(-1, 1, SIZE, SIZE)  # grey values 0..16
        whole = Examples({"pixel_values": x}, torch.tensor(labels, dtype=torch.int64))
        rest, test = train_test_split(range(len(whole)), test_size=0.3, random_state=_SPLIT_SEED, stratify=labels)
        train, validation = train_test_split(rest, test_size=0.15, random_state=_SPLIT_SEED, stratify=labels[rest])
        parts = [whole.take(torch.tensor(part)) for part in (train, validation, test, test)]
        return Splits(*parts)

    def new_teacher(self, config: TrainingConfig) -> ViTForImageClassification:
        """An untrained ViT; ReLU in the feed-forward, so that one rail codes it.

        Raises
        ------
        InputError
            if the patch does not tile the image.
        """
        shape = config.shape
        if any(SIZE % side for side in shape.patch):
            raise InputError("the patch does not tile the image", key="shape.patch", found=shape.patch,
                             expected=f"divisors of {SIZE}")  # fmt: skip
        made = ViTConfig(
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.feed_forward,
            hidden_act="relu",
            image_size=SIZE,
            patch_size=shape.patch,
            num_channels=1,
            layer_norm_eps=1e-6,
        )
        made.num_labels = self.labels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(config.seed, INITIAL_WEIGHTS, 0).initial_seed())
            return ViTForImageClassification(made)

    def freeze(self, model: PreTrainedModel) -> None:
        """Nothing: all of it is learned."""

    def defaults(self) -> TrainingConfig:
        """A minute or two on one core."""
        return TrainingConfig()

    def save_tokenizer(self, folder: Path, config: TrainingConfig) -> None:
        """Images need none."""

    def augment(self, inputs: dict[str, Tensor], config: TrainingConfig, step: int) -> dict[str, Tensor]:
        """Images moved, turned and scaled at random."""
        moves = config.jitter
        rng = generator(config.seed, JITTER, step)
        return {"pixel_values": jitter(inputs["pixel_values"], moves.shift_px, moves.turn_rad, moves.zoom, rng)}


def jitter(x: Tensor, shift_px: float, turn_rad: float, zoom: float, generator: torch.Generator) -> Tensor:
    """Each image moved, turned and scaled at random, uniformly within +- the given amounts; the edge is repeated."""
    n, width = x.shape[0], x.shape[-1]
    shift_x, shift_y, angle, size = (torch.rand(4, n, generator=generator) * 2 - 1).unbind()
    angle, size = angle * turn_rad, 1 + size * zoom
    shift = 2 * shift_px / width  # affine_grid's image is 2 wide
    rows = (
        torch.stack([size * angle.cos(), -size * angle.sin(), shift_x * shift], dim=1),
        torch.stack([size * angle.sin(), size * angle.cos(), shift_y * shift], dim=1),
    )
    grid = torch.nn.functional.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
