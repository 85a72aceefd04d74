"""A Thorlabs DC2200 in the role of the light source: line by line, its twin, and a trace that software began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.dc2200 import DC2200, DC2200Light
from otters_lab.instruments.drivers.lights import LIGHTS
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.roles import LightSource, SoftwareStarted
from otters_lab.instruments.setups import LedTable
from otters_lab.instruments.survey import survey
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

GENERATOR = """driver = "agilent-33500"
address = "GPIB0::10::INSTR"
identity = "33522A"
load = "high impedance"         # what the generator drives: "high impedance" or "50 ohm"
"""
LED = """driver = "thorlabs-dc2200"
address = "USB0::0x1313::0x80C8::M00000000::INSTR"
identity = "DC2200"
[light.led]
full_scale = "700 mA"
terminal = 2
"""
NONE = '+0,"No error"'


@pytest.fixture
def led_bench(write_bench: Callable[[str, str], Path], quiet: BenchFile) -> BenchFile:
    return load_bench(write_bench(GENERATOR, LED)).model_copy(update={"virtual": quiet.virtual})


def light(driver: DC2200) -> DC2200Light:
    return DC2200Light(
        driver, LedTable(full_scale="700 mA", terminal=2), VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    )  # type: ignore[arg-type]


# --- the driver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "set_", "get", "reply"),
    [
        ("terminal", 2, "OUTPUT1:TERMINAL 2", "OUTPUT1:TERMINAL?", "2"),
        ("current_limit", 0.7, "SOURCE1:CURRENT:LIMIT 0.7", "SOURCE1:CURRENT:LIMIT?", "7.000000E-01"),
        ("mode", "PULS", "SOURCE1:MODE PULS", "SOURCE1:MODE?", "PULS"),
        ("mode", "PULS", "SOURCE1:MODE PULS", "SOURCE1:MODE?", "PULSE"),
        (
            "pulse_brightness",
            30.0,
            "SOURCE1:PULSE:BRIGHTNESS:LEVEL:AMPLITUDE 30",
            "SOURCE1:PULSE:BRIGHTNESS:LEVEL:AMPLITUDE?",
            "30.0",
        ),
        ("pulse_on_time", 0.2, "SOURCE1:PULSE:ONTIME 0.2", "SOURCE1:PULSE:ONTIME?", "0.2"),
        ("pulse_off_time", 0.01, "SOURCE1:PULSE:OFFTIME 0.01", "SOURCE1:PULSE:OFFTIME?", "0.01"),
        ("pulse_count", 1, "SOURCE1:PULSE:COUNT 1", "SOURCE1:PULSE:COUNT?", "1"),
        ("output_enabled", True, "OUTPUT1:STATE ON", "OUTPUT1:STATE?", "1"),
        ("output_enabled", False, "OUTPUT1:STATE OFF", "OUTPUT1:STATE?", "OFF"),
    ],
)
def test_each_setting_is_one_command_and_reads_back(name: str, value: object, set_: str, get: str, reply: str) -> None:
    with expected_protocol(DC2200, [(set_, None), (get, reply)]) as driver:
        setattr(driver, name, value)
        assert getattr(driver, name) == value


@pytest.mark.parametrize(("name", "value"), [("pulse_on_time", 11.0), ("pulse_count", 0), ("pulse_brightness", 101)])
def test_a_value_out_of_range_is_not_sent(name: str, value: float) -> None:
    with expected_protocol(DC2200, []) as driver, pytest.raises(ValueError, match="not in range"):
        setattr(driver, name, value)


@pytest.mark.parametrize(
    ("name", "get"), [("current_limit", "SOURCE1:CURRENT:LIMIT?"), ("output_enabled", "OUTPUT1:STATE?")]
)
@pytest.mark.parametrize("reply", ["ERROR", "", "nan", "9.91E37"])
def test_a_reply_that_says_nothing_raises(name: str, get: str, reply: str) -> None:
    with expected_protocol(DC2200, [(get, reply)]) as driver, pytest.raises(InstrumentError, match="expected"):
        getattr(driver, name)


ARMING = [
    ("OUTPUT1:STATE OFF", None),
    ("SOURCE1:PULSE:BRIGHTNESS:LEVEL:AMPLITUDE 30", None),
    ("SOURCE1:PULSE:ONTIME 0.2", None),
    ("SYST:ERR?", NONE),
    ("SOURCE1:PULSE:BRIGHTNESS:LEVEL:AMPLITUDE?", "30"),
    ("SOURCE1:PULSE:ONTIME?", "0.2"),
    ("SOURCE1:CURRENT:LIMIT?", "0.7"),
    ("SOURCE1:MODE?", "PULS"),
]


def test_a_pulse_is_armed_dark_read_back_and_fired_by_one_command() -> None:
    rest = [("SOURCE1:PULSE:COUNT?", "1"), ("OUTPUT1:PROTECTION:INTLOCK:TRIPPED?", "0"), ("OUTPUT1:STATE?", "0")]
    firing = [("OUTPUT1:STATE ON", None), ("SYST:ERR?", NONE)]
    with expected_protocol(DC2200, ARMING + rest + firing) as driver:
        role = light(driver)
        role.arm_pulse(3.0, 0.1, 0.2)
        assert role.fire() == pytest.approx(0.1)  # the clock's seconds, the delay after the call
        with pytest.raises(InstrumentError, match="before it was armed"):
            role.fire()


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ([("SOURCE1:PULSE:COUNT?", "0")], "the light would stay on"),
        ([("SOURCE1:PULSE:COUNT?", "1"), ("OUTPUT1:PROTECTION:INTLOCK:TRIPPED?", "1")], "interlock is open"),
    ],
)
def test_what_could_not_be_one_finite_pulse_is_not_armed(rest: list[tuple[str, str]], message: str) -> None:
    with expected_protocol(DC2200, ARMING + rest) as driver, pytest.raises(InstrumentError, match=message):
        light(driver).arm_pulse(3.0, 0.1, 0.2)


def test_an_output_that_stays_on_is_reported() -> None:
    with (
        expected_protocol(DC2200, [("OUTPUT1:STATE OFF", None), ("OUTPUT1:STATE?", "ON")]) as driver,
        pytest.raises(InstrumentError, match="still on"),
    ):
        light(driver).make_safe()


# --- the twin ---------------------------------------------------------------------------------------------------------


def send(device: object, *messages: bytes) -> bytes:
    for message in messages:
        device.handle(message)  # type: ignore[attr-defined]
    return device.handle(b"SYST:ERR?")  # type: ignore[attr-defined, no-any-return]


def test_the_twins_pulse_begins_with_the_output_and_ends_by_itself(led_bench: BenchFile) -> None:
    twins = build_virtual(led_bench)
    send(twins.switch, b"ROUT:MULT:CLOS (@102)")
    setup = (b"SOUR:MODE PULS", b"SOUR:CURR:LIM 0.7", b"SOURCE1:PULS 50;PULS:ONT 0.2;COUN 1")
    assert send(twins.light, *setup, b"OUTP ON").startswith(b"+0")
    lit = []
    for _ in range(3):
        twins.world.clock.sleep(0.09)
        lit.append(twins.world.lit)
    assert lit == [True, True, False]
    assert twins.world.pulses[0].drive_V == pytest.approx(5.0)


@pytest.mark.parametrize("setup", [(b"SOUR:MODE CC",), (b"SOUR:MODE PULS", b"SOUR:PULS:COUN 0")])
def test_without_a_finite_count_the_twins_light_has_no_end(led_bench: BenchFile, setup: tuple[bytes, ...]) -> None:
    twins = build_virtual(led_bench)
    send(twins.switch, b"ROUT:MULT:CLOS (@102)")
    send(twins.light, *setup, b"OUTP ON")
    twins.world.clock.sleep(1e4)
    assert twins.world.lit
    send(twins.light, b"OUTP OFF")
    assert not twins.world.lit


def test_the_twin_keeps_a_terminals_limit_and_its_interlock(led_bench: BenchFile) -> None:
    twin = build_virtual(led_bench).light
    assert send(twin, b"OUTP:TERM 2", b"SOUR:CURR:LIM 2.5").startswith(b"-222")
    assert send(twin, b"SOUR:CCURRENT:CURRENT 1").startswith(b"-113")
    twin.interlock_open = True
    assert send(twin, b"OUTP ON").startswith(b"-221")
    assert not twin.output_on


# --- the bench --------------------------------------------------------------------------------------------------------


def test_a_trace_begun_by_software_is_the_one_of_the_triggered_generator(
    led_bench: BenchFile, quiet: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:
    with open_bench(quiet) as bench:
        triggered = bench.acquire(take)
    with open_bench(led_bench) as bench:
        software = bench.acquire(take)
        assert not built[-1].world.lit
        assert not built[-1].light.output_on
    np.testing.assert_allclose(software.time_s, triggered.time_s, atol=1e-9)
    np.testing.assert_allclose(software.current_A, triggered.current_A, rtol=1e-9)
    # what differs is how well the edge is known, and the trace says so
    assert triggered.edge_uncertainty_s == 1e-6
    assert software.edge_uncertainty_s == pytest.approx(LIGHTS["thorlabs-dc2200"].sync_uncertainty_s, rel=1e-6)


def test_a_late_start_of_the_program_moves_the_axis_with_it(
    led_bench: BenchFile, take: TraceRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = VirtualClock.sleep
    with open_bench(led_bench) as bench:
        exact = bench.acquire(take)
        monkeypatch.setattr(VirtualClock, "sleep", lambda self, s: sleep(self, s + 0.03 if s == take.dark_s else s))
        late = bench.acquire(take)
    np.testing.assert_allclose(late.time_s, exact.time_s - 0.03, atol=1e-9)
    lit = (late.time_s > -0.19) & (late.time_s < -0.01)
    assert np.ptp(late.current_A[lit]) < 1e-15  # the plateau lies where the axis says


def test_a_decay_shorter_than_the_softwares_uncertainty_is_refused(led_bench: BenchFile, take: TraceRequest) -> None:
    assert violations(take, led_bench) == []
    (problem,) = violations(replace(take, decay_s=8e-3), led_bench)
    assert problem == "decay is 8 ms, but the light is started by software and its edge known to 10 ms"


def test_looking_the_bench_over_finds_nothing_wrong(led_bench: BenchFile) -> None:
    _, found, _ = survey(led_bench)
    assert (found.problems, found.interlock, found.validated) == ([], "closed", "none")


def test_the_role_is_a_light_source_that_software_starts(led_bench: BenchFile) -> None:
    with expected_protocol(DC2200, []) as driver:
        assert isinstance(light(driver), LightSource)
        assert isinstance(light(driver), SoftwareStarted)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GENERATOR, LED.split("[light.led]")[0], r"\[light\.led\] table is missing, thorlabs-dc2200 needs one"),
        (GENERATOR, GENERATOR + LED[LED.index("[light.led]") :], r"table is given, agilent-33500 needs none"),
        (GENERATOR, LED.replace("700 mA", "700 A"), "full_scale is 700 A, expected 0.01 to 10 A"),
        (GENERATOR, LED.replace("[light.led]", 'start = "trigger"\n[light.led]'), "can be started by software alone"),
        (GENERATOR, LED.replace("terminal = 2", "terminal = 3"), r"light\.led\.terminal: found 3"),
    ],
)
def test_a_mistake_in_the_led_table_is_named(
    write_bench: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_bench(write_bench(old, new))
