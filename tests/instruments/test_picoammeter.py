"""Keithley 6485 and 6487 in the role of the meter: line by line, their twins, and their traces."""

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
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.keithley648x import Keithley6485, Keithley6487
from otters_lab.instruments.drivers.keithley648x_meter import PicoammeterMeter
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.roles import Meter, MeterSettings, ReadingFlag
from otters_lab.instruments.survey import survey
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

NO_ERROR = '0,"No error"'
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


@pytest.fixture
def bench_with(
    write_bench: Callable[[str, str], Path], shipped: BenchFile, quiet: BenchFile, tmp_path: Path
) -> Callable[..., BenchFile]:
    """The quiet bench with a picoammeter for a meter and a light that software starts."""

    def build(model: str, light: str = LED, compliance: str = "25 uA") -> BenchFile:
        path = write_bench(GENERATOR, light)
        text = path.read_text().replace("keithley-2450", f"keithley-{model}").replace("MODEL 2450", f"MODEL {model}")
        path.write_text(text.replace('compliance = "20 uA"', f'compliance = "{compliance}"'))
        return load_bench(path).model_copy(update={"virtual": quiet.virtual})

    return build


@pytest.fixture
def slow(take: TraceRequest) -> TraceRequest:
    return replace(take, bias_V=0.0, interval_s=20e-3, aperture_s=10e-3, range_A=2e-6)


# --- the driver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "set_", "get", "reply"),
    [
        ("current_range", 2e-6, ":SENS:CURR:RANG 2e-06", ":SENS:CURR:RANG?", "2.000000E-06"),
        ("current_nplc", 0.5, ":SENS:CURR:NPLC 0.5", ":SENS:CURR:NPLC?", "0.50"),
        ("autozero_enabled", False, ":SYST:AZER 0", ":SYST:AZER?", "0"),
        ("zero_check_enabled", True, ":SYST:ZCH 1", ":SYST:ZCH?", "1"),
        ("zero_correct_enabled", True, ":SYST:ZCOR 1", ":SYST:ZCOR?", "1"),
        ("timer_interval", 0.02, ":ARM:TIM 0.02", ":ARM:TIM?", "0.020"),
        ("arm_count", 65, ":ARM:COUN 65", ":ARM:COUN?", "65"),
        ("buffer_points", 65, ":TRAC:POIN 65", ":TRAC:POIN?", "65"),
        ("source_range", 10.0, ":SOUR:VOLT:RANG 10", ":SOUR:VOLT:RANG?", "1.000000E+01"),
        ("source_voltage", -0.5, ":SOUR:VOLT -0.5", ":SOUR:VOLT?", "-5.000000E-01"),
        ("current_limit", 2.5e-5, ":SOUR:VOLT:ILIM 2.5e-05", ":SOUR:VOLT:ILIM?", "2.500000E-05"),
        ("output_enabled", True, ":SOUR:VOLT:STAT 1", ":SOUR:VOLT:STAT?", "1"),
    ],
)
def test_each_setting_is_one_command_and_reads_back(name: str, value: object, set_: str, get: str, reply: str) -> None:
    with expected_protocol(Keithley6487, [(set_, None), (get, reply)]) as meter:
        setattr(meter, name, value)
        assert getattr(meter, name) == value


@pytest.mark.parametrize(
    ("name", "value"), [("source_voltage", 501), ("current_nplc", 0.005), ("timer_interval", 1e-4), ("arm_count", 3000)]
)
def test_a_value_out_of_range_is_not_sent(name: str, value: float) -> None:
    with expected_protocol(Keithley6487, []) as meter, pytest.raises(ValueError, match="not in range"):
        setattr(meter, name, value)


@pytest.mark.parametrize("reply", ["ERROR", "", "nan", "+9.91E37"])
@pytest.mark.parametrize(
    ("name", "get"), [("current_range", ":SENS:CURR:RANG?"), ("output_enabled", ":SOUR:VOLT:STAT?")]
)
def test_a_reply_that_is_no_finite_number_raises(name: str, get: str, reply: str) -> None:
    with (
        expected_protocol(Keithley6487, [(get, reply)]) as meter,
        pytest.raises(InstrumentError, match="finite number"),
    ):
        getattr(meter, name)


