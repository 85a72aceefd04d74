"""What the times of a take are worth, said before it is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otters_lab.instruments import benchtables as module
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.timing import level_times_s, timing

# t_k/t_15 of the published fit, k = 1..15 (paper.md, section 3).
PUBLISHED = [.00417210, .01693399, .0384382, .0687747, .10801, .15621, .21341, .27966, .35500, .43948, .53311, .63595,
             .74803, .86937, 1.0]  # fmt: skip


def test_level_times_are_the_published_ones() -> None:
    np.testing.assert_allclose(level_times_s(2.0)[1:] / 2, PUBLISHED, rtol=1e-4)
    assert level_times_s(2.0)[0] == 0


@pytest.mark.parametrize("interval_s", [2e-3, 1.7e-3, 5e-3])
def test_the_first_sample_is_where_the_bench_finds_it(quiet: BenchFile, take: TraceRequest, interval_s: float) -> None:
    request = replace(take, interval_s=interval_s)
    with open_bench(quiet) as bench:
        trace = bench.acquire(request)
    begins_after = trace.time_s - trace.aperture_s / 2 >= -1e-12
    assert timing(request, quiet).first_sample_s == pytest.approx(trace.time_s[begins_after][0], abs=1e-9)


def test_levels_before_the_first_sample_are_named(quiet: BenchFile, take: TraceRequest) -> None:
    assert timing(take, quiet, window_s=1.0).levels_before_first == []
    assert timing(take, quiet, window_s=1.0).warnings() == []
    coarse = timing(replace(take, interval_s=0.07, aperture_s=0.06), quiet, window_s=1.0)
    assert coarse.first_sample_s is not None
    assert coarse.levels_before_first == [k for k in range(1, 16) if PUBLISHED[k - 1] < coarse.first_sample_s]
    assert "levels 1 to 4 lie before the first sample" in coarse.warnings()[0]
    # The published window of 100 us: no source-meter reaches its levels.
    assert timing(take, quiet, window_s=1e-4).levels_before_first == list(range(1, 16))
    assert timing(take, quiet).levels_before_first is None


def test_levels_within_the_edges_uncertainty_are_named(quiet: BenchFile, take: TraceRequest) -> None:
    sync = quiet.sync.model_copy(update={"edge_uncertainty": 0.02})
    found = timing(take, quiet.model_copy(update={"sync": sync}), window_s=1.0)
    assert found.levels_within_uncertainty == [1, 2]
    assert "levels 1 to 2 lie within the uncertainty" in found.warnings()[0]


def test_the_shortest_interval_is_the_aperture_and_what_the_meter_needs_after_it(
    quiet: BenchFile, take: TraceRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timing(take, quiet).shortest_interval_s == take.aperture_s
    assert timing(replace(take, aperture_s=1e-6), quiet).shortest_interval_s == 8e-6
    slow = replace(METERS["keithley-2450"], dead_s=5e-4, timestamp_resolution_s=1e-6)
    monkeypatch.setattr(module, "METERS", {**METERS, "keithley-2450": slow})
    found = timing(take, quiet)
    assert found.shortest_interval_s == pytest.approx(1.5e-3)
    assert (found.timestamp_resolution_s, found.timestamp_jitter_s) == (1e-6, None)


def on_a_2636b(quiet: BenchFile) -> BenchFile:
    return quiet.model_copy(update={"meter": quiet.meter.model_copy(update={"driver": "keithley-2636b"})})


def test_an_interval_shorter_than_the_ranges_settling_is_warned_of(quiet: BenchFile, take: TraceRequest) -> None:
    bench = on_a_2636b(quiet)
    found = timing(take, bench, window_s=1.0)  # 2 ms on the 1 uA range
    assert found.shortest_interval_s == pytest.approx(take.aperture_s + 35e-6)
    assert found.settling_s == found.shortest_settled_s == 2.5e-3
    assert found.warnings() == ["the interval of 2 ms is shorter than the 2.5 ms in which the 1 uA range settles"]
    assert timing(replace(take, interval_s=2.5e-3), bench, window_s=1.0).warnings() == []
    low = timing(replace(take, range_A=1e-7, interval_s=0.02), bench)
    assert (low.settling_s, low.shortest_settled_s, low.warnings()) == (15e-3, 15e-3, [])
    # A range that settles within the reading itself does not lengthen it.
    assert timing(replace(take, range_A=1e-5), bench).shortest_settled_s == pytest.approx(take.aperture_s + 35e-6)


def test_settling_that_no_source_states_is_unknown_and_no_warning(quiet: BenchFile, take: TraceRequest) -> None:
    found = timing(replace(take, interval_s=1e-3, range_A=1e-8), quiet)
    assert (found.settling_s, found.shortest_settled_s) == (None, None)
    assert found.warnings() == []
    three = replace(take, range_A=3.0)
    bench = quiet.model_copy(update={"meter": quiet.meter.model_copy(update={"driver": "keithley-2601b"})})
    assert timing(three, bench).settling_s is None  # the table ends at 1.5 A


@pytest.mark.parametrize("name", [name for name, meter in METERS.items() if meter.settling_s])
def test_settling_is_stated_for_ranges_that_the_meter_has_and_falls_as_they_rise(name: str) -> None:
    meter = METERS[name]
    assert set(meter.settling_s) <= set(meter.ranges_A)
    below_1_A = [meter.settling_s[range_A] for range_A in sorted(meter.settling_s) if range_A < 1]
    assert below_1_A == sorted(below_1_A, reverse=True)
    assert all(meter.settling_of(range_A * (1 + 1e-12)) == time_s for range_A, time_s in meter.settling_s.items())


def test_a_light_that_software_begins_says_so(quiet: BenchFile, take: TraceRequest) -> None:
    light = quiet.light.model_copy(update={"driver": "thorlabs-dc2200"})
    found = timing(take, quiet.model_copy(update={"light": light}), window_s=1.0)
    assert found.sync == "software"
    assert found.edge_uncertainty_s == pytest.approx(np.hypot(10e-3, 1e-6))
    assert found.levels_within_uncertainty == [1]
