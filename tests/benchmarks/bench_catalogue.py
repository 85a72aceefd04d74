"""Seconds to catalogue a folder of small captures: without an index, with one, and with every byte checked anew.

python tests/benchmarks/bench_catalogue.py [--captures 1000] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from otters_lab.core.index import NAME
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.catalogue import catalogue
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path

TRACES, SAMPLES = 8, 400


def build(path: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    units = {"drive": "V", "width": "s"}
    meta = CaptureMeta(origin="synthetic", chip=f"C{number % 20}", parameter_units=units, attributes={"window_s": 1.0})
    with Spool.create(spool_path(path), meta) as spool:
        for device in range(1, TRACES + 1):
            time_s = np.arange(SAMPLES) * 1e-3 - 0.1
            start_utc = f"2026-01-31T12:00:{device:02d}.000000Z"
            trace = Trace(time_s, rng.normal(size=SAMPLES), 1e-3, 1e-6, 0.05, 1e-6, start_utc)
            spool.append(TraceKey(meta.chip, device, 0, 0, {"drive": 1.0 + number % 5, "width": 0.05}), trace)
    seal(spool.path, path)


def timed(folder: Path, *, verify: bool = False) -> float:
    begun_s = time.perf_counter()
    listed = catalogue(folder, verify=verify)
    took_s = time.perf_counter() - begun_s
    assert not listed.damaged
    return round(took_s, 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--captures", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(asked.captures):
            build(folder / f"{number % 10}" / f"{number:05d}.h5", number)
        size = sum(path.stat().st_size for path in folder.rglob("*.h5"))
        catalogue(folder)  # imports, and the files in the system's cache
        (folder / NAME).unlink()
        found = {
            "captures": asked.captures,
            "traces_each": TRACES,
            "samples_each": SAMPLES,
            "megabytes": round(size / 1e6, 1),
            "cold_s": timed(folder),
            "warm_s": timed(folder),
            "verify_s": timed(folder, verify=True),
        }
    print(json.dumps(found, indent=2))
    if asked.output:
        asked.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