def test_the_zero_is_corrected_with_the_input_shunted_on_the_lowest_range() -> None:
    conversation = [
        (":TRAC:FEED:CONT NEV", None), (":SYST:ZCH 1", None), (":SYST:ZCOR 0", None), (":SENS:CURR:RANG 2e-09", None),
        (":INIT", None), ("*OPC?", "1"), (":SYST:ZCOR:ACQ", None), (":SYST:ZCOR 1", None),
    ]  # fmt: skip
    with expected_protocol(Keithley6485, conversation) as meter:
        meter.correct_zero()


LOADING = [
    (":ARM:SOUR TIM", None), (":ARM:TIM 0.02", None), (":ARM:COUN 3", None), (":TRIG:SOUR IMM", None),
    (":TRIG:COUN 1", None), (":TRIG:DEL 0", None), (":FORM:ELEM READ,TIME,STAT,VSO", None),
    (":TRAC:FEED:CONT NEV", None), (":TRAC:CLE", None), (":TRAC:POIN 3", None), (":TRAC:FEED SENS", None),
    (":TRAC:TST:FORM ABS", None), (":TRAC:FEED:CONT NEXT", None),
]  # fmt: skip


def test_the_buffer_is_read_into_times_currents_and_flags() -> None:
    reply = (
        "+1.000000E-06,+0.000000E+00,+1.024000E+03,+5.000000E-01,+9.900000E+37,+2.000000E-02,+1.025000E+03,"
        "+5.000000E-01,+2.500000E-05,+4.000000E-02,+1.024000E+03,-9.990000E+02"
    )
    with expected_protocol(Keithley6487, [*LOADING, (":TRAC:DATA?", reply)]) as meter:
        meter.load_timed_acquisition(3, 0.02)
        readings = meter.read_buffer(3)
    np.testing.assert_array_equal(readings.start_s, [0.0, 0.02, 0.04])
    np.testing.assert_array_equal(readings.current_A, [1e-6, np.nan, 2.5e-5])
    assert list(readings.flags) == [ReadingFlag.OK, ReadingFlag.OVERFLOW, ReadingFlag.COMPLIANCE]


def role(meter: Keithley6485) -> PicoammeterMeter:
    return PicoammeterMeter(meter, VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), 50.0)


def test_configuring_reads_every_setting_back_with_the_source_off() -> None:
    conversation = [
        (":SOUR:VOLT:STAT 0", None), (":SOUR:VOLT:RANG 10", None), (":SOUR:VOLT:ILIM 2.5e-05", None),
        (":SOUR:VOLT 0.5", None), (":SENS:AVER 0", None), (":SENS:MED 0", None), (":SENS:CURR:RANG 2e-06", None),
        (":SENS:CURR:NPLC 0.5", None), (":SYST:AZER 0", None), *LOADING, (":SYST:ZCH 0", None),
        (":SYST:ERR?", NO_ERROR), (":SOUR:VOLT?", "0.5"), (":SOUR:VOLT:ILIM?", "2.5E-04"), (":SYST:AZER?", "0"),
        (":SYST:ZCH?", "0"), (":SENS:CURR:RANG?", "2E-6"), (":SENS:CURR:NPLC?", "0.5"), (":ARM:TIM?", "0.02"),
        (":ARM:COUN?", "3"), (":TRAC:POIN?", "3"),
    ]  # fmt: skip
    with expected_protocol(Keithley6487, conversation) as meter:
        found = role(meter).configure(MeterSettings(0.5, 2.5e-5, 2e-6, 10e-3, 20e-3, 3))
    # the limit is what the instrument says, not what was asked for
    assert found == MeterSettings(0.5, 2.5e-4, 2e-6, 10e-3, 20e-3, 3)


def test_making_safe_stops_switches_off_shunts_the_input_and_asks() -> None:
    off = [(":SOUR:VOLT:STAT 0", None), (":SOUR:VOLT:STAT?", "0")]
    shunt = [(":SYST:ZCH 1", None), (":SYST:ZCH?", "1")]
    with expected_protocol(Keithley6487, [(":ABOR", None), *off, *shunt]) as meter:
        role(meter).make_safe()
    with expected_protocol(Keithley6485, [(":ABOR", None), *shunt]) as meter:
        role(meter).make_safe()


