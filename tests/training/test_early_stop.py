"""Checks within a stage: when they end it, what they keep, and that a kill changes neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from otters_lab.core.protocols import LevelReader
from otters_lab.training.checkpoint import load_checkpoint
from otters_lab.training.checkpoint_files import LOG
from otters_lab.training.config import ChecksConfig, ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.loop import Log, run_steps
from otters_lab.training.measure import score
from otters_lab.training.runstate import RunState
from otters_lab.training.tasks import find_task
from otters_lab.training.train import train

STEPS = 18


def logged(path: Path, stage: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, path.read_text().splitlines()) if line["stage"] == stage]


class Killed(Exception):
    pass


def walk(
    folder: Path, scores: list[float], checks: ChecksConfig, killed_at: int | None = None
) -> tuple[list[float], str, int]:
    """A weight walks; its n-th check gets the n-th score. Returns where it ends, the log, and the last step."""
    model, taken = nn.Linear(2, 1), 0
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    log = Log(folder / LOG)

    def loss_at(step: int) -> tuple[Tensor, dict[str, Tensor | float]]:
        nonlocal taken
        if step == killed_at:
            raise Killed
        taken = step + 1
        x = torch.randn(4, 2, generator=torch.Generator().manual_seed(step))
        return (model(x) - x.sum(dim=1, keepdim=True) * 3).square().mean(), {}

    every = checks.check_every or 1
    groups = [{"params": list(model.parameters()), "lr": 0.1}]
    state = RunState(folder / "run", "walk", every_s=0.0)
    run_steps(
        "walk", model, groups, STEPS, loss_at, log, seed=0, state=state, checks=checks,
        score=lambda: scores[-(-taken // every) - 1],
    )  # fmt: skip
    return [*model.weight.flatten().tolist(), *model.bias.tolist()], log.text(), taken


def weights_after(folder: Path, steps: int) -> list[float]:
    """Where the walk stands after so many steps, found by a check that no other beats."""
    scores = [float(n == steps) for n in range(1, STEPS + 1)]
    return walk(folder, scores, ChecksConfig(check_every=1))[0]


@pytest.mark.parametrize(
    ("scores", "patience", "best_check", "steps"),
    [
        ([0.1, 0.5, 0.4, 0.5, 0.9], 2, 1, 16),  # as good is not better
        ([0.1, 0.5, 0.4, 0.6, 0.2], 2, 3, STEPS),
        ([0.1, 0.5, 0.4, 0.3, 0.2], None, 1, STEPS),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, 4, STEPS),  # the last step is checked
        ([0.3, 0.2, 0.4, 0.4, 0.4], 1, 0, 8),
        ([float("nan"), 0.2, float("nan"), 0.1, 0.9], 2, 1, 16),  # what is no number is not better, nor in the way
    ],
)
def test_the_best_check_is_kept_and_patience_ends_it_whatever_step_a_kill_comes_at(
    tmp_path: Path, scores: list[float], patience: int | None, best_check: int, steps: int
) -> None:
    checks = ChecksConfig(check_every=4, patience=patience)
    whole = walk(tmp_path / "whole", scores, checks)
    assert whole[2] == steps
    at_best = min(4 * (best_check + 1), STEPS)

    assert whole[0] == weights_after(tmp_path / "to the best", at_best)
    for kill in range(1, steps, 3):  # before, at and behind checks
        folder = tmp_path / f"killed at {kill}"
        with pytest.raises(Killed):
            walk(folder, scores, checks, killed_at=kill)
        assert walk(folder, scores, checks) == whole
        assert walk(folder, scores, checks) == (*whole[:2], 0), "what is done is not run again"


def test_a_stage_and_a_teacher_that_stop_early_score_what_the_log_says_was_best(
    tmp_path: Path, curve_reader: type[LevelReader]
) -> None:
    steps = 400
    config = TrainingConfig(
        shape=ShapeConfig(hidden=16, layers=1, heads=2, feed_forward=16),
        batch=16,
        teacher=TeacherConfig(steps=steps, lr=3e-3, check_every=10, patience=3),
        stages=[
            StageConfig(name="one", steps=steps, lr=8e-3, weights=True, states=True, check_every=5, patience=2),
            StageConfig(name="two", steps=12, lr=8e-3, weights=True, states=True, noise=1.0, check_every=5),
        ],
    )
    result = train("digits", curve_reader(), tmp_path / "net", config)
    for stage, reached in {"teacher": result.teacher_validation, **result.stage_validation}.items():
        lines = logged(tmp_path / "net" / LOG, stage)
        found = [line["validation"] for line in lines if "validation" in line and "step" in line]
        assert lines[-1] == {"stage": stage, "validation": reached}
        assert reached == max(found)
        if stage != "two":
            patience = 3 if stage == "teacher" else 2
            assert max(line["step"] for line in lines[:-1]) < steps - 1, "it has stopped"
            assert found[-1 - patience] == max(found) >= max(found[-patience:])
    assert found == found[:3], "checks at steps 5, 10 and the last"
    teacher = load_checkpoint(tmp_path / "net").teacher
    task = find_task("digits")
    assert score(teacher, task.splits(config).validation, task.metrics) == result.teacher_validation


def test_patience_without_checks_is_refused() -> None:
    with pytest.raises(ValidationError, match="patience = 2 counts checks, but there is no check_every"):
        StageConfig(name="s", steps=9, lr=1e-3, patience=2)
    with pytest.raises(ValidationError, match="check_every"):
        TeacherConfig(patience=1)
