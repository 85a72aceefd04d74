"""Distillation of the student, stage by stage: it learns the teacher's hidden states and logits, not the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import ViTForImageClassification

from otters_lab.core.protocols import LevelReader
from otters_lab.training.config import StageConfig, TrainingConfig
from otters_lab.training.loop import TRAINING_NOISE, VALIDATION_NOISE, Log, run_steps
from otters_lab.training.measure import accuracy
from otters_lab.training.tasks import Splits
from otters_lab.training.teacher import training_batch
from otters_lab.ttfs.convert import calibrate_scales, set_stage
from otters_lab.ttfs.device import Devices, using
from otters_lab.ttfs.layers import SignNeurons, TTFSCode

# Examples from which scales are set.
CALIBRATION_EXAMPLES = 256


@dataclass(frozen=True)
class Lesson:
    """Who learns from whom, on what, under which devices."""

    student: ViTForImageClassification
    teacher: ViTForImageClassification
    data: Splits
    reader: LevelReader
    config: TrainingConfig


def distil(lesson: Lesson, log: Log) -> dict[str, float]:
    """Trains a converted student through all stages; returns the validation accuracy after each, under its own noise.

    The forward pass of a stage with noise reads each example's levels from the reader, drawn anew every step; the
    backward pass is that of the quantised network (`ttfs.functional.hybrid_linear`).
    """
    student, data, config = lesson.student, lesson.data, lesson.config
    normalisers = hidden_sizes(lesson.teacher, data.train.x)
    reached: dict[str, float] = {}
    first_step, noise_before, before = 0, 0.0, None
    for number, stage in enumerate(config.stages):
        on = (stage.activations, stage.weights, stage.states)
        set_stage(student, activations=stage.activations, weights=stage.weights, states=stage.states)
        if on != before:
            # What is quantised has changed, and with it all that flows: earlier scales no longer fit.
            calibrate_scales(student, lambda: student(pixel_values=data.train.x[:CALIBRATION_EXAMPLES]))
        _run_stage(lesson, stage, first_step, noise_before, normalisers, log)
        devices = _devices(lesson, stage.noise, VALIDATION_NOISE, number)
        reached[stage.name] = accuracy(student, data.validation, devices)
        log.write(stage=stage.name, validation_accuracy=reached[stage.name])
        first_step, noise_before, before = first_step + stage.steps, stage.noise, on
    student.eval()
    return reached


def _run_stage(
    lesson: Lesson,
    stage: StageConfig,
    first_step: int,
    noise_before: float,
    normalisers: Sequence[float],
    log: Log,
) -> None:
    student, config = lesson.student, lesson.config
    student.train()

    def loss_at(step: int) -> tuple[Tensor, dict[str, float]]:
        at = first_step + step
        x, _ = training_batch(lesson.data.train, config.jitter, config.batch, at, config.seed)
        with torch.no_grad():
            wanted = lesson.teacher(pixel_values=x, output_hidden_states=True)
        noise = noise_at(step, stage, noise_before)
        with using(student, _devices(lesson, noise, TRAINING_NOISE, at), range(len(x))):
            found = student(pixel_values=x, output_hidden_states=True)
        hidden = hidden_error(found.hidden_states, wanted.hidden_states, normalisers)
        soft = soft_cross_entropy(found.logits, wanted.logits, config.temperature)
        loss = soft + config.hidden_weight * hidden
        return loss, {"hidden": float(hidden.detach()), "soft": float(soft.detach()), "noise": noise}

    scales = scale_parameters(student)
    positive = [scale for name, scale in student.named_parameters() if name.endswith((".alpha", ".scale"))]
    known = {id(parameter) for parameter in scales}
    others = [parameter for parameter in student.parameters() if id(parameter) not in known]
    groups = [
        {"params": others, "lr": stage.lr, "weight_decay": 0.0},
        {"params": scales, "lr": stage.scale_lr, "weight_decay": 0.0},
    ]

    @torch.no_grad()
    def keep_positive() -> None:
        for scale in positive:
            scale.clamp_(min=1e-4)

    run_steps(stage.name, groups, stage.steps, loss_at, log, after=keep_positive)


def scale_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The learned scales of a converted model."""
    found: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, TTFSCode):
            found.append(module.alpha)
            found += [] if module.shift is None else [module.shift]
        elif isinstance(module, SignNeurons):
            found.append(module.scale)
    return found


def noise_at(step: int, stage: StageConfig, before: float) -> float:
    """The multiple of the reader's noise at a step: from the last stage's to this one's, then constant."""
    rise = stage.ramp * stage.steps
    share = 1.0 if step >= rise else step / rise
    return before + (stage.noise - before) * share


def _devices(lesson: Lesson, multiple: float, purpose: int, number: int) -> Devices | None:
    """The devices of a step or stage, with `multiple` times the reader's noise; None without any."""
    if multiple == 0:
        return None
    return Devices(lesson.reader, (lesson.config.seed, purpose, number), lesson.config.code.noise, multiple)


@torch.no_grad()
def hidden_sizes(teacher: ViTForImageClassification, x: Tensor) -> list[float]:
    """Mean square of each of the teacher's hidden states over the train part: fixed, so that no batch sets its own."""
    states = teacher(pixel_values=x, output_hidden_states=True).hidden_states
    return [float(state.square().mean()) for state in states]


def hidden_error(found: Sequence[Tensor], wanted: Sequence[Tensor], normalisers: Sequence[float]) -> Tensor:
    """Mean over layers of |h_student - h_teacher|^2 relative to the teacher's own size."""
    errors = [(f - w).square().mean() / size for f, w, size in zip(found, wanted, normalisers, strict=True)]
    return torch.stack(errors).mean()


def soft_cross_entropy(found: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """-sum p log q over classes with p, q the softmax of the teacher's and student's logits / temperature, times T^2.

    Hinton et al., Distilling the knowledge in a neural network, 2015.
    """
    target = torch.softmax(wanted / temperature, dim=-1)
    loss = -(target * torch.log_softmax(found / temperature, dim=-1)).sum(dim=-1).mean()
    return loss * temperature**2
