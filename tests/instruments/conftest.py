"""Benches to test on: the shipped virtual one, a quiet one without noise and variation, and their twins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

# Tables of a bench file, to put in, take out or replace.
SOURCE_METER = """driver = "keithley-2450"
address = "GPIB0::18::INSTR"
identity = "MODEL 2450"
settle = "100 ms"               # from bias on to the trigger
"""
POWER = """
[power]
driver = "thorlabs-pm100usb"
address = "USB0::0x1313::0x8072::P0000001::INSTR"
identity = "PM100USB"

[sync]
"""
LIGHT = """
[virtual.light]
threshold = "100 mV"
drive = "5 V"
power = "24.5 uW"
dark = "40 nW"
"""

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "instruments" / "virtual.toml"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

TAKE = TraceRequest(
    device=1,
    drive_V=3.0,
    width_s=0.2,
    bias_V=0.5,
    dark_s=0.1,
    decay_s=1.0,
    interval_s=2e-3,
    aperture_s=1e-3,
    range_A=1e-6,
)


@pytest.fixture(scope="session")
def shipped() -> BenchFile:
    return load_bench(SHIPPED)


@pytest.fixture(scope="session")
def quiet(shipped: BenchFile) -> BenchFile:
    """The shipped bench without read noise, variation, drift and outliers."""
    virtual = shipped.virtual
    assert virtual is not None
    assert virtual.chip is not None
    none = {"D": 0.0, "O0": 0.0, "logit_beta": 0.0}
    chip = virtual.chip.model_copy(
        update={
            "run_to_run": virtual.chip.run_to_run.model_copy(update=none),
            "device_to_device": virtual.chip.device_to_device.model_copy(update={"D": 0.0, "logit_beta": 0.0}),
            "drift": 0.0,
            "outliers": [],
        }
    )
    return shipped.model_copy(update={"virtual": virtual.model_copy(update={"noise": None, "chip": chip})})


@pytest.fixture
def take() -> TraceRequest:
    return TAKE


@pytest.fixture
def twins(shipped: BenchFile) -> VirtualBench:
    return build_virtual(shipped)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[VirtualBench]:
    """The virtual benches that `open_bench` builds, so that their twins can be looked at even if it refuses."""
    import otters_lab.instruments.session as module

    made: list[VirtualBench] = []

    def remember(*arguments: Any, **options: Any) -> VirtualBench:
        made.append(build_virtual(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(module, "build_virtual", remember)
    return made


@pytest.fixture
def write_bench(tmp_path: Path, shipped: BenchFile) -> Callable[[str, str], Path]:
    """The shipped bench file with one piece of text replaced."""

    def write(old: str, new: str) -> Path:
        assert old in shipped.text, old
        path = tmp_path / "bench.toml"
        path.write_text(shipped.text.replace(old, new, 1))
        return path

    return write


CONDITIONS = """
[gate]
driver = "keithley-2400"
address = "GPIB0::24::INSTR"
identity = "MODEL 2400"
compliance = "1 uA"
ramp = "2 V/s"
settle = "50 ms"

[drain]
driver = "keithley-2601b"
address = "GPIB0::26::INSTR"
identity = "Model 2601B"
compliance = "1 uA"

[temperature]
driver = "lakeshore-336"
address = "GPIB0::12::INSTR"
identity = "MODEL336"
tolerance = "0.1 K"
soak = "10 s"
timeout_stable = "5 min"
after = "off"

