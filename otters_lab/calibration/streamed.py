"""Fits of very many traces, chunk by chunk: the unified law at one c, wherever the traces come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from otters_lab.calibration.bulk import C_BOUNDS, BulkFit, Decays, SharedC, fit_bulk, fit_shared_c
from otters_lab.calibration.engines import Result, Runner
from otters_lab.calibration.select import Selection, padded_to
from otters_lab.core.files import canonical_json, sha256_bytes
from otters_lab.core.protocols import AnyArray, Array
from otters_lab.measurements.capture import open_capture

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
class InMemory:
    """A supply of decays that are at hand."""

    held: Decays

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.held.y)

    @property
    def identity(self) -> str:
        """Hash of their readings."""
        held = self.held
        arrays = [sha256_bytes(np.ascontiguousarray(part).tobytes()) for part in (held.time_s, held.y, held.used)]
        return sha256_bytes(canonical_json([arrays, held.aperture_s, held.window_s]))

    def decays(self, rows: AnyArray) -> Decays:
        """Those of some numbers, in their order."""
        return self.held.take(rows)


@dataclass(frozen=True)
class FitChunk:
    """The work on one chunk: every trace at a fixed c, from a start [trace, 3] where there is one."""

    supply: DecaySupply
    c: float
    start: Array | None = None

    def __call__(self, start: int, stop: int) -> Result:
        decays = self.supply.decays(np.arange(start, stop))
        first = None if self.start is None else self.start[start:stop]
        fits = []
        for block in np.split(np.arange(stop - start), np.arange(BLOCK, stop - start, BLOCK)):
            fits.append(fit_bulk(decays.take(block), self.c, None if first is None else first[block]))
        return {name: np.concatenate([getattr(fit, name) for fit in fits]) for name in ("theta", "rss", "converged")}


def fit_at(supply: DecaySupply, c: float, runner: Runner, start: Array | None = None) -> BulkFit:
    """Every trace at a c, from the law's own guess or from `start` [trace, 3].

    Raises
    ------
    RefusedError
        naming the traces that were lost (see `run_chunks`).
    """
    begin = "" if start is None else sha256_bytes(np.ascontiguousarray(start).tobytes())
    task = sha256_bytes(canonical_json(["unified", supply.identity, c, runner.size, begin]))
    found = runner("fitting traces", FitChunk(supply, c, start), supply.count, task)
    return BulkFit(found["theta"], found["rss"], c, found["converged"].astype(bool))


def fit_streamed(
    supply: DecaySupply,
    groups: AnyArray,
    runner: Runner,
    *,
    c: float | None = None,
    bounds: tuple[float, float] = C_BOUNDS,
) -> SharedC:
    """Finds c within bounds on a sample, unless it is given, and fits every trace at it.

    groups [trace] are device numbers, for the sd of c, which is the sample's. Results do not depend on the runner's
    engine: a chunk is always the same traces.

    Raises
    ------
    RefusedError
        naming the traces that were lost (see `run_chunks`).
    """
    sd = None
    if c is None:
        rows = np.unique(np.linspace(0, supply.count - 1, min(SAMPLE, supply.count)).astype(int))
        shared = fit_shared_c(supply.decays(rows), groups[rows], bounds)
        c, sd = shared.c, shared.sd
    return SharedC(c, sd, fit_at(supply, c, runner))
