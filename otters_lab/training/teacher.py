"""The full-precision teacher, trained on the task's labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from otters_lab.training.config import TrainingConfig
from otters_lab.training.examples import Examples, Splits
from otters_lab.training.loop import Log, batch_ids, run_steps
from otters_lab.training.measure import autocast, score, wide
from otters_lab.training.parallel import dropout_of_whole, own_slice
from otters_lab.training.runstate import RunState
from otters_lab.training.tasks import Task

Batches = Callable[[int], tuple[dict[str, Tensor], Tensor]]  # step -> inputs, targets of all processes


def training_batches(task: Task, examples: Examples, config: TrainingConfig, length_power: float = 0.0) -> Batches:
    """Augmented batches by step; `length_power` as in `batch_ids`."""
    lengths = examples.lengths()

    def at(step: int) -> tuple[dict[str, Tensor], Tensor]:
        ids = batch_ids(len(examples), config.batch, step, config.seed, lengths, length_power)
        return task.augment(examples.batch(ids), config, step), examples.y[ids]

    return at


def train_teacher(
    task: Task, model: PreTrainedModel, data: Splits, config: TrainingConfig, log: Log, state: RunState | None = None
) -> PreTrainedModel:
    """The model trained on the task's labels, in eval mode; checked as `config.teacher` says."""
    settings, batches = config.teacher, training_batches(task, data.train, config)
    model.train()

    def loss_at(step: int) -> tuple[Tensor, dict[str, Tensor | float]]:
        inputs, y = batches(step)
        own = own_slice(len(y))
        mine, weight = {name: part[own] for name, part in inputs.items()}, len(y[own]) / len(y)
        with autocast(config.precision), dropout_of_whole():
            logits = wide(model(**mine).logits)
        if task.labels == 1:
            return weight * torch.nn.functional.mse_loss(logits[:, 0], y[own]), {}
        loss = torch.nn.functional.cross_entropy(logits, y[own], label_smoothing=settings.label_smoothing)
        return weight * loss, {}

    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": learned, "lr": settings.lr, "weight_decay": settings.weight_decay}]
    run_steps(
        "teacher",
        model,
        groups,
        settings.steps,
        loss_at,
        log,
        seed=config.seed,
        state=state,
        checks=settings,
        score=lambda: score(model, data.validation, task.metrics),
    )
    return model.eval()
