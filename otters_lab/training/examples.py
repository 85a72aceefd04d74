"""Examples of a task as tensors, in batches that are no longer than they need be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from otters_lab.core.errors import InputError


@dataclass(frozen=True)
class Examples:
    """Inputs by name, [n, ...] each (`pixel_values`, or `input_ids` with `attention_mask`), and targets y [n]."""

    inputs: Mapping[str, Tensor]
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, ids: Tensor) -> Examples:
        """Those of some numbers."""
        return Examples({name: part[ids] for name, part in self.inputs.items()}, self.y[ids])

    def batch(self, ids: Tensor) -> dict[str, Tensor]:
        """Inputs of some numbers, cut behind the longest of them."""
        rows = {name: part[ids] for name, part in self.inputs.items()}
        mask = rows.get("attention_mask")
        if mask is None:
            return rows
        longest = int(mask.sum(dim=1).max())
        return {name: part[:, :longest] for name, part in rows.items()}

    def digest(self) -> str:
        """Hex SHA-256 of all numbers."""
        sha = hashlib.sha256()
        for name in sorted(self.inputs):
            sha.update(f"{name} {tuple(self.inputs[name].shape)}".encode())
            sha.update(self.inputs[name].numpy().tobytes())
        sha.update(self.y.numpy().tobytes())
        return sha.hexdigest()

    def lengths(self) -> Tensor | None:
        """Tokens of each example [n]; None where all are alike."""
        mask = self.inputs.get("attention_mask")
        return None if mask is None else mask.sum(dim=1)

    def in_batches(self, size: int) -> list[Tensor]:
        """Numbers of all examples in batches of alike length, for passes that change nothing."""
        lengths = self.lengths()
        order = torch.arange(len(self)) if lengths is None else torch.argsort(lengths, stable=True)
        return list(order.split(size))


def swapped(inputs: Mapping[str, Tensor], share: float, rng: torch.Generator) -> dict[str, Tensor]:
    """A batch of text, [B, tokens] each, with a `share` of its words put in place of others, drawn from the batch.

    Texts that nobody wrote, for a student to learn its teacher's answers to: no label is needed. What begins or ends a
    text (special tokens) and padding stay.

    Raises
    ------
    InputError
        for inputs that are no text.
    """
    if "input_ids" not in inputs or "attention_mask" not in inputs:
        raise InputError("only words of a text can be swapped", found=", ".join(inputs), expected="input_ids")
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    last = ids.gather(1, mask.sum(dim=1, keepdim=True) - 1)
    special = torch.unique(torch.cat([ids[:, :1], last]))
    words = mask & ~torch.isin(ids, special)
    pool = ids[words]
    if not len(pool):
        return dict(inputs)
    drawn = pool[torch.randint(len(pool), ids.shape, generator=rng)]
    chosen = words & (torch.rand(ids.shape, generator=rng) < share)
    return {**inputs, "input_ids": torch.where(chosen, drawn, ids)}


@dataclass(frozen=True)
class Splits:
    """A task's data. The four parts share no example.

    train is learned from; on `validation` every choice is made; `test` is private and carries ablations; `dev` is what
    others report on, for the final configurations alone (the same as `test` where a task has no dev part of its own).
    """

    train: Examples
    validation: Examples
    test: Examples
    dev: Examples
