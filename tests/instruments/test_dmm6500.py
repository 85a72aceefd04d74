"""The fast chain: a transimpedance amplifier read by a Keithley DMM6500; line by line, its twin, and its traces."""

from __future__ import annotations

import math
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
from otters_lab.core.quantity import parse_quantity
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.dmm6500 import KeithleyDMM6500
from otters_lab.instruments.drivers.dmm6500_meter import AmplifiedDigitizer
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.roles import Meter, MeterSettings, ReadingFlag
from otters_lab.instruments.setups import AmplifierTable
from otters_lab.instruments.survey import survey
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.law import Decay, Kww
from tests.instruments.conftest import SOURCE_METER

PUBLISHED = Kww(I0=110.989, tau=1.3425, beta=0.495, I_offset=-109.989)
NO_ERROR = '0,"No error;0;0 0"'
DIGITIZER = """driver = "keithley-dmm6500"
address = "USB0::0x05E6::0x6500::04500000::INSTR"
identity = "MODEL DMM6500"
[meter.amplifier]
gain = "1e6 V/A"
bandwidth = "1 MHz"
output_limit = "10 V"
inverting = true
"""


def amplifier(**changes: object) -> AmplifierTable:
    settings = {"gain": "1e6 V/A", "bandwidth": "1 MHz", "output_limit": "10 V", "inverting": False} | changes
    return AmplifierTable.model_validate(settings)


@pytest.fixture
def bench_with(write_bench: Callable[[str, str], Path], quiet: BenchFile) -> Callable[..., BenchFile]:
    """The quiet bench with the digitiser for a meter, pieces of its table replaced, and another window."""

    def build(*replaced: tuple[str, str], window_s: float = 1.0) -> BenchFile:
        table = DIGITIZER
        for old, new in replaced:
            assert old in table
            table = table.replace(old, new)
        assert quiet.virtual is not None
        assert quiet.virtual.chip is not None
        chip = quiet.virtual.chip.model_copy(update={"window": window_s})
        virtual = quiet.virtual.model_copy(update={"chip": chip})
        return load_bench(write_bench(SOURCE_METER, table)).model_copy(update={"virtual": virtual})

    return build


@pytest.fixture
def slow(take: TraceRequest) -> TraceRequest:
    """A take that the source-meter and the digitiser can both do."""
    return replace(take, bias_V=0.0, interval_s=1e-3, aperture_s=1e-3)


@pytest.fixture
def fast(take: TraceRequest) -> TraceRequest:
    """One microsecond a sample."""
    return replace(
        take, bias_V=0.0, dark_s=50e-6, width_s=200e-6, decay_s=120e-6, interval_s=1e-6, aperture_s=1e-6, range_A=1e-6
    )


# --- the amplifier ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "gain"), [("1e6 V/A", 1e6), ("10 MV/A", 1e7), ("100 kV/A", 1e5)])
def test_a_gain_is_read_in_volts_per_ampere(text: str, gain: float) -> None:
    assert parse_quantity(text, "transimpedance") == gain
    assert amplifier(gain=text, inverting=True).signed_gain_V_per_A == -gain


def test_the_rise_time_is_that_of_one_pole() -> None:
    time_s = np.linspace(0, 1e-5, 1_000_001)
    step = 1 - np.exp(-2 * math.pi * 1e6 * time_s)
    measured = time_s[np.searchsorted(step, 0.9)] - time_s[np.searchsorted(step, 0.1)]
    assert amplifier().rise_time_s == pytest.approx(measured, abs=2e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval_s": 0.5e-6, "aperture_s": 0.5e-6}, "interval is 500 ns, the meter takes 1 us to 1 ms"),
        ({"aperture_s": 2e-6, "interval_s": 2e-3}, "interval is 2 ms, the meter takes 1 us to 1 ms"),
        ({"aperture_s": 0.5e-6}, "aperture is 500 ns, the meter takes 1 us to 1 ms"),
        ({"range_A": 1e-4}, "range is 100 uA, over the bench's limit of 10 uA"),
        ({"range_A": 1e-9}, "range is 1 nA, the meter has 100 nA, 1 uA, 10 uA"),
        ({"bias_V": 0.5}, "bias is 500 mV, but the Keithley DMM6500 has no source: the bias must be 0 V"),
    ],
)
def test_what_the_chain_cannot_do_is_refused(
    bench_with: Callable[..., BenchFile], fast: TraceRequest, change: dict[str, Any], message: str
) -> None:
    bench = bench_with()
    assert violations(fast, bench) == []
    assert any(message in problem for problem in violations(replace(fast, **change), bench))


