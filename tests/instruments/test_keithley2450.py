"""The Keithley 2450 driver, line by line."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keithley2450 import Keithley2450, Keithley2460
from otters_lab.instruments.drivers.keithley2450_meter import Keithley2450Meter
from otters_lab.instruments.roles import MeterSettings, ReadingFlag

NO_ERROR = '0,"No error;0;0 0"'


@pytest.mark.parametrize(
    ("name", "value", "set_", "get", "reply"),
    [
        ("source_function", "VOLT", ":SOUR:FUNC VOLT", ":SOUR:FUNC?", "VOLT"),
        ("source_voltage", -0.5, ":SOUR:VOLT -0.5", ":SOUR:VOLT?", "-5.000000E-01"),
        ("source_readback_enabled", False, ":SOUR:VOLT:READ:BACK 0", ":SOUR:VOLT:READ:BACK?", "0"),
        ("current_limit", 2e-5, ":SOUR:VOLT:ILIM 2e-05", ":SOUR:VOLT:ILIM?", "2e-05"),
        ("output_enabled", True, ":OUTP 1", ":OUTP?", "1"),
        ("sense_function", "CURR:DC", ':SENS:FUNC "CURR:DC"', ":SENS:FUNC?", '"CURR:DC"'),
        ("current_range", 1e-6, ":SENS:CURR:RANG 1e-06", ":SENS:CURR:RANG?", "1e-06"),
        ("current_nplc", 0.05, ":SENS:CURR:NPLC 0.05", ":SENS:CURR:NPLC?", "0.05"),
        ("current_autozero_enabled", False, ":SENS:CURR:AZER 0", ":SENS:CURR:AZER?", "0"),
        ("wires", 4, ":SENS:CURR:RSEN 1", ":SENS:CURR:RSEN?", "1"),
        ("terminals", "rear", ":ROUT:TERM REAR", ":ROUT:TERM?", "REAR"),
        ("output_off", "high impedance", ":OUTP:VOLT:SMOD HIMP", ":OUTP:VOLT:SMOD?", "HIMP"),
        ("filter_type", "repeat", ":SENS:CURR:AVER:TCON REP", ":SENS:CURR:AVER:TCON?", "REP"),
        ("filter_count", 5, ":SENS:CURR:AVER:COUN 5", ":SENS:CURR:AVER:COUN?", "5"),
        ("filter_enabled", True, ":SENS:CURR:AVER 1", ":SENS:CURR:AVER?", "1"),
        ("buffer_points", 650, ':TRAC:POIN 650, "defbuffer1"', ':TRAC:POIN? "defbuffer1"', "650"),
        ("timer_delay", 2e-3, ":TRIG:TIM1:DEL 0.002", ":TRIG:TIM1:DEL?", "0.002"),
    ],
)
def test_each_setting_is_one_command_and_reads_back(name: str, value: object, set_: str, get: str, reply: str) -> None:
    with expected_protocol(Keithley2450, [(set_, None), (get, reply)]) as smu:
        setattr(smu, name, value)
        assert getattr(smu, name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source_voltage", 211),
        ("current_nplc", 0.005),
        ("current_range", 2.0),
        ("timer_delay", 1e-6),
        ("buffer_points", 5),
    ],
)
def test_a_value_out_of_range_is_not_sent(name: str, value: float) -> None:
    with expected_protocol(Keithley2450, []) as smu, pytest.raises(ValueError, match="not in range"):
        setattr(smu, name, value)


@pytest.mark.parametrize("reply", ["ERROR", "", "nan", "inf", "9.9E37", "9.91E37", "1.0;2.0"])
def test_a_reply_that_is_no_finite_number_raises(reply: str) -> None:
    with (
        expected_protocol(Keithley2450, [(":SENS:CURR:RANG?", reply)]) as smu,
        pytest.raises(InstrumentError, match="expected a finite number"),
    ):
        _ = smu.current_range


def test_the_state_is_the_first_of_the_three_fields() -> None:
    with expected_protocol(Keithley2450, [(":TRIG:STAT?", "IDLE;IDLE;5")]) as smu:
        assert smu.trigger_state == "IDLE"


def test_a_timed_acquisition_is_loaded_block_by_block() -> None:
    conversation = [
        (":TRIG:TIM1:STAT 0", None),
        (":TRIG:TIM1:CLE", None),
        (":TRIG:TIM1:DEL 0.002", None),
        (":TRIG:TIM1:COUN 0", None),
        (":TRIG:TIM1:STAR:GEN 1", None),
        (":TRIG:TIM1:STAR:STIM NOT1", None),
        (":TRIG:TIM1:STAT 1", None),
        (':TRIG:LOAD "Empty"', None),
        (':TRIG:BLOC:BUFF:CLE 1, "defbuffer1"', None),
        (":TRIG:BLOC:NOT 2, 1", None),
        (":TRIG:BLOC:WAIT 3, TIM1", None),
        (':TRIG:BLOC:MEAS 4, "defbuffer1"', None),
        (":TRIG:BLOC:BRAN:COUN 5, 650, 3", None),
    ]
    with expected_protocol(Keithley2450, conversation) as smu:
        smu.load_timed_acquisition(650, 2e-3)


READ_3 = ':TRAC:DATA? 1, 3, "defbuffer1", REL, READ, SOURSTAT'


def test_the_buffer_is_read_into_times_currents_and_flags() -> None:
    reply = "0.0,1.5E-06,128, 0.002,9.9E37,128, 0.004,2.0E-05,160"
    with expected_protocol(Keithley2450, [(READ_3, reply)]) as smu:
        readings = smu.read_buffer(3)
    np.testing.assert_array_equal(readings.start_s, [0.0, 0.002, 0.004])
    np.testing.assert_array_equal(readings.current_A, [1.5e-6, np.nan, 2e-5])
    assert list(readings.flags) == [ReadingFlag.OK, ReadingFlag.OVERFLOW, ReadingFlag.COMPLIANCE]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("0.0,1.5E-06,128,0.002", "4 numbers, expected 3 x 3"),
        ("0.0,1.5E-06,128,0.002,oops,128,0.004,1E-6,128", "expected numbers"),
        ("0.0,1.5E-06,128,0.002,nan,128,0.004,1E-6,128", "NaN or infinity"),
        ("0.0,1.5E-06,128,0.002,1E-6,128,0.002,1E-6,128", "do not increase"),
    ],
)
def test_a_damaged_buffer_reply_raises(reply: str, message: str) -> None:
    with (
        expected_protocol(Keithley2450, [(READ_3, reply)]) as smu,
        pytest.raises(InstrumentError, match=message),
    ):
        smu.read_buffer(3)


def meter(smu: Keithley2450) -> Keithley2450Meter:
    return Keithley2450Meter(smu, VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), 50.0)


def test_making_safe_stops_switches_off_and_asks() -> None:
    with expected_protocol(Keithley2450, [(":ABOR", None), (":OUTP 0", None), (":OUTP?", "0")]) as smu:
        meter(smu).make_safe()


def test_an_output_that_stays_on_is_reported() -> None:
    with (
        expected_protocol(Keithley2450, [(":ABOR", None), (":OUTP 0", None), (":OUTP?", "1")]) as smu,
        pytest.raises(InstrumentError, match="output is still on"),
    ):
        meter(smu).make_safe()


def test_another_line_frequency_than_the_bench_files_is_refused() -> None:
    with (
        expected_protocol(Keithley2450, [("*RST", None), ("*CLS", None), (":SYST:LFR?", "60")]) as smu,
        pytest.raises(InstrumentError, match=r"line frequency \(Hz\): asked for 50, the instrument says 60"),
    ):
        meter(smu).reset()


def test_an_entry_in_the_error_queue_raises_with_its_text() -> None:
    conversation = [
        ("*RST", None), ("*CLS", None), (":SYST:LFR?", "50"), (":FORM:ASC:PREC 10", None),
        (":DIG:LINE1:MODE TRIG, OUT", None), (":TRIG:DIG1:OUT:LOG POS", None), (":TRIG:DIG1:OUT:STIM NOT1", None),
        (":SYST:ERR?", '-113,"Undefined header;1;2026/01/01 12:55:33.648"'),
    ]  # fmt: skip
    with (
        expected_protocol(Keithley2450, conversation) as smu,
        pytest.raises(InstrumentError, match="after the reset: -113 Undefined header"),
    ):
        meter(smu).reset()


def test_configuring_reads_every_setting_back_from_the_instrument() -> None:
    settings = MeterSettings(0.5, 2e-5, 1e-6, 1e-3, 2e-3, 5)
    conversation = [
        (":OUTP 0", None), (":SOUR:FUNC VOLT", None), (":SOUR:VOLT:READ:BACK 0", None),
        (':SENS:FUNC "CURR:DC"', None), (":SENS:CURR:RSEN 0", None), (":SENS:CURR:RSEN?", "0"),
        (":ROUT:TERM FRON", None), (":ROUT:TERM?", "FRON"),
        (":OUTP:VOLT:SMOD NORM", None), (":OUTP:VOLT:SMOD?", "NORM"),
        (":SENS:CURR:AVER 0", None), (":SENS:CURR:AVER?", "0"), (":SENS:COUN 1", None),
        (":SENS:CURR:RANG 1e-06", None), (":SENS:CURR:NPLC 0.05", None),
        (":SENS:AZER:ONCE", None), (":SENS:CURR:AZER 0", None), (":SOUR:VOLT:ILIM 2e-05", None),
        (":SOUR:VOLT 0.5", None), (':TRAC:POIN 10, "defbuffer1"', None),
        (":TRIG:TIM1:STAT 0", None), (":TRIG:TIM1:CLE", None), (":TRIG:TIM1:DEL 0.002", None),
        (":TRIG:TIM1:COUN 0", None), (":TRIG:TIM1:STAR:GEN 1", None), (":TRIG:TIM1:STAR:STIM NOT1", None),
        (":TRIG:TIM1:STAT 1", None), (':TRIG:LOAD "Empty"', None), (':TRIG:BLOC:BUFF:CLE 1, "defbuffer1"', None),
        (":TRIG:BLOC:NOT 2, 1", None), (":TRIG:BLOC:WAIT 3, TIM1", None), (':TRIG:BLOC:MEAS 4, "defbuffer1"', None),
        (":TRIG:BLOC:BRAN:COUN 5, 5, 3", None), (":SYST:ERR?", NO_ERROR),
        (":SOUR:VOLT?", "0.5"), (":SOUR:VOLT:ILIM?", "2e-05"), (":SENS:CURR:RANG?", "1e-05"),
        (":SENS:CURR:NPLC?", "0.05"), (":TRIG:TIM1:DEL?", "0.002"), (':TRAC:POIN? "defbuffer1"', "10"),
        (":SENS:CURR:AZER?", "0"), (":SOUR:VOLT:READ:BACK?", "0"), (":SENS:FUNC?", '"CURR:DC"'),
    ]  # fmt: skip
    with expected_protocol(Keithley2450, conversation) as smu:
        found = meter(smu).configure(settings)
    # the range is what the instrument says, not what was asked for
    assert found == MeterSettings(0.5, 2e-5, 1e-5, 1e-3, 2e-3, 5)


@pytest.mark.parametrize(("name", "value"), [("source_voltage", 110), ("current_range", 1e-7), ("current_limit", 1e-9)])
def test_a_2460_refuses_what_only_a_2450_takes(name: str, value: float) -> None:
    with expected_protocol(Keithley2460, []) as smu, pytest.raises(ValueError, match="not in range"):
        setattr(smu, name, value)


def test_a_2460_takes_its_highest_range() -> None:
    with expected_protocol(Keithley2460, [(":SENS:CURR:RANG 7", None), (":SOUR:VOLT:ILIM 7.35", None)]) as smu:
        smu.current_range = 7.0
        smu.current_limit = 7.35