def test_a_source_that_stays_on_or_that_an_interlock_holds_is_reported() -> None:
    with (
        expected_protocol(
            Keithley6487, [(":ABOR", None), (":SOUR:VOLT:STAT 0", None), (":SOUR:VOLT:STAT?", "1")]
        ) as meter,
        pytest.raises(InstrumentError, match="source is still on"),
    ):
        role(meter).make_safe()
    with (
        expected_protocol(Keithley6487, [(":SOUR:VOLT:STAT 1", None), (":SOUR:VOLT:INT:FAIL?", "1")]) as meter,
        pytest.raises(InstrumentError, match="interlock"),
    ):
        role(meter).bias_on()


def test_a_6485_is_asked_for_no_bias() -> None:
    with expected_protocol(Keithley6485, []) as meter, pytest.raises(InstrumentError, match="there is no source"):
        role(meter).configure(MeterSettings(0.5, 2.5e-5, 2e-6, 10e-3, 20e-3, 3))


def test_the_role_is_a_meter() -> None:
    with expected_protocol(Keithley6485, []) as meter:
        assert isinstance(role(meter), Meter)


# --- the twins --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"ARM:TIMERS 1", b"-113"), (b"ARM:TIM 1E-4", b"-222"), (b"TRAC:DATA?", b"-230"), (b"SOUR:VOLT 11", b"-222"),
        (b"SENS:CURR:NPLC 61", b"-222"), (b"ARM:SOUR TIMER", b"0"), (b"FORM:ELEM READ,CHAN", b"-224"),
    ],
)  # fmt: skip
def test_the_twin_is_strict(bench_with: Callable[..., BenchFile], message: bytes, code: bytes) -> None:
    twin = build_virtual(bench_with("6487")).meter
    twin.handle(message)
    assert (twin.handle(b"SYST:ERR?") or b"").startswith(code)


def test_the_twins_source_takes_the_nearest_limit_and_obeys_its_interlock(bench_with: Callable[..., BenchFile]) -> None:
    twin = build_virtual(bench_with("6487")).meter
    twin.handle(b"SOUR:VOLT:RANG 10;ILIM 1E-3")
    assert twin.handle(b"SOUR:VOLT:ILIM?") == b"2.500000E-04"  # 1 mA lies nearer to 250 uA than to 2.5 mA
    twin.handle(b"SOUR:VOLT:ILIM 2.5E-2;RANG 50")
    assert twin.handle(b"SOUR:VOLT:ILIM?") == b"2.500000E-03"
    twin.interlock_open = True
    twin.handle(b"SOUR:VOLT:STAT ON")
    assert (twin.handle(b"SYST:ERR?") or b"").startswith(b"-221")
    assert not twin.output_on


def test_a_6485s_twin_knows_no_source(bench_with: Callable[..., BenchFile]) -> None:
    twin = build_virtual(bench_with("6485")).meter
    twin.handle(b"SOUR:VOLT 1")
    assert (twin.handle(b"SYST:ERR?") or b"").startswith(b"-113")


# --- the bench --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "bias_V"), [("6485", 0.0), ("6487", 0.0), ("6487", -1.5)])
def test_a_trace_is_the_one_of_the_source_meter_to_seven_digits(
    bench_with: Callable[..., BenchFile],
    quiet: BenchFile,
    slow: TraceRequest,
    model: str,
    bias_V: float,
    built: list[VirtualBench],
) -> None:
    with open_bench(quiet) as bench:
        expected = bench.acquire(replace(slow, range_A=1e-6))
    with open_bench(bench_with(model)) as bench:
        found = bench.acquire(replace(slow, bias_V=bias_V))
        assert not built[-1].meter.output_on
    assert found.status == expected.status == "ok"
    assert found.time_s.size == expected.time_s.size == 65
    np.testing.assert_allclose(found.time_s, expected.time_s, atol=1e-9)
    np.testing.assert_allclose(found.current_A, expected.current_A, rtol=1e-6)


