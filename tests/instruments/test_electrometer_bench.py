"""The twin of a Keithley 6517B, its traces on the virtual bench, and what is refused before one is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.keithley6517b_meter import ElectrometerMeter
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.survey import survey
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

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
    import otters_lab.instruments.session as module

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