def test_an_amplifier_that_rises_slower_than_a_sample_interval_is_refused(
    bench_with: Callable[..., BenchFile], fast: TraceRequest
) -> None:
    bench = bench_with(("1 MHz", "200 kHz"))
    (problem,) = violations(fast, bench)
    assert problem == "interval is 1 us, shorter than the amplifier's rise time of 1.748 us (bandwidth 200 kHz)"
    assert violations(replace(fast, interval_s=2e-6), bench) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (SOURCE_METER, DIGITIZER.split("[meter.amplifier]")[0], r"table is missing, keithley-dmm6500 needs one"),
        (SOURCE_METER, SOURCE_METER + DIGITIZER[DIGITIZER.index("[meter.amp") :], "given, keithley-2450 needs none"),
        (SOURCE_METER, DIGITIZER.replace("1e6 V/A", "1e6 A/V"), r"meter\.amplifier\.gain: found the unit 'A/V'"),
        (SOURCE_METER, DIGITIZER.replace("inverting", "inverted"), 'unknown key.*did you mean "inverting"'),
    ],
)
def test_a_mistake_in_the_amplifier_table_is_named(
    write_bench: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_bench(write_bench(old, new))


# --- the driver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "set_", "get", "reply"),
    [
        ("digitize_function", "VOLT", ':DIG:FUNC "VOLT"', ":DIG:FUNC?", '"VOLTAGE"'),
        ("voltage_range", 1.0, ":DIG:VOLT:RANG 1", ":DIG:VOLT:RANG?", "1.000000E+00"),
        ("sample_rate", 1e6, ":DIG:VOLT:SRAT 1000000", ":DIG:VOLT:SRAT?", "1000000"),
        ("aperture", 1e-6, ":DIG:VOLT:APER 1e-06", ":DIG:VOLT:APER?", "1E-06"),
        ("buffer_points", 650, ':TRAC:POIN 650, "defbuffer1"', ':TRAC:POIN? "defbuffer1"', "650"),
    ],
)
def test_each_setting_is_one_command_and_reads_back(name: str, value: object, set_: str, get: str, reply: str) -> None:
    with expected_protocol(KeithleyDMM6500, [(set_, None), (get, reply)]) as dmm:
        setattr(dmm, name, value)
        assert getattr(dmm, name) == value


@pytest.mark.parametrize(("name", "value"), [("voltage_range", 2000), ("sample_rate", 2_000_000), ("aperture", 1e-2)])
def test_a_value_out_of_range_is_not_sent(name: str, value: float) -> None:
    with expected_protocol(KeithleyDMM6500, []) as dmm, pytest.raises(ValueError, match="not in range"):
        setattr(dmm, name, value)


@pytest.mark.parametrize("reply", ["ERROR", "", "nan", "9.9E37", "AUTO"])
def test_a_reply_that_is_no_finite_number_raises(reply: str) -> None:
    with (
        expected_protocol(KeithleyDMM6500, [(":DIG:VOLT:APER?", reply)]) as dmm,
        pytest.raises(InstrumentError, match="expected a finite number"),
    ):
        _ = dmm.aperture


def test_resetting_checks_the_line_and_prepares_the_trigger_output() -> None:
    conversation = [
        ("*RST", None), ("*CLS", None), (":SYST:LFR?", "50"), (":FORM:ASC:PREC 10", None),
        (":TRIG:EXT:OUT:LOG POS", None), (":TRIG:EXT:OUT:STIM NOT1", None), (":SYST:ERR?", NO_ERROR),
    ]  # fmt: skip
    with expected_protocol(KeithleyDMM6500, conversation) as dmm:
        role(dmm).reset()


