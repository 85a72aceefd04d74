"""Distillation of the student, stage by stage: it learns the teacher's hidden states and logits, not the labels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from otters_lab.core.protocols import LevelReader
from otters_lab.training.config import StageConfig, TrainingConfig
from otters_lab.training.examples import Examples, Splits, swapped
from otters_lab.training.loop import SWAPS, TRAINING_NOISE, VALIDATION_NOISE, Log, run_steps
from otters_lab.training.measure import autocast, score, wide
from otters_lab.training.parallel import from_first, own_slice
from otters_lab.training.runstate import RunState
from otters_lab.training.sparsity import price, priced
from otters_lab.training.tasks import Task
from otters_lab.training.teacher import training_batches
from otters_lab.ttfs.config import CodeConfig
from otters_lab.ttfs.convert import calibrate_scales, convert, correct_biases, scale_parameters, set_stage
from otters_lab.ttfs.device import Devices, generator, using

# Examples from which scales are set.
CALIBRATION_EXAMPLES = 256


@dataclass(frozen=True)
class Lesson:
    """Who learns from whom, on what, under which devices."""

    task: Task
    student: PreTrainedModel
    teacher: PreTrainedModel
    data: Splits
    reader: LevelReader
    config: TrainingConfig
    quantised: tuple[bool, bool, bool] | None = None  # what of the student is so already: its scales are kept


def new_student(teacher: PreTrainedModel, code: CodeConfig, learned_from: Examples) -> PreTrainedModel:
    """The teacher converted; where ReLUs take the place of its activations, biases take up the shift of means."""
    student = convert(copy.deepcopy(teacher), code)
    if code.feed_forward == "relu":
        set_stage(student, activations=False, weights=False, states=False)
        sample = _sample(learned_from)
        correct_biases(student, teacher, sample.batch(torch.arange(len(sample))))
    return student


def _sample(examples: Examples) -> Examples:
    return examples.take(torch.arange(min(CALIBRATION_EXAMPLES, len(examples))))


def distil(lesson: Lesson, log: Log, state: RunState | None = None) -> dict[str, float]:
    """Trains a converted student through all stages; returns the validation score after each, under its own noise.

    The forward pass of a stage with noise reads each example's levels from the reader, drawn anew every step; the
    backward pass is that of the quantised network (`ttfs.functional.hybrid_linear`).
    """
    student, data, config = lesson.student, lesson.data, lesson.config
    sample = _sample(data.train)
    normalisers = hidden_sizes(lesson.teacher, sample)
    spread = score_variance(lesson.teacher, sample) if lesson.task.labels == 1 else None
    reached: dict[str, float] = {}
    first_step, noise_before, before = 0, 0.0, lesson.quantised
    for number, stage in enumerate(config.stages):
        on = (stage.activations, stage.weights, stage.states)
        set_stage(student, activations=stage.activations, weights=stage.weights, states=stage.states)
        if on != before:
            # What is quantised has changed, and with it all that flows: earlier scales no longer fit.
            calibrate_scales(student, lambda: student(**sample.batch(torch.arange(len(sample)))))
        devices = _devices(lesson, stage.noise, VALIDATION_NOISE, number)
        validate = partial(score, student, data.validation, lesson.task.metrics, devices, config.precision)
        _run_stage(lesson, stage, first_step, noise_before, normalisers, spread, validate, log, state)
        reached[stage.name] = from_first(validate)
        log.write(stage=stage.name, validation=reached[stage.name])
        first_step, noise_before, before = first_step + stage.steps, stage.noise, on
    student.eval()
    return reached


def _run_stage(
    lesson: Lesson,
    stage: StageConfig,
    first_step: int,
    noise_before: float,
    normalisers: Sequence[float],
    spread: float | None,
    validate: Callable[[], float],
    log: Log,
    state: RunState | None,
) -> None:
    student, config = lesson.student, lesson.config
    # Dropout would hide from the student what its teacher, in eval mode, sees.
    student.eval()
    batches = training_batches(lesson.task, lesson.data.train, config, stage.length_power)

    def loss_at(step: int) -> tuple[Tensor, dict[str, Tensor | float]]:
        at = first_step + step
        inputs, y = batches(at)
        if stage.swapped:
            inputs = swapped(inputs, stage.swapped, generator(config.seed, SWAPS, at))
        own = range(len(y))[own_slice(len(y))]
        mine = {name: part[own.start : own.stop] for name, part in inputs.items()}
        with torch.no_grad(), autocast(config.precision):
            wanted = lesson.teacher(**mine, output_hidden_states=True)
        noise = noise_at(step, stage, noise_before)
        devices = _devices(lesson, noise, TRAINING_NOISE, at)
        spikes = priced(student, stage.rail_rate)
        with using(student, devices, own), autocast(config.precision), spikes as terms:
            found = student(**mine, output_hidden_states=True)
        weight = len(own) / len(y)
        mask = mine.get("attention_mask")
        # Hidden states count by token: who has the longer sentences has the larger share.
        of_tokens = weight if mask is None else mask.sum() / inputs["attention_mask"].sum()
        hidden = of_tokens * hidden_error(found.hidden_states, wanted.hidden_states, normalisers, mask)
        if spread is not None:
            soft = (wide(found.logits) - wide(wanted.logits)).square().mean() / spread
        else:
            soft = soft_cross_entropy(wide(found.logits), wide(wanted.logits), config.temperature)
        soft, spent = weight * soft, weight * price(terms)
        loss = soft + config.hidden_weight * hidden + spent
        return loss, {"hidden": hidden.detach(), "soft": soft.detach(), "spikes": spent.detach(), "noise": noise}

    scales = scale_parameters(student)
    positive = [scale for name, scale in student.named_parameters() if name.endswith((".alpha", ".scale"))]
    known = {id(parameter) for parameter in scales}
    others = [p for p in student.parameters() if p.requires_grad and id(p) not in known]
    groups: list[dict[str, Any]] = [{"params": scales, "lr": stage.scale_lr, "weight_decay": 0.0}]
    if stage.learn == "all":
        groups.insert(0, {"params": others, "lr": stage.lr, "weight_decay": 0.0})

    @torch.no_grad()
    def keep_positive() -> None:
        for scale in positive:
            scale.clamp_(min=1e-4)

    run_steps(
        stage.name,
        student,
        groups,
        stage.steps,
        loss_at,
        log,
        seed=config.seed,
        state=state,
        after=keep_positive,
        checks=stage,
        score=validate,
    )


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
def hidden_sizes(teacher: PreTrainedModel, sample: Examples) -> list[float]:
    """Mean square of each of the teacher's hidden states on a sample, padding left out.

    They are fixed, so that no batch sets its own.
    """
    inputs = sample.batch(torch.arange(len(sample)))
    states = teacher(**inputs, output_hidden_states=True).hidden_states
    return [float(_mean(state.square(), inputs.get("attention_mask"))) for state in states]


@torch.no_grad()
def score_variance(teacher: PreTrainedModel, sample: Examples) -> float:
    """Variance of the scores that a teacher of one output gives a sample: an error relative to it has no unit, so that
    it weighs against hidden states as a cross-entropy does, whatever the scale of the scores.
    """
    return float(teacher(**sample.batch(torch.arange(len(sample)))).logits.var())


def hidden_error(
    found: Sequence[Tensor], wanted: Sequence[Tensor], normalisers: Sequence[float], mask: Tensor | None = None
) -> Tensor:
    """Mean over layers of |h_student - h_teacher|^2 relative to the teacher's own size; mask [B, tokens] is 0 where
    there is padding.
    """
    errors = [
        _mean((wide(f) - wide(w)).square(), mask) / size for f, w, size in zip(found, wanted, normalisers, strict=True)
    ]
    return torch.stack(errors).mean()


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over [B, tokens, d], of the tokens that the mask counts."""
    if mask is None:
        return values.mean()
    return (values.mean(dim=-1) * mask).sum() / mask.sum()


def soft_cross_entropy(found: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """-sum p log q over classes with p, q the softmax of the teacher's and student's logits / temperature, times T^2.

    Hinton et al., Distilling the knowledge in a neural network, 2015.
    """
    target = torch.softmax(wanted / temperature, dim=-1)
    loss = -(target * torch.log_softmax(found / temperature, dim=-1)).sum(dim=-1).mean()
    return loss * temperature**2
