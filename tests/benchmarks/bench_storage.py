"""Storing traces of 10 000 samples, each before the next begins: our spool, QCoDeS's Measurement, PyMeasure's Results.

    python tests/benchmarks/bench_storage.py --output tests/benchmarks/results/storage.json

All in one run, in turns, on the same disk; the median over the rounds of the mean cost of a trace. QCoDeS writes numpy
arrays into one run and is told to flush after each trace; PyMeasure's Recorder is handed one record a sample, as its
Worker does, without the queue between. Beside them the bare cost of writing and syncing as many bytes. Then each is
killed (SIGKILL) at random moments, and what it had acknowledged is looked for.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 10_000
Store = Callable[[int, Any, Any], None]


@contextmanager
def ours(folder: Path) -> Iterator[Store]:
    """The spool that a sweep writes."""
    from otters_lab.core.protocols import Trace, TraceKey
    from otters_lab.measurements.meta import CaptureMeta
    from otters_lab.measurements.spool import Spool

    with Spool.create(folder / "run.h5.spool", CaptureMeta(origin="synthetic", chip="B")) as spool:

        def store(index: int, time_s: Any, current_A: Any) -> None:
            trace = Trace(time_s, current_A, 1e-4, 1e-6, 0.1, 1e-6, "2026-01-31T12:00:00.000000Z")
            spool.append(TraceKey("B", 1, 0, index), trace)

        yield store


@contextmanager
def qcodes(folder: Path) -> Iterator[Store]:
    """One run of a QCoDeS Measurement with array parameters, flushed after each trace."""
    os.environ.setdefault("QCODES_USER_PATH", str(folder))
    from qcodes.dataset import Measurement, initialise_or_create_database_at, load_or_create_experiment

    initialise_or_create_database_at(str(folder / "run.db"))
    experiment = load_or_create_experiment("benchmark", sample_name="B")
    measurement = Measurement(exp=experiment)
    measurement.register_custom_parameter("repeat")
    measurement.register_custom_parameter("time", unit="s", paramtype="array")
    measurement.register_custom_parameter("current", unit="A", paramtype="array", setpoints=("repeat", "time"))
    with contextlib.redirect_stdout(sys.stderr), measurement.run() as saver:

        def store(index: int, time_s: Any, current_A: Any) -> None:
            saver.add_result(("repeat", index), ("time", time_s), ("current", current_A))
            saver.flush_data_to_database()

        yield store


@contextmanager
def pymeasure(folder: Path) -> Iterator[Store]:
    """PyMeasure's Recorder on a Results file, a record a sample."""
    from queue import Queue

    from pymeasure.experiment import FloatParameter, Procedure, Results
    from pymeasure.experiment.listeners import Recorder

    class Decay(Procedure):
        bias = FloatParameter("Bias", units="V", default=0.1)
        DATA_COLUMNS = ["Repeat", "Time (s)", "Current (A)"]  # noqa: RUF012

    recorder = Recorder(Results(Decay(), str(folder / "run.csv")), Queue())

    def store(index: int, time_s: Any, current_A: Any) -> None:
        for t, i in zip(time_s, current_A, strict=True):
            recorder.handle({"Repeat": index, "Time (s)": t, "Current (A)": i})

    yield store
    for handler in recorder.handlers:  # its listening thread was never started
        handler.close()


@contextmanager
def bare(folder: Path) -> Iterator[Store]:
    """The bytes of a trace appended to a file and synced: what a durable store can at best cost."""
    with (folder / "run.bin").open("ab", buffering=0) as file:

        def store(index: int, time_s: Any, current_A: Any) -> None:
            file.write(time_s.tobytes() + current_A.tobytes())
            os.fsync(file.fileno())

        yield store


BACKENDS: dict[str, Callable[[Path], Any]] = {
    "ours": ours,
    "qcodes": qcodes,
    "pymeasure": pymeasure,
    "bare fsync": bare,
}


def trace_of(index: int) -> tuple[Any, Any]:
    """A decay with noise that the index alone decides."""
    time_s = np.arange(SAMPLES) * 1e-4
    return time_s, np.exp(-np.sqrt(time_s)) * 1e-6 + np.random.default_rng(index).normal(0, 1e-9, SAMPLES)


# --- kills ------------------------------------------------------------------------------------------------------------


def kept_by_ours(folder: Path) -> int:
    from otters_lab.measurements.spool import Spool

    with Spool.open(folder / "run.h5.spool", read_only=True) as spool:
        return sum(np.array_equal(trace.current_A, trace_of(key.repeat)[1]) for key, trace in spool.traces())