def role(dmm: KeithleyDMM6500, **changes: object) -> AmplifiedDigitizer:
    return AmplifiedDigitizer(dmm, amplifier(**changes), VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), 50.0)


CONFIGURING = [
    (':DIG:FUNC "VOLT"', None), (":DIG:VOLT:RANG 1", None), (":DIG:VOLT:SRAT 500000", None),
    (":DIG:VOLT:APER 1e-06", None), (':TRAC:POIN 10, "defbuffer1"', None), (':TRIG:LOAD "Empty"', None),
    (':TRIG:BLOC:BUFF:CLE 1, "defbuffer1"', None), (":TRIG:BLOC:NOT 2, 1", None),
    (':TRIG:BLOC:MDIG 3, "defbuffer1", 4', None), (":SYST:ERR?", NO_ERROR), (":DIG:FUNC?", '"VOLT"'),
    (":DIG:VOLT:RANG?", "1"), (":DIG:VOLT:APER?", "1E-06"), (":DIG:VOLT:SRAT?", "500000"),
    (':TRAC:POIN? "defbuffer1"', "10"),
]  # fmt: skip
SETTINGS = MeterSettings(0.0, 2e-5, 1e-6, 1e-6, 2e-6, 4)


def test_configuring_reads_every_setting_back_in_amperes() -> None:
    with expected_protocol(KeithleyDMM6500, CONFIGURING) as dmm:
        assert role(dmm).configure(SETTINGS) == SETTINGS


def test_volts_become_amperes_with_their_sign_and_a_clipped_amplifier_is_an_overflow() -> None:
    fetching = [
        (":INIT", None), (":TRIG:STAT?", "IDLE;IDLE;3"), (':TRAC:ACT? "defbuffer1"', "4"),
        (':TRAC:DATA? 1, 4, "defbuffer1", REL, READ', "0,0.25, 2E-06,-0.5, 4E-06,9.9E37, 6E-06,-0.8"),
        (":SYST:ERR?", NO_ERROR),
    ]  # fmt: skip
    with expected_protocol(KeithleyDMM6500, CONFIGURING + fetching) as dmm:
        meter = role(dmm, inverting=True, output_limit="0.8 V")
        meter.configure(SETTINGS)
        meter.start()
        readings = meter.fetch()
    np.testing.assert_allclose(readings.current_A, [-0.25e-6, 0.5e-6, np.nan, np.nan])
    np.testing.assert_allclose(readings.start_s, [0, 2e-6, 4e-6, 6e-6])
    assert list(readings.flags) == [ReadingFlag.OK, ReadingFlag.OK, ReadingFlag.OVERFLOW, ReadingFlag.OVERFLOW]


def test_a_bias_is_no_request_for_it() -> None:
    with expected_protocol(KeithleyDMM6500, []) as dmm, pytest.raises(InstrumentError, match="there is no source"):
        role(dmm).configure(replace(SETTINGS, bias_V=0.1))


def test_the_role_is_a_meter() -> None:
    with expected_protocol(KeithleyDMM6500, []) as dmm:
        assert isinstance(role(dmm), Meter)


# --- the twin ---------------------------------------------------------------------------------------------------------


def test_the_twin_refuses_what_the_manual_forbids(bench_with: Callable[..., BenchFile]) -> None:
    twin = build_virtual(bench_with()).meter
    wrong = {
        b"DIG:VOLT:SRAT 1000000;APER 2E-6": b"-221",  # longer than the sample interval
        b"SENSE1:DIGITIZE:VOLTAGE:SRATE 2000000": b"-222",
        b"DIG:VOLT:SRATES 1000": b"-113",
        b'TRIG:BLOC:MDIG 1, "mine", 5': b"-224",
        b"INIT": b"-211",
    }
    for message, code in wrong.items():
        twin.handle(message)
        assert (twin.handle(b"SYST:ERR?") or b"").startswith(code), message
    twin.handle(b"*RST")
    twin.handle(b"DIG:VOLT:SRAT 300000")
    assert twin.handle(b"DIG:VOLT:APER?") == b"3E-06"  # automatic: whole microseconds of the interval


