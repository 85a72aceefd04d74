"""Keithley 6517B in the role of the meter: line by line, its twin, and its traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.instruments.acquire import TraceRequest, violations
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.keithley6517b import Keithley6517B
from otters_lab.instruments.drivers.keithley6517b_meter import ElectrometerMeter
from otters_lab.instruments.roles import Meter, MeterSettings, ReadingFlag
from otters_lab.instruments.survey import survey
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

NO_ERROR = '0,"No error"'
GENERATOR = """driver = "agilent-33500"
address = "GPIB0::10::INSTR"
identity = "33522A"
load = "high impedance"         # what the generator drives: "high impedance" or "50 ohm"
"""
SOFTWARE = GENERATOR + 'start = "software"\n'
STEP_A = 1e-12  # of 6 1/2 digits on the 2 uA range


@pytest.fixture
def bench_with(
    write_bench: Callable[[str, str], Path], shipped: BenchFile, quiet: BenchFile
) -> Callable[..., BenchFile]:
    """The quiet bench with the electrometer for a meter and a light that software starts."""

    def build(
        light: str = SOFTWARE,
        compliance: str = "10 mA",
        bias: str = "2 V",
        current: str = "10 uA",
        ambient_A: float = 0.0,
    ) -> BenchFile:
        path = write_bench(GENERATOR, light)
        text = path.read_text().replace("keithley-2450", "keithley-6517b").replace("MODEL 2450", "MODEL 6517B")
        limits = (("compliance", "20 uA", compliance), ("bias", "2 V", bias), ("current", "10 uA", current))
        for key, old, new in limits:
            assert f'\n{key} = "{old}"' in text, key
            text = text.replace(f'\n{key} = "{old}"', f'\n{key} = "{new}"')
        path.write_text(text)
        assert quiet.virtual is not None
        virtual = quiet.virtual.model_copy(update={"ambient": ambient_A})
        return load_bench(path).model_copy(update={"virtual": virtual})

    return build


@pytest.fixture
def slow(take: TraceRequest) -> TraceRequest:
    return replace(take, interval_s=20e-3, aperture_s=10e-3, range_A=2e-6)


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


@pytest.mark.parametrize(("range_V", "limit_A"), [("1000", 1e-3), ("100", 10e-3)])
def test_configuring_reads_every_setting_back_with_the_source_off(range_V: str, limit_A: float) -> None:
    conversation = [
        *CONFIGURING, (":SOUR:VOLT:RANG?", range_V), (":SENS:CURR:RANG?", "2E-6"), (":SENS:CURR:APER?", "0.01"),
        (":TRIG:TIM?", "0.02"), (":TRIG:COUN?", "3"), (":TRAC:POIN?", "3"),
    ]  # fmt: skip
    with expected_protocol(Keithley6517B, conversation) as meter:
        found = role(meter).configure(MeterSettings(-150.5, 1e-3, 2e-6, 10e-3, 20e-3, 3))
    # the current limit is that of the range that the instrument says, not what was asked for
    assert found == MeterSettings(-150.5, limit_A, 2e-6, 10e-3, 20e-3, 3)


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


# --- the twin ---------------------------------------------------------------------------------------------------------

AMPS = b"*RST;:SENS:FUNC 'CURR';:SENS:CURR:RANG 2E-6;NPLC 1;:SOUR:VOLT 0.5;:SOUR:VOLT:MCON 1;:OUTP 1"
ONCE = b":FORM:ELEM READ;:READ?"


@pytest.fixture
def twin(bench_with: Callable[..., BenchFile]) -> Any:
    virtual = build_virtual(bench_with())
    virtual.switch.handle(b"ROUT:MULT:CLOS (@101)")
    assert virtual.world.connected == 1
    return virtual.meter


def errors(twin: Any) -> list[int]:
    found = []
    while (code := int((twin.handle(b"SYST:ERR?") or b"").split(b",")[0])) != 0:
        found.append(code)
    return found


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"SYST:ZCHE 1", -113), (b"SOUR:VOLT:RANG:AUTO 0", -113), (b"SOUR:CURR:RLIM 1", -113), (b"SYST:AZER 0", -113),
        (b"TRAC:POIN 50001", -222), (b"SENS:CURR:RANG 0.022", -222), (b"SENS:CURR:NPLC 11", -222),
        (b"SOUR:VOLT 101", -222), (b"SOUR:VOLT:LIM 10;LIM:STAT 1;:SOUR:VOLT 11", -222),
        (b"SOUR:VOLT:RANG 1000;:SOUR:VOLT 200;:SOUR:VOLT:RANG 100", -221), (b"SENS:FUNC CURR", -104),
        (b"SENS:FUNC 'VOLT';:INIT", -221), (b"SYST:ZCH 0;ZCOR:ACQ", -221), (b"TRAC:DATA?", 313),
        (b"FORM:ELEM READ;:TRAC:ELEM NONE;:TRAC:DATA?", -230), (b"FORM:ELEM TIME", -224),
        (b"TRAC:POIN 9;FEED:CONT NEXT;:SENS:FUNC 'CURR';:INIT;:INIT", -213),
    ],
)  # fmt: skip
def test_the_twin_is_strict(twin: Any, message: bytes, code: int) -> None:
    twin.handle(message)
    assert errors(twin) == [code]


def test_a_reading_is_the_devices_only_with_zero_check_off_and_the_source_on_and_connected(twin: Any) -> None:
    twin.handle(AMPS)
    assert float(twin.handle(ONCE)) == 9.91e37  # *RST leaves zero check on
    twin.handle(b"SYST:ZCH 0")
    device_A = float(twin.handle(ONCE))
    assert 1e-9 < abs(device_A) < 2e-6
    twin.handle(b"SOUR:VOLT:MCON 0")
    assert float(twin.handle(ONCE)) == 0
    twin.handle(b"SOUR:VOLT:MCON 1;:OUTP 0")
    assert float(twin.handle(ONCE)) == 0
    twin.handle(b"OUTP 1;:SENS:CURR:RANG 2E-10")
    assert float(twin.handle(ONCE)) == 9.9e37
    twin.handle(b"SENS:CURR:RANG 2E-5;DIG 4")  # 3 1/2 digits of 20 uA: steps of 10 nA
    assert float(twin.handle(ONCE)) == pytest.approx(round(device_A / 1e-8) * 1e-8, abs=1e-13)
    assert errors(twin) == []


def test_a_reading_says_its_state_and_unit_when_it_is_asked_to(twin: Any) -> None:
    twin.handle(AMPS)
    assert twin.handle(b":READ?") == b"+9.910000E+37ZADC,+0.000000secs,+0RDNG#,000"
    twin.handle(b":SYST:ZCH 0;:SENS:CURR:RANG 2E-10")
    assert twin.handle(b":FORM:ELEM STAT,VSO,READ;:READ?") == b"+9.900000E+37O,+0.5000"


def test_an_open_interlock_puts_the_source_into_standby(twin: Any) -> None:
    twin.handle(AMPS)
    assert twin.handle(b"OUTP?;:SYST:INT?") == b"1;1"
    twin.interlock_open = True
    assert twin.handle(b"OUTP?;:SYST:INT?") == b"0;0"
    twin.handle(b"OUTP 1")
    assert errors(twin) == [-221]
    assert not twin.output_on


# --- the bench --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compliance", "bias", "bias_V"), [("10 mA", "2 V", 0.5), ("10 mA", "200 V", -100.0), ("1 mA", "1000 V", 1000.0)]
)
def test_a_trace_is_the_one_of_the_source_meter_to_half_a_digit(
    bench_with: Callable[..., BenchFile],
    quiet: BenchFile,
    slow: TraceRequest,
    compliance: str,
    bias: str,
    bias_V: float,
    built: list[VirtualBench],
) -> None:
    with open_bench(quiet) as bench:
        expected = bench.acquire(replace(slow, range_A=1e-6))
    with open_bench(bench_with(compliance=compliance, bias=bias)) as bench:
        first, found = (bench.acquire(replace(slow, bias_V=bias_V)) for _ in range(2))
        meter = built[-1].meter
        assert not meter.output_on
        assert meter.handle(b"SYST:ZCH?;:SOUR:VOLT:LIM?;LIM:STAT?") == f"1;{abs(bias_V) + bias_V % 1:.6E};1".encode()
    assert first.status == found.status == expected.status == "ok"
    assert found.time_s.size == expected.time_s.size == 65
    np.testing.assert_allclose(found.time_s, expected.time_s, atol=1e-6)
    np.testing.assert_allclose(found.current_A, expected.current_A, rtol=0, atol=0.51 * STEP_A)
    np.testing.assert_allclose(first.current_A, found.current_A, rtol=0, atol=1.01 * STEP_A)


def test_the_offset_of_the_input_is_gone_after_the_zero_correction(
    bench_with: Callable[..., BenchFile], slow: TraceRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import otters_lab.instruments.bench as module

    traces = []
    for offset_A in (0.0, 5e-12):

        def with_offset(*arguments: Any, offset_A: float = offset_A, **options: Any) -> VirtualBench:
            made = build_virtual(*arguments, **options)
            made.meter.offset_A = offset_A
            return made

        monkeypatch.setattr(module, "build_virtual", with_offset)
        with open_bench(bench_with()) as bench:
            traces.append(bench.acquire(slow))
    np.testing.assert_allclose(traces[1].current_A, traces[0].current_A, rtol=0, atol=1.01 * STEP_A)


def test_a_small_range_overflows(bench_with: Callable[..., BenchFile], slow: TraceRequest) -> None:
    with open_bench(bench_with()) as bench:
        trace = bench.acquire(replace(slow, range_A=2e-7))
    assert trace.status == "overflow"  # the plateau of 908 nA
    assert trace.time_s.size < 65
    assert np.max(trace.current_A) < 2.1e-7


def test_a_source_that_limits_is_told_with_the_trace(bench_with: Callable[..., BenchFile], slow: TraceRequest) -> None:
    """2 mA of ambient light: beyond the 1 mA of the 1000 V range, within the 10 mA of the 100 V range."""
    request = replace(slow, range_A=20e-3)
    for compliance, status, most_A in (("10 mA", "ok", 2.0e-3), ("1 mA", "compliance", 1.0e-3)):
        with open_bench(bench_with(compliance=compliance, current="20 mA", ambient_A=2e-3)) as bench:
            trace = bench.acquire(request)
        assert trace.status == status
        assert np.max(trace.current_A) == pytest.approx(most_A, rel=1e-3)


def test_an_interlock_that_opens_during_a_take_fails_it(
    bench_with: Callable[..., BenchFile], slow: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ElectrometerMeter.start

    def lid_lifted(self: ElectrometerMeter) -> None:
        start(self)
        built[-1].meter.interlock_open = True

    monkeypatch.setattr(ElectrometerMeter, "start", lid_lifted)
    with (
        open_bench(bench_with()) as bench,
        pytest.raises(InstrumentError, match=r"went to standby during the acquisition \(interlock\?\)"),
    ):
        bench.acquire(slow)


def test_zero_check_left_on_gives_no_trace(
    bench_with: Callable[..., BenchFile], slow: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ElectrometerMeter.start

    def shunted(self: ElectrometerMeter) -> None:
        built[-1].meter.handle(b"SYST:ZCH 1")  # somebody at the front panel
        start(self)

    monkeypatch.setattr(ElectrometerMeter, "start", shunted)
    with open_bench(bench_with()) as bench, pytest.raises(InstrumentError, match="taken under zero check"):
        bench.acquire(slow)


def test_looking_the_bench_over_finds_nothing_wrong(bench_with: Callable[..., BenchFile]) -> None:
    found = survey(bench_with())
    assert [one.problems for one in found] == [[], [], []]
    assert found[0].interlock == "closed, or no cable in it"
    assert "PyMeasure" in found[0].evidence


# --- what is refused before anything is sent --------------------------------------------------------------------------


def test_a_light_that_waits_for_a_trigger_is_refused(bench_with: Callable[..., BenchFile]) -> None:
    with pytest.raises(InputError, match=r"keithley-6517b gives no trigger at the start .* agilent-33500 waits for"):
        bench_with(light=GENERATOR)


def test_a_current_limit_that_is_neither_ranges_is_refused(bench_with: Callable[..., BenchFile]) -> None:
    with pytest.raises(InputError, match=r"limits\.compliance is 20 uA, keithley-6517b can be set to 1 mA, 10 mA"):
        bench_with(compliance="20 uA")


def test_a_recipe_that_the_electrometer_cannot_do_is_refused(
    bench_with: Callable[..., BenchFile], slow: TraceRequest
) -> None:
    high = bench_with(bias="2000 V")
    assert violations(slow, high) == []
    (problem,) = violations(replace(slow, bias_V=-150.0), high)
    assert problem == "bias is 150 V, the Keithley 6517B limits the current to 10 mA up to 100 V only"
    (problem,) = violations(replace(slow, bias_V=1500.0), high)
    assert problem == "bias is 1.5 kV, the meter takes 0 V to 1 kV"
    (problem,) = violations(replace(slow, range_A=1e-6), high)
    assert problem.startswith("range is 1 uA, the meter has 20 pA, 200 pA")
    assert violations(replace(slow, bias_V=150.0), bench_with(compliance="1 mA", bias="2000 V")) == []
