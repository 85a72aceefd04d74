"""The Keysight B2900 driver, line by line, and its twin's habits."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.keysightb2900 import KeysightB2900
from otters_lab.instruments.drivers.keysightb2900_meter import KeysightB2900Meter
from otters_lab.instruments.roles import ReadingFlag
from otters_lab.instruments.virtual.assemble import build_virtual
from otters_lab.instruments.virtual.keysightb2900 import KeysightB2900Twin


@pytest.mark.parametrize(
    ("name", "value", "set_", "get", "reply"),
    [
        ("source_function", "VOLT", ":SOUR:FUNC:MODE VOLT", ":SOUR:FUNC:MODE?", "VOLT"),
        ("source_voltage", -0.5, ":SOUR:VOLT -0.5", ":SOUR:VOLT?", "-5.00000000E-01"),
        ("current_limit", 2e-5, ":SENS:CURR:PROT 2e-05", ":SENS:CURR:PROT?", "+2.00000000E-05"),
        ("output_enabled", True, ":OUTP 1", ":OUTP?", "1"),
        ("output_auto_on_enabled", False, ":OUTP:ON:AUTO 0", ":OUTP:ON:AUTO?", "0"),
        ("output_off", "high impedance", ":OUTP:OFF:MODE HIZ", ":OUTP:OFF:MODE?", "HIZ"),
        ("wires", 4, ":SENS:REM 1", ":SENS:REM?", "1"),
        ("current_range", 1e-6, ":SENS:CURR:RANG 1e-06", ":SENS:CURR:RANG?", "+1.00000000E-06"),
        ("current_autorange_enabled", False, ":SENS:CURR:RANG:AUTO 0", ":SENS:CURR:RANG:AUTO?", "0"),
        ("current_aperture", 1e-3, ":SENS:CURR:APER 0.001", ":SENS:CURR:APER?", "+1.00000000E-03"),
        ("acquire_timer", 2e-3, ":TRIG:ACQ:TIM 0.002", ":TRIG:ACQ:TIM?", "+2.00000000E-03"),
        ("acquire_count", 650, ":TRIG:ACQ:COUN 650", ":TRIG:ACQ:COUN?", "650"),
        ("buffer_points", 650, ":TRAC:POIN 650", ":TRAC:POIN?", "650"),
    ],
)
def test_each_setting_is_one_command_and_reads_back(name: str, value: object, set_: str, get: str, reply: str) -> None:
    with expected_protocol(KeysightB2900, [(set_, None), (get, reply)]) as smu:
        setattr(smu, name, value)
        assert getattr(smu, name) == value


@pytest.mark.parametrize(
    ("name", "value"), [("current_range", 1e-8), ("current_aperture", 3.0), ("acquire_timer", 1e-5)]
)
def test_a_value_out_of_range_is_not_sent(name: str, value: float) -> None:
    with expected_protocol(KeysightB2900, []) as smu, pytest.raises(ValueError, match="not in range"):
        setattr(smu, name, value)


def test_the_buffer_is_read_into_times_currents_and_flags() -> None:
    reply = "+1.5E-06,+0.0E+00,+0.0,+9.9E+37,+2.0E-03,+8.192E+03,+2.0E-05,+4.0E-03,+2.0"
    with expected_protocol(KeysightB2900, [(":TRAC:DATA?", reply)]) as smu:
        readings = smu.read_buffer(3)
    np.testing.assert_array_equal(readings.start_s, [0.0, 0.002, 0.004])
    np.testing.assert_array_equal(readings.current_A, [1.5e-6, np.nan, 2e-5])
    assert list(readings.flags) == [ReadingFlag.OK, ReadingFlag.OVERFLOW, ReadingFlag.COMPLIANCE]


def test_a_buffer_with_a_reading_too_few_raises() -> None:
    with (
        expected_protocol(KeysightB2900, [(":TRAC:DATA?", "+1.5E-06,+0.0E+00,+0.0")]) as smu,
        pytest.raises(InstrumentError, match="3 numbers, expected 3 x 3"),
    ):
        smu.read_buffer(3)


def test_making_safe_aborts_switches_off_and_asks() -> None:
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    safe = [(":ABOR:ACQ", None), (":OUTP 0", None), (":OUTP?", "1")]
    with expected_protocol(KeysightB2900, safe) as smu, pytest.raises(InstrumentError, match="output is still on"):
        KeysightB2900Meter(smu, clock, 50.0).make_safe()


def test_initiating_switches_the_output_on_by_itself_unless_told_not_to(shipped: BenchFile) -> None:
    twin = KeysightB2900Twin(build_virtual(shipped).world, 50.0, "B2901A")
    twin.handle(b":INIT:ACQ")
    assert twin.output_on
    twin.handle(b"*RST;:OUTP:ON:AUTO 0;:INIT:ACQ")
    assert not twin.output_on


def test_the_buffer_can_be_set_while_it_is_not_fed_alone(shipped: BenchFile) -> None:
    twin = KeysightB2900Twin(build_virtual(shipped).world, 50.0, "B2901A")
    twin.handle(b":TRAC:FEED:CONT NEXT;:TRAC:POIN 10")
    assert twin.handle(b"SYST:ERR?") == b'-221,"Settings conflict"'
    twin.handle(b":TRAC:FEED:CONT NEV;:TRAC:POIN 10")
    assert twin.handle(b":TRAC:POIN?;:SYST:ERR?") == b'10;+0,"No error"'
