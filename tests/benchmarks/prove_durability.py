"""Proves that nothing acknowledged is lost: real sweeps killed, disks filled, captures damaged; the figures as JSON.

    python tests/benchmarks/prove_durability.py --output tests/benchmarks/results/durability.json

A child process runs `run_sweep` on the virtual bench and prints each trace's key once `Spool.append` has returned: that
is the record of what was acknowledged, outside of the spool. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from otters_lab.core.errors import DamagedFileError
from otters_lab.core.provenance import sidecar_path
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.capture import Capture, load_capture
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.sweeps.sweep import run_sweep

ROOT = Path(__file__).resolve().parents[2]
BENCH = (ROOT / "instruments" / "virtual.toml").read_text(encoding="utf-8")
DISK_KB = 16_384
RECIPE = """
devices = "1-8"
repeats = {repeats}
window = "200 ms"
light = {{ drive = "5 V", width = "50 ms" }}
bias = {{ voltage = "100 mV" }}
sampling = {{ dark = "20 ms", decay = "200 ms", interval = "1 ms", aperture = "1 ms", range = "{range}" }}
recovery = {{ dark_time = "1 s" }}
"""
CHILD = """
import sys
from pathlib import Path
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.spool import Spool
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.sweeps.sweep import SweepOptions, run_sweep
import otters_lab.sweeps.sweep as module

append, seal = Spool.append, module.seal

def acknowledged(self, key, trace, *rest):
    append(self, key, trace, *rest)
    sys.stdout.write(f"{key.device} {key.repeat}\\n")
    sys.stdout.flush()

def sealing(*arguments):
    print("sealing", flush=True)
    return seal(*arguments)

Spool.append, module.seal = acknowledged, sealing
recipe, bench, capture = map(Path, sys.argv[1:4])
run_sweep(Plan(load_recipe(recipe)), load_bench(bench), chip="K", capture=capture,
          options=SweepOptions(resume=sys.argv[4] == "resume"))
