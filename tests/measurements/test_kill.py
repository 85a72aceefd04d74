"""SIGKILL at random moments: an acknowledged trace is never lost, doubled or altered."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from otters_lab.core.protocols import Trace
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")

APPEND = """
import sys
from pathlib import Path
import numpy as np
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.spool import Spool

with Spool.open(Path(sys.argv[1])) as spool:
    for index in range(len(spool), 100_000):
        rng = np.random.default_rng(index)
        time_s, current_A = np.arange(400.0), rng.normal(size=400)
        trace = Trace(time_s, current_A, 1e-3, 0.0, 1.0, 1e-6, str(index))
        spool.append(TraceKey("X1", index % 8, index // 8, 0), trace)
        print(index, flush=True)
"""

SEAL = """
import sys
from pathlib import Path
from otters_lab.measurements.seal import seal

print("ready", flush=True)
seal(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def start(script: str, environment: dict[str, str], *arguments: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill(process: subprocess.Popen[str]) -> str:
    """What it had said by the time it died."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=20)
    return said


def test_every_acknowledged_trace_survives_ten_kills(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "run.h5.spool"
    Spool.create(path, CaptureMeta(origin="synthetic", chip="X1")).close()
    moments = random.Random(20260131)
    acknowledged: list[int] = []
    for _ in range(10):
        process = start(APPEND, environment, path)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(moments.uniform(0, 0.15))
        acknowledged += [int(line) for line in (first + kill(process)).splitlines() if line]
        with Spool.open(path, read_only=True) as spool:
            # One more than was printed may be there: stored, and killed before it could say so.
            assert len(spool) - len(acknowledged) in (0, 1)
            acknowledged = list(range(len(spool)))
    assert len(acknowledged) >= 10  # each process had one at least
    with Spool.open(path) as spool:
        stored = list(spool.traces())
    assert [int(trace.start_utc) for _, trace in stored] == acknowledged
    for index, (key, trace) in enumerate(stored):
        assert (key.device, key.point) == (index % 8, index // 8)
        assert np.array_equal(trace.current_A, np.random.default_rng(index).normal(size=400))


def test_a_sealing_killed_at_any_moment_is_finished_by_sealing_again(
    tmp_path: Path, environment: dict[str, str], meta: CaptureMeta, trace: Callable[..., Trace], key: Callable
) -> None:
    moments = random.Random(7)
    outcomes = set()
    for round_ in range(4):
        path = tmp_path / f"run{round_}.h5"
        with Spool.create(spool_path(path), meta) as spool:
            uid = spool.uid
            for index in range(200):
                spool.append(key(index), trace(index % 60, 400))
        process = start(SEAL, environment, spool_path(path), path)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.4))
        kill(process)
        outcomes.add((path.exists(), spool_path(path).exists()))
        assert path.exists() or spool_path(path).exists()
        if spool_path(path).exists():
            seal(spool_path(path), path)
        capture = load_capture(path)
        assert capture.header.uid == uid
        assert len(capture.table) == 200
        assert np.array_equal(capture.current_A[7], trace(7, 400).current_A)
        assert not list(tmp_path.glob("*.partial"))
    assert (False, True) in outcomes  # some were killed before the rename: else nothing was tested
