"""Large plans and captures: a dry run of a million points, and a hundred thousand traces swept on the virtual bench.

    python tests/benchmarks/bench_scale.py --output tests/benchmarks/results/scale.json

The program itself, as whole processes; memory is the largest resident size that the system saw of each. The sweep takes
about ten minutes; `--traces` makes it shorter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "instruments" / "virtual.toml"
MILLION = """
devices = "1"
repeats = 1
window = "1 s"
light.drive = { from = "1 V", to = "5 V", points = 1000 }
light.width = { from = "10 ms", to = "200 ms", points = 1000 }
bias = { voltage = "100 mV" }
sampling = { dark = "100 ms", decay = "1 s", interval = "2 ms", aperture = "1 ms", range = "1 uA" }
recovery = { dark_time = "5 s" }
"""
MANY = """
devices = "1-8"
repeats = REPEATS
window = "340 ms"
light = { drive = "5 V", width = "40 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "20 ms", decay = "340 ms", interval = "1 ms", aperture = "1 ms", range = "1 uA" }
recovery = { dark_time = "1 s" }
"""
# Runs the program; tells on stderr when the sealing begins and ends.
PROGRAM = """
import sys, time
import otters_lab.sweeps.sweep as module
from otters_lab.cli.main import run
seal = module.seal

def timed(*arguments):
    begun = time.monotonic()
    found = seal(*arguments)
    print(f"sealed in {time.monotonic() - begun:.3f} s", file=sys.stderr)
    return found

module.seal = timed
run()
"""


def program(*arguments: str) -> tuple[dict[str, Any], str, float, int]:
    """Its JSON document, what it said on stderr, its seconds, and its largest resident size (bytes)."""
    command = [sys.executable, "-c", PROGRAM, *arguments, "--json"]
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    out, err = process.communicate()
    seconds = time.monotonic() - begun
    if process.returncode:
        raise RuntimeError(err)
    # The largest of all children so far: the runs come in the order of their size.
    return json.loads(out), err, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--traces", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otters-scale-") as temporary:
        folder = Path(temporary)
        recipe = folder / "million.toml"
        recipe.write_text(MILLION)
        plan, _, seconds, memory = program("sweep", str(recipe), "--bench", str(BENCH), "--chip", "X", "--dry-run")
        dry_run = {"points": plan["points"], "seconds": round(seconds, 2), "peak_MB": round(memory / 1e6, 1)}
        recipe = folder / "many.toml"
        recipe.write_text(MANY.replace("REPEATS", str(given.traces // 8)))
        capture = folder / "many.h5"
        done, said, seconds, memory = program(
            "sweep", str(recipe), "--bench", str(BENCH), "--chip", "X", "-o", str(capture)
        )
        sealing = float(said.split("sealed in ")[1].split(" s")[0])
        swept = {
            "traces": done["traces"],
            "samples_a_trace": 400,
            "traces_per_second": round(done["traces"] / (seconds - sealing), 1),
            "seal_seconds": round(sealing, 1),
            "peak_MB": round(memory / 1e6, 1),
            "capture_MB": round(capture.stat().st_size / 1e6, 1),
            "statuses": done["statuses"],
        }
    record = {
        "command": "python tests/benchmarks/bench_scale.py --output tests/benchmarks/results/scale.json",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "dry_run": dry_run,
        "sweep": swept,
    }
    text = json.dumps(record, indent=2) + "\n"
    if given.output:
        given.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
