"""Where layers lie on a mesh of tiles, and how many hops messages make: from a placement, or one plain number.

Synapse arrays fill tiles in the order of computation, in snake order: the first row from left to right, the next one
back. A message goes from the tile of the array whose sums it stands for to the tile of the array it drives, by
Manhattan distance; arrays of several tiles count the mean over pairs. An input of the first layer comes from the
first tile.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array
from otters_lab.ttfs.summary import SiteSummary

_LAYER = re.compile(r"(.*?\.\d+)\.")


@dataclass(frozen=True)
class Layer:
    """One block: its sites by number, by what they do. Of attentions the first three linears are taken for queries,
    keys and values, in this order; `rest` are the context's linear and the feed-forward's, the last one its second.
    """

    name: str
    projections: tuple[int, ...]
    queries: tuple[int, ...]
    probabilities: tuple[int, ...]
    rest: tuple[int, ...]

    @property
    def sites(self) -> tuple[int, ...]:
        """All of them, in the order of computation."""
        return self.projections + self.queries + self.probabilities + self.rest


def layers_of(sites: Sequence[SiteSummary]) -> list[Layer]:
    """Sites by the layer they stand in, which is their name up to the first number (or "network").

    Raises
    ------
    InputError
        for a layer that has nothing behind its attention.
    """
    found: dict[str, list[int]] = {}
    for number, site in enumerate(sites):
        match = _LAYER.match(site.name)
        found.setdefault(match[1] if match else "network", []).append(number)
    result = []
    for name, numbers in found.items():
        linears, queries, probabilities = (
            tuple(number for number in numbers if sites[number].kind == kind)
            for kind in ("linear input", "query", "attention probability")
        )
        projections = linears[:3] if queries else ()
        rest = linears[len(projections) :]
        if not rest:
            raise InputError("a layer without a linear behind its attention", found=name)
        result.append(Layer(name, projections, queries, probabilities, rest))
    return result


def producers(layers: Sequence[Layer]) -> dict[int, int | None]:
    """For each site, the site whose sums its neurons fire or are computed from; None for the network's input."""
    result: dict[int, int | None] = {}
    end: int | None = None
    for layer in layers:
        result |= dict.fromkeys(layer.projections, end)
        result |= dict.fromkeys(layer.queries, layer.projections[0] if layer.projections else end)
        result |= dict.fromkeys(layer.probabilities, layer.queries[-1] if layer.queries else end)
        before = layer.probabilities[-1] if layer.probabilities else end
        for number in layer.rest:
            result[number] = before
            before = number
        end = before
    return result


@dataclass(frozen=True)
class Hops:
    """Hops of what travels: into[site] of its spikes or values, state[site] of the keys or values it multiplies with,
    residual[layer] of the two residuals, before and after the attention.
    """

    into: list[float]
    state: list[float]
    residual: list[tuple[float, float]]


def constant_hops(sites: Sequence[SiteSummary], hops: float) -> Hops:
    """The same number of hops for everything."""
    n = len(sites)
    return Hops([hops] * n, [hops] * n, [(hops, hops)] * len(layers_of(sites)))


def mesh_hops(sites: Sequence[SiteSummary], weight_bits: int, state_bits: int, tile_bits: int) -> Hops:
    """Hops on the smallest square mesh that holds every array, of tiles of `tile_bits` of memory each."""
    layers = layers_of(sites)
    order = [number for layer in layers for number in layer.sites]
    placed = placement([_bits(sites[number], weight_bits, state_bits) for number in order], tile_bits)
    tiles = dict(zip(order, placed, strict=True))
    source = producers(layers)

    def between(a: int | None, b: int) -> float:
        start = placed[0][:1] if a is None else tiles[a]
        return float(np.abs(start[:, None, :] - tiles[b][None, :, :]).sum(axis=2).mean())

    residual = []
    state = [0.0] * len(sites)
    end: int | None = None
    for layer in layers:
        # Keys go to the array that queries drive, values to that of the probabilities.
        for places, projections in (
            (layer.queries, layer.projections[1:2]),
            (layer.probabilities, layer.projections[2:3]),
        ):
            for place in places:
                state[place] = between(projections[0], place) if projections else 0.0
        residual.append((between(end, layer.rest[0]), between(layer.rest[0], layer.rest[-1])))
        end = layer.rest[-1]
    return Hops([between(source[number], number) for number in range(len(sites))], state, residual)


def placement(bits: Sequence[float], tile_bits: int) -> list[Array]:
    """Tiles [n, 2] (row, column) of arrays of so many bits, one after the other in snake order on a square mesh."""
    counts = [max(1, math.ceil(size / tile_bits)) for size in bits]
    columns = math.ceil(math.sqrt(sum(counts)))
    number = np.arange(sum(counts))
    row, column = number // columns, number % columns
    column = np.where(row % 2 == 1, columns - 1 - column, column)
    tiles = np.stack([row, column], axis=1).astype(np.float64)
    return np.split(tiles, np.cumsum(counts)[:-1])


def _bits(site: SiteSummary, weight_bits: int, state_bits: int) -> float:
    return site.heads * site.d_in * site.d_out * (weight_bits if site.kind == "linear input" else state_bits)
