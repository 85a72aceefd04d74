"""Everything that can go wrong, through the real program: the twins live in another process and keep their own record.

Each case runs `otters-lab sweep` in a process of its own on a bench file with backend = "visa", whose addresses are
those of twins served on loopback with faults on purpose. What counts in the end is what the twins say of light, bias
and switch.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from otters_lab.instruments.benchfile import load_bench
from otters_lab.instruments.supervisor_log import log_path

pytest.importorskip("resource", reason="POSIX")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")

LONG = pytest.mark.long
QUICK = {"late reply", "wrong identity", "SIGTERM"}  # of the tables below; the others take minutes together


def cases(names: Iterable[str]) -> list[Any]:
    return [name if name in QUICK else pytest.param(name, marks=LONG) for name in names]


def fault(role: str, match: str, do: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "match": match, "do": do, **more}


def assert_off(case: Any) -> None:
    assert case.states()[-1] == {"light": False, "bias": False, "closed": [], "pulses": []}


def assert_it_was_lit(case: Any) -> None:
    assert any(state["light"] and state["bias"] for state in case.states())


def assert_one_line(case: Any, pattern: str) -> None:
    lines = [line for line in case.errors.splitlines() if line.startswith("otters-lab: ")]
    assert len(lines) == 1, case.errors
    assert re.search(pattern, lines[0]), lines[0]
    assert "Traceback" not in case.errors


@LONG
def test_without_a_fault_the_twins_over_tcp_give_a_capture_that_is_called_synthetic(serve: Callable[..., Any]) -> None:
    case = serve()
    assert case.sweep() == 0
    assert case.statuses() == {"ok": 2}
    assert json.loads((case.folder / "stdout").read_text())["origin"] == "synthetic"
    assert_it_was_lit(case)
    assert_off(case)
    assert case.errors == ""
    assert not log_path(case.bench).exists()  # the supervisor had nothing to do


# --- a take goes wrong, the sweep goes on ---------------------------------------------------------------------------

SPOILT = {
    "no reply": fault("meter", "TRAC:DATA", "silent"),
    "late reply": fault("meter", "TRAC:DATA", "late", seconds=0.4),
    "half reply": fault("meter", "TRAC:DATA", "half"),
    "link cut before the light": fault("light", "OUTP 1", "cut"),
    "link cut while a pulse is armed": fault("meter", ":INIT", "cut"),
    "link cut after the light": fault("meter", "TRAC:ACT", "cut"),
}


@pytest.mark.parametrize("name", cases(SPOILT))
def test_a_take_that_the_link_spoilt_is_kept_as_failed_and_the_next_one_is_right(
    serve: Callable[..., Any], name: str
) -> None:
    case = serve(SPOILT[name])
    assert case.sweep() == 0
    assert case.statuses() == {"failed": 1, "ok": 1}
    assert case.errors.count("kept as failed") == len(case.errors.splitlines()) == 1
    role = SPOILT[name]["role"]
    assert case.messages(role).count("*IDN?") >= 2  # identified anew
    assert_it_was_lit(case)
    assert_off(case)


@LONG
def test_a_link_cut_at_the_switching_off_loses_no_trace(serve: Callable[..., Any]) -> None:
    case = serve(fault("light", "OUTP 0", "cut", first=3))  # 1: at the start, 2: before arming, 3: after the take
    assert case.sweep() == 0
    assert case.statuses() == {"ok": 2}
    assert_off(case)


FLAGGED = {
    "overflow": {"recipe": ('range = "10 uA"', 'range = "100 nA"')},
    "compliance": {"edit": ('compliance = "20 uA"', 'compliance = "500 nA"')},
}


@pytest.mark.parametrize("status", cases(FLAGGED))
def test_readings_that_are_none_are_flagged(serve: Callable[..., Any], status: str) -> None:
    case = serve(**FLAGGED[status])
    assert case.sweep() == 0
    assert case.statuses() == {status: 2}
    assert_off(case)


# --- an instrument fails, the sweep ends ----------------------------------------------------------------------------

ENDS = {
    "wrong identity": (fault("light", "*IDN?", "reply", text="OTHER,MODEL 9,1,1"), "expected '33522A'", 0),
    "nobody answers": (fault("light", "*IDN?", "cut", stay=True), r"light at TCPIP0.*", 0),
    "no reply again and again": (fault("meter", "TRAC:DATA", "silent", times=0), "2 failed takes in a row", 1),
    "garbage": (fault("meter", "TRAC:DATA", "reply", text="\x07#!@"), "expected numbers", 0),
    "not a number": (fault("meter", "TRAC:DATA", "reply", text=",".join(["nan"] * 120)), "NaN or infinity", 0),
    "wrong count": (fault("meter", "TRAC:ACT", "reply", text="3"), "3 readings in the buffer, expected 40", 0),
    "error queue": (fault("light", "SYST:ERR?", "reply", first=2, text='-113,"Undefined header"'), "after arming", 0),
    "other settings": (fault("meter", "SENS:CURR:RANG?", "reply", text="1E-8"), "asked for 1e-05", 0),
    "no number": (fault("meter", "SENS:CURR:NPLC?", "reply", text="ERROR"), "replied 'ERROR'", 0),
    "fails at the second take": (fault("meter", "TRAC:ACT", "reply", first=2, text="3"), "3 readings", 1),
}


@pytest.mark.parametrize("name", cases(ENDS))
def test_a_failing_instrument_ends_the_sweep_dark_and_unbiased(serve: Callable[..., Any], name: str) -> None:
    wrong, pattern, kept = ENDS[name]
    case = serve(wrong)
    assert case.sweep() == 3
    assert_one_line(case, pattern)
    assert_off(case)
    if "IDN" in wrong["match"]:
        assert {message for role in ("meter", "light", "switch") for message in case.messages(role)} <= {"*IDN?"}
    else:
        assert len(case.spooled()) == kept
        assert not log_path(case.bench).exists()


def test_an_error_queue_without_end_hangs_nothing(serve: Callable[..., Any]) -> None:
    """PyMeasure's Keithley2700 asks for errors until there are none."""
    case = serve(fault("switch", "SYST:ERR?", "reply", times=0, text='-350,"Queue overflow"'))
    assert case.sweep() == 3
    assert_one_line(case, "switch: the error queue has no end")
    assert_off(case)