print("sealed", flush=True)
"""


class Runs:
    """Sweeps in a folder: the recipe and bench, and children that take them."""

    def __init__(self, folder: Path, repeats: int, *, memory: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.repeats = folder, repeats
        bench = BENCH
        if memory:
            bench = bench.replace("drift =", "memory = true\ndrift =").replace('"10 uA"', '"10 mA"')
            bench = bench.replace('"20 uA"', '"20 mA"')
        self.bench, self.recipe, self.capture = (folder / name for name in ("bench.toml", "recipe.toml", "run.h5"))
        self.bench.write_text(bench)
        self.recipe.write_text(RECIPE.format(repeats=repeats, range="100 uA" if memory else "1 uA"))

    def straight(self) -> Capture:
        """The same sweep, undisturbed, in this process."""
        path = self.folder / "straight.h5"
        run_sweep(Plan(load_recipe(self.recipe)), load_bench(self.bench), chip="K", capture=path)
        return load_capture(path)

    def start(self) -> subprocess.Popen[str]:
        mode = "resume" if spool_path(self.capture).exists() else "new"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        arguments = [str(path) for path in (self.recipe, self.bench, self.capture)]
        command = [sys.executable, "-c", CHILD, *arguments, mode]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def kill_after(self, said_first: str, seconds: float) -> tuple[list[str], bool]:
        """What a child had said when it was killed, and whether it was done before."""
        child = self.start()
        assert child.stdout is not None
        lines = []
        for line in child.stdout:
            lines.append(line.strip())
            if not said_first or said_first in line:
                break
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        rest, errors = child.communicate(timeout=60)
        if child.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the sweep ended with {child.returncode}: {errors}")
        return lines + rest.split("\n"), child.returncode == 0


def acknowledged_keys(lines: list[str]) -> list[tuple[int, int]]:
    """(device, repeat) of whole lines only: a killed process may have written half of its last one."""
    parts = (line.split() for line in lines)
    return [(int(a), int(b)) for a, b in (p for p in parts if len(p) == 2)]


def places(capture: Capture) -> list[tuple[int, int]]:
    """(device, repeat) of each trace."""
    return [(int(d), int(r)) for d, r in zip(capture.table["device"], capture.table["repeat"], strict=True)]


def equal(found: Capture, ideal: Capture) -> bool:
    """Value for value, the times of day too: the virtual clock makes them equal."""
    same = all(
        np.array_equal(getattr(found, name), getattr(ideal, name), equal_nan=True) for name in ("time_s", "current_A")
    )
    return same and found.table.equals(ideal.table) and found.header.payload_digest == ideal.header.payload_digest


def kills(folder: Path, count: int, moments: random.Random) -> dict[str, Any]:
    """Kills at random moments while traces are taken; every run goes on with --resume until its capture is sealed."""
    runs, done, lost, altered, doubled, unequal, acknowledged = Runs(folder, 120), 0, 0, 0, 0, 0, 0
    ideal, sweeps, killed_sealing = runs.straight(), 0, 0
    stored = {place: index for index, place in enumerate(places(ideal))}
    known: set[tuple[int, int]] = set()
    while done < count:
        lines, finished = runs.kill_after("", moments.uniform(0.0, 0.7))
        keys = acknowledged_keys(lines)
        doubled += len(keys) - len(set(keys)) + len(known & set(keys))
        known |= set(keys)
        if not finished:
            done += 1
            killed_sealing += "sealing" in lines
        place = spool_path(runs.capture)
        if runs.capture.exists() and not place.exists():
            found = load_capture(runs.capture)
            lost += len(known - set(places(found)))
            unequal += not equal(found, ideal)
            acknowledged += len(known)
            sweeps, known = sweeps + 1, set()
            runs.capture.unlink()
            sidecar_path(runs.capture).unlink(missing_ok=True)
            continue
        with Spool.open(place, read_only=True) as spool:
            there = {}
            for key, trace in spool.traces():
                doubled += (key.device, key.repeat) in there
                there[key.device, key.repeat] = trace
        lost += len(known - set(there))
        for place_, trace in there.items():
            row = ideal.current_A[stored[place_]]
            altered += not np.array_equal(trace.current_A, row[: len(trace.current_A)])
    return {
        "kills": done, "of_these_while_sealing": killed_sealing, "sweeps_completed": sweeps,
        "acknowledged_in_completed_sweeps": acknowledged, "lost": lost, "doubled": doubled, "altered": altered,
        "captures_unlike_the_undisturbed_one": unequal,
    }  # fmt: skip


def sealing_kills(folder: Path, count: int, moments: random.Random) -> dict[str, Any]:
    """Kills while the capture is being sealed; the next run seals it without a bench."""
    runs = Runs(folder, 60)
    ideal, before, after, unequal, partial = runs.straight(), 0, 0, 0, 0
    started = time.monotonic()
    finished_early = 0
    while before + after < count:
        _, finished = runs.kill_after("sealing", moments.uniform(0.0, 1.0))
        if finished:
            finished_early += 1
        elif runs.capture.exists():
            after += 1
        else:
            before += 1
            partial += runs.capture.with_name("run.h5.partial").exists()
        place = spool_path(runs.capture)
        if place.exists():
            seal(place, runs.capture)
        unequal += not equal(load_capture(runs.capture), ideal)
        for path in folder.glob("run.h5*"):
            path.unlink()
    return {
        "kills": before + after, "before_the_rename": before, "after_it": after, "left_a_partial_file": partial,
        "too_late": finished_early, "captures_unlike_the_undisturbed_one": unequal,
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def memory_kills(folder: Path, count: int, moments: random.Random) -> dict[str, Any]:
    """With memory on: every stop is marked as a seam, and the resumed capture has the undisturbed one's statistics."""
    runs = Runs(folder, 120, memory=True)
    ideal, done = runs.straight(), 0
    while done < count:
        _, finished = runs.kill_after("", moments.uniform(0.0, 0.4))
        if finished:
            raise RuntimeError("the sweep was done before it was killed often enough")
        done += 1
    runs.start().communicate(timeout=600)
    found = load_capture(runs.capture)
    drops = [capture.table["plateau_A"] - capture.table["baseline_A"] for capture in (found, ideal)]
    return {
        "kills": done,
        "seams": len(found.seams),
        "largest_relative_difference_of_a_current": float(np.nanmax(np.abs(found.current_A / ideal.current_A - 1))),
        "mean_step_ratio": float(drops[0].mean() / drops[1].mean()),
        "sd_step_ratio": float(drops[0].std() / drops[1].std()),
    }


