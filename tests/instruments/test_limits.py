"""Limits: what the bench refuses, before any instrument is touched."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from otters_lab.core.errors import InputError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.refusals import check_limits, violations
from otters_lab.instruments.virtual.assemble import VirtualBench

REFUSED = [
    ({"bias_V": -2.5}, "bias is 2.5 V, over the bench's limit of 2 V"),
    ({"drive_V": 6.0}, "drive is 6 V, over the bench's limit of 5 V"),
    ({"width_s": 1.5}, "pulse width is 1.5 s, over the bench's limit of 1 s"),
    ({"range_A": 1e-3}, "range is 1 mA, over the bench's limit of 10 uA"),
    ({"range_A": 2e-6}, "range is 2 uA, the meter has 10 nA, 100 nA, 1 uA"),
    ({"device": 9}, "device 9 is not on the switch"),
    ({"aperture_s": 3e-3}, "aperture is 3 ms, longer than the interval of 2 ms"),
    ({"aperture_s": 1e-4}, "aperture in power-line cycles is 0.005, the meter takes 0.01 to 10"),
    ({"aperture_s": 0.3, "interval_s": 0.3}, "aperture in power-line cycles is 15, the meter takes 0.01 to 10"),
    ({"decay_s": 1e-3}, "decay is 1 ms, shorter than the interval of 2 ms"),
    ({"drive_V": 0.0}, "drive is 0 V, the light source takes 2 mV to 10 V"),
    ({"width_s": 0.0}, "pulse width is 0 s, the light source takes"),
    ({"dark_s": -0.1}, "dark time is -100 ms, the light source's trigger delay takes 0 s to"),
    ({"decay_s": 1000.0}, "500150 samples, the meter takes 1 to 100000"),
    ({"bias_V": math.nan}, "bias_V is not a finite number"),
]


def test_the_ordinary_take_is_allowed(shipped: BenchFile, take: TraceRequest) -> None:
    assert violations(take, shipped) == []
    assert take.n_samples == 650


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_take_over_a_limit_is_refused_with_the_limit_named(
    shipped: BenchFile, take: TraceRequest, change: dict[str, Any], message: str
) -> None:
    assert any(message in problem for problem in violations(replace(take, **change), shipped))
    with pytest.raises(InputError, match=r"virtual\.toml: the bench refuses"):
        check_limits(replace(take, **change), shipped)


def test_a_value_on_the_limit_is_allowed(shipped: BenchFile, take: TraceRequest) -> None:
    on_the_limit = replace(take, bias_V=-2.0, drive_V=5.0, width_s=1.0, range_A=1e-5, aperture_s=2e-3)
    assert violations(on_the_limit, shipped) == []


def test_a_refused_take_sends_not_one_byte(shipped: BenchFile, take: TraceRequest, built: list[VirtualBench]) -> None:
    with open_bench(shipped) as bench:
        (virtual,) = built
        devices = (virtual.meter, virtual.light, virtual.switch)
        before = [len(device.received) for device in devices]
        for change, _ in REFUSED:
            with pytest.raises(InputError):
                bench.acquire(replace(take, **change))
        assert [len(device.received) for device in devices] == before
        assert bench.acquire(take).status == "ok"  # a refusal is no failure
