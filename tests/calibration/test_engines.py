"""Chunks on one core, on several, and with workers that die: the same bytes, nothing waited for without end."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from otters_lab.calibration.engines import Chunk, Cluster, Result, Serial, Workers, chunks_of, run_chunks
from otters_lab.core.errors import InputError, RefusedError


@dataclass(frozen=True)
class Squares:
    """A chunk's squares; may kill its process at a chunk, once or always, or be slow."""

    marker: Path
    dies_at: int = -1
    always: bool = False
    slow_at: int = -1

    def __call__(self, start: int, stop: int) -> Result:
        if start <= self.dies_at < stop and (self.always or not self.marker.exists()):
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if start <= self.slow_at < stop:
            time.sleep(30)
        rng = np.random.default_rng(start)
        return {"square": np.arange(start, stop) ** 2.0, "noise": rng.normal(size=(stop - start, 3))}


def run(work: Squares, folder: Path, engine: Serial | Workers | Cluster, count: int = 103) -> Result:
    return run_chunks(work, count, size=10, folder=folder, task="t" * 64, engine=engine)


def same(one: Result, other: Result) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in ("square", "noise"))


def test_chunks_hold_every_trace_once() -> None:
    assert chunks_of(25, 10) == [Chunk(0, 10), Chunk(10, 20), Chunk(20, 25)]


def test_two_processes_give_the_bytes_of_one(tmp_path: Path) -> None:
    work = Squares(tmp_path / "marker")
    alone, both = run(work, tmp_path / "a", Serial()), run(work, tmp_path / "b", Workers(2))
    assert same(alone, both)
    np.testing.assert_array_equal(alone["square"], np.arange(103) ** 2.0)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_run_that_was_cut_short_does_not_do_again_what_is_there(tmp_path: Path) -> None:
    done: list[int] = []

    class Counting(Squares):
        def __call__(self, start: int, stop: int) -> Result:
            done.append(start)
            if len(done) == 5:
                raise KeyboardInterrupt
            return super().__call__(start, stop)

    with pytest.raises(KeyboardInterrupt):
        run(Counting(tmp_path / "marker"), tmp_path / "a", Serial())
    run(Counting(tmp_path / "marker"), tmp_path / "a", Serial())
    assert done == [0, 10, 20, 30, 40, 40, 50, 60, 70, 80, 90, 100]


def test_a_worker_that_dies_costs_nothing_but_time(tmp_path: Path) -> None:
    found = run(Squares(tmp_path / "marker", dies_at=45), tmp_path / "a", Workers(2))
    assert same(found, run(Squares(tmp_path / "other"), tmp_path / "b", Serial()))


def test_a_chunk_that_kills_every_worker_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    work = Squares(tmp_path / "marker", dies_at=45, always=True)
    with pytest.raises(RefusedError, match="traces 40 to 49"):
        run(work, tmp_path / "a", Workers(2))
    kept = list((tmp_path / "a").iterdir())
    assert kept
    assert not any("-000000040-" in path.name for path in kept)
    whole = run(Squares(tmp_path / "other"), tmp_path / "a", Serial())
    assert same(whole, run(Squares(tmp_path / "other"), tmp_path / "b", Serial()))


def test_what_does_not_come_back_in_time_is_named(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="came back within 1 s"):
        run(Squares(tmp_path / "marker", slow_at=45), tmp_path / "a", Workers(2, deadline_s=1.0))


def test_a_cluster_beyond_this_machine_needs_tls() -> None:
    with pytest.raises(InputError, match="TLS"):
        list(Cluster("tcp://192.0.2.1:8786").run(Squares(Path("x")), [Chunk(0, 1)]))
