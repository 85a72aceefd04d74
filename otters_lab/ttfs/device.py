"""Which device each site reads: drawing level tables for examples, and setting them for a forward pass.

Noise has a place: "layer", one device serves all lines of a site (P = 1), or "line", a device an input line. And it
has a time: run-to-run noise is drawn anew for every example (never for a batch), device-to-device variation once a
run, site and line. Tables of a whole data set are drawn by (seed, run, site), row i belongs to example i, so the batch
an example travels in changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array, LevelReader
from otters_lab.ttfs.layers import TTFSCode
from otters_lab.ttfs.statistics import LevelCounter, SiteSummary, alarm_if_sparse

Place = Literal["layer", "line"]
Tables = Mapping[str, Tensor]


@runtime_checkable
class DeviceReader(LevelReader, Protocol):
    """A `LevelReader` that tells devices apart."""

    def for_run(self, seed: tuple[int, ...]) -> LevelReader:
        """The reader of one device: device-to-device variation is drawn by `seed` and stays, run-to-run noise does not.

        Itself, where each read carries all there is to draw.
        """


def sites(model: nn.Module) -> dict[str, TTFSCode]:
    """All sites of a converted model by name, in the order of the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, TTFSCode)}


def draw(
    model: nn.Module, reader: LevelReader, n: int, seed: tuple[int, ...], place: Place = "layer"
) -> dict[str, Tensor]:
    """Tables of `n` examples for every site, site -> [n, P, T + 1] in units of T*O; `seed` = (seed, run).

    Raises
    ------
    InputError
        if the reader has another number of levels than the model.
    """
    tables = {}
    for number, (name, site) in enumerate(sites(model).items()):
        check_levels(reader, site.top)
        lines = site.shape.lines if place == "line" else 1
        tables[name] = in_levels(_read(reader, n, lines, (*seed, number)), site)
    return tables


def _read(reader: LevelReader, n: int, lines: int, seed: tuple[int, ...]) -> Array:
    """O(t_k) [n, lines, T + 1]: n reads of each line's device."""
    if not isinstance(reader, DeviceReader) or reader.for_run(seed) is reader:
        return reader.read(n * lines, seed).reshape(n, lines, -1)
    # The device and its reads need seeds of their own, else their draws would repeat each other.
    return np.stack([reader.for_run((*seed, line, 0)).read(n, (*seed, line, 1)) for line in range(lines)], axis=1)


def in_levels(values: Array, site: TTFSCode) -> Tensor:
    """O(t_k) as T*O(t_k) in the site's precision; the product is taken in float64, so an ideal table gives integers."""
    return torch.from_numpy(np.ascontiguousarray(site.top * values)).to(site.alpha.dtype)


def check_levels(reader: LevelReader, top: int) -> None:
    """Refuses a reader of another code than the network's."""
    if reader.n_levels != top + 1:
        raise InputError("level tables do not fit the network", found=reader.n_levels, expected=f"{top + 1} levels")


@contextmanager
def using(model: nn.Module, tables: Tables | None, ids: Tensor | None = None) -> Iterator[None]:
    """Sets the devices of the examples `ids` (all rows if None) on every site; None is the ideal device."""
    found = sites(model)
    try:
        for name, site in found.items():
            site.table = None if tables is None else tables[name] if ids is None else tables[name][ids]
        yield
    finally:
        for site in found.values():
            site.table = None


@contextmanager
def counting(model: nn.Module) -> Iterator[None]:
    """Counts what every site fires while open; read it with `summaries` before leaving."""
    found = sites(model)
    try:
        for site in found.values():
            site.counter = LevelCounter.empty(site.top)
        yield
    finally:
        for site in found.values():
            site.counter = None


def summaries(model: nn.Module) -> list[SiteSummary]:
    """What each site fired since `counting` began; warns of sites where almost nothing does."""
    result = [site.summary(name) for name, site in sites(model).items()]
    for summary in result:
        alarm_if_sparse(summary)
    return result
