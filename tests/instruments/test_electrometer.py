"""Keithley 6517B in the role of the meter: line by line."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keithley6517b import Keithley6517B
from otters_lab.instruments.drivers.keithley6517b_meter import ElectrometerMeter
from otters_lab.instruments.roles import Meter, MeterSettings, ReadingFlag

NO_ERROR = '0,"No error"'


# --- the driver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "set_", "get", "reply"),
    [
        ("current_range", 2e-11, ":SENS:CURR:RANG:AUTO 0;:SENS:CURR:RANG 2e-11", ":SENS:CURR:RANG?", "2.000000E-11"),
        ("current_range", 2e-6, ":SENS:CURR:RANG:AUTO 0;:SENS:CURR:RANG 2e-06", ":SENS:CURR:RANG?", "2.100000E-06"),
        ("digits", 7, ":SENS:CURR:DIG 7", ":SENS:CURR:DIG?", "7"),
        ("average_enabled", False, ":SENS:CURR:AVER 0", ":SENS:CURR:AVER?", "0"),
        ("median_enabled", False, ":SENS:CURR:MED 0", ":SENS:CURR:MED?", "0"),
        ("line_synchronised", False, ":SYST:LSYN:STAT 0", ":SYST:LSYN:STAT?", "0"),
        ("zero_check_enabled", True, ":SYST:ZCH 1", ":SYST:ZCH?", "1"),
        ("zero_correct_enabled", True, ":SYST:ZCOR 1", ":SYST:ZCOR?", "1"),
        ("output_enabled", True, "OUTPUT 1", "OUTPUT?", "1"),
        ("source_range", 1000.0, ":SOUR:VOLT:RANG 1000", ":SOUR:VOLT:RANG?", "1.000000E+03"),
        ("voltage_limit", 60, ":SOUR:VOLT:LIM 60", ":SOUR:VOLT:LIM?", "6.000000E+01"),
        ("voltage_limit_enabled", True, ":SOUR:VOLT:LIM:STAT 1", ":SOUR:VOLT:LIM:STAT?", "1"),
        ("source_connected", True, ":SOUR:VOLT:MCON 1", ":SOUR:VOLT:MCON?", "1"),
        ("resistive_limit_enabled", False, ":SOUR:CURR:RLIM:STAT 0", ":SOUR:CURR:RLIM:STAT?", "0"),
        ("timer_interval", 0.02, ":TRIG:TIM 0.02", ":TRIG:TIM?", "0.020"),
        ("trigger_count", 65, ":TRIG:COUN 65", ":TRIG:COUN?", "65"),
        ("buffer_points", 50_000, ":TRAC:POIN 50000", ":TRAC:POIN?", "50000"),
    ],
)
def test_each_setting_is_one_command_and_reads_back(name: str, value: object, set_: str, get: str, reply: str) -> None:
    with expected_protocol(Keithley6517B, [(set_, None), (get, reply)]) as meter:
        setattr(meter, name, value)
        assert getattr(meter, name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [("current_range", 0.1), ("source_range", 200), ("buffer_points", 50_001), ("timer_interval", 1e-4)],
)
def test_a_value_out_of_range_is_not_sent(name: str, value: float) -> None:
    """PyMeasure's own class cuts three of these to what fits, without a word."""
    with expected_protocol(Keithley6517B, []) as meter, pytest.raises(ValueError, match="not in"):
        setattr(meter, name, value)


def test_a_reply_that_is_none_of_its_ranges_is_reported() -> None:
    with (
        expected_protocol(Keithley6517B, [(":SENS:CURR:RANG?", "3.0E-06")]) as meter,
        pytest.raises(InstrumentError, match="3e-06 A, which is none of its ranges"),
    ):
        _ = meter.current_range


@pytest.mark.parametrize(("reply", "tripped"), [("0", True), ("1", False)])
def test_the_interlock_is_told_the_other_way_round(reply: str, tripped: bool) -> None:
    with expected_protocol(Keithley6517B, [(":SYST:INT?", reply)]) as meter:
        assert meter.interlock_tripped is tripped


@pytest.mark.parametrize(("reply", "limited"), [("0", False), ("641", False), ("16384", True), ("17025", True)])
def test_compliance_is_one_bit_of_the_measurement_events(reply: str, limited: bool) -> None:
    with expected_protocol(Keithley6517B, [(":STAT:MEAS?", reply)]) as meter:
        assert meter.compliance_event is limited


LOADING = [
    (":ARM:COUN 1", None), (":ARM:SOUR IMM", None), (":ARM:LAY2:COUN 1", None), (":ARM:LAY2:SOUR IMM", None),
    (":ARM:LAY2:DEL 0", None), (":TRIG:SOUR TIM", None), (":TRIG:TIM 0.02", None), (":TRIG:COUN 3", None),
    (":TRIG:DEL 0", None), (":TRAC:FEED:CONT NEV", None), (":SYST:TST:TYPE REL", None), (":TRAC:TST:FORM ABS", None),
    (":TRAC:ELEM TST", None), (":FORM:ELEM READ,TST", None), (":TRAC:CLE", None), (":TRAC:POIN 3", None),
    (":TRAC:FEED:CONT NEXT", None),
]  # fmt: skip


