"""The twin of the PM100USB, and the virtual light it sees."""

from __future__ import annotations

import math

import pytest

from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.virtual.assemble import build_virtual
from otters_lab.instruments.virtual.pm100usb import PM100USBTwin
from otters_lab.instruments.virtual.tables import LightTable
from otters_lab.instruments.virtual.world import World

LIGHT = LightTable.model_validate({"threshold": "1 V", "drive": "5 V", "power": "20 uW", "dark": "1 uW"})


@pytest.fixture
def world(shipped: BenchFile) -> World:
    assert shipped.virtual is not None
    table = shipped.virtual.model_copy(update={"light": LIGHT})
    return build_virtual(shipped.model_copy(update={"virtual": table})).world


def ask(twin: PM100USBTwin, message: str) -> str:
    reply = twin.handle(message.encode())
    return "" if reply is None else reply.decode()


def test_it_reads_the_light_that_shines_now_and_the_dark(world: World) -> None:
    twin = PM100USBTwin(world)
    world.light_on(world.now_s + 1.0, world.now_s + 2.0, 3.0)
    expected = {0.5: 1e-6, 1.5: 11e-6, 2.5: 1e-6}  # before, in and after the pulse
    begun_s = world.now_s
    for at_s, power_W in expected.items():
        world.clock.sleep(begun_s + at_s - world.now_s)
        assert float(ask(twin, "MEAS:POW?")) == pytest.approx(power_W)


def test_light_that_was_switched_off_or_is_under_the_threshold_is_dark(world: World) -> None:
    twin = PM100USBTwin(world)
    world.light_on(world.now_s, math.inf, 0.9)
    assert float(ask(twin, "MEAS?")) == pytest.approx(1e-6)
    world.light_on(world.now_s, math.inf, 5.0)
    assert float(ask(twin, "MEAS?")) == pytest.approx(21e-6)
    world.light_off()
    assert float(ask(twin, "MEAS?")) == pytest.approx(1e-6)


def test_decibels_are_of_a_milliwatt(world: World) -> None:
    twin = PM100USBTwin(world)
    assert ask(twin, "SENS:POW:UNIT DBM;UNIT?") == "DBM"
    assert float(ask(twin, "MEAS:POW?")) == pytest.approx(-30.0)
    twin.reset()
    assert ask(twin, "SENS:POW:UNIT?") == "W"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("SENS:CORR:WAV 300", "-222"),
        ("SENS:CORR:WAV 1200", "-222"),
        ("SENS:CORR:WAV blue", "-104"),
        ("SENS:POW:UNIT mW", "-224"),
        ("MEAS:ENER?", "-113"),
    ],
)
def test_what_it_cannot_do_queues_an_error_and_changes_nothing(world: World, message: str, code: str) -> None:
    twin = PM100USBTwin(world)
    assert ask(twin, message) == ""
    assert ask(twin, "SYST:ERR?").startswith(code)
    assert ask(twin, "SYST:ERR?").startswith("+0")
    assert float(ask(twin, "SENS:CORR:WAV?")) == 635.0