[sync]
"""


@pytest.fixture
def write_conditions(tmp_path: Path, shipped: BenchFile) -> Callable[..., Path]:
    """The shipped bench file with a gate, a drain and a stage, and pieces of text replaced by others."""

    def write(*edits: tuple[str, str], name: str = "bench.toml") -> Path:
        text = shipped.text.replace("\n[sync]\n", CONDITIONS, 1)
        limits = 'pulse_width = "1 s"\n'
        text = text.replace(limits, limits + 'gate = "3 V"\ntemperature = ["290 K", "320 K"]\n', 1)
        for old, new in edits:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


# --- twins in a process of their own, and a sweep in another ---------------------------------------------------------

RECIPE = """
devices = "1-1"
repeats = 2
window = "1 s"
light = { drive = "5 V", width = "100 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "40 ms", decay = "60 ms", interval = "5 ms", aperture = "1 ms", range = "10 uA" }
order = { seed = 3 }
recovery = { dark_time = "10 ms" }
"""


@dataclass
class Case:
    """A served bench, a recipe, and what came of the sweep."""

    folder: Path
    recipe: str = RECIPE

    @property
    def bench(self) -> Path:
        return self.folder / "tcp.toml"

    @property
    def capture(self) -> Path:
        return self.folder / "out.h5"

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    def record(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "record.jsonl").read_text().splitlines()]

    def messages(self, role: str) -> list[str]:
        return [entry["message"] for entry in self.record() if entry.get("role") == role]

    def states(self) -> list[dict[str, Any]]:
        return [entry["state"] for entry in self.record() if "state" in entry]

    def start(self, *options: str, file_limit: int | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "otters_lab.cli.main", "sweep", str(self.folder / "recipe.toml"), "--bench",
                   str(self.bench), "--chip", "X1", "-o", str(self.capture), "--json", *options]  # fmt: skip

        def limit() -> None:
            if file_limit is not None:
                import resource  # POSIX alone has it

                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        return self.run(command, preexec_fn=limit)

    def run(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Any program, its output kept."""
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            return subprocess.Popen(command, stdout=out, stderr=err, env=ENVIRONMENT, **options)

    def sweep(self, *options: str, file_limit: int | None = None) -> int:
        return self.start(*options, file_limit=file_limit).wait(timeout=60)

    def statuses(self) -> dict[str, int]:
        """Of the sealed capture."""
        found: dict[str, int] = json.loads((self.folder / "stdout").read_text())["statuses"]
        return found

    def spooled(self) -> list[str]:
        """Statuses of the traces that were acknowledged and are still readable, samples and checksums included."""
        from otters_lab.measurements.spool import Spool, spool_path

        with Spool.open(spool_path(self.capture), read_only=True) as spool:
            return [trace.status for _, trace in spool.traces()]

    def wait_for(self, true: Callable[[dict[str, Any]], bool], seconds: float = 20.0) -> None:
        """Until the twins' last state is like this."""
        end = time.monotonic() + seconds
        while not (self.states() and true(self.states()[-1])):
            assert time.monotonic() < end, self.states()[-3:]
            time.sleep(0.01)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Case]]:
    """serve(fault, ..., edit=(old, new)): twins in a process of their own, and a recipe for them."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *faults: dict[str, Any],
        edit: tuple[str, str] = ("", ""),
        recipe: tuple[str, str] = ("", ""),
        bench: Path = SHIPPED,
    ) -> Case:
        text = bench.read_text()
        for role in ("meter", "light", "switch"):
            text = text.replace(f"[{role}]\n", f'[{role}]\ntimeout = "250 ms"\n')
        text = text.replace('settle = "100 ms"', 'settle = "10 ms"')
        assert edit[0] in text
        (tmp_path / "bench.toml").write_text(text.replace(*edit, 1) if edit[0] else text)
        (tmp_path / "recipe.toml").write_text(RECIPE.replace(*recipe, 1) if recipe[0] else RECIPE)
        command = [sys.executable, "-m", "otters_lab.instruments.virtual.server", str(tmp_path / "bench.toml"),
                   "--write", str(tmp_path / "tcp.toml"), "--record", str(tmp_path / "record.jsonl"),
                   "--faults", json.dumps(faults)]  # fmt: skip
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return Case(tmp_path)

    yield start
    for process in started:
        process.communicate(timeout=10)