def test_the_buffer_is_read_into_times_currents_and_flags() -> None:
    reply = "+1.000000E-06,+0.000000,+9.900000E+37,+0.020000,-2.500000E-12,+0.040001"
    with expected_protocol(Keithley6517B, [*LOADING, (":TRAC:DATA?", reply)]) as meter:
        meter.load_timed_acquisition(3, 0.02)
        readings = meter.read_buffer(3)
    np.testing.assert_array_equal(readings.start_s, [0.0, 0.02, 0.040001])
    np.testing.assert_array_equal(readings.current_A, [1e-6, np.nan, -2.5e-12])
    assert list(readings.flags) == [ReadingFlag.OK, ReadingFlag.OVERFLOW, ReadingFlag.OK]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("+1E-06,+0.0,+9.910000E+37,+0.02", "taken under zero check"),
        ("+1E-06,+0.02,+1E-06,+0.02", "timestamps do not increase"),
        ("+1E-06NADC,+0.0,+1E-06NADC,+0.02", "expected numbers"),
        ("+1E-06,+0.0,+1E-06", "replied 3 numbers, expected 2 x 2"),
    ],
)
def test_a_buffer_that_holds_something_else_is_reported(reply: str, message: str) -> None:
    with (
        expected_protocol(Keithley6517B, [(":TRAC:DATA?", reply)]) as meter,
        pytest.raises(InstrumentError, match=message),
    ):
        meter.read_buffer(2)


def role(meter: Keithley6517B) -> ElectrometerMeter:
    return ElectrometerMeter(meter, VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), 50.0)


RESET = [
    ("*RST", None), ("*CLS", None), (":STAT:PRES", None), (":FORM:DATA ASC", None), (":SENS:FUNC 'CURR'", None),
    (":SENS:CURR:NPLC 1", None),
]  # fmt: skip


def test_the_zero_is_corrected_on_the_lowest_range_with_the_input_shunted() -> None:
    conversation = [
        *RESET, (":SENS:CURR:APER?", "2.000000E-02"), (":TRAC:FEED:CONT NEV", None), (":SYST:ZCH 1", None),
        (":SYST:ZCOR 0", None), (":SENS:CURR:RANG:AUTO 0;:SENS:CURR:RANG 2e-11", None), (":INIT", None),
        ("*OPC?", "1"), (":SYST:ZCOR:ACQ", None), (":SYST:ZCOR 1", None), (":SYST:ERR?", NO_ERROR),
        (":SYST:ZCH?", "1"), (":SYST:ZCOR?", "1"),
    ]  # fmt: skip
    with expected_protocol(Keithley6517B, conversation) as meter:
        role(meter).reset()


def test_an_aperture_of_one_cycle_gives_the_line_frequency_away() -> None:
    with (
        expected_protocol(Keithley6517B, [*RESET, (":SENS:CURR:APER?", "1.666667E-02")]) as meter,
        pytest.raises(InstrumentError, match=r"line frequency \(Hz\): asked for 50, the instrument says 60"),
    ):
        role(meter).reset()


def both(set_: str, reply: str) -> list[tuple[str, str | None]]:
    """A setting and its query."""
    return [(set_, None), (set_.split(" ")[0] + "?", reply)]


CONFIGURING = [
    ("OUTPUT 0", None), (":SOUR:VOLT:LEV 0", None), (":SOUR:VOLT:RANG 1000", None), (":SOUR:VOLT:LIM 151", None),
    (":SOUR:VOLT:LEV -150.5", None), (":SENS:CURR:RANG:AUTO 0;:SENS:CURR:RANG 2e-06", None),
    (":SENS:CURR:NPLC 0.5", None), *both(":SOUR:VOLT:LIM:STAT 1", "1"), *both(":SOUR:VOLT:MCON 1", "1"),
    *both(":SOUR:CURR:RLIM:STAT 0", "0"), *both(":SENS:CURR:AVER 0", "0"), *both(":SENS:CURR:MED 0", "0"),
    *both(":SYST:LSYN:STAT 0", "0"), *both(":SENS:CURR:DIG 7", "7"), *LOADING, *both(":SYST:ZCH 0", "0"),
    (":SYST:ERR?", NO_ERROR), ("OUTPUT?", "0"), (":SENS:CURR:RANG:AUTO?", "0"), (":SYST:ZCOR?", "1"),
    (":SOUR:VOLT?", "-150.5"), (":SOUR:VOLT:LIM?", "151"),
]  # fmt: skip


