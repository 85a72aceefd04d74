"""Every meter on the virtual bench gives the trace that the 2450 gives of the same synthetic chip; their settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.virtual.assemble import VirtualBench


@dataclass(frozen=True)
class Case:
    """A meter: its identity, how finely it says time (s) and current (relative), and what its timing does to the grid.

    `first_s`: from the trigger to the first aperture, beyond the meter's latency; `trigger_s`: how late its trigger is.
    """

    identity: str
    time_s: float = 1e-9
    relative: float = 1e-9
    first_s: float = 0.0
    trigger_s: float = 0.0


BENCHES = {
    "keithley-2460": Case("MODEL 2460"),
    # Seven digits; ticks of 1/1024 s; 20 ms less an aperture of 10 ms and 0.6 ms of dead time is the trigger delay.
    "keithley-2400": Case("MODEL 2400", time_s=1e-4, relative=1e-6, first_s=9.4e-3, trigger_s=10e-6),
    # Seven digits of current and of time.
    "keysight-b2901a": Case("B2901A", time_s=1e-6, relative=1e-6),
    "keysight-b2902a": Case("B2902A", time_s=1e-6, relative=1e-6),
    # Single precision.
    **{
        f"keithley-{name.lower()}": Case(f"Model {name}", relative=1e-7)
        for name in ("2601B", "2602B", "2611B", "2612B", "2635B", "2636B")
    },
}
MATE = "keithley-2450"


def delayed(bench: BenchFile, case: Case) -> BenchFile:
    """The bench with those latencies, believed and true."""
    assert bench.virtual is not None
    late = {
        "meter_latency": bench.sync.meter_latency + case.first_s,
        "light_latency": bench.sync.light_latency + case.trigger_s,
    }
    return bench.model_copy(
        update={"sync": bench.sync.model_copy(update=late), "virtual": bench.virtual.model_copy(update=late)}
    )


def believed(bench: BenchFile, case: Case) -> BenchFile:
    """The bench whose engineer has found the trigger to come late."""
    late = {"light_latency": bench.sync.light_latency + case.trigger_s}
    return bench.model_copy(update={"sync": bench.sync.model_copy(update=late)})


def meter_table(driver: str, identity: str, more: str = "") -> str:
    return f'driver = "{driver}"\naddress = "GPIB0::18::INSTR"\nidentity = "{identity}"\n{more}'


@pytest.fixture
def bench_with(tmp_path: Path, quiet: BenchFile) -> Any:
    """A bench TOML with that meter, read, and then made as quiet as the shipped one is."""

    def make(driver: str, identity: str, more: str = "") -> BenchFile:
        old = meter_table(MATE, "MODEL 2450")
        assert old in quiet.text
        path = tmp_path / f"{driver}.toml"
        path.write_text(quiet.text.replace(old, meter_table(driver, identity, more)))
        return load_bench(path).model_copy(update={"virtual": quiet.virtual})

    return make


# An interval that the slowest of them keeps; the aperture is half a period of 50 Hz.
SLOW = {"interval_s": 20e-3, "aperture_s": 10e-3}


def test_every_registered_meter_is_measured_here() -> None:
    assert set(METERS) >= {MATE, *BENCHES}


@pytest.mark.parametrize("driver", BENCHES)
def test_the_trace_is_that_of_the_2450(
    driver: str, bench_with: Any, quiet: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:
    case = BENCHES[driver]
    request = replace(take, **SLOW)
    with open_bench(delayed(quiet, case)) as bench:
        expected = bench.acquire(request)
    with open_bench(believed(bench_with(driver, case.identity), case)) as bench:
        first, trace = bench.acquire(request), bench.acquire(request)
        assert case.identity in bench.identities["meter"]
    assert trace.status == expected.status == "ok"
    assert trace.time_s.size == expected.time_s.size == 65
    np.testing.assert_allclose(trace.time_s, expected.time_s, rtol=0, atol=case.time_s)
    np.testing.assert_allclose(trace.current_A, expected.current_A, rtol=case.relative)
    np.testing.assert_allclose(first.current_A, trace.current_A, rtol=case.relative)  # a second take starts afresh
    assert (trace.aperture_s, trace.range_A) == pytest.approx((10e-3, 1e-6))
    meter = built[-1].meter
    assert not meter.output_on


@pytest.mark.parametrize("driver", [MATE, *BENCHES])
def test_each_setting_that_a_model_has_reaches_it_and_is_read_back(
    driver: str, bench_with: Any, take: TraceRequest, built: list[VirtualBench]
) -> None:
    identity = BENCHES[driver].identity if driver in BENCHES else "MODEL 2450"
    for name, values in METERS[driver].options.items():
        for value in values if name != "filter" else ("1", "3"):
            shown = value if value.isdigit() else f'"{value}"'
            with open_bench(bench_with(driver, identity, f"{name} = {shown}\n")) as bench:
                trace = bench.acquire(replace(take, interval_s=40e-3, aperture_s=10e-3))
                assert trace.status == "ok", (name, value)
                assert trace.aperture_s == pytest.approx(30e-3 if (name, value) == ("filter", "3") else 10e-3)
            assert list(built[-1].meter._errors) == []


def test_a_repeat_filter_averages_over_the_longer_aperture(bench_with: Any, take: TraceRequest) -> None:
    """Three conversions of 10 ms are one of 30 ms."""
    request = replace(take, interval_s=40e-3, aperture_s=30e-3)
    with open_bench(bench_with(MATE, "MODEL 2450")) as bench:
        expected = bench.acquire(request)
    with open_bench(bench_with(MATE, "MODEL 2450", "filter = 3\n")) as bench:
        trace = bench.acquire(replace(request, aperture_s=10e-3))
    n = expected.time_s.size  # the filtered take has one reading more, whose later conversions run over the end
    np.testing.assert_allclose(trace.time_s[:n], expected.time_s, rtol=0, atol=1e-9)
    np.testing.assert_allclose(trace.current_A[:n], expected.current_A, rtol=1e-9)


def test_a_filter_that_does_not_fit_the_interval_is_refused(bench_with: Any, take: TraceRequest) -> None:
    request = replace(take, interval_s=20e-3, aperture_s=10e-3)
    problems = violations(request, bench_with(MATE, "MODEL 2450", "filter = 3\n"))
    assert problems == ["interval is 20 ms, the meter is busy for 30 ms with each reading"]


@pytest.mark.parametrize(
    ("driver", "line", "message"),
    [
        (MATE, 'guard = "cable"', "guard is 'cable', the Keithley 2450 has no such setting"),
        (MATE, "filter = 101", r"meter\.filter: .*less than or equal to 100"),
        ("keithley-2601b", 'terminals = "front"', "terminals is 'front', the Keithley 2601B takes rear"),
        ("keithley-2601b", 'output_off = "guard"', "output_off is 'guard', the Keithley 2601B takes normal, high imp"),
        ("keysight-b2901a", "filter = 2", "filter is 2, the Keysight B2901A has no such setting"),
        (MATE, "wires = 3", r"meter\.wires: .*2 or 4"),
    ],
)
def test_a_setting_that_the_model_lacks_is_refused_when_the_file_is_read(
    bench_with: Any, driver: str, line: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        bench_with(driver, "any", line + "\n")
