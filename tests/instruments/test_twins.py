"""What the twins do to the world they share."""

from __future__ import annotations

import numpy as np
import pytest

from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.roles import LightSource, Meter, Switch
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.world import History

ARM = b"FUNC PULS;:OUTP:LOAD INF;:VOLT:HIGH 3;LOW 0;:FUNC:PULS:PER 0.4;WIDT 0.2;:BURS:MODE TRIG;NCYC 1;STAT 1"


def send(device: object, *messages: bytes) -> None:
    for message in messages:
        device.handle(message)  # type: ignore[attr-defined]
    assert device.handle(b"SYST:ERR?").endswith(b'0,"No error"')  # type: ignore[attr-defined]


def test_an_armed_pulse_begins_after_its_delay_and_ends_by_itself(twins: VirtualBench) -> None:
    send(twins.switch, b"ROUT:MULT:CLOS (@102)")
    send(twins.light, ARM, b"TRIG:SOUR EXT;DEL 0.1", b"OUTP 1")
    world = twins.world
    world.trigger(world.now_s)
    lit = []
    for _ in range(5):  # at 0.07, 0.14, 0.21, 0.28, 0.35 s
        world.clock.sleep(0.07)
        lit.append(world.lit)
    assert lit == [False, True, True, True, False]
    assert world.pulses[0].device == 2
    assert world.history.pulses == {2: 1}


def test_no_trigger_no_light_and_no_output_no_light(twins: VirtualBench) -> None:
    send(twins.switch, b"ROUT:MULT:CLOS (@101)")
    send(twins.light, ARM, b"TRIG:SOUR EXT", b"OUTP 1")
    twins.world.clock.sleep(1.0)
    assert twins.world.pulses == []
    send(twins.light, b"OUTP 0")
    twins.world.trigger(twins.world.now_s)
    assert twins.world.pulses == []


def test_switching_the_output_off_ends_the_light_at_once(twins: VirtualBench) -> None:
    send(twins.switch, b"ROUT:MULT:CLOS (@101)")
    send(twins.light, ARM, b"TRIG:SOUR EXT", b"OUTP 1")
    twins.world.trigger(twins.world.now_s)
    twins.world.clock.sleep(0.05)
    assert twins.world.lit
    send(twins.light, b"OUTP 0")
    assert not twins.world.lit
    assert twins.world.pulses[0].stop_s == twins.world.now_s


def test_an_output_that_waits_for_no_trigger_is_light_without_end(twins: VirtualBench) -> None:
    send(twins.switch, b"ROUT:MULT:CLOS (@101)")
    send(twins.light, ARM, b"BURS:STAT 0", b"OUTP 1")
    twins.world.clock.sleep(1e4)
    assert twins.world.lit
    send(twins.light, b"*RST")
    assert not twins.world.lit


def test_a_pulse_longer_than_its_period_is_cut_and_the_conflict_reported(twins: VirtualBench) -> None:
    twins.light.handle(b"FUNC PULS;:FUNC:PULS:PER 0.1;WIDT 0.2")
    assert (twins.light.handle(b"SYST:ERR?") or b"").startswith(b"-221")
    assert float(twins.light.handle(b"FUNC:PULS:WIDT?") or b"nan") == pytest.approx(0.1, rel=1e-6)


def test_closing_a_channel_leaves_the_others_closed_as_the_manual_says(twins: VirtualBench) -> None:
    send(twins.switch, b"ROUT:MULT:CLOS (@101)", b"ROUT:MULT:CLOS (@103, 104)")
    assert twins.switch.handle(b"ROUT:MULT:CLOS?") == b"(@101,103,104)"
    assert twins.switch.handle(b"ROUT:MULT:CLOS:STAT? (@101:104)") == b"1,0,1,1"
    assert twins.world.connected is None  # three devices in parallel are no device
    send(twins.switch, b"ROUT:OPEN:ALL")
    assert twins.switch.handle(b"ROUT:MULT:CLOS?") == b"(@)"


@pytest.mark.parametrize(("asked", "chosen"), [(b"9E-7", b"1E-06"), (b"1.1E-6", b"1E-05"), (b"-1E-9", b"1E-08")])
def test_the_meter_takes_the_smallest_range_that_holds_the_value(
    twins: VirtualBench, asked: bytes, chosen: bytes
) -> None:
    send(twins.meter, b"SENS:CURR:RANG " + asked)
    assert twins.meter.handle(b"SENS:CURR:RANG?") == chosen
    assert twins.meter.handle(b"SENS:CURR:RANG:AUTO?") == b"0"


def test_an_acquisition_without_light_reads_the_dark_current_and_with_the_bias_off_nothing(quiet: BenchFile) -> None:
    twins = build_virtual(quiet)
    send(twins.switch, b"ROUT:MULT:CLOS (@101)")
    send(twins.meter, b'SENS:FUNC "CURR";:SENS:CURR:RANG 1E-7;NPLC 0.1;:FORM:ASC:PREC 12')
    send(twins.meter, b'TRIG:LOAD "Empty"', b"TRIG:BLOC:MEAS 1", b"TRIG:BLOC:BRAN:COUN 2, 12, 1")
    for output, expected in ((b"1", 20e-9), (b"0", 0.0)):
        send(twins.meter, b"OUTP " + output, b"TRAC:CLE", b"INIT")
        assert (twins.meter.handle(b"TRIG:STAT?") or b"").startswith(b"RUNNING")
        twins.world.clock.sleep(1.0)
        assert (twins.meter.handle(b"TRIG:STAT?") or b"").startswith(b"IDLE")
        reply = twins.meter.handle(b'TRAC:DATA? 1, 12, "defbuffer1", READ') or b""
        np.testing.assert_allclose([float(item) for item in reply.split(b",")], expected, rtol=1e-9)


def test_a_bench_that_goes_on_where_another_stopped_counts_pulses_and_hours_on(quiet: BenchFile) -> None:
    twins = build_virtual(quiet, history=History({3: 17}, 3600.0))
    assert twins.world.history == History({3: 17}, 3600.0)
    assert (twins.world.clock.utc() - build_virtual(quiet).world.clock.utc()).total_seconds() == 3600.0


def test_the_drivers_satisfy_their_roles(twins: VirtualBench, shipped: BenchFile) -> None:
    from otters_lab.instruments.drivers.registry import build

    adapter = object()  # building a driver sends nothing
    assert isinstance(build("meter", adapter, shipped, twins.world.clock), Meter)
    assert isinstance(build("light", adapter, shipped, twins.world.clock), LightSource)
    assert isinstance(build("switch", adapter, shipped, twins.world.clock), Switch)