READ_BACK = [
    (":SENS:CURR:RANG?", "2E-6"), (":SENS:CURR:APER?", "0.01"), (":TRIG:TIM?", "0.02"), (":TRIG:COUN?", "3"),
    (":TRAC:POIN?", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("range_V", "limit_A"), [("1000", 1e-3), ("100", 10e-3)])
def test_configuring_reads_every_setting_back_with_the_source_off(range_V: str, limit_A: float) -> None:
    conversation = [*CONFIGURING, (":SOUR:VOLT:RANG?", range_V), *READ_BACK]
    with expected_protocol(Keithley6517B, conversation) as meter:
        found = role(meter).configure(MeterSettings(-150.5, 1e-3, 2e-6, 10e-3, 20e-3, 3))
    # the current limit is that of the range that the instrument says, not what was asked for
    assert found == MeterSettings(-150.5, limit_A, 2e-6, 10e-3, 20e-3, 3)


@pytest.mark.parametrize(
    ("at_start", "events", "flags"),
    [
        ("0", "512", [ReadingFlag.OK, ReadingFlag.OVERFLOW, ReadingFlag.OK]),
        ("0", "16896", [ReadingFlag.COMPLIANCE, ReadingFlag.OVERFLOW | ReadingFlag.COMPLIANCE, ReadingFlag.COMPLIANCE]),
        ("1", "512", [ReadingFlag.COMPLIANCE, ReadingFlag.OVERFLOW | ReadingFlag.COMPLIANCE, ReadingFlag.COMPLIANCE]),
    ],
)
def test_compliance_before_the_first_reading_or_since_flags_them_all(
    at_start: str, events: str, flags: list[int]
) -> None:
    """A source that limits all the time raises no event: the state at the start says it."""
    conversation = [
        *CONFIGURING, (":SOUR:VOLT:RANG?", "1000"), *READ_BACK, (":STAT:MEAS?", "16384"),
        (":SOUR:CURR:LIM?", at_start), (":INIT", None), (":TRAC:POIN:ACT?", "2"), (":TRAC:POIN:ACT?", "3"),
        (":TRAC:DATA?", "1E-6,0,9.9E37,0.02,2E-6,0.04"), (":SYST:ERR?", NO_ERROR), ("OUTPUT?", "1"),
        (":STAT:MEAS?", events),
    ]  # fmt: skip
    with expected_protocol(Keithley6517B, conversation) as instrument:
        meter = role(instrument)
        meter.configure(MeterSettings(-150.5, 1e-3, 2e-6, 10e-3, 20e-3, 3))
        meter.start()
        readings = meter.fetch()
    assert readings.flags.dtype == np.uint8
    assert list(readings.flags) == flags


def test_a_source_that_is_not_connected_to_the_ammeter_is_reported() -> None:
    conversation = [*CONFIGURING[:9], *both(":SOUR:VOLT:MCON 1", "0")]
    with (
        expected_protocol(Keithley6517B, conversation) as meter,
        pytest.raises(InstrumentError, match="source_connected: asked for True, the instrument says False"),
    ):
        role(meter).configure(MeterSettings(-150.5, 1e-3, 2e-6, 10e-3, 20e-3, 3))


@pytest.mark.parametrize(
    ("bias_V", "limit_A", "message"),
    [
        (0.5, 2e-5, "a current limit of 2e-05 A, the source has 0.01 A or 0.001 A"),
        (150.0, 10e-3, "a bias of 150 V with 0.01 A, which the source gives up to 100 V"),
        (1500.0, 1e-3, "a bias of 1500 V with 0.001 A, which the source gives up to 1000 V"),
    ],
)
def test_what_the_source_cannot_do_is_refused_before_anything_is_sent(
    bias_V: float, limit_A: float, message: str
) -> None:
    with expected_protocol(Keithley6517B, []) as meter, pytest.raises(InstrumentError, match=message):
        role(meter).configure(MeterSettings(bias_V, limit_A, 2e-6, 10e-3, 20e-3, 3))


def test_making_safe_stops_switches_off_shunts_the_input_and_asks() -> None:
    conversation = [(":ABOR", None), ("OUTPUT 0", None), ("OUTPUT?", "0"), (":SYST:ZCH 1", None), (":SYST:ZCH?", "1")]
    with expected_protocol(Keithley6517B, conversation) as meter:
        role(meter).make_safe()


def test_an_open_interlock_is_reported_before_a_bias_is_believed() -> None:
    with (
        expected_protocol(Keithley6517B, [("OUTPUT 1", None), (":SYST:INT?", "0")]) as meter,
        pytest.raises(InstrumentError, match="interlock"),
    ):
        role(meter).bias_on()


def test_the_role_is_a_meter() -> None:
    with expected_protocol(Keithley6517B, []) as meter:
        assert isinstance(role(meter), Meter)
