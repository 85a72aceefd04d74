"""Fits of very many traces, a chunk in memory at a time: the unified law at one c, wherever the traces come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from otters_lab.calibration.bulk import Decays, SharedC, fit_bulk, fit_shared_c
from otters_lab.calibration.engines import Engine, Result, run_chunks
from otters_lab.calibration.select import Selection, padded_to
from otters_lab.core.files import canonical_json, sha256_bytes
from otters_lab.core.log import progress
from otters_lab.core.protocols import AnyArray, Array
from otters_lab.measurements.capture import open_capture

CHUNK = 4096
BLOCK = 128  # traces a batch: what 400 samples of them need stays in a core's cache (measured: 1.8 times 2048)
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
class CaptureSupply:
    """The usable decays of sealed captures, read as they are asked for: `rows` [trace] are (capture, trace) numbers.

    `hashes` are the captures' SHA-256, so that results of other files are never taken for these.
    """

    paths: tuple[Path, ...]
    hashes: tuple[str, ...]
    rows: AnyArray
    window_s: float

    @property
    def count(self) -> int:
        """How many decays there are."""
        return len(self.rows)

    @property
    def identity(self) -> str:
        """Hash of the files, of the traces chosen, and of the window."""
        rows = sha256_bytes(np.ascontiguousarray(self.rows, dtype="<i8").tobytes())
        return sha256_bytes(canonical_json([self.hashes, rows, self.window_s]))

    def decays(self, rows: AnyArray) -> Decays:
        """Those of some numbers, in their order."""
        wanted = self.rows[rows]
        times, currents, tables = [], [], []
        for number in np.unique(wanted[:, 0]):
            mine = wanted[wanted[:, 0] == number, 1]
            with open_capture(self.paths[number], verify=False) as dataset:
                part = dataset.isel(trace=mine)
                times.append(part["time"].to_numpy())
                currents.append(part["current"].to_numpy())
                names = {"aperture_s": "aperture", "edge_uncertainty_s": "edge_uncertainty"}
                tables.append(pd.DataFrame({name: part[variable].to_numpy() for name, variable in names.items()}))
        width = max(part.shape[1] for part in times)
        time_s, current_A = (np.concatenate([padded_to(part, width) for part in parts]) for parts in (times, currents))
        order = np.argsort(np.argsort(wanted[:, 0], kind="stable"), kind="stable")
        table = pd.concat(tables, ignore_index=True).iloc[order].reset_index(drop=True)
        return Selection(time_s[order], current_A[order], table, [], self.window_s, {}).decays()


@dataclass(frozen=True)
class FitChunk:
    """The work on one chunk: every trace at a fixed c."""

    supply: DecaySupply
    c: float

    def __call__(self, start: int, stop: int) -> Result:
        decays = self.supply.decays(np.arange(start, stop))
        count = stop - start
        fits = [
            fit_bulk(decays.take(np.arange(first, min(first + BLOCK, count))), self.c)
            for first in range(0, count, BLOCK)
        ]
        return {name: np.concatenate([getattr(fit, name) for fit in fits]) for name in ("theta", "rss", "converged")}


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
