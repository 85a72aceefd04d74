"""Chunks of work on one core, on several (joblib), or on a cluster (dask.distributed): the same results, byte for byte.

Each chunk's result is on disk before it counts; a run that was cut short goes on with the chunks that are missing. A
worker that dies costs the chunk it was at, which is given to another; a chunk that is lost again and again is named,
and so is one that does not come back in time: nothing waits for ever.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import TimeoutError as PoolTimeoutError
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.files import write_atomically
from otters_lab.core.log import logger
from otters_lab.core.protocols import Array

Result = dict[str, Array]
Work = Callable[[int, int], Result]  # (first trace, one past the last) -> arrays [trace, ...]

RESTARTS = 3  # how often workers may die before the chunks that are left are given up
DEADLINE_S = 600.0  # without any chunk coming back


@dataclass(frozen=True)
class Chunk:
    """Traces `start` to `stop` - 1."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"traces {self.start} to {self.stop - 1}"


def chunks_of(count: int, size: int) -> list[Chunk]:
    """All traces in chunks of `size`; what a chunk holds depends on nothing else, so results do not either."""
    return [Chunk(start, min(start + size, count)) for start in range(0, count, size)]


class Engine(Protocol):
    """Does chunks, in any order."""

    def run(self, work: Work, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Result]]:
        """Yields each chunk with its result as it is done.

        Raises
        ------
        RefusedError
            naming the traces that were lost.
        """


class Serial:
    """One after the other, in this process."""

    def run(self, work: Work, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Result]]:
        for chunk in chunks:
            yield chunk, work(chunk.start, chunk.stop)


@dataclass(frozen=True)
class Workers:
    """Processes of this machine, through joblib."""

    count: int
    deadline_s: float = DEADLINE_S

    def run(self, work: Work, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Result]]:
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

        left = list(chunks)
        for restart in range(RESTARTS + 1):
            jobs = (delayed(_named)(work, chunk) for chunk in tuple(left))
            try:
                pool = Parallel(n_jobs=self.count, return_as="generator_unordered", timeout=self.deadline_s)
                for chunk, result in pool(jobs):
                    left.remove(chunk)
                    yield chunk, result
            except PoolTimeoutError:
                raise _lost(left, f"none came back within {self.deadline_s:.0f} s") from None
            except (TerminatedWorkerError, BrokenProcessPool) as error:
                logger.warning("a worker died; %d chunks are given out again (%d)", len(left), restart + 1)
                died: Exception = error
            else:
                return
        raise _lost(left, "workers died again and again") from died


@dataclass(frozen=True)
class Cluster:
    """Workers of a dask.distributed scheduler at `address`; only tls:// leaves this machine (design 9)."""

    address: str
    deadline_s: float = DEADLINE_S

    def run(self, work: Work, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Result]]:
        if not self.address.startswith("tls://") and not _on_this_machine(self.address):
            raise InputError("a cluster beyond this machine needs TLS", found=self.address, expected="tls://HOST:PORT")
        try:
            from distributed import Client, wait
        except ImportError:
            wanted = "pip install 'otters-lab[cluster]'"
            raise InputError("dask.distributed is not installed", expected=wanted) from None
        lost: list[Chunk] = []
        with Client(self.address, timeout=30) as client:
            held = client.scatter(work, broadcast=True)
            waiting = {client.submit(_do, held, chunk, pure=False): chunk for chunk in chunks}
            while waiting:
                try:
                    done = wait(list(waiting), timeout=self.deadline_s, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    late = [*lost, *sorted(waiting.values(), key=lambda chunk: chunk.start)]
                    raise _lost(late, f"none came back within {self.deadline_s:.0f} s") from None
                for future in done:
                    chunk = waiting.pop(future)
                    error = future.exception()
                    if error is None:
                        yield chunk, future.result()
                        continue
                    logger.warning("%s: %s", chunk, error)
                    lost.append(chunk)
        if lost:
            raise _lost(lost, "their workers died or failed")


def _named(work: Work, chunk: Chunk) -> tuple[Chunk, Result]:
    return chunk, work(chunk.start, chunk.stop)


def _do(work: Work, chunk: Chunk) -> Result:
    return work(chunk.start, chunk.stop)


def _on_this_machine(address: str) -> bool:
    host = address.partition("://")[2].rpartition(":")[0]
    return host in ("127.0.0.1", "localhost", "[::1]") or address.startswith("inproc://")


def _lost(chunks: Sequence[Chunk], why: str) -> RefusedError:
    names = ", ".join(str(chunk) for chunk in chunks[:5])
    more = f" and {len(chunks) - 5} more chunks" if len(chunks) > 5 else ""
    return RefusedError(f"{names}{more} could not be fitted: {why}; what was fitted is kept, the same call goes on")


def run_chunks(
    work: Work,
    count: int,
    *,
    size: int,
    folder: Path,
    task: str,
    engine: Engine,
    advance: Callable[[int], object] = lambda n: None,
) -> Result:
    """Runs `work` over `count` traces and puts the results together in order.

    `folder` keeps each chunk's result under the name of the `task` (a hash of all that decides the result); chunks that
    are there already are not run again. `advance` is told how many traces are done.

    Raises
    ------
    RefusedError
        naming the traces that were lost; the rest is kept.
    """
    chunks = chunks_of(count, size)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [chunk for chunk in chunks if not _place(folder, task, chunk).exists()]
    advance(count - sum(chunk.stop - chunk.start for chunk in missing))
    for chunk, result in engine.run(work, missing):
        packed = io.BytesIO()
        np.savez(packed, **result)  # type: ignore[arg-type]  # its keyword allow_pickle is no array
        write_atomically(_place(folder, task, chunk), packed.getvalue())
        advance(chunk.stop - chunk.start)
    parts: dict[str, list[Any]] = {}
    for chunk in chunks:
        with np.load(_place(folder, task, chunk), allow_pickle=False) as stored:
            for name in stored.files:
                parts.setdefault(name, []).append(stored[name])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _place(folder: Path, task: str, chunk: Chunk) -> Path:
    return folder / f"{task[:16]}-{chunk.start:09d}-{chunk.stop:09d}.npz"