def asked(twin: Any, message: str) -> str:
    """The reply to a message, after which the queue is empty."""
    reply = (twin.handle(message.encode()) or b"").decode()
    assert twin.handle(b"SYST:ERR?") == b'0,"No error"', message
    return reply


def test_as_a_multimeter_it_reads_the_mean_of_the_amplifiers_output_over_its_cycles(
    bench_with: Callable[..., BenchFile],
) -> None:
    bench = bench_with()
    built = build_virtual(bench)
    twin, world = built.meter, built.world
    world.closed_channels = {bench.switch.channels[3]}
    asked(twin, "SENS:VOLT:NPLC 2;:SENS:VOLT:RANG 1")
    before_s = world.now_s
    reading_V = float(asked(twin, "READ?"))
    assert world.now_s - before_s == pytest.approx(2 / 50)
    assert reading_V == pytest.approx(-1e6 * world.decays.dark_current_A(3), rel=1e-6)  # inverting
    assert float(asked(twin, "TRAC:DATA? 1, 1, 'defbuffer1', READ")) == pytest.approx(reading_V, rel=1e-6)
    asked(twin, "VOLT:REL 0.5;REL:STAT ON")
    assert float(asked(twin, "READ?")) == pytest.approx(reading_V - 0.5, rel=1e-6)
    asked(twin, "VOLT:REL:STAT OFF;:VOLT:AVER:COUN 4;:VOLT:AVER ON")
    before_s = world.now_s
    asked(twin, "READ?")
    assert world.now_s - before_s == pytest.approx(4 * 2 / 50)


def test_automatic_ranges_follow_the_reading_and_a_fixed_one_overflows(bench_with: Callable[..., BenchFile]) -> None:
    bench = bench_with(("1e6 V/A", "1e8 V/A"), ("inverting = true", "inverting = false"))
    built = build_virtual(bench)
    twin, world = built.meter, built.world
    world.closed_channels = {bench.switch.channels[3]}
    assert asked(twin, "VOLT:RANG:AUTO?") == "1"
    expected_V = 1e8 * world.decays.dark_current_A(3)
    assert 1 < expected_V < 10
    assert float(asked(twin, "MEAS:VOLT:DC?")) == pytest.approx(expected_V, rel=1e-6)
    assert float(asked(twin, "VOLT:RANG?")) == 10
    asked(twin, "VOLT:RANG 0.1")
    assert asked(twin, "VOLT:RANG:AUTO?") == "0"
    assert float(asked(twin, "READ?")) == 9.9e37


def test_it_digitises_or_measures_one_function_at_a_time(bench_with: Callable[..., BenchFile]) -> None:
    twin = build_virtual(bench_with()).meter
    assert (asked(twin, "SENS:FUNC?"), asked(twin, "DIG:FUNC?")) == ("VOLT:DC", '"NONE"')
    asked(twin, 'DIG:FUNC "VOLT"')
    assert (asked(twin, "SENS:FUNC?"), asked(twin, "DIG:FUNC?")) == ("NONE", '"VOLT"')
    twin.handle(b"READ?")
    assert (twin.handle(b"SYST:ERR?") or b"").startswith(b"-221")
    asked(twin, 'SENS:FUNC "CURRENT"')
    assert (asked(twin, "SENS:FUNC?"), asked(twin, "DIG:FUNC?")) == ("CURR:DC", '"NONE"')


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("SENS:FUNC VOLT", -104),  # not a string
        ('SENS:FUNC "FREQ"', -224),
        ("VOLT:NPLC 13", -222),  # 12 at 50 Hz
        ("VOLT:AC:NPLC 1", -113),
        ("TEMP:RANG 1", -113),
        ("CURR:RANG 4", -222),
        ("VOLT:AVER:COUN 101", -222),
        ("DISP:VOLT:DIG 7", -222),
        ("CURR:AC:DET:BAND 10", -224),
        ("DISP:LIGH:STAT ON60", -224),
        ("TRIG:TIM5:DEL 1", -113),
        ("*LANG TSP", -224),
        ("FORM:DATA REAL", -224),
        ("ROUT:TERM REAR", -113),
    ],
)
def test_the_multimeter_refuses_what_it_has_not(bench_with: Callable[..., BenchFile], message: str, code: int) -> None:
    twin = build_virtual(bench_with()).meter
    assert twin.handle(message.encode()) is None
    assert (twin.handle(b"SYST:ERR?") or b"").startswith(f"{code},".encode())
    assert twin.handle(b"SYST:ERR?") == b'0,"No error"'


