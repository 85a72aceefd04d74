"""Fits of very many traces, a chunk in memory at a time: the unified law at one c, wherever the traces come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from otters_lab.calibration.bulk import Decays, SharedC, fit_bulk, fit_shared_c
from otters_lab.calibration.engines import Engine, Result, run_chunks
from otters_lab.core.files import canonical_json, sha256_bytes
from otters_lab.core.log import progress
from otters_lab.core.protocols import AnyArray, Array

CHUNK = 4096
SAMPLE = 4000  # traces, evenly spread, that the shared c is found on


class DecaySupply(Protocol):
    """Gives decays by number; picklable, since workers of other processes read for themselves."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def identity(self) -> str:
        """What they are: the hash of the file and of what was chosen from it."""

    def decays(self, rows: AnyArray) -> Decays:
        """Those of some numbers."""


@dataclass(frozen=True)
class FitChunk:
    """The work on one chunk: every trace at a fixed c."""

    supply: DecaySupply
    c: float

    def __call__(self, start: int, stop: int) -> Result:
        fit = fit_bulk(self.supply.decays(np.arange(start, stop)), self.c)
        return {"theta": fit.theta, "rss": fit.rss, "converged": fit.converged}


@dataclass(frozen=True)
class StreamedFit:
    """theta [trace, 3] (edge value, drop, logit beta), rss [trace], converged [trace], and the c of all."""

    theta: Array
    rss: Array
    converged: AnyArray
    c: float
    c_sd: float | None


def fit_streamed(
    supply: DecaySupply, groups: AnyArray, *, folder: Path, engine: Engine, c: float | None = None, size: int = CHUNK
) -> StreamedFit:
    """Finds c on a sample, unless it is given, and fits every trace at it.

    groups [trace] are device numbers, for the sd of c. Results do not depend on the engine: a chunk is always the same
    traces. `folder` keeps the chunks that are done.

    Raises
    ------
    RefusedError
        naming the traces that were lost (see `run_chunks`).
    """
    shared: SharedC | None = None
    if c is None:
        rows = np.unique(np.linspace(0, supply.count - 1, min(SAMPLE, supply.count)).astype(int))
        shared = fit_shared_c(supply.decays(rows), groups[rows])
        c = shared.c
    task = sha256_bytes(canonical_json(["unified", supply.identity, c, size]))
    with progress("fitting traces", supply.count) as advance:
        found = run_chunks(
            FitChunk(supply, c), supply.count, size=size, folder=folder, task=task, engine=engine, advance=advance
        )
    sd = None if shared is None else shared.sd
    return StreamedFit(found["theta"], found["rss"], found["converged"].astype(bool), c, sd)
