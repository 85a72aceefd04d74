"""Chunks of work on one core, on several (joblib), or on a cluster (dask.distributed): the same results, byte for byte.

Each chunk's result is on disk before it counts; a run that was cut short goes on with the chunks that are missing. A
worker that dies costs the chunk it was at, which is given to another; a chunk that is lost again and again is named,
and so is one that does not come back in time: nothing waits for ever.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import TimeoutError as PoolTimeoutError
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.files import write_atomically
from otters_lab.core.log import logger, progress
from otters_lab.core.protocols import Array

Result = dict[str, Array]
Work = Callable[[int, int], Result]  # (first trace, one past the last) -> arrays [trace, ...]

CHUNK = 4096  # traces
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
            yield chunk, _do(work, chunk)


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
    return chunk, _do(work, chunk)


def _do(work: Work, chunk: Chunk) -> Result:
    # Sums of more than one BLAS thread end in other digits.
    with threadpool_limits(limits=1, user_api="blas"):
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
    folder: Path | None,
    task: str,
    engine: Engine,
    advance: Callable[[int], object] = lambda n: None,
) -> Result:
    """Runs `work` over `count` traces and puts the results together in order.

    `folder` keeps each chunk's result under the name of the `task` (a hash of all that decides the result); chunks that
    are there already are not run again; with None they are kept in memory. `advance` is told how many traces are done.

    Raises
    ------
    RefusedError
        naming the traces that were lost; the rest is kept.
    """
    chunks = chunks_of(count, size)
    if folder is None:
        done: dict[Chunk, Result] = {}
        for chunk, result in engine.run(work, chunks):
            done[chunk] = result
            advance(chunk.stop - chunk.start)
        return _together(done[chunk] for chunk in chunks)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [chunk for chunk in chunks if not _place(folder, task, chunk).exists()]
    advance(count - sum(chunk.stop - chunk.start for chunk in missing))
    for chunk, result in engine.run(work, missing):
        packed = io.BytesIO()
        np.savez(packed, **result)  # type: ignore[arg-type]  # its keyword allow_pickle is no array
        write_atomically(_place(folder, task, chunk), packed.getvalue())
        advance(chunk.stop - chunk.start)
    return _together(_stored(_place(folder, task, chunk)) for chunk in chunks)


@dataclass(frozen=True)
class Runner:
    """Where long work is done, and where its chunks are kept meanwhile (None: in memory)."""

    engine: Engine = field(default_factory=Serial)
    folder: Path | None = None
    size: int = CHUNK

    def __call__(self, what: str, work: Work, count: int, task: str) -> Result:
        """`run_chunks` under a progress bar that says `what`."""
        with progress(what, count) as advance:
            return run_chunks(
                work, count, size=self.size, folder=self.folder, task=task, engine=self.engine, advance=advance
            )


ON_ONE_CORE = Runner()


def _together(results: Iterable[Result]) -> Result:
    parts: dict[str, list[Any]] = {}
    for result in results:
        for name, array in result.items():
            parts.setdefault(name, []).append(array)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _stored(place: Path) -> Result:
    with np.load(place, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _place(folder: Path, task: str, chunk: Chunk) -> Path:
    return folder / f"{task[:16]}-{chunk.start:09d}-{chunk.stop:09d}.npz"
