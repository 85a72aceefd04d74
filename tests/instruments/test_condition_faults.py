"""What can go wrong with gate, drain and stage: twins in one process, `open_bench` in another, their record decides."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otters_lab.instruments.supervisor_log import log_path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
LONG = pytest.mark.long

# Takes at a gate bias and a temperature, and what a command makes of an error.
PROGRAM = """
import sys
from pathlib import Path
from otters_lab.core.errors import OttersError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import load_bench

request = TraceRequest(device=1, drive_V=5.0, width_s=0.1, bias_V=0.1, dark_s=0.04, decay_s=0.06, interval_s=5e-3,
                       aperture_s=1e-3, range_A=1e-5, gate_V=0.2, temperature_K=float(sys.argv[3]))
try:
    with open_bench(load_bench(Path(sys.argv[1]))) as bench:
        for _ in range(int(sys.argv[2])):
            print(bench.acquire(request).status, flush=True)
except OttersError as error:
    print(f"otters-lab: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""
OFF = {"light": False, "bias": False, "gate": False, "drain": False, "temperature": False, "closed": [], "pulses": []}


@pytest.fixture
def conditions(serve: Callable[..., Any], write_conditions: Callable[..., Path]) -> Callable[..., Any]:
    """conditions(fault, ...): a served bench with gate, drain and stage."""
    quick = [('soak = "10 s"', 'soak = "100 ms"'), ('settle = "50 ms"', 'settle = "0 ms"')]
    edits = [(f"[{role}]\n", f'[{role}]\ntimeout = "250 ms"\n') for role in ("gate", "drain", "temperature")]
    return lambda *faults: serve(*faults, bench=write_conditions(*quick, *edits, name="conditions.toml"))


def start(case: Any, takes: int, temperature_K: float = 295.05) -> subprocess.Popen[bytes]:
    process: subprocess.Popen[bytes] = case.run(
        [sys.executable, "-c", PROGRAM, str(case.bench), str(takes), str(temperature_K)]
    )
    return process


def fault(role: str, match: str, do: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "match": match, "do": do, **more}


def output(case: Any) -> list[str]:
    return (case.folder / "stdout").read_text().split()


def on(state: dict[str, Any]) -> bool:
    return bool(state["gate"] and state["drain"] and state["bias"] and state["light"] and state["temperature"])


def off(state: dict[str, Any]) -> bool:
    return state == OFF


def test_without_a_fault_all_of_it_is_on_in_a_take_and_off_after_it(conditions: Callable[..., Any]) -> None:
    case = conditions()
    assert start(case, 1).wait(timeout=60) == 0
    assert output(case) == ["ok"]
    assert any(on(state) for state in case.states())
    assert case.states()[-1] == OFF
    firsts = [next(n for n, state in enumerate(case.states()) if state[what])
              for what in ("temperature", "gate", "drain", "bias", "light")]  # fmt: skip
    assert firsts == sorted(firsts)


ENDS = {
    "the stage's link is cut for good": (
        fault("temperature", "KRDG", "cut", stay=True), "output state unknown: temperature at", {"temperature": True},
    ),
    "a gate that does not switch off": (
        fault("gate", "OUTPUT 0", "ignore", first=3, times=0), "output state unknown: gate: output: asked for False",
        {"gate": True},
    ),
    "a heater that does not switch off": (
        fault("temperature", "RANGE 1,0", "ignore", first=2, times=0), "output state unknown: temperature: heater",
        {"temperature": True},
    ),
    "a drain that answers garbage": (
        fault("drain", "source.levelv)", "reply", first=2, text="\x07#"), "drain: .*expected a finite number", {},
    ),
    "a gate at another level": (
        fault("gate", ":SOURCE:VOLTAGE?", "reply", first=4, text="1.5"), r"gate: level \(V\): asked for", {},
    ),
    "another instrument where the stage should be": (
        fault("temperature", "*IDN?", "reply", text="LSCI,MODEL331,1,1"), "expected 'MODEL336'", {},
    ),
}  # fmt: skip
QUICK = {"a gate that does not switch off"}


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=LONG) for name in ENDS])
def test_what_fails_ends_the_bench_with_the_rest_off_and_one_line(conditions: Callable[..., Any], name: str) -> None:
    wrong, pattern, left = ENDS[name]
    case = conditions(wrong)
    assert start(case, 2).wait(timeout=60) == 3
    lines = [line for line in case.errors.splitlines() if line.startswith("otters-lab: ")]
    assert len(lines) == 1, case.errors
    assert re.search(pattern, lines[0]), lines[0]
    assert case.states()[-1] == {**OFF, **left}


@LONG
def test_a_stage_whose_link_is_cut_once_costs_one_take(conditions: Callable[..., Any]) -> None:
    case = conditions(fault("temperature", "KRDG", "cut", first=3))
    assert start(case, 2).wait(timeout=60) == 0
    assert output(case) == ["failed", "ok"]
    assert case.states()[-1] == OFF


def test_a_killed_process_leaves_gate_drain_and_heater_to_the_supervisor(conditions: Callable[..., Any]) -> None:
    case = conditions()
    process = start(case, 50)
    case.wait_for(on)
    process.kill()
    assert process.wait(timeout=10) == -signal.SIGKILL
    case.wait_for(off, 10)
    log, end = log_path(case.bench), time.monotonic() + 5
    while not (log.exists() and '"safe"' in log.read_text()):
        assert time.monotonic() < end, log.read_text() if log.exists() else "no log"
        time.sleep(0.02)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry.get("role") for entry in events if entry["event"] == "off"] == [
        "light", "meter", "drain", "gate", "switch", "temperature",
    ]  # fmt: skip


def test_a_signal_while_the_stage_is_waited_for_switches_the_heater_off(conditions: Callable[..., Any]) -> None:
    case = conditions()
    process = start(case, 1, temperature_K=320.0)
    case.wait_for(lambda state: state["temperature"])
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)
    assert case.states()[-1] == OFF
    assert output(case) == []