def test_the_offset_of_the_input_is_gone_after_the_zero_correction(
    bench_with: Callable[..., BenchFile], slow: TraceRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import otters_lab.instruments.session as module

    traces = []
    for offset_A in (0.0, 1e-9):

        def with_offset(*arguments: Any, offset_A: float = offset_A, **options: Any) -> VirtualBench:
            made = build_virtual(*arguments, **options)
            made.meter.offset_A = offset_A
            return made

        monkeypatch.setattr(module, "build_virtual", with_offset)
        with open_bench(bench_with("6485")) as bench:
            traces.append(bench.acquire(slow))
    np.testing.assert_allclose(traces[1].current_A, traces[0].current_A, atol=2e-15)


def test_readings_longer_than_the_timers_interval_are_refused_and_a_small_range_overflows(
    bench_with: Callable[..., BenchFile], slow: TraceRequest
) -> None:
    bench_file = bench_with("6485")
    assert "longer than the interval" in violations(replace(slow, aperture_s=30e-3), bench_file)[0]
    with open_bench(bench_file) as bench:
        trace = bench.acquire(replace(slow, range_A=2e-7))
    assert trace.status == "overflow"  # the plateau of 908 nA
    assert trace.time_s.size < 65
    assert np.max(trace.current_A) < 2.1e-7


@pytest.mark.parametrize(("model", "interlock"), [("6485", "not offered"), ("6487", "closed")])
def test_looking_the_bench_over_finds_nothing_wrong(
    bench_with: Callable[..., BenchFile], model: str, interlock: str
) -> None:
    found = survey(bench_with(model))
    assert [one.problems for one in found] == [[], [], []]
    assert found[0].interlock == interlock


def test_a_recipe_with_a_bias_is_refused_where_there_is_no_source(
    bench_with: Callable[..., BenchFile], slow: TraceRequest
) -> None:
    (problem,) = violations(replace(slow, bias_V=0.5), bench_with("6485"))
    assert problem == "bias is 500 mV, but the Keithley 6485 has no source: the bias must be 0 V"


def test_a_light_that_waits_for_a_trigger_is_refused(bench_with: Callable[..., BenchFile]) -> None:
    with pytest.raises(InputError, match=r"keithley-6485 gives no trigger at the start .* agilent-33500 waits for"):
        bench_with("6485", light=GENERATOR)


def test_the_generator_serves_too_when_software_starts_it(
    bench_with: Callable[..., BenchFile], slow: TraceRequest, built: list[VirtualBench]
) -> None:
    software = bench_with("6485", light=GENERATOR + 'start = "software"\n')
    with open_bench(bench_with("6485")) as bench:
        expected = bench.acquire(slow)
    with open_bench(software) as bench:
        found = bench.acquire(slow)
        assert not built[-1].light.output_on
    np.testing.assert_array_equal(found.current_A, expected.current_A)
    np.testing.assert_allclose(found.time_s, expected.time_s, atol=1e-9)
    assert found.edge_uncertainty_s == pytest.approx(10e-3, rel=1e-6)
    assert list(built[-1].light.received).count(b"*TRG") == 1
    assert built[-1].world.history.pulses == {1: 1}  # one pulse, however many readings


def test_a_current_limit_that_cannot_be_set_is_refused(bench_with: Callable[..., BenchFile]) -> None:
    with pytest.raises(InputError, match=r"limits\.compliance is 20 uA, keithley-6487 can be set to 25 uA, 250 uA"):
        bench_with("6487", compliance="20 uA")


def test_a_bias_beyond_the_range_that_has_the_current_limit_is_refused(
    bench_with: Callable[..., BenchFile], slow: TraceRequest
) -> None:
    """25 mA is there on the 10 V range alone; the instrument would take 2.5 mA instead."""
    bench = bench_with("6487", compliance="25 mA")
    bench = bench.model_copy(update={"limits": bench.limits.model_copy(update={"bias": 100.0})})
    assert violations(replace(slow, bias_V=10.0), bench) == []
    (problem,) = violations(replace(slow, bias_V=-20.0), bench)
    assert problem == "bias is 20 V, the Keithley 6487 limits the current to 25 mA up to 10 V only"
