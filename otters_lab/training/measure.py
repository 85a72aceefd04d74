"""Predictions and accuracy of a model on examples, under given devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import ViTForImageClassification

from otters_lab.training.tasks import Examples
from otters_lab.ttfs.device import Devices, using


@torch.no_grad()
def logits(
    model: ViTForImageClassification, examples: Examples, devices: Devices | None = None, batch: int = 256
) -> Tensor:
    """Logits [n, classes]; example i meets its own draws of `devices`."""
    was_training = model.training
    model.eval()
    parts = []
    for ids in torch.arange(len(examples)).split(batch):
        with using(model, devices, ids.tolist()):
            parts.append(model(pixel_values=examples.x[ids]).logits)
    model.train(was_training)
    return torch.cat(parts)


def accuracy(model: ViTForImageClassification, examples: Examples, devices: Devices | None = None) -> float:
    """Share of examples whose largest logit is the label's."""
    predicted = logits(model, examples, devices).argmax(dim=-1)
    return float((predicted == examples.y).double().mean())


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """torch on `n` threads: the order of float sums, and so the last digits of a result, depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