@contextmanager
def small_disk(folder: Path, size_kB: int) -> Iterator[Path]:
    """A tmpfs of that size; where it cannot be mounted, an OSError says so."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kB}k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disks(folder: Path, count: int, moments: random.Random) -> dict[str, Any]:
    """Sweeps by the program itself onto disks of random size that fill up; then space is made and they go on."""
    ideal_runs = Runs(folder / "ideal", 40)
    ideal, codes, unreadable, lines, unequal = ideal_runs.straight(), [], 0, set(), 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for number in range(count):
        with small_disk(folder / f"disk{number}", DISK_KB) as disk:
            blocker = disk / "blocker"
            blocker.write_bytes(b"\0" * (DISK_KB - moments.randrange(150, 2200)) * 1024)
            command = [sys.executable, "-m", "otters_lab", "sweep", str(ideal_runs.recipe), "--bench",
                       str(ideal_runs.bench), "--chip", "K", "-o", str(disk / "run.h5")]  # fmt: skip
            first = subprocess.run(command, capture_output=True, text=True, env=environment)
            codes.append(first.returncode)
            said = first.stderr.strip().splitlines()
            lines.add(_anonymous(said[-1] if said else ""))
            place = spool_path(disk / "run.h5")
            if place.exists():
                with Spool.open(place, read_only=True) as spool:
                    for index, (_, trace) in enumerate(spool.traces()):
                        row = ideal.current_A[index]
                        unreadable += not np.array_equal(trace.current_A, row[: len(trace.current_A)])
            blocker.unlink()
            again = [*command, "--resume"] if place.exists() else command
            second = subprocess.run(again, capture_output=True, text=True, env=environment)
            unequal += second.returncode != 0 or not equal(load_capture(disk / "run.h5"), ideal)
    return {
        "disks": count, "exit_codes": {str(code): codes.count(code) for code in sorted(set(codes))},
        "acknowledged_traces_unlike_the_undisturbed_ones": unreadable,
        "captures_after_space_was_made_unlike_the_undisturbed_one": unequal, "said": sorted(lines),
    }  # fmt: skip


def _anonymous(line: str) -> str:
    import re

    return re.sub(r"\d+", "N", re.sub(r"/\S*/", "", line))


def damages(folder: Path, flips: int, cuts: int, moments: random.Random) -> dict[str, Any]:
    """Random bit flips and truncations of a sealed capture, each beside its sidecar and alone."""
    runs = Runs(folder, 10)
    ideal = runs.straight()
    original, results = ideal.path.read_bytes(), {}
    copy = folder / "copy.h5"

    def judge(data: bytes) -> str:
        copy.write_bytes(data)
        try:
            load_capture(copy)
        except DamagedFileError:
            return "detected"
        except Exception as error:
            return f"ended in {type(error).__name__}"
        return "silent"

    for beside in (True, False):
        if beside:
            shutil.copy(sidecar_path(ideal.path), sidecar_path(copy))
        else:
            sidecar_path(copy).unlink()
        outcomes: list[str] = []
        for _ in range(flips):
            place, data = moments.randrange(8 * len(original)), bytearray(original)
            data[place // 8] ^= 1 << (place % 8)
            outcomes.append(judge(bytes(data)))
        found = {f"flip {word}": outcomes.count(word) for word in set(outcomes)}
        outcomes = [judge(original[: moments.randrange(len(original))]) for _ in range(cuts)]
        found |= {f"cut {word}": outcomes.count(word) for word in set(outcomes)}
        results["beside its sidecar" if beside else "alone"] = found
    return {"capture_bytes": len(original), **results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--sealing-kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="otters-durability-") as temporary:
        folder = Path(temporary)
        proofs: dict[str, Callable[[], dict[str, Any]]] = {
            "kill": lambda: kills(folder / "kill", given.kills, moments),
            "kill_while_sealing": lambda: sealing_kills(folder / "seal", given.sealing_kills, moments),
            "kill_with_memory": lambda: memory_kills(folder / "memory", 20, moments),
            "full_disk": lambda: full_disks(folder / "disks", 20, moments),
            "damage": lambda: damages(folder / "damage", 300, 100, moments),
        }
        record: dict[str, Any] = {
            "command": "python tests/benchmarks/prove_durability.py --output tests/benchmarks/results/durability.json",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "seed": given.seed,
        }
        for name, prove in proofs.items():
            if given.only and name not in given.only:
                continue
            record[name] = prove()
            print(name, json.dumps(record[name]), file=sys.stderr, flush=True)
    text = json.dumps(record, indent=2) + "\n"
    if given.output:
        given.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
