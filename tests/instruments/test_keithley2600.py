"""The Keithley 2600B driver, line by line, and what its twin takes for TSP."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.keithley2600 import (
    Keithley2600,
    Keithley2611,
    Keithley2635,
    timestamp_resolution_s,
)
from otters_lab.instruments.drivers.keithley2600_meter import Keithley2600Meter
from otters_lab.instruments.roles import ReadingFlag
from otters_lab.instruments.virtual.assemble import build_virtual
from otters_lab.instruments.virtual.keithley2600 import MODELS, Keithley2600Twin


@pytest.mark.parametrize(
    ("name", "value", "set_", "get", "reply"),
    [
        ("source_function", "VOLT", "smua.source.func = 1", "smua.source.func", "1.00000e+00"),
        ("source_voltage", -0.5, "smua.source.levelv = -0.5", "smua.source.levelv", "-5.00000e-01"),
        ("current_limit", 2e-5, "smua.source.limiti = 2e-05", "smua.source.limiti", "2.00000e-05"),
        ("output_enabled", True, "smua.source.output = 1", "smua.source.output", "1.00000e+00"),
        ("output_off", "high impedance", "smua.source.offmode = 2", "smua.source.offmode", "2.00000e+00"),
        ("wires", 4, "smua.sense = 1", "smua.sense", "1.00000e+00"),
        ("current_range", 1e-6, "smua.measure.rangei = 1e-06", "smua.measure.rangei", "1.00000e-06"),
        ("current_autorange_enabled", False, "smua.measure.autorangei = 0", "smua.measure.autorangei", "0.00000e+00"),
        ("current_nplc", 1.0, "smua.measure.nplc = 1", "smua.measure.nplc", "1.00000e+00"),
        ("autozero", "once", "smua.measure.autozero = 1", "smua.measure.autozero", "1.00000e+00"),
        ("filter_type", "repeat", "smua.measure.filter.type = 1", "smua.measure.filter.type", "1.00000e+00"),
        ("filter_count", 5, "smua.measure.filter.count = 5", "smua.measure.filter.count", "5.00000e+00"),
        ("filter_enabled", True, "smua.measure.filter.enable = 1", "smua.measure.filter.enable", "1.00000e+00"),
        ("timer_delay", 2e-3, "trigger.timer[1].delay = 0.002", "trigger.timer[1].delay", "2.00000e-03"),
        ("trigger_count", 650, "smua.trigger.count = 650", "smua.trigger.count", "6.50000e+02"),
    ],
)
def test_each_setting_is_one_assignment_and_reads_back(
    name: str, value: object, set_: str, get: str, reply: str
) -> None:
    with expected_protocol(Keithley2600, [(set_, None), (f"print({get})", reply)]) as smu:
        setattr(smu, name, value)
        assert getattr(smu, name) == value


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        (Keithley2600, "source_voltage", 41.0),
        (Keithley2600, "current_nplc", 30.0),
        (Keithley2611, "current_range", 3.0),
        (Keithley2611, "source_voltage", 203.0),
        (Keithley2635, "current_range", 1e-10),
    ],
)
def test_a_value_out_of_the_models_range_is_not_sent(model: type[Keithley2600], name: str, value: float) -> None:
    with expected_protocol(model, []) as smu, pytest.raises(ValueError, match="not in range"):
        setattr(smu, name, value)


@pytest.mark.parametrize("reply", ["nil", "", "nan", "9.91000e+37"])
def test_a_reply_that_is_no_finite_number_raises(reply: str) -> None:
    with (
        expected_protocol(Keithley2600, [("print(smua.measure.rangei)", reply)]) as smu,
        pytest.raises(InstrumentError, match="expected a finite number"),
    ):
        _ = smu.current_range


READ_3 = "printbuffer(1, 3, smua.nvbuffer1.timestamps, smua.nvbuffer1.readings, smua.nvbuffer1.statuses)"


def test_the_buffer_is_read_into_times_currents_and_flags() -> None:
    reply = "0.0, 1.5e-06, 0.0, 2.0e-03, 9.91e+37, 0.0, 4.0e-03, 2.0e-05, 6.4e+01"
    with expected_protocol(Keithley2600, [(READ_3, reply)]) as smu:
        readings = smu.read_buffer(3)
    np.testing.assert_array_equal(readings.start_s, [0.0, 0.002, 0.004])
    np.testing.assert_array_equal(readings.current_A, [1.5e-6, np.nan, 2e-5])
    assert list(readings.flags) == [ReadingFlag.OK, ReadingFlag.OVERFLOW, ReadingFlag.COMPLIANCE]


def test_timestamps_that_do_not_increase_raise() -> None:
    reply = "0.0, 1.5e-06, 0.0, 2.0e-03, 1e-6, 0.0, 2.0e-03, 2.0e-05, 0"
    with (
        expected_protocol(Keithley2600, [(READ_3, reply)]) as smu,
        pytest.raises(InstrumentError, match="do not increase"),
    ):
        smu.read_buffer(3)


def test_timestamps_stay_unique_over_long_acquisitions() -> None:
    assert timestamp_resolution_s(60.0) == 1e-6
    assert timestamp_resolution_s(71 * 60.0) == 1e-6
    assert timestamp_resolution_s(72 * 60.0) == 2e-6
    assert timestamp_resolution_s(24 * 3600.0) * 2**32 >= 24 * 3600.0


def test_the_error_queue_is_read_as_code_and_message() -> None:
    conversation = [
        ("print(errorqueue.next())", "-2.85000e+02\tTSP Syntax error at line 1\t2.00000e+01\t1.00000e+00"),
        ("print(errorqueue.next())", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00"),
    ]
    with expected_protocol(Keithley2600, conversation) as smu:
        assert smu.next_error == "-285 TSP Syntax error at line 1"
        assert smu.next_error is None


def test_making_safe_aborts_switches_off_and_asks() -> None:
    safe = [("smua.abort()", None), ("smua.source.output = 0", None), ("print(smua.source.output)", "1.00000e+00")]
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    with expected_protocol(Keithley2600, safe) as smu, pytest.raises(InstrumentError, match="output is still on"):
        Keithley2600Meter(smu, clock, 50.0).make_safe()


# --- the twin -------------------------------------------------------------------------------------------------------


@pytest.fixture
def twin(shipped: BenchFile) -> Keithley2600Twin:
    return Keithley2600Twin(build_virtual(shipped).world, 50.0, MODELS["2602B"])


def error(twin: Keithley2600Twin) -> str:
    return (twin.handle(b"print(errorqueue.next())") or b"").decode().split("\t")[0]


@pytest.mark.parametrize(
    "line",
    [
        b"smua.source.levelx = 1",
        b"smua.source.levelv = ",
        b"smua.source.levelv 1",
        b"smua.source.levelv = 1 2",
        b"smua.source.levelv = true",
        b"print(smua.source.levelx)",
        b"print(smua.source.levelv",
        b"smua.reset",
        b"smua.trigger.initiate(1)",
        b"for i = 1, 3 do print(i) end",
        b"x = 1",
        b":SOUR:VOLT 1",
        b"\xff",
    ],
)
def test_what_is_no_known_tsp_queues_285_and_says_nothing(twin: Keithley2600Twin, line: bytes) -> None:
    assert twin.handle(line) is None
    assert error(twin) == "-2.85000e+02"
    assert error(twin) == "0.00000e+00"


def test_a_number_out_of_bounds_queues_an_error_and_changes_nothing(twin: Keithley2600Twin) -> None:
    assert twin.handle(b"smua.source.levelv = 41") is None
    assert error(twin) == "1.10200e+03"
    assert twin.handle(b"print(smua.source.levelv)") == b"0.00000e+00"


def test_print_writes_several_values_with_tabs_in_the_set_precision(twin: Keithley2600Twin) -> None:
    twin.handle(b"format.asciiprecision = 3")
    assert twin.handle(b"print(smua.source.limiti, true, nil, 'text', 2)") == b"1.00e-01\ttrue\tnil\ttext\t2.00e+00"
    assert twin.handle(b"print(localnode.model)") == b"2602B"
    assert twin.handle(b"*IDN?") == b"Keithley Instruments Inc., Model 2602B, VIRTUAL, 3.4.0"


def test_setting_a_range_ends_the_autorange(twin: Keithley2600Twin) -> None:
    assert twin.handle(b"print(smua.measure.autorangei)") == b"1.00000e+00"
    twin.handle(b"smua.measure.rangei = 5e-7")
    assert twin.handle(b"print(smua.measure.rangei, smua.measure.autorangei)") == b"1.00000e-06\t0.00000e+00"
