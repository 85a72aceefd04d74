"""The twin of the Lake Shore 336: what it answers, what it ignores, and how its chip warms."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pymeasure.adapters import VISAAdapter

from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.registry import build
from otters_lab.instruments.virtual.assemble import build_virtual
from otters_lab.instruments.virtual.lakeshore336 import RATE_K_PER_S, LakeShore336Twin
from otters_lab.instruments.virtual.tables import ROOM_K
from otters_lab.instruments.virtual.world import World

Ask = Callable[[str], str | None]


@pytest.fixture
def world(shipped: BenchFile) -> World:
    return build_virtual(shipped).world


@pytest.fixture
def ask(world: World) -> Ask:
    twin = LakeShore336Twin(world)

    def ask(message: str) -> str | None:
        reply = twin.handle(message.encode())
        return None if reply is None else reply.decode().strip("\r")

    return ask


def kelvin(ask: Ask) -> float:
    return float(ask("KRDG? A") or "nan")


def test_the_chip_follows_the_set_point_with_the_heater_on_and_the_room_with_it_off(ask: Ask, world: World) -> None:
    ask("SETP 1,305")
    world.clock.sleep(100)
    assert kelvin(ask) == ROOM_K
    ask("RANGE 1,2")
    world.clock.sleep(10)
    assert kelvin(ask) == pytest.approx(ROOM_K + 10 * RATE_K_PER_S)
    world.clock.sleep(100)
    assert kelvin(ask) == 305
    ask("RANGE 1,0")
    world.clock.sleep(4)
    assert kelvin(ask) == pytest.approx(305 - 4 * RATE_K_PER_S)


def test_a_ramp_slows_it_down_and_says_so(ask: Ask, world: World) -> None:
    ask("RAMP 1,1,6;SETP 1,300;RANGE 1,1")
    world.clock.sleep(20)
    assert kelvin(ask) == pytest.approx(ROOM_K + 20 * 6 / 60)
    assert ask("RAMPST? 1") == "1"
    world.clock.sleep(60)
    assert (kelvin(ask), ask("RAMPST? 1")) == (300, "0")


def test_a_set_point_is_in_the_units_that_the_input_prefers(ask: Ask, world: World) -> None:
    ask("INTYPE A,1,0,0,0,2;SETP 1,30;RANGE 1,3")
    world.clock.sleep(100)
    assert kelvin(ask) == pytest.approx(303.15)
    assert float(ask("SETP? 1") or "") == 30


@pytest.mark.parametrize(
    ("wrong", "bit"),
    [
        ("SETPT 1,300", 32), ("NONSENSE?", 32), ("SETP 5,300", 16), ("SETP 1,warm", 16), ("SETP 1", 16),
        ("RANGE 1,4", 16), ("RANGE 3,2", 16), ("RANGE 1,1.5", 16), ("KRDG? E", 16), ("HTR? 3", 16),
        ("PID 1,50,20", 16), ("PID 3,50,20,0", 16), ("PID 1,50,20,201", 16), ('INNAME A,"sixteen letters!"', 16),
        ("INTYPE A,1,0,0,0,4", 16), ("HTRSET 1,0,1,2,0,2", 16), ("RAMPST? 9", 16),
    ],
)  # fmt: skip
def test_what_is_wrong_changes_nothing_gets_no_reply_and_shows_in_the_register(ask: Ask, wrong: str, bit: int) -> None:
    queries = [f"{word}? {which}" for word in ("SETP", "RANGE", "PID") for which in ("1", "2")]
    before = [ask(query) for query in queries]
    assert ask(wrong) is None
    assert ask("*ESR?") == f"{bit:03d}"
    assert ask("*ESR?") == "000"
    assert [ask(query) for query in queries] == before


def test_settings_read_back_and_inputs_are_asked_together(ask: Ask) -> None:
    ask('PID 2,10.5,3,1;INNAME B,"a;b, c"')
    assert ask("PID? 2") == "+10.5,+3,+1"
    assert ask("INNAME? B") == "a;b, c".ljust(15)
    assert ask("KRDG? 0") == ",".join(["+295"] * 4)
    assert ask(":RANGE 2,1;:RANGE? 2;*ESR?") == "1;000"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("INTYPE A,1,0,0,0,2", "temperature: not set up for kelvin at input A: INTYPE? A says '1,0,0,0,2'"),
        ("OUTMODE 1,0,1,0", "closed-loop control of output 1 by input A: OUTMODE? 1 says '0,1,0'"),
        ("OUTMODE 1,1,2,0", "closed-loop control of output 1 by input A: OUTMODE? 1 says '1,2,0'"),
    ],
)
def test_a_controller_that_would_take_the_set_point_otherwise_is_refused_before_it_gets_one(
    tmp_path: Path, shipped: BenchFile, message: str, words: str
) -> None:
    stage = """
[temperature]
driver = "lakeshore-336"
address = "GPIB0::12::INSTR"
identity = "MODEL336"
tolerance = "0.1 K"
soak = "1 s"
after = "off"
"""
    path = tmp_path / "bench.toml"
    path.write_text(shipped.text.replace("[limits]", '[limits]\ntemperature = ["280 K", "350 K"]', 1) + stage)
    bench = load_bench(path)
    twins = build_virtual(bench)
    adapter = VISAAdapter("GPIB0::12::INSTR", visa_library=twins.library, read_termination="\n", write_termination="\n")
    stage_role = build("temperature", adapter, bench, twins.world.clock)
    stage_role.reset()
    stage_role.go_to(300.0)
    twins.world.clock.sleep(60)
    assert stage_role.temperature_K() == pytest.approx(300.0)
    stage_role.make_safe()
    twins.twins["temperature"].handle(message.encode())
    with pytest.raises(InstrumentError, match=re.escape(words)):
        stage_role.reset()
    assert twins.twins["temperature"].output_on is False
    adapter.connection.close()
