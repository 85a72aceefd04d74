"""The training loop: AdamW, a learning rate that ends at 0, everything random keyed by (seed, purpose, step)."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from otters_lab.core.log import Bar, progress
from otters_lab.training.config import WARM_UP, ChecksConfig
from otters_lab.training.parallel import add_gradients, added, from_first, is_first, start_alike
from otters_lab.training.runstate import Best, RunState
from otters_lab.ttfs.device import generator

# Purposes of random numbers, so that streams which share a seed and a step never meet. Keys are all (seed, purpose,
# step or run): numpy takes (1, 2) and (1, 2, 0) for the same seed.
BATCHES, JITTER, TRAINING_NOISE, VALIDATION_NOISE, INITIAL_WEIGHTS, EVALUATION_NOISE, DROPOUT, SWAPS = range(8)

_ALIKE = 50  # batches among which examples of alike length are brought together


def batch_ids(
    n: int, batch: int, step: int, seed: int, lengths: Tensor | None = None, length_power: float = 0.0
) -> Tensor:
    """Indices of the examples of step `step`: a fresh permutation an epoch, its incomplete last batch left out.

    With `lengths` [n], batches hold examples of alike length: less padding, at the price of a coarser shuffle. With
    `length_power` above 0 there are no epochs: an example is drawn in proportion to its length to that power.
    """
    if lengths is not None and length_power > 0:
        group, place = divmod(step, _ALIKE)
        rng = generator(seed, BATCHES, group)
        drawn = torch.multinomial(lengths.double() ** length_power, _ALIKE * batch, replacement=True, generator=rng)
        return _alike(drawn, lengths, batch)[int(torch.randperm(_ALIKE, generator=rng)[place])]
    each = max(1, n // batch)
    epoch, place = divmod(step, each)
    rng = generator(seed, BATCHES, epoch)
    order = torch.randperm(n, generator=rng)
    if lengths is not None:
        groups = order[: each * batch].split(_ALIKE * batch)
        batches = [part for group in groups for part in _alike(group, lengths, batch)]
        return batches[int(torch.randperm(len(batches), generator=rng)[place])]
    return order[place * batch : (place + 1) * batch]


def _alike(ids: Tensor, lengths: Tensor, batch: int) -> tuple[Tensor, ...]:
    """Batches of these examples, each of alike length."""
    return ids[torch.argsort(lengths[ids], stable=True)].split(batch)


def rate_share(step: int, steps: int) -> float:
    """Share of the learning rate at a step: a short linear rise, then half a cosine down to 0."""
    done = (step + 0.5) / steps
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def run_steps(
    name: str,
    model: nn.Module,
    groups: list[dict[str, Any]],
    steps: int,
    loss_at: Callable[[int], tuple[Tensor, Mapping[str, Tensor | float]]],
    log: Log,
    *,
    seed: int,
    state: RunState | None = None,
    after: Callable[[], None] | None = None,
    checks: ChecksConfig | None = None,
    score: Callable[[], float] | None = None,
) -> None:
    """Minimises `loss_at(step)` over the parameter groups (each with its `lr`); `after` runs behind each step.

    The loss, and what of its parts are tensors, are this process's share of a sum over processes (see `parallel`).
    With `checks.check_every`, `score()` (a higher one is better) is logged as "validation" of the step just taken, and
    decides what the model holds in the end (see `ChecksConfig`); it must draw nothing from torch's own generator.

    What torch draws within a step (dropout) is keyed by (seed, step). With `state`, the run is saved now and then, goes
    on from what was saved, and is not run again once it is done: the results are the same bits.
    """
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    peaks = [group["lr"] for group in optimiser.param_groups]
    parameters = [parameter for group in groups for parameter in group["params"]]
    best = Best()
    first = 0 if state is None else state.restore(name, model, optimiser, log, best)
    every, patience = (None, None) if checks is None else (checks.check_every, checks.patience)
    start_alike(model, first)
    if first is None:
        return
    bar = progress(name, steps) if is_first() else nullcontext(Bar())
    with bar as advance, torch.random.fork_rng(devices=[]):
        advance(first)
        for step in range(first, steps):
            torch.manual_seed(generator(seed, DROPOUT, step).initial_seed())
            share = rate_share(step, steps)
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            optimiser.zero_grad(set_to_none=True)
            loss, parts = loss_at(step)
            loss.backward()
            add_gradients(parameters)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            if after is not None:
                after()
            if step % 20 == 0 or step == steps - 1:
                log.write(stage=name, step=step, **added({"loss": loss.detach(), "lr_share": share, **parts}))
            done = step == steps - 1
            if score is not None and every is not None and (done or (step + 1) % every == 0):
                found = from_first(score)
                log.write(stage=name, step=step, validation=found)
                best.take(found, model)
                done = done or best.checks_behind == patience
            if done and best.weights:
                model.load_state_dict(best.weights)
            if state is not None:
                state.save_if_due(name, step + 1, done, model, optimiser, log, best)
            advance(1)
            if done:
                break


class Log:
    """Appends JSON lines to a file that can be followed while training runs; in one process of several alone."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = io.StringIO()
        if is_first():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+", encoding="utf-8", newline="\n")
            self._file.truncate(0)

    def go_back(self, lines: str) -> None:
        """Makes these the lines written so far."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(lines)
        self._file.flush()

    def write(self, **values: object) -> None:
        """One line."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def text(self) -> str:
        """All lines so far."""
        self._file.flush()
        self._file.seek(0)
        return self._file.read()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
