"""Keithley 707B and 3706A in the role of the switch: line by line, their twins, and a trace through them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.tsp_switch import TspChannelSwitch, TspSwitch
from otters_lab.instruments.roles import Switch
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

CLOSED = 'print(channel.getclose("allslots"))'
TABLES = {
    "707B": 'driver = "keithley-707b"\naddress = "GPIB0::16::INSTR"\nidentity = "MODEL 707B"\n'
    '[switch.channels]\n1 = "1A01"\n2 = "1A02"\n3 = "2B12"\n',
    "3706A": 'driver = "keithley-3706a"\naddress = "TCPIP0::192.168.1.6::inst0::INSTR"\nidentity = "MODEL 3706A"\n'
    "[switch.channels]\n1 = 1001\n2 = 1002\n3 = 2060\n",
}


@pytest.fixture(params=sorted(TABLES))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def switched(model: str, write_bench: Callable[[str, str], Path], quiet: BenchFile) -> BenchFile:
    table = re.search(r"(?s)\[switch\]\n(.*?)\n# Where the light", quiet.text)
    assert table
    return load_bench(write_bench(table[1], TABLES[model])).model_copy(update={"virtual": quiet.virtual})


def role(switch: TspSwitch) -> TspChannelSwitch:
    return TspChannelSwitch(switch, {1: "1A01", 2: "1A02"})


# --- the driver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "channels"),
    [("nil", []), ("1A01", ["1A01"]), ("1A01;2B12", ["1A01", "2B12"]), ("1001,2060", ["1001", "2060"])],
)
def test_closed_channels_are_a_list_whatever_separates_them(reply: str, channels: list[str]) -> None:
    with expected_protocol(TspSwitch, [(CLOSED, reply)]) as switch:
        assert switch.closed_channels == channels


def test_closing_is_exclusive_and_read_back() -> None:
    conversation = [
        ('channel.exclusiveclose("1A02")', None),
        ("print(errorqueue.count)", "0.00000e+00"),
        (CLOSED, "1a02"),
    ]
    with expected_protocol(TspSwitch, conversation) as switch:
        role(switch).close(2)


@pytest.mark.parametrize("reply", ["nil", "1A01", "1A01;1A02"])
def test_another_channel_than_the_one_asked_for_is_reported(reply: str) -> None:
    conversation = [
        ('channel.exclusiveclose("1A02")', None),
        ("print(errorqueue.count)", "0.00000e+00"),
        (CLOSED, reply),
    ]
    with (
        expected_protocol(TspSwitch, conversation) as switch,
        pytest.raises(InstrumentError, match="expected 1A02 alone"),
    ):
        role(switch).close(2)


def test_an_error_is_reported_with_its_code_and_text() -> None:
    conversation = [
        ('channel.exclusiveclose("1A02")', None),
        ("print(errorqueue.count)", "1.00000e+00"),
        ("print(errorqueue.next())", "-2.86000e+02\tTSP Runtime Error at line 1\t2.00000e+01\t1.00000e+00"),
    ]
    with (
        expected_protocol(TspSwitch, conversation) as switch,
        pytest.raises(InstrumentError, match=r"after closing: -286 TSP Runtime Error at line 1$"),
    ):
        role(switch).close(2)


def test_resetting_empties_the_queue_breaks_before_it_makes_and_opens_all() -> None:
    conversation = [
        ("errorqueue.clear()", None), ("channel.connectrule = 1", None), ("print(channel.connectrule)", "1.00000e+00"),
        ('channel.open("allslots")', None), (CLOSED, "nil"),
    ]  # fmt: skip
    with expected_protocol(TspSwitch, conversation) as switch:
        role(switch).reset()


def test_what_stays_closed_is_reported() -> None:
    conversation = [('channel.open("allslots")', None), (CLOSED, "1A01")]
    with expected_protocol(TspSwitch, conversation) as switch, pytest.raises(InstrumentError, match="still closed"):
        role(switch).make_safe()


@pytest.mark.parametrize("reply", ["ERROR", "", "nan"])
def test_a_count_that_is_no_number_raises(reply: str) -> None:
    with expected_protocol(TspSwitch, [("print(errorqueue.count)", reply)]) as switch, pytest.raises(InstrumentError):
        _ = switch.error_count


# --- the twins --------------------------------------------------------------------------------------------------------


def names(model: str) -> list[str]:
    return re.findall(r'= "?(\w+)"?\n', TABLES[model].split("[switch.channels]")[1])


def test_exclusive_closing_opens_the_rest_and_nothing_changes_on_an_error(switched: BenchFile, model: str) -> None:
    twins = build_virtual(switched)
    twin, (one, two, three) = twins.switch, names(model)
    for message in (f'channel.close("{one},{two}")', f"channel.exclusiveclose('{three}')"):
        assert twin.handle(message.encode()) is None
    assert twin.handle(CLOSED.encode()) == three.encode()
    assert twins.world.connected == 3
    for wrong in (
        f'channel.exclusiveclose("{one},9Z99")',
        'channel.exclusiveclose("allslots")',
        f"channel.close({one}",
        "x=1",
    ):
        twin.handle(wrong.encode())
    assert twin.handle(b"print(errorqueue.count)") == b"4.00000e+00"
    assert (twin.handle(b"print(errorqueue.next())") or b"").startswith(b"-2.86000e+02\t")
    assert twin.handle(CLOSED.encode()) == three.encode()
    twin.handle(b'channel.open("allslots")')
    assert twin.handle(CLOSED.encode()) == b"nil"


def test_several_closed_channels_connect_no_device(switched: BenchFile, model: str) -> None:
    twins = build_virtual(switched)
    one, two, _ = names(model)
    twins.switch.handle(f'channel.close("{one}:{two}")'.encode())
    separator = ";" if model == "707B" else ","
    assert twins.switch.handle(CLOSED.encode()) == f"{one}{separator}{two}".encode()
    assert twins.world.connected is None
    twins.switch.handle(b"*RST")
    assert twins.switch.handle(CLOSED.encode()) == b"nil"


# --- the bench --------------------------------------------------------------------------------------------------------


def test_a_trace_through_the_switch_is_the_one_through_the_2700(
    switched: BenchFile, quiet: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:
    with open_bench(quiet) as bench:
        expected = bench.acquire(replace(take, device=3))
    with open_bench(switched) as bench:
        assert bench.devices == (1, 2, 3)
        found = bench.acquire(replace(take, device=3))
        assert built[-1].world.connected == 3
    assert built[-1].world.connected is None
    np.testing.assert_array_equal(found.current_A, expected.current_A)
    np.testing.assert_array_equal(found.time_s, expected.time_s)


def test_the_role_is_a_switch() -> None:
    with expected_protocol(TspSwitch, []) as switch:
        assert isinstance(role(switch), Switch)


@pytest.mark.parametrize(
    ("model", "old", "new", "message"),
    [
        ("707B", '"1A01"', '"1Z01"', r"switch\.channels\.1: found '1Z01', expected a channel of the Keithley 707B"),
        ("707B", '"1A01"', "101", r"found 101, expected a channel of the Keithley 707B"),
        ("707B", '"1A01"', '"1A02"', "two devices through one channel"),
        ("3706A", "1001", "101", r"found 101, expected a channel of the Keithley 3706A"),
        ("3706A", "1001", '"1002"', "two devices through one channel"),
    ],
)
def test_a_wrong_channel_is_named(
    model: str, old: str, new: str, message: str, write_bench: Callable[[str, str], Path], quiet: BenchFile
) -> None:
    table = re.search(r"(?s)\[switch\]\n(.*?)\n# Where the light", quiet.text)
    assert table
    with pytest.raises(InputError, match=message):
        load_bench(write_bench(table[1], TABLES[model].replace(old, new)))