def kept_by_qcodes(folder: Path) -> int:
    os.environ.setdefault("QCODES_USER_PATH", str(folder))
    from qcodes.dataset import initialise_or_create_database_at, load_by_id

    initialise_or_create_database_at(str(folder / "run.db"))
    data = load_by_id(1).get_parameter_data("current")["current"]
    currents, repeats = np.atleast_2d(data["current"]), np.atleast_2d(data["repeat"])
    return sum(np.array_equal(row, trace_of(int(r[0]))[1]) for row, r in zip(currents, repeats, strict=True))


def kept_by_pymeasure(folder: Path) -> int:
    rows: dict[int, list[float]] = {}
    for line in (folder / "run.csv").read_text().splitlines():
        with contextlib.suppress(ValueError):
            repeat, _, current = line.split(",")
            rows.setdefault(int(repeat), []).append(float(current))
    return sum(np.array_equal(values, trace_of(repeat)[1]) for repeat, values in rows.items())


KEPT = {"ours": kept_by_ours, "qcodes": kept_by_qcodes, "pymeasure": kept_by_pymeasure}


def child(name: str, folder: Path) -> None:
    """Stores traces until it is killed; prints each index once it is stored."""
    with BACKENDS[name](folder) as store:
        for index in range(100_000):
            store(index, *trace_of(index))
            os.write(1, f"{index}\n".encode())


def survivors(name: str, folder: Path, count: int, moments: random.Random) -> dict[str, int]:
    """How many of the acknowledged traces are there after kills, each of a store begun anew."""
    acknowledged = kept = unreadable = 0
    for number in range(count):
        place = folder / f"{name}-{number}"
        place.mkdir(parents=True)
        command = [sys.executable, __file__, "--child", name, str(place)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "QCODES_USER_PATH": str(place)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        said = (first + process.stdout.read()).decode().splitlines()
        process.wait()
        acknowledged += len(said)
        try:
            kept += min(KEPT[name](place), len(said))
        except Exception as error:
            unreadable += 1
            print(f"{name}: after a kill: {type(error).__name__}: {error}", file=sys.stderr)
    return {"kills": count, "acknowledged": acknowledged, "kept": kept, "unreadable_files": unreadable}


def pragmas(path: Path) -> dict[str, Any]:
    """How an SQLite file is kept; `synchronous` is a connection's own and is told by the library's source."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {"journal_mode": connection.execute("PRAGMA journal_mode").fetchone()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--traces", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--child", nargs=2)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]))
        return
    costs: dict[str, list[float]] = {name: [] for name in BACKENDS}
    with tempfile.TemporaryDirectory(prefix="otters-storage-", dir=ROOT) as temporary:
        folder = Path(temporary)
        for round_ in range(given.rounds + 1):
            for name, backend in BACKENDS.items():
                place = folder / f"{name}-{round_}".replace(" ", "-")
                place.mkdir()
                traces = [trace_of(index) for index in range(given.traces)]
                with backend(place) as store:
                    store(0, *traces[0])
                    begun = time.perf_counter()
                    for index, trace in enumerate(traces[1:], 1):
                        store(index, *trace)
                    cost = (time.perf_counter() - begun) / (given.traces - 1)
                if round_:  # the first round warms up
                    costs[name].append(cost)
        journal = pragmas(next(folder.glob("qcodes-*/run.db")))
        moments = random.Random(20261125)
        killed = {name: survivors(name, folder / "kills", given.kills, moments) for name in KEPT}
    medians = {name: statistics.median(values) for name, values in costs.items()}
    record = {
        "command": "python tests/benchmarks/bench_storage.py --output tests/benchmarks/results/storage.json",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": {name: importlib.metadata.version(name) for name in ("qcodes", "pymeasure")},
        "samples_a_trace": SAMPLES,
        "ms_a_trace": {name: round(1e3 * cost, 3) for name, cost in medians.items()},
        "ms_a_trace_of_each_round": {name: [round(1e3 * c, 3) for c in values] for name, values in costs.items()},
        "ours_over_qcodes": round(medians["ours"] / medians["qcodes"], 4),
        "ours_over_pymeasure": round(medians["ours"] / medians["pymeasure"], 4),
        "qcodes_database": journal,
        "after_kills": killed,
    }
    text = json.dumps(record, indent=2) + "\n"
    if given.output:
        given.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
