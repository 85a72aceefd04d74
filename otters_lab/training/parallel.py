"""One training run in several processes, as `torchrun` starts them: each takes its slice of every batch.

What a process computes is its part of a sum: losses are weighted by its share of the batch, so that gradients and
logged losses, added over processes, are those of the whole batch in one process, up to the order of float sums. (In
float32 that order decides, now and then, which of two levels a neuron fires; runs then part slowly, as with other
threads.) Parameters live on the CPU, so processes talk through gloo. In a single process every function here leaves
things as they are.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from otters_lab.core.errors import InputError

T = TypeVar("T")


def join() -> None:
    """Makes the processes that torchrun started one group, if they are not yet."""
    if _started() > 1 and processes() == 1:
        dist.init_process_group("gloo")
        # It lasts for all runs of the process: a second group would meet the first one's addresses in torchrun's store.
        atexit.register(dist.destroy_process_group)


def alone(what: str) -> None:
    """Refuses `what` where several processes were started.

    Raises
    ------
    InputError
        if torchrun started more than one.
    """
    if _started() > 1:
        raise InputError(f"{what} takes one process", found=f"{_started()} processes")


def _started() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))  # torchrun's


def processes() -> int:
    """How many share the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if processes() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return _rank() == 0


def own_slice(n: int) -> slice:
    """This process's part of a batch of `n` examples.

    Raises
    ------
    InputError
        if they do not divide evenly.
    """
    if n % processes():
        raise InputError(
            "does not divide among the processes", key="batch", found=n, expected=f"a multiple of {processes()}"
        )
    each = n // processes()
    return slice(_rank() * each, (_rank() + 1) * each)


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives in the first process, in all of them; the others wait for it."""
    found = [make() if is_first() else None]
    if processes() > 1:
        dist.broadcast_object_list(found, src=0)
    return found[0]  # type: ignore[return-value]  # what came from the first is a T


def start_alike(model: nn.Module, step: int | None) -> None:
    """Gives all processes the first one's parameters, and sees to it that none began before another had read its files.

    Raises
    ------
    InputError
        if they would go on from different steps (None: there are none left), as where the run's folder is not shared.
    """
    if processes() == 1:
        return
    steps: list[Any] = [None] * processes()
    dist.all_gather_object(steps, step)
    if len(set(steps)) > 1:
        raise InputError("processes do not see the same saved run", found=f"steps {steps}", expected="a shared folder")
    for part in model.state_dict().values():
        dist.broadcast(part, src=0)


@torch.no_grad()
def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Puts the sum over processes into every gradient: one message a step."""
    if processes() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def added(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Numbers to show: tensors [] are parts of a sum over processes, floats are the same in each."""
    found = {name: float(value) for name, value in values.items()}
    parts = [name for name, value in values.items() if isinstance(value, Tensor)]
    if processes() > 1:
        sums = torch.tensor([found[name] for name in parts], dtype=torch.float64)
        dist.all_reduce(sums)
        found.update(zip(parts, sums.tolist(), strict=True))
    return found


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of x over processes, with the gradient of this one's.

    A function of means over a batch is then right in each process, and so is its gradient once it is weighted by the
    process's share and added up, although the function is not linear.
    """
    if processes() == 1:
        return x
    mean = x.detach().clone()
    dist.all_reduce(mean)
    return x + (mean / processes() - x.detach())


def dropout_of_whole() -> AbstractContextManager[object]:
    """While open, dropout takes this process's rows of what would be drawn for the whole batch.

    Rows are those of the first dimension.
    """
    return nullcontext() if processes() == 1 else _DropoutOfWhole()


class _DropoutOfWhole(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not nn.functional.dropout:
            return func(*args, **(kwargs or {}))
        x, rows = args[0], len(args[0])
        ones = x.new_ones((processes() * rows, *x.shape[1:]))
        kept = func(ones, **{**kwargs, "inplace": False})
        return x * kept[_rank() * rows : (_rank() + 1) * rows]
