"""Tasks: what a network learns, with fixed splits. Adding one is writing one small object.

The test part is for the final evaluation alone; every choice (hyper-parameters, stages, noise) is made on the
validation part, which is cut from the train part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from otters_lab.core.errors import InputError, closest


@dataclass(frozen=True)
class Examples:
    """Inputs x [n, channels, height, width] in about -1..1 and labels y [n]."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Splits:
    """A task's data. The three parts share no example."""

    train: Examples
    validation: Examples
    test: Examples


@dataclass(frozen=True)
class ImageTask:
    """Images of one size, in classes; the metric is accuracy. `load` needs no network."""

    name: str
    image_size: int
    channels: int
    classes: int
    split_seed: int
    load: Callable[[int], Splits]

    def splits(self) -> Splits:
        """The data, always cut the same way."""
        return self.load(self.split_seed)


def _digits(seed: int) -> Splits:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 8.0 - 1.0, dtype=torch.float32).view(-1, 1, 8, 8)  # grey values 0..16
    y = torch.tensor(labels, dtype=torch.int64)
    rest, test = train_test_split(range(len(y)), test_size=0.3, random_state=seed, stratify=y)
    train, validation = train_test_split(rest, test_size=0.15, random_state=seed, stratify=y[rest])
    return Splits(*(Examples(x[part], y[part]) for part in (train, validation, test)))


# 1797 hand-written digits of 8 x 8 pixels (UCI, in scikit-learn): 1068 train, 189 validation, 540 test.
DIGITS = ImageTask("digits", image_size=8, channels=1, classes=10, split_seed=0, load=_digits)

TASKS: Mapping[str, ImageTask] = {task.name: task for task in (DIGITS,)}


def find_task(name: str) -> ImageTask:
    """The task of that name.

    Raises
    ------
    InputError
        if there is none.
    """
    if name not in TASKS:
        known = ", ".join(sorted(TASKS))
        raise InputError("no such task", found=name, expected=f"one of {known}", suggestion=closest(name, TASKS))
    return TASKS[name]


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