# --- the bench --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["true", "false"])
def test_a_slow_trace_is_the_one_of_the_source_meter(
    bench_with: Callable[..., BenchFile], quiet: BenchFile, slow: TraceRequest, sign: str, built: list[VirtualBench]
) -> None:
    with open_bench(quiet) as bench:
        expected = bench.acquire(slow)
    with open_bench(bench_with(("inverting = true", f"inverting = {sign}"))) as bench:
        assert "1e+06 V/A" in bench.identities["amplifier"]
        found = bench.acquire(slow)
    assert not built[-1].world.lit
    assert found.status == expected.status == "ok"
    assert found.time_s.size == expected.time_s.size == 1300
    np.testing.assert_allclose(found.time_s, expected.time_s, atol=1e-9)
    np.testing.assert_allclose(found.current_A, expected.current_A, rtol=2e-9)


def test_looking_the_bench_over_finds_nothing_wrong(bench_with: Callable[..., BenchFile]) -> None:
    assert [one.problems for one in survey(bench_with())] == [[], [], []]


def levels_before(first_s: float, window_s: float) -> list[int]:
    """Which of the 15 levels, O = (15 - k)/15, the published curve passes before a time: closed form."""
    tau_s = PUBLISHED.tau_for_window(window_s)
    levels = np.arange(15)
    times_s = tau_s * np.log(PUBLISHED.I0 / ((15 - levels) / 15 - PUBLISHED.I_offset)) ** (1 / PUBLISHED.beta)
    assert times_s[1] == pytest.approx(0.00417210 * window_s, rel=1e-5)  # paper.md, section 2
    return [int(k) for k in np.flatnonzero(times_s < first_s)]


@pytest.mark.parametrize(("interval_s", "extrapolated"), [(1e-6, [0, 1]), (2e-6, [0, 1]), (5e-6, [0, 1, 2])])
def test_a_window_of_a_hundred_microseconds_is_resolved_but_for_its_first_level(
    bench_with: Callable[..., BenchFile], fast: TraceRequest, interval_s: float, extrapolated: list[int]
) -> None:
    """Level 1 lies 0.417 us after the edge: an aperture of 1 us has its middle at 0.5 us, a little too late."""
    window_s = 100e-6
    bench_file = bench_with(window_s=window_s)
    assert bench_file.virtual is not None
    still = {"meter_latency": 0.0, "light_latency": 0.0}  # the edge falls on the beginning of an aperture
    bench_file = bench_file.model_copy(
        update={
            "sync": bench_file.sync.model_copy(update={**still, "edge_uncertainty": 50e-9}),
            "virtual": bench_file.virtual.model_copy(update=still),
        }
    )
    take = replace(fast, interval_s=interval_s, aperture_s=interval_s)
    with open_bench(bench_file) as bench:
        trace = bench.acquire(take)
    after = trace.time_s > 0
    assert trace.status == "ok"
    assert trace.time_s[after][0] == pytest.approx(interval_s / 2, abs=1e-10)
    # what is read is the exact mean of the law over each aperture ...
    begin, end = trace.time_s[after] - interval_s / 2, trace.time_s[after] + interval_s / 2
    decay = Decay(1.0, 1.0, PUBLISHED.beta, PUBLISHED.c, window_s)
    mean_O = np.diff(decay.integral(np.maximum(np.stack([begin, end]), 0)), axis=0)[0] / interval_s
    expected_A = 20e-9 + 8e-9 * (mean_O - PUBLISHED.I_offset)
    np.testing.assert_allclose(trace.current_A[after], expected_A, atol=1e-4 * 8e-9)
    # ... but the levels before the first of them are nobody's measurement
    assert levels_before(float(trace.time_s[after][0]), window_s) == extrapolated
    assert trace.edge_uncertainty_s < 0.00417210 * window_s / 8