# --- off cannot be confirmed ----------------------------------------------------------------------------------------


def test_a_light_that_does_not_go_off_is_output_state_unknown(serve: Callable[..., Any]) -> None:
    case = serve(fault("light", "OUTP 0", "ignore", first=3, times=0))
    assert case.sweep() == 3
    assert_one_line(case, "output state unknown: light: the output is still on")
    last = case.states()[-1]
    assert (last["light"], last["bias"], last["closed"]) == (True, False, [])  # the rest is off


@LONG
def test_a_meter_that_is_gone_is_output_state_unknown_and_the_light_is_off(serve: Callable[..., Any]) -> None:
    case = serve(fault("meter", "TRIG:STAT", "cut", stay=True))
    assert case.sweep() == 3
    assert_one_line(case, "output state unknown: meter at TCPIP0.*refused")
    last = case.states()[-1]
    assert (last["light"], last["bias"], last["closed"]) == (False, True, [])


# --- the sweep itself ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases(["SIGINT", "SIGTERM", "SIGHUP"]))
def test_a_signal_while_the_light_is_on_leaves_everything_off(serve: Callable[..., Any], name: str) -> None:
    case = serve(recipe=('width = "100 ms"', 'width = "1 s"'))
    process = case.start()
    case.wait_for(lambda state: bool(state["pulses"]))
    time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    time.sleep(0.02)
    process.send_signal(signal.SIGTERM)  # somebody is impatient
    assert process.wait(timeout=20) == 130
    assert_one_line(case, "interrupted")
    assert_off(case)
    lit = next(state["pulses"][0] for state in case.states() if state["pulses"])
    off_at = case.record()[-1]["t"]
    assert lit[0] < off_at
    assert not log_path(case.bench).exists()


def test_a_killed_sweep_is_made_safe_by_its_supervisor_and_loses_no_trace(serve: Callable[..., Any]) -> None:
    case = serve(recipe=("repeats = 2", "repeats = 50"))
    process = case.start()
    case.wait_for(lambda state: state["light"])
    for lit in (False, True):  # the first trace is stored, the second is being taken
        case.wait_for(lambda state, lit=lit: state["light"] == lit)
    process.kill()
    assert process.wait(timeout=10) == -signal.SIGKILL
    began = time.monotonic()
    case.wait_for(lambda state: not state["light"] and not state["bias"] and not state["closed"], 10)
    assert time.monotonic() - began < 5
    log = log_path(case.bench)
    end = time.monotonic() + 5
    while not (log.exists() and '"safe"' in log.read_text()):
        assert time.monotonic() < end, log.read_text() if log.exists() else "no log"
        time.sleep(0.02)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry.get("role") for entry in events if entry["event"] == "off"] == ["light", "meter", "switch"]
    assert "supervisor: the sweep ended without making safe; light and bias are off" in case.errors
    assert case.spooled()
    assert set(case.spooled()) == {"ok"}
    # And it goes on from there.
    (case.folder / "recipe.toml").write_text(case.recipe.replace("repeats = 2", "repeats = 50"))
    again = case.start("--resume")
    case.wait_for(lambda state: state["light"])
    again.send_signal(signal.SIGINT)
    assert again.wait(timeout=20) == 130
    assert_off(case)


@LONG
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the supervisor in /proc")
def test_without_its_supervisor_a_sweep_goes_no_further(serve: Callable[..., Any]) -> None:
    case = serve(recipe=("repeats = 2", "repeats = 50"))
    process = case.start()
    case.wait_for(lambda state: state["light"])
    (supervisor,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(supervisor), signal.SIGKILL)
    assert process.wait(timeout=20) == 3
    assert_one_line(case, "the supervisor process has ended")
    assert_off(case)
    assert set(case.spooled()) == {"ok"}


@LONG
def test_a_full_disk_ends_the_sweep_dark_with_every_acknowledged_trace(serve: Callable[..., Any]) -> None:
    case = serve(recipe=("repeats = 2", "repeats = 30"))
    assert case.sweep(file_limit=120_000) == 1
    assert_one_line(case, "full")
    assert_off(case)
    assert set(case.spooled()) == {"ok"}


# --- before anything ------------------------------------------------------------------------------------------------


def test_a_recipe_over_a_limit_is_refused_before_the_first_byte(serve: Callable[..., Any]) -> None:
    case = serve(recipe=('drive = "5 V"', 'drive = "6 V"'))
    assert case.sweep() == 2
    assert_one_line(case, "drive is 6 V, over the bench's limit of 5 V")
    assert [entry for entry in case.record() if "message" in entry] == []


@LONG
def test_a_second_sweep_on_the_same_bench_is_refused_and_disturbs_nothing(serve: Callable[..., Any]) -> None:
    case = serve(recipe=("repeats = 2", "repeats = 4"))
    first = case.start()
    case.wait_for(lambda state: state["light"])
    file = load_bench(case.bench)
    from otters_lab.core.errors import InstrumentError
    from otters_lab.instruments.bench import open_bench

    with pytest.raises(InstrumentError, match="is in use by another bench"), open_bench(file):
        pytest.fail("the bench opened")
    assert first.wait(timeout=30) == 0
    assert case.statuses() == {"ok": 4}
