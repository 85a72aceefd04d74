"""The full-precision teacher: a transformers ViT of the student's shape, trained on the task's labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from otters_lab.training.config import JitterConfig, ShapeConfig, TrainingConfig
from otters_lab.training.loop import INITIAL_WEIGHTS, JITTER, Log, batch_ids, run_steps
from otters_lab.training.tasks import Examples, ImageTask, Splits, jitter
from otters_lab.ttfs.device import generator


def new_model(task: ImageTask, shape: ShapeConfig, seed: int) -> ViTForImageClassification:
    """An untrained ViT for the task; ReLU in the feed-forward, so that one rail codes it."""
    config = ViTConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        hidden_act="relu",
        image_size=task.image_size,
        patch_size=shape.patch,
        num_channels=task.channels,
        layer_norm_eps=1e-6,
        **_labels(task),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, INITIAL_WEIGHTS, 0).initial_seed())
        return ViTForImageClassification(config)


def _labels(task: ImageTask) -> dict[str, Any]:
    return {"num_labels": task.classes}


def training_batch(examples: Examples, moves: JitterConfig, size: int, step: int, seed: int) -> tuple[Tensor, Tensor]:
    """Jittered images and labels of a step."""
    ids = batch_ids(len(examples), size, step, seed)
    x = jitter(examples.x[ids], moves.shift_px, moves.turn_rad, moves.zoom, generator(seed, JITTER, step))
    return x, examples.y[ids]


def train_teacher(task: ImageTask, data: Splits, config: TrainingConfig, log: Log) -> ViTForImageClassification:
    """A trained teacher, in eval mode."""
    model = new_model(task, config.shape, config.seed)
    settings = config.teacher

    def loss_at(step: int) -> tuple[Tensor, dict[str, float]]:
        x, y = training_batch(data.train, config.jitter, config.batch, step, config.seed)
        logits = model(pixel_values=x).logits
        return torch.nn.functional.cross_entropy(logits, y, label_smoothing=settings.label_smoothing), {}

    groups = [{"params": list(model.parameters()), "lr": settings.lr, "weight_decay": settings.weight_decay}]
    run_steps("teacher", groups, settings.steps, loss_at, log)
    return model.eval()
