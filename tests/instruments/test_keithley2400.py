"""PyMeasure's Keithley2400 in the role of the meter, line by line."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from pymeasure.instruments.keithley import Keithley2400
from pymeasure.test import expected_protocol

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.keithley2400_meter import TICK_S, Keithley2400Meter, grid_of_stamps
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.roles import MeterSettings, ReadingFlag
from otters_lab.instruments.virtual.assemble import VirtualBench

MADE = [(":FORMAT:ELEMENTS VOLTAGE, CURRENT, RESISTANCE, TIME, STATUS", None)]
SETTINGS = MeterSettings(0.5, 2e-5, 1e-6, 10e-3, 20e-3, 3)
NO_ERROR = '+0,"No error"'
CONFIGURED = [
    ("OUTPUT 0", None), (":TRAC:FEED:CONT NEV", None), (":SOURCE:FUNCTION VOLT", None),
    (":SOURCE:VOLTAGE:RANGE 0.5", None), (":SOURCE:DELAY 0", None), (":SENS:FUNC:CONC 0", None),
    (":SENS:FUNC 'CURR'", None), (":SYST:GUAR CABL", None), (":SYST:GUAR?", "CABL"),
    (":SYSTEM:RSENSE 0", None), (":SYSTEM:RSENSE?", "0"), (":ROUTE:TERMINALS FRON", None),
    (":ROUTE:TERMINALS?", "FRON"), (":OUTPUT:SMODE NORM", None), (":OUTPUT:SMODE?", "NORM"),
    (":SENSE:AVERAGE 0", None), (":SENSE:AVERAGE?", "0"), (":SENSE:CURRENT:NPLCYCLES 0.5", None),
    (":SENSE:CURRENT:PROTECTION 2e-05", None), (":SENSE:CURRENT:RANGE 1e-06", None), (":SOURCE:VOLTAGE 0.5", None),
    (":SYSTEM:AZERO:STATE ONCE", None), (":SYSTEM:AZERO:STATE 0", None), (":TRIGGER:COUNT?", "1"),
    (":ARM:COUNT 1", None), (":ARM:COUNT?", "1"), (":TRIGGER:COUNT 3", None), (":ARM:SOURCE IMM", None),
    (":TRIGGER:SOURCE IMM", None), (":TRIGGER:DELAY 0.0094", None), (":TRIGGER:OUTPUT NONE", None),
    (":ARM:OUTPUT TENT", None), (":ARM:OLINE 2", None), (":TRAC:CLE", None), (":TRAC:POIN 3", None),
    (":TRAC:FEED SENS", None), (":STAT:PRES;:STAT:MEAS:ENAB 512;*SRE 1", None), (":SYST:ERR?", NO_ERROR),
    (":TRIGGER:DELAY?", "+9.400000E-03"), (":SOURCE:VOLTAGE?", "+5.000000E-01"),
    (":SENSE:CURRENT:PROTECTION?", "+2.000000E-05"), (":SENSE:CURRENT:RANGE?", "+1.050000E-06"),
    (":SENSE:CURRENT:NPLCYCLES?", "+5.000000E-01"), (":TRIGGER:COUNT?", "3"), (":TRAC:POIN?", "3"),
    (":SYSTEM:AZERO:STATE?", "0"), (":SOURCE:CLEAR:AUTO?", "0"), (":ARM:OUTPUT?", "TENT"),
]  # fmt: skip
STARTED = [(":TRAC:FEED:CONT NEXT", None), (":INIT", None)]


def meter(smu: Keithley2400) -> Keithley2400Meter:
    return Keithley2400Meter(smu, VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), 50.0)


def test_configuring_reads_every_setting_back_and_full_scale_is_not_taken_for_the_range() -> None:
    with expected_protocol(Keithley2400, MADE + CONFIGURED) as smu:
        found = meter(smu).configure(SETTINGS)
    assert found.range_A == pytest.approx(1e-6)
    assert (found.bias_V, found.compliance_A, found.aperture_s, found.n_samples) == (0.5, 2e-5, 0.01, 3)


def test_readings_begin_after_the_trigger_delay_and_status_bits_become_flags() -> None:
    rows = [
        "+5.0E-01,+1.0E-06,+9.91E+37,+0.000000E+00,+4.0",
        "+5.0E-01,+9.9E+37,+9.91E+37,+2.000000E-02,+65541",  # over range and range compliance
        "+5.0E-01,+2.0E-05,+9.91E+37,+4.100000E-02,+12",  # real compliance
    ]
    done = [
        ("*STB?", "1"), ("*STB?", "65"), (":FORM:DATA ASCII", None), (":TRAC:DATA?", ",".join(rows)),
        (":SYST:ERR?", NO_ERROR),
    ]  # fmt: skip
    with expected_protocol(Keithley2400, MADE + CONFIGURED + STARTED + done) as smu:
        role = meter(smu)
        role.configure(SETTINGS)
        role.start()
        readings = role.fetch()
    assert readings.start_s == pytest.approx([0.0094, 0.0294, 0.0494], abs=1e-3)
    np.testing.assert_array_equal(readings.current_A, [1e-6, np.nan, 2e-5])
    both = ReadingFlag.OVERFLOW | ReadingFlag.COMPLIANCE
    assert list(readings.flags) == [ReadingFlag.OK, both, ReadingFlag.COMPLIANCE]


def test_timestamps_count_ticks_of_1024_to_the_second_as_milliseconds() -> None:
    """Told 1.024 s, it was 1 s."""
    true_s = 0.02 * np.arange(500)
    told = np.floor(true_s * 1024) / 1000
    assert told[-1] == pytest.approx(true_s[-1] * 1.024, abs=1e-3)
    np.testing.assert_allclose(grid_of_stamps(told), true_s, rtol=0, atol=1e-4)


def test_readings_that_come_unevenly_keep_their_own_stamps() -> None:
    told = np.array([0.0, 0.020, 0.040, 0.300, 0.320])
    np.testing.assert_allclose(grid_of_stamps(told), told / 1e-3 * TICK_S)
    with pytest.raises(InstrumentError, match="decrease"):
        grid_of_stamps(np.array([0.0, 0.02, 0.01]))


def test_making_safe_aborts_switches_off_and_asks() -> None:
    safe = [*MADE, (":ABOR", None), ("OUTPUT 0", None), ("OUTPUT?", "1")]
    with expected_protocol(Keithley2400, safe) as smu, pytest.raises(InstrumentError, match="output is still on"):
        meter(smu).make_safe()


def test_more_readings_than_pymeasures_1024_are_all_stored(
    bench_2400: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:
    long = TraceRequest(**{**vars(take), "aperture_s": 1e-3, "interval_s": 4e-3, "decay_s": 5.0})
    assert long.n_samples > 1024
    with open_bench(bench_2400) as bench:
        trace = bench.acquire(long)
    assert trace.time_s.size == long.n_samples


def test_an_interval_shorter_than_aperture_and_dead_time_is_refused(bench_2400: BenchFile, take: TraceRequest) -> None:
    quick = TraceRequest(**{**vars(take), "aperture_s": 1e-3, "interval_s": 1.5e-3})
    assert violations(quick, bench_2400) == ["interval is 1.5 ms, the meter is busy for 1.6 ms with each reading"]


def test_a_reading_beyond_the_range_is_flagged_and_left_out(bench_2400: BenchFile, take: TraceRequest) -> None:
    """The plateau is at 908 nA: over 1.05 uA with a bias current of ten times as much, and over the compliance."""
    assert bench_2400.virtual is not None
    assert bench_2400.virtual.chip is not None
    chip = bench_2400.virtual.chip.model_copy(update={"dark_current": 500e-9})
    bright = bench_2400.model_copy(update={"virtual": bench_2400.virtual.model_copy(update={"chip": chip})})
    slow = TraceRequest(**{**vars(take), "aperture_s": 10e-3, "interval_s": 20e-3})
    with open_bench(bright) as bench:
        assert bench.acquire(slow).status == "overflow"
    tight = bright.model_copy(update={"limits": bright.limits.model_copy(update={"compliance": 1e-6})})
    with open_bench(tight) as bench:
        trace = bench.acquire(TraceRequest(**{**vars(slow), "range_A": 1e-6}))
    assert trace.status == "compliance"
    assert trace.current_A.max() == pytest.approx(1e-6)


@pytest.fixture
def bench_2400(quiet: BenchFile) -> BenchFile:
    entry = quiet.meter.model_copy(update={"driver": "keithley-2400", "identity": "MODEL 2400"})
    return quiet.model_copy(update={"meter": entry})
