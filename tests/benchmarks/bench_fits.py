"""How fast traces are fitted, and a million of them on a cluster one of whose workers is killed.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_fits.py --output tests/benchmarks/results/fits.json

Traces are synthetic, in the published regime: 400 samples over the window, D 2 %, O0 0.5 %, logit beta 0.02 from run
to run, white noise 0.5 %. They are made where they are fitted, chunk by chunk, from a seed. Rates are of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmfit
import numpy as np
from scipy.optimize import least_squares

from otters_lab.calibration.bulk import Decays, fit_bulk
from otters_lab.calibration.engines import Cluster, Runner, Workers, run_chunks
from otters_lab.calibration.streamed import FitChunk, InMemory, fit_streamed

BETA, C, SAMPLES, NOISE = 0.495, 1 / 110.989, 400, 0.005
TIME_S = (np.arange(SAMPLES) + 0.5) / SAMPLES


@dataclass(frozen=True)
class Synthetic:
    """A `DecaySupply` of decays that are computed: each is seeded by its number, so chunks may be cut anyhow."""

    count: int
    seed: int = 20261125

    @property
    def identity(self) -> str:
        return f"synthetic {self.count} {self.seed}"

    def decays(self, rows: Any) -> Decays:
        y = np.empty((len(rows), SAMPLES))
        for place, row in enumerate(rows):
            rng = np.random.Generator(np.random.Philox(key=[self.seed, int(row)]))
            D, O0, beta = 1 + 0.02 * rng.normal(), 1 + 0.005 * rng.normal(), BETA + 0.005 * rng.normal()
            y[place] = O0 - D * -np.expm1(np.log1p(-C) * TIME_S**beta) / C + NOISE * rng.normal(size=SAMPLES)
        return Decays(TIME_S[None], y, np.ones_like(y), 0.0, 1.0)


def curve(theta: Any) -> Any:
    """The unified law at the mid-apertures, written out once more."""
    beta = 1 / (1 + np.exp(-theta[2]))
    return theta[0] - theta[1] * -np.expm1(np.log1p(-C) * TIME_S**beta) / C


def kww(t: Any, A: float, tau: float, beta: float, offset: float) -> Any:
    return A * np.exp(-((t / tau) ** beta)) + offset


def by_lmfit_kww(y: Any) -> float:
    model = lmfit.Model(kww)
    parameters = model.make_params(A=1.0, tau=1.0, beta=0.5, offset=0.0)
    parameters["tau"].min, parameters["beta"].min, parameters["beta"].max = 1e-9, 0.02, 1.5
    return float(np.sum(model.fit(y, parameters, t=TIME_S).residual ** 2))


def by_lmfit_unified(y: Any) -> float:
    parameters = lmfit.Parameters()
    for name, value in (("O0", 1.0), ("D", 1.0), ("logit_beta", 0.0)):
        parameters.add(name, value=value)
    found = lmfit.minimize(lambda p: y - curve([p["O0"].value, p["D"].value, p["logit_beta"].value]), parameters)
    return float(np.sum(found.residual**2))


def by_scipy(y: Any) -> float:
    found = least_squares(lambda theta: y - curve(theta), [1.0, 1.0, 0.0], method="lm", xtol=1e-12, ftol=1e-12)
    return float(2 * found.cost)


def rate(fit: Any, traces: Any) -> tuple[float, list[float]]:
    begun = time.perf_counter()
    found = [fit(y) for y in traces]
    return len(traces) / (time.perf_counter() - begun), found


def speed(bulk_traces: int, few: int) -> dict[str, Any]:
    """Fits a second of each, one after the other, and whether the minima agree."""
    many = Synthetic(bulk_traces).decays(np.arange(bulk_traces))
    fit_bulk(many.take(np.arange(64)), C)  # warms up
    begun = time.perf_counter()
    FitChunk(InMemory(many), C)(0, bulk_traces)
    one = bulk_traces / (time.perf_counter() - begun)
    bulk = fit_bulk(many.take(np.arange(few)), C)
    with tempfile.TemporaryDirectory() as folder:
        work = FitChunk(InMemory(many), C)
        size = bulk_traces // 8
        begun = 0.0
        for attempt in range(2):  # the first starts the processes
            begun = time.perf_counter()
            run_chunks(
                work, bulk_traces, size=size, folder=Path(folder) / str(attempt), task="x" * 64, engine=Workers(2)
            )
        two = bulk_traces / (time.perf_counter() - begun)
    rates: dict[str, Any] = {"ours, one core": round(one), "ours, two cores": round(two)}
    excess = {}
    for name, fit in (("lmfit, KWW, default settings", by_lmfit_kww), ("lmfit, unified law", by_lmfit_unified),
                      ("scipy least_squares lm, unified law", by_scipy)):  # fmt: skip
        per_second, rss = rate(fit, many.y[:few])
        rates[name] = round(per_second, 1)
        excess[name] = float(np.max(bulk.rss[:few] / np.array(rss) - 1))
    return {
        "fits_per_second": rates,
        "two_cores_over_lmfit_kww": round(two / rates["lmfit, KWW, default settings"]),
        "two_cores_over_scipy": round(two / rates["scipy least_squares lm, unified law"], 1),
        "largest_excess_of_our_sum_of_squares": {name: excess[name] for name in list(excess)[1:]},
        "converged": float(np.mean(bulk.converged)),
    }


def cluster(count: int) -> dict[str, Any]:
    """The same fits by one worker, by two, and by two of which one is killed halfway."""
    from distributed import LocalCluster

    supply, groups = Synthetic(count), np.arange(count) % 8
    found, seconds, memory = {}, {}, {}
    for name, workers, kill in (("one worker", 1, False), ("two workers", 2, False), ("one of two killed", 2, True)):
        with (
            tempfile.TemporaryDirectory() as folder,
            LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None,
                         host="127.0.0.1") as local,
        ):  # fmt: skip
            pids = [worker.process.pid for worker in local.workers.values()]
            peak = Peak(pids)
            if kill:
                half = threading.Thread(target=kill_halfway, args=(pids[0], Path(folder), count), daemon=True)
                half.start()
            begun = time.perf_counter()
            fit = fit_streamed(supply, groups, Runner(Cluster(local.scheduler_address), Path(folder), 8192), c=C).fit
            seconds[name] = time.perf_counter() - begun
            found[name], memory[name] = fit, peak.stop()
            print(name, round(seconds[name], 1), "s", file=sys.stderr, flush=True)
    ideal = found["one worker"]
    return {
        "traces": count,
        "traces_per_second": {name: round(count / s) for name, s in seconds.items()},
        "two_workers_over_one": round(seconds["one worker"] / seconds["two workers"], 2),
        "peak_MB_of_a_worker": {name: round(value / 1e6) for name, value in memory.items()},
        "peak_MB_of_the_client": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "identical": {name: bool(np.array_equal(fit.theta, ideal.theta) and np.array_equal(fit.rss, ideal.rss))
                      for name, fit in found.items()},
        "converged": float(np.mean(ideal.converged)),
    }  # fmt: skip


def kill_halfway(pid: int, folder: Path, count: int) -> None:
    """SIGKILL to a worker once half of the chunks are on disk."""
    while len(list(folder.glob("*.npz"))) * 8192 < count / 2:
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


class Peak:
    """The largest resident size of some processes, and of what takes their place."""

    def __init__(self, pids: list[int]) -> None:
        self._pids, self._largest, self._on = pids, 0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while self._on:
            for pid in self._pids:
                try:
                    self._largest = max(self._largest, page * int(Path(f"/proc/{pid}/statm").read_text().split()[1]))
                except OSError:  # it is gone
                    continue
            time.sleep(0.1)

    def stop(self) -> int:
        self._on = False
        self._thread.join()
        return self._largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--traces", type=int, default=1_000_000, help="on the cluster; 0 keeps what was measured")
    parser.add_argument("--bulk", type=int, default=65536)
    parser.add_argument("--few", type=int, default=40)
    given = parser.parse_args()
    script = "tests/benchmarks/bench_fits.py --output tests/benchmarks/results/fits.json"
    record = {
        "command": f"OMP_NUM_THREADS=1 python {script}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "origin": "synthetic",
        "speed": speed(given.bulk, given.few),
        "cluster": cluster(given.traces) if given.traces else json.loads(given.output.read_text())["cluster"],
    }
    text = json.dumps(record, indent=2) + "\n"
    if given.output:
        given.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
