"""A training run on disk while it goes: what a kill leaves is gone on with, to the same bits."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from otters_lab.core.files import canonical_json, sha256_bytes, write_atomically
from otters_lab.training.parallel import is_first

if TYPE_CHECKING:
    from otters_lab.training.loop import Log


@dataclass
class Best:
    """The best check of a stage so far: its score, its weights (none before there is one), and how many checks ago."""

    score: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    checks_behind: int = 0

    def take(self, score: float, model: nn.Module) -> None:
        """Counts a check of the model as it is."""
        if not score > self.score:  # nor is what is no number
            self.checks_behind += 1
            return
        self.score, self.checks_behind = score, 0
        self.weights = {name: part.clone() for name, part in model.state_dict().items()}


class RunState:
    """The folder of a run: one file holds the last saved step of the stage that runs, one each the stages done.

    `identity` is all that decides the run; files of another one are not taken for its own.
    """

    def __init__(self, folder: Path, identity: Any, every_s: float = 60.0) -> None:
        self._folder = folder / sha256_bytes(canonical_json(identity))[:16]
        self._every_s = every_s
        self._saved_s = time.monotonic()

    def restore(
        self, stage: str, model: nn.Module, optimiser: torch.optim.Optimizer, log: Log, best: Best
    ) -> int | None:
        """Puts back what was saved of a stage; returns the step to go on with, None where it is done."""
        for name in (f"{stage}.done", "running"):
            path = self._folder / f"{name}.safetensors"
            if not path.exists():
                continue
            saved = path.read_bytes()
            about = json.loads(_metadata(saved)["about"])
            if about["stage"] != stage:
                continue
            tensors = tensors_from_bytes(saved)
            model.load_state_dict(_under("model.", tensors))
            log.go_back(about["log"])
            if about["done"]:
                return None
            _fill(optimiser, _under("optimiser.", tensors))
            best.weights = _under("best.", tensors)
            best.score, best.checks_behind = about["best_score"], about["checks_behind"]
            return int(about["step"])
        return 0

    def save_if_due(
        self,
        stage: str,
        step: int,
        done: bool,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        log: Log,
        best: Best,
    ) -> None:
        """Saves after `step` steps, if the stage is done or a while has passed: the first process does."""
        if not is_first():
            return
        if not done and time.monotonic() - self._saved_s < self._every_s:
            return
        tensors = {f"model.{name}": part.contiguous() for name, part in model.state_dict().items()}
        if not done:  # nothing is learned on from a stage that is done
            tensors |= {f"optimiser.{name}": part for name, part in _flat(optimiser).items()}
            tensors |= {f"best.{name}": part.contiguous() for name, part in best.weights.items()}
        about = json.dumps(
            {
                "stage": stage,
                "step": step,
                "done": done,
                "log": log.text(),
                "best_score": best.score,
                "checks_behind": best.checks_behind,
            }
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / (f"{stage}.done.safetensors" if done else "running.safetensors")
        write_atomically(path, tensors_to_bytes(tensors, metadata={"about": about}))
        self._saved_s = time.monotonic()


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: part for key, part in tensors.items() if key.startswith(prefix)}


def _metadata(saved: bytes) -> dict[str, str]:
    size = int.from_bytes(saved[:8], "little")
    found: dict[str, str] = json.loads(saved[8 : 8 + size])["__metadata__"]
    return found


def _flat(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors by parameter number and name."""
    return {
        f"{number}.{name}": value.clone()
        for number, entry in optimiser.state_dict()["state"].items()
        for name, value in entry.items()
    }


def _fill(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    if not tensors:
        return
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    whole = optimiser.state_dict()
    optimiser.load_state_dict({**whole, "state": state})
