"""Proves that a monitor disturbs no sweep, whatever becomes of it, and that it tells of a sweep's death; as JSON.

    python tests/benchmarks/prove_monitor.py --output tests/benchmarks/results/monitor.json

A child process runs `run_sweep` and says when each trace was acknowledged, how long that took, and what the processor
did for it. In each round the same sweep is timed without a monitor, so again (what two such times differ by is the
machine's own doing), with a monitor that a client listens to, with that one stopped (SIGSTOP, at whatever it was
doing), and after it was killed (SIGKILL). On the virtual clock nothing waits, so every bit of the machine that a
monitor takes is missing to the sweep; in real time instruments set the pace, as on a bench. Takes about a
quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from otters_lab.measurements.spool import spool_path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "instruments" / "virtual.toml"
RECIPE = """
devices = "1-8"
repeats = 100000
window = "200 ms"
light = { drive = "5 V", width = "50 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "20 ms", decay = "200 ms", interval = "1 ms", aperture = "1 ms", range = "1 uA" }
recovery = { dark_time = "10 ms" }
"""
CHILD = """
import sys, time
from pathlib import Path
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.spool import Spool
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.sweeps.sweep import run_sweep

append = Spool.append

def timed(self, *rest):
    began_s = time.monotonic()
    append(self, *rest)
    now_s = time.monotonic()
    sys.stdout.write(f"{now_s} {now_s - began_s} {time.process_time()}\\n")
    sys.stdout.flush()

Spool.append = timed
recipe, bench, capture = map(Path, sys.argv[1:])
run_sweep(Plan(load_recipe(recipe)), load_bench(bench), chip="M", capture=capture)
"""
STATES = ("without", "without again", "watched", "stopped", "killed")


def start(*words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


class Timed(NamedTuple):
    """A while of a sweep: seconds a trace, of them the processor's own, and how long each was in being acknowledged."""

    a_trace_s: float
    processor_s: float
    took_s: list[float]


class Sweep:
    """A sweep in a process of its own, and the moments (s, of the machine's monotonic clock) of its traces."""

    def __init__(self, folder: Path, bench: Path, name: str = "run.h5") -> None:
        (folder / "recipe.toml").write_text(RECIPE)
        self.capture = folder / name
        self.process = start("-c", CHILD, folder / "recipe.toml", bench, self.capture)
        self._heard: list[tuple[float, ...]] = []
        threading.Thread(target=self._listen, daemon=True).start()
        while len(self._heard) < 10:
            time.sleep(0.05)
            if self.process.poll() is not None:
                raise RuntimeError("the sweep did not begin")

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._heard.append(tuple(map(float, line.split())))

    def timed(self, seconds: float) -> Timed:
        """From now on."""
        began_s = time.monotonic()
        time.sleep(seconds)
        moments, took, processor = zip(*(heard for heard in list(self._heard) if heard[0] >= began_s), strict=True)
        each = len(moments) - 1
        return Timed((moments[-1] - moments[0]) / each, (processor[-1] - processor[0]) / each, list(took))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Watched:
    """A monitor with a client that listens to it."""

    def __init__(self, folder: Path) -> None:
        self.process = start("-m", "otters_lab", "monitor", folder)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        self.parts: dict[str, str] = {}
        threading.Thread(target=self._listen, daemon=True).start()
        while not (self.parts.get("third") and self.parts.get("table")):  # all is drawn once
            time.sleep(0.05)

    def _listen(self) -> None:
        try:
            with urllib.request.urlopen(self.address + "events") as events:
                for line in events:
                    if line.startswith(b"data: "):
                        self.parts |= json.loads(line[6:])
        except OSError:  # it was killed
            return

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def rounds(folder: Path, bench: Path, count: int, seconds: float) -> dict[str, Any]:
    """The same sweep timed in each state, round after round; ratios are of one round."""
    folder.mkdir()
    sweep = Sweep(folder, bench)
    log = spool_path(sweep.capture).with_name(spool_path(sweep.capture).name + "-wal")
    found: dict[str, list[Timed]] = {state: [] for state in STATES}
    log_bytes = dict.fromkeys(STATES, 0)

    def time_it(state: str) -> None:
        found[state].append(sweep.timed(seconds))
        log_bytes[state] = max(log_bytes[state], log.stat().st_size)

    try:
        for _ in range(count):
            time_it("without")
            time_it("without again")
            monitor = Watched(folder)
            try:
                time_it("watched")
                monitor.process.send_signal(signal.SIGSTOP)
                time_it("stopped")
                monitor.process.send_signal(signal.SIGCONT)
                monitor.process.kill()
                time_it("killed")
            finally:
                monitor.end()
    finally:
        sweep.end()
    took_s = {state: np.concatenate([timed.took_s for timed in found[state]]) for state in STATES}
    wall_s = {state: np.array([timed.a_trace_s for timed in found[state]]) for state in STATES}
    processor_s = {state: np.array([timed.processor_s for timed in found[state]]) for state in STATES}
    return {
        "rounds": count,
        "seconds_each": seconds,
        "traces": {state: len(took_s[state]) for state in STATES},
        "traces_a_second": {state: round(1 / float(np.median(wall_s[state])), 2) for state in STATES},
        "rate_against_without": {state: _ratio(wall_s, state) for state in STATES[1:]},
        "processor_ms_a_trace": {state: round(1e3 * float(np.median(processor_s[state])), 2) for state in STATES},
        "traces_a_processor_second_against_without": {state: _ratio(processor_s, state) for state in STATES[1:]},
        "acknowledged_within_ms": {
            state: {f"{q} %": round(1e3 * float(np.percentile(took_s[state], q)), 2) for q in (50, 99, 100)}
            for state in STATES
        },
        "largest_log_kB": {state: log_bytes[state] // 1024 for state in STATES},
    }


def _ratio(a_trace_s: dict[str, np.ndarray], state: str) -> dict[str, float]:
    """Median of the rounds' ratios of rates, and the middle half of them."""
    low, middle, high = np.percentile(a_trace_s["without"] / a_trace_s[state], [25, 50, 75])
    return {"median": round(float(middle), 3), "from": round(float(low), 3), "to": round(float(high), 3)}


@contextmanager
def served(folder: Path) -> Iterator[Path]:
    """The virtual bench in real time, over TCP; its bench file."""
    folder.mkdir()
    path = folder / "served.toml"
    server = start("-m", "otters_lab", "bench", BENCH, "--serve", "--write", path)
    assert server.stdout is not None
    while "Ctrl-C" not in server.stdout.readline():
        continue
    try:
        yield path
    finally:
        server.kill()
        server.wait()


def deaths(folder: Path, count: int) -> dict[str, Any]:
    """Seconds from a sweep's SIGKILL until the monitor's stream of events says so."""
    folder.mkdir()
    sweep = Sweep(folder, BENCH, "run0.h5")
    monitor = Watched(folder)
    seconds = []
    try:
        for number in range(1, count + 1):
            while ">running<" not in monitor.parts["run"]:
                time.sleep(0.01)
            sweep.process.send_signal(signal.SIGKILL)
            killed_s = time.monotonic()
            while f"gone (pid {sweep.process.pid})" not in monitor.parts["run"]:
                time.sleep(0.005)
            seconds.append(time.monotonic() - killed_s)
            sweep.end()
            sweep = Sweep(folder, BENCH, f"run{number}.h5")
    finally:
        sweep.end()
        monitor.end()
    return {"kills": count, "median_s": round(float(np.median(seconds)), 2), "longest_s": round(max(seconds), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--deaths", type=int, default=20)
    given = parser.parse_args()
    record: dict[str, Any] = {
        "command": "python tests/benchmarks/prove_monitor.py --output tests/benchmarks/results/monitor.json",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_before": [round(load, 1) for load in os.getloadavg()],
    }
    if hasattr(os, "sched_getaffinity"):
        record["cores_shared_by_sweep_and_monitor"] = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="otters-monitor-") as temporary:
        folder = Path(temporary)
        record["on_the_virtual_clock"] = rounds(folder / "virtual", BENCH, given.rounds, given.seconds)
        print(json.dumps(record["on_the_virtual_clock"]), file=sys.stderr, flush=True)
        with served(folder / "bench") as bench:
            record["in_real_time"] = rounds(folder / "real", bench, given.rounds // 2, 2 * given.seconds)
        print(json.dumps(record["in_real_time"]), file=sys.stderr, flush=True)
        record["sweep_killed"] = deaths(folder / "deaths", given.deaths)
    record["load_after"] = [round(load, 1) for load in os.getloadavg()]
    text = json.dumps(record, indent=2) + "\n"
    if given.output:
        given.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
