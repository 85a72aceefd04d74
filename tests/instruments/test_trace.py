"""From readings to a trace."""

from __future__ import annotations

import numpy as np
import pytest

from otters_lab.instruments.acquire import TraceRequest, make_trace, meter_settings
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.roles import MeterReadings, ReadingFlag

UTC = "2026-01-01T08:00:00.000000Z"


def readings(n: int, flags: dict[int, ReadingFlag] | None = None, late: float = 0.0) -> MeterReadings:
    start_s = 2e-3 * np.arange(n)
    start_s[n // 2 :] += late
    marks = np.zeros(n, dtype=np.uint8)
    current = np.full(n, 1e-7)
    for index, flag in (flags or {}).items():
        marks[index] = flag
        if flag & ReadingFlag.OVERFLOW:
            current[index] = np.nan
    return MeterReadings(start_s, current, marks)


def test_times_are_mid_aperture_with_zero_at_the_falling_edge(shipped: BenchFile, take: TraceRequest) -> None:
    trace = make_trace(take, meter_settings(take, shipped), readings(650), shipped, UTC)
    # the edge: 2 us + 0.1 s + 0.2 s after the trigger; the first aperture: 5 us after it
    assert trace.time_s[0] == pytest.approx(5e-6 + 0.5e-3 - 0.300002, abs=1e-15)
    assert trace.status == "ok"


@pytest.mark.parametrize(
    ("flags", "late", "status", "left"),
    [
        ({3: ReadingFlag.COMPLIANCE}, 0.0, "compliance", 650),
        ({3: ReadingFlag.OVERFLOW}, 0.0, "overflow", 649),
        ({3: ReadingFlag.OVERFLOW, 5: ReadingFlag.COMPLIANCE}, 0.0, "overflow", 649),
        ({}, 0.9e-3, "ok", 650),
        ({}, 1.1e-3, "late", 650),
        (dict.fromkeys(range(650), ReadingFlag.OVERFLOW), 0.0, "overflow", 0),
    ],
)
def test_a_take_with_anything_wrong_is_kept_and_says_what(
    shipped: BenchFile,
    take: TraceRequest,
    flags: dict[int, ReadingFlag],
    late: float,
    status: str,
    left: int,
) -> None:
    trace = make_trace(take, meter_settings(take, shipped), readings(650, flags, late), shipped, UTC)
    assert (trace.status, trace.time_s.size) == (status, left)
    assert np.all(np.isfinite(trace.current_A))
