"""Logits and scores of a model on examples, under given devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from otters_lab.training.examples import Examples
from otters_lab.training.metrics import scores
from otters_lab.ttfs.device import Devices, using

Precision = Literal["float32", "bfloat16", "auto"]


def autocast(precision: Precision) -> AbstractContextManager[object]:
    """Matrix products in bfloat16, or as they are; "auto": as `faster_precision` says."""
    wanted = faster_precision() if precision == "auto" else precision
    return torch.autocast("cpu", torch.bfloat16) if wanted == "bfloat16" else nullcontext()


def faster_precision() -> Literal["float32", "bfloat16"]:
    """bfloat16 where this CPU has products of it; where it has none torch makes do (with AVX2 alone, at a ninth of
    float32's rate).
    """
    has = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if has else "float32"


def wide(x: Tensor) -> Tensor:
    """x in float32, or in what it has if that is wider: what losses and scores are computed in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def logits(
    model: PreTrainedModel,
    examples: Examples,
    devices: Devices | None = None,
    batch: int = 256,
    precision: Precision = "float32",
) -> Tensor:
    """Logits [n, outputs] in float32; example i meets its own draws of `devices`."""
    was_training = model.training
    model.eval()
    found: Tensor | None = None
    for ids in examples.in_batches(batch):
        inputs = examples.batch(ids)
        with using(model, devices, ids.tolist(), inputs.get("attention_mask")), autocast(precision):
            part = wide(model(**inputs).logits)
        if found is None:
            found = part.new_empty((len(examples), part.shape[1]))
        found[ids] = part
    model.train(was_training)
    assert found is not None
    return found


def score(
    model: PreTrainedModel,
    examples: Examples,
    metrics: tuple[str, ...],
    devices: Devices | None = None,
    precision: Precision = "float32",
) -> float:
    """The main metric on examples."""
    return scores(metrics[:1], logits(model, examples, devices, precision=precision), examples.y)[metrics[0]]


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """torch on `n` threads: the order of float sums, and so the last digits of a result, depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
