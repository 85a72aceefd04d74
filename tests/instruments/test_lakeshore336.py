"""A Lake Shore 336 as the temperature stage: set point, ramp, tolerance, soak, time-out, and what becomes of it."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from otters_lab.core.clock import SystemClock, VirtualClock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import Bench, open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.registry import build
from otters_lab.instruments.links import SYSTEM_LIBRARY, open_link
from otters_lab.instruments.supervisor import make_safe as supervisor_makes_safe
from otters_lab.instruments.virtual.assemble import build_virtual
from otters_lab.instruments.virtual.lakeshore336 import RATE_K_PER_S, LakeShore336Twin
from otters_lab.instruments.virtual.server import serving, tcp_text
from otters_lab.instruments.virtual.tables import ROOM_K
from otters_lab.instruments.virtual.world import World

Write = Callable[..., Path]


def set_points(record: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in record.read_text().splitlines()[1:]]
    return [(line["t"], float(line["text"].split(",")[1])) for line in lines
            if line["dir"] == "out" and line["text"].startswith("SETP ")]  # fmt: skip


def seconds_to(bench: Bench, request: TraceRequest, temperature_K: float) -> float:
    """How long a take at a temperature lasts longer than one without."""
    began_s = bench.clock.monotonic_s()
    bench.acquire(replace(request, temperature_K=temperature_K))
    middle_s = bench.clock.monotonic_s()
    bench.acquire(request)
    return (middle_s - began_s) - (bench.clock.monotonic_s() - middle_s)


def test_a_stage_is_waited_for_until_it_has_stayed_within_its_tolerance(
    write_conditions: Write, take: TraceRequest
) -> None:
    with open_bench(load_bench(write_conditions())) as bench:
        # 5 K at the twin's rate, less the tolerance, then the soak; looked at once a second.
        assert seconds_to(bench, take, ROOM_K + 5) == pytest.approx((5 - 0.1) / RATE_K_PER_S + 10.0, abs=1.0)
        assert seconds_to(bench, take, ROOM_K + 5) == pytest.approx(0.0, abs=0.1)  # it is there already
        stage = bench.virtual.twins["temperature"]
        assert stage.output_on


@pytest.mark.parametrize("target_K", [300.0, 291.0])
def test_the_set_point_moves_no_faster_than_the_ramp_and_ends_at_the_target(
    write_conditions: Write, take: TraceRequest, tmp_path: Path, target_K: float
) -> None:
    file = load_bench(write_conditions(('after = "off"', 'ramp = "6 K/min"\nafter = "off"')))
    with open_bench(file, record=tmp_path / "record.jsonl") as bench:
        bench.acquire(replace(take, temperature_K=target_K))
    points = set_points(tmp_path / "record.jsonl")
    (began_s, from_K), *later = points
    assert from_K == pytest.approx(ROOM_K)
    assert later[-1][1] == target_K
    assert all(abs(point - from_K) <= 0.1 * (t - began_s) + 1e-6 for t, point in later)
    assert all(
        abs(point - target_K) >= abs(next_ - target_K) for (_, point), (_, next_) in zip(points, later, strict=False)
    )
    assert later[-1][0] - began_s == pytest.approx(abs(target_K - ROOM_K) / 0.1, abs=1.0)


def test_a_stage_that_does_not_get_there_ends_the_bench_with_everything_off(
    write_conditions: Write, take: TraceRequest
) -> None:
    file = load_bench(write_conditions(("5 min", "8 s")))
    with open_bench(file) as bench:
        with pytest.raises(
            InstrumentError, match=r"temperature: at 299\S* K after 9 s, expected 310 K within 0.1 K for"
        ):
            bench.acquire(replace(take, temperature_K=310.0))
        assert not any(bench.virtual.twins[role].output_on for role in ("temperature", "light", "meter", "gate"))
        with pytest.raises(InstrumentError, match="failed before"):
            bench.acquire(take)


@pytest.mark.parametrize(("after", "on"), [("off", False), ("hold", True)])
def test_after_the_sweep_the_heater_is_off_or_held_as_the_file_says(
    write_conditions: Write, take: TraceRequest, caplog: pytest.LogCaptureFixture, after: str, on: bool
) -> None:
    file = load_bench(write_conditions(('after = "off"', f'after = "{after}"')))
    with caplog.at_level(logging.WARNING), open_bench(file) as bench:
        bench.acquire(replace(take, temperature_K=296.0))
    assert bench.virtual.twins["temperature"].output_on is on
    assert bool(re.search(r'left as it is \(after = "hold"\)', caplog.text)) is on


def test_the_supervisor_does_not_hold_what_nobody_watches(write_conditions: Write) -> None:
    path, record = write_conditions(('after = "off"', 'after = "hold"')), io.StringIO()
    virtual = load_bench(path)
    with serving(virtual, record) as served:
        path.write_text(tcp_text(virtual, served))
        file = load_bench(path)
        link = open_link("temperature", file.instruments["temperature"], SYSTEM_LIBRARY)
        stage = build("temperature", link, file, SystemClock())
        stage.go_to(300.0)
        stage.make_safe()
        link.hang_up()
        states = [json.loads(line)["state"] for line in record.getvalue().splitlines() if "state" in line]
        assert states[-1]["temperature"]  # held
        assert supervisor_makes_safe(file, file.off_order, lambda event, **facts: None)
    states = [json.loads(line)["state"] for line in record.getvalue().splitlines() if "state" in line]
    assert not states[-1]["temperature"]


def test_a_failed_take_has_the_temperature_reached_anew(write_conditions: Write, take: TraceRequest) -> None:
    with open_bench(load_bench(write_conditions())) as bench:
        bench.acquire(replace(take, temperature_K=300.0))
        stage = bench.virtual.twins["temperature"]
        bench.make_safe()
        assert not stage.output_on
        bench.wait(60.0)
        assert stage.temperature_K() == ROOM_K
        assert bench.acquire(replace(take, temperature_K=300.0)).readings["stage_temperature"] == pytest.approx(
            300, abs=0.1
        )


# --- the twin -------------------------------------------------------------------------------------------------------


@pytest.fixture
def twin(shipped: BenchFile) -> LakeShore336Twin:
    world: World = build_virtual(shipped).world
    return LakeShore336Twin(world)


def test_the_twin_follows_its_set_point_at_a_constant_rate_and_goes_home_without_heat(twin: LakeShore336Twin) -> None:
    clock = twin._world.clock
    assert isinstance(clock, VirtualClock)
    twin.handle(b"SETP 1,301")
    assert twin.handle(b"KRDG? A") == b"+295\r"
    twin.handle(b"RANGE 1,2")
    clock.sleep(4.0)
    assert twin.temperature_K() == pytest.approx(297.0)
    twin.handle(b"RANGE 1,0")
    clock.sleep(2.0)
    assert twin.temperature_K() == pytest.approx(296.0)


@pytest.mark.parametrize(
    "message", [b"SETP 3,300", b"SETP 1,nan", b"SETP 1", b"RANGE 1,4", b"RANGE 1,x", b"SETT 1,300", b""]
)
def test_the_twin_ignores_what_it_does_not_know(twin: LakeShore336Twin, message: bytes) -> None:
    """The instrument has no error queue: a wrong command shows when it is read back."""
    assert twin.handle(message) is None
    assert (twin.handle(b"SETP? 1"), twin.handle(b"RANGE? 1")) == (b"+295\r", b"0\r")


def test_the_twin_answers_joined_commands_in_one_line(twin: LakeShore336Twin) -> None:
    assert twin.handle(b"KRDG? A;CRDG? A;*OPC?") == b"+295;+21.85;1\r"
