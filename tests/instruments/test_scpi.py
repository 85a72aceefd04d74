"""The twins' syntax is that of SCPI, and strict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otters_lab.instruments.virtual.assemble import VirtualBench
from otters_lab.instruments.virtual.scpi import ScpiInstrument


def errors(device: ScpiInstrument) -> list[int]:
    """The error queue, emptied."""
    found = []
    while (code := int((device.handle(b"SYST:ERR?") or b"").split(b",")[0])) != 0:
        found.append(code)
    return found


@pytest.mark.parametrize(
    "header",
    ["SENS:CURR:NPLC", ":SENSE:CURRENT:NPLCYCLES", ":sens1:curr:dc:nplc", "CURR:NPLC", ":Current:DC:NPLCycles"],
)
def test_a_header_matches_in_short_or_long_form_in_any_case(twins: VirtualBench, header: str) -> None:
    assert twins.meter.handle(f"{header} 0.05".encode()) is None
    assert twins.meter.handle(f"{header}?".encode()) == b"0.05"
    assert errors(twins.meter) == []


@pytest.mark.parametrize(
    "header", ["SENSE:CURRE:NPLC", "SEN:CURR:NPLC", "CURR:NPLCY", "SENS2:CURR:NPLC", "FOO", "*FOO"]
)
def test_any_other_header_queues_113_and_gives_no_reply(twins: VirtualBench, header: str) -> None:
    assert twins.meter.handle(f"{header}?".encode()) is None
    assert errors(twins.meter) == [-113]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("SENS:CURR:NPLC 11", -222),
        ("SENS:CURR:NPLC 0.001", -222),
        ("SOUR:VOLT 211", -222),
        ("SENS:CURR:NPLC one", -104),
        ("SENS:CURR:NPLC 1,5", -108),
        ("SENS:CURR:NPLC", -109),
        ("OUTP MAYBE", -224),
        ("SOUR:FUNC OHM", -224),
        ("SENS:FUNC CURR", -104),
        ('TRAC:POIN 100, "mybuffer"', -224),
        ("INIT", -211),
        ("INIT 1", -108),
        ("TRIG:TIM5:DEL 1", -222),
        ("DIG:LINE2:MODE TRIG, OUT", -222),
        ('TRAC:DATA? 1, 5, "defbuffer1", READ', -222),
    ],
)
def test_a_wrong_parameter_queues_its_error_and_changes_nothing(twins: VirtualBench, message: str, code: int) -> None:
    assert twins.meter.handle(message.encode()) is None
    assert errors(twins.meter) == [code]
    assert twins.meter.handle(b"SENS:CURR:NPLC?;:SOUR:VOLT?;:OUTP?") == b"1;0;0"


def test_joined_commands_go_on_at_the_node_of_the_one_before(twins: VirtualBench) -> None:
    assert twins.light.handle(b"FUNC:PULS:WIDT 2E-4;PER 5E-3;:VOLT:HIGH 1;LOW 0;*OPC?") == b"1"
    assert errors(twins.light) == []
    reply = twins.light.handle(b"FUNC:PULS:WIDT?;PER?;:VOLT:HIGH?;LOW?")
    assert reply is not None
    assert [float(item) for item in reply.split(b";")] == [2e-4, 5e-3, 1.0, 0.0]


def test_an_error_ends_its_message(twins: VirtualBench) -> None:
    assert twins.meter.handle(b"SOUR:VOLT 1;FOO 2;*IDN?") is None
    assert twins.meter.handle(b"SOUR:VOLT?") == b"1"
    assert errors(twins.meter) == [-113]


def test_minimum_maximum_and_default_stand_for_numbers(twins: VirtualBench) -> None:
    twins.light.handle(b"TRIG:DEL MAX")
    assert float(twins.light.handle(b"TRIG:DEL?") or b"nan") == 1000.0


def test_a_full_error_queue_ends_in_350_and_is_emptied_by_cls(twins: VirtualBench) -> None:
    for _ in range(30):
        twins.switch.handle(b"FOO")
    found = errors(twins.switch)
    assert found == [-113] * 19 + [-350]
    twins.switch.handle(b"FOO")
    twins.switch.handle(b"*CLS")
    assert twins.switch.handle(b"SYST:ERR?") == b'0,"No error"'


def test_each_twin_says_that_it_is_virtual(twins: VirtualBench) -> None:
    for device, model in ((twins.meter, b"2450"), (twins.light, b"33522A"), (twins.switch, b"2700")):
        identity = device.handle(b"*IDN?")
        assert identity is not None
        assert model in identity
        assert b"VIRTUAL" in identity


@given(st.binary(max_size=60))
def test_no_bytes_break_a_twin(message: bytes) -> None:
    device = ScpiInstrument("MAKER,MODEL,0,1")
    reply = device.handle(message)
    assert reply is None or b"\n" not in reply
    assert device.handle(b"*IDN?") == b"MAKER,MODEL,0,1"
