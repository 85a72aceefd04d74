"""Gate, drain and temperature in a take: order, ramps, limits, and what they do to the synthetic chip."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymeasure.adapters import VISAAdapter

from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.protocols import Trace
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.registry import build
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.session import OutputUnknownError
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

Write = Callable[..., Path]

QUIET = [
    ('D = "5 %"\nlogit_beta = 0.05', 'D = "0 %"\nlogit_beta = 0.0'),
    ('D = "2 %"\nO0 = "0.5 %"\nlogit_beta = 0.02', 'D = "0 %"\nO0 = "0 %"\nlogit_beta = 0.0'),
    ('drift = "1.4 %/h"', 'drift = "0 %/h"'),
    ('white = "1.78885 pA/sqrt(Hz)"\nflicker_1Hz = "3.17177 pA/sqrt(Hz)"',
     'white = "0 pA/sqrt(Hz)"\nflicker_1Hz = "0 pA/sqrt(Hz)"'),
]  # fmt: skip


def sent(path: Path) -> list[tuple[float, str, str]]:
    """Time (s), role and text of every message that went out, from a transcript."""
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    return [(line["t"], line["role"], line["text"]) for line in lines if line["dir"] == "out"]


def first(messages: list[tuple[float, str, str]], role: str, text: str) -> int:
    """Where a message was sent for the first time."""
    return next(n for n, (_, who, what) in enumerate(messages) if (who, what) == (role, text))


def last(messages: list[tuple[float, str, str]], role: str, text: str) -> int:
    return max(n for n, (_, who, what) in enumerate(messages) if (who, what) == (role, text))


def take_with(file: BenchFile, request: TraceRequest, record: Path | None = None) -> Trace:
    with open_bench(file, record=record) as bench:
        return bench.acquire(request)


ON = {
    "gate": "OUTPUT 1", "drain": "smua.source.output = 1", "meter": ":OUTP 1", "light": "OUTP 1",
}  # fmt: skip
OFF = {
    "gate": "OUTPUT 0", "drain": "smua.source.output = 0", "meter": ":OUTP 0", "light": "OUTP 0",
}  # fmt: skip


def spelt(messages: list[tuple[float, str, str]], table: dict[str, str]) -> dict[str, str]:
    """The table with the messages as the drivers in use spell them."""
    return {
        role: next(what for _, who, what in messages if who == role and what.upper().endswith(text.upper().lstrip(":")))
        for role, text in table.items()
    }


def test_on_go_gate_drain_meter_light_and_off_the_file_s_order(
    write_conditions: Write, take: TraceRequest, tmp_path: Path
) -> None:
    request = replace(take, gate_V=1.0, temperature_K=296.0)
    take_with(load_bench(write_conditions()), request, tmp_path / "record.jsonl")
    messages = sent(tmp_path / "record.jsonl")
    on = spelt(messages, ON)
    order = sorted(on, key=lambda role: first(messages, role, on[role]))
    assert order == ["gate", "drain", "meter", "light"]
    after = messages[last(messages, "light", on["light"]) :]
    off = spelt(after, OFF)
    assert sorted(off, key=lambda role: first(after, role, off[role])) == ["light", "meter", "drain", "gate"]
    assert first(after, "temperature", "RANGE 1,0") > first(after, "gate", off["gate"])
    reached = next(
        n for n, (_, who, what) in enumerate(messages) if (who, what) == ("temperature", "SETP 1,296.000000")
    )
    assert reached < first(messages, "gate", on["gate"])


def test_the_file_may_choose_another_order_of_switching_off(
    write_conditions: Write, take: TraceRequest, tmp_path: Path
) -> None:
    order = '[safety]\noff = ["gate", "light", "drain", "meter", "temperature", "switch"]\n\n[limits]'
    take_with(load_bench(write_conditions(("[limits]", order))), replace(take, gate_V=1.0), tmp_path / "record.jsonl")
    messages = sent(tmp_path / "record.jsonl")
    after = messages[last(messages, "light", spelt(messages, ON)["light"]) :]
    off = spelt(after, OFF)
    assert sorted(off, key=lambda role: first(after, role, off[role])) == ["gate", "light", "drain", "meter"]


def test_the_gate_s_level_moves_at_the_file_s_rate_up_and_down(
    write_conditions: Write, take: TraceRequest, tmp_path: Path
) -> None:
    take_with(load_bench(write_conditions()), replace(take, gate_V=-1.0), tmp_path / "record.jsonl")
    levels = [
        (t, float(text.split()[1]))
        for t, who, text in sent(tmp_path / "record.jsonl")
        if who == "gate" and text.startswith(":SOURCE:VOLTAGE ")
    ]
    steps = [(b[0] - a[0], abs(b[1] - a[1])) for a, b in pairwise(levels)]
    assert min(level for _, level in levels) == -1.0
    assert levels[-1][1] == 0.0
    assert all(step <= 2.0 * seconds * (1 + 1e-9) for seconds, step in steps)  # 2 V/s
    assert sum(step for _, step in steps) == pytest.approx(2.0)  # there and back, without a detour


def test_the_drain_takes_the_bias_and_the_meter_stays_at_zero(write_conditions: Write, take: TraceRequest) -> None:
    with open_bench(load_bench(write_conditions())) as bench:
        seen: list[tuple[float, float]] = []
        twins = bench.virtual.twins
        arm = bench._light.arm_pulse

        def look(*arguments: Any) -> None:
            seen.append((twins["drain"].bias_V, twins["meter"].bias_V))
            arm(*arguments)

        bench._light.arm_pulse = look  # type: ignore[method-assign]
        bench.acquire(take)
        assert seen == [(0.5, 0.0)]
        assert (twins["drain"].bias_V, twins["drain"].output_on) == (0.0, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate_V": -3.5}, "gate is 3.5 V, over the bench's limit of 3 V"),
        ({"temperature_K": 321.0}, r"temperature is 321 K, the bench \(limits.temperature\) takes 290 K to 320 K"),
        ({"temperature_K": 280.0}, "temperature is 280 K"),
        ({"bias_V": 2.5}, "bias is 2.5 V, over the bench's limit of 2 V"),
    ],
)
def test_a_condition_over_its_limit_is_refused_before_any_byte(
    write_conditions: Write, take: TraceRequest, change: dict[str, float], message: str
) -> None:
    with open_bench(load_bench(write_conditions())) as bench:
        before = {role: len(twin.received) for role, twin in bench.virtual.twins.items()}
        with pytest.raises(InputError, match=message):
            bench.acquire(replace(take, **change))
        assert {role: len(twin.received) for role, twin in bench.virtual.twins.items()} == before


def test_conditions_without_their_instruments_are_refused(shipped: BenchFile, take: TraceRequest) -> None:
    problems = violations(replace(take, gate_V=1.0, temperature_K=300.0), shipped)
    assert problems == [
        "gate is 1 V, and the bench has no [gate]",
        "temperature is 300 K, and the bench has no [temperature] stage",
    ]


def test_the_drain_s_source_bounds_the_bias(write_conditions: Write, take: TraceRequest) -> None:
    file = load_bench(write_conditions(('bias = "2 V"', 'bias = "100 V"')))
    assert violations(replace(take, bias_V=50.0), file) == ["bias is 50 V, the drain takes 0 V to 40 V"]


def test_a_bench_without_a_switch_measures_its_one_device(
    tmp_path: Path, shipped: BenchFile, take: TraceRequest
) -> None:
    start, end = shipped.text.index("\n[switch]\n"), shipped.text.index("\n# Where the light's edge lies")
    (tmp_path / "bench.toml").write_text(shipped.text[:start] + shipped.text[end:])
    file = load_bench(tmp_path / "bench.toml")
    assert file.devices == (1,)
    with open_bench(file) as bench:
        trace = bench.acquire(take)
        assert bench.devices == (1,)
        assert "switch" not in bench.virtual.twins
    with_switch = take_with(shipped, take)
    assert trace.status == "ok"
    # The same device, pulse and noise; the switch's settling time is 4e-8 of a drift.
    np.testing.assert_allclose(trace.current_A, with_switch.current_A, rtol=1e-8)


# --- what they do to the chip ---------------------------------------------------------------------------------------


def test_the_drop_grows_by_the_stated_share_a_kelvin(write_conditions: Write, take: TraceRequest) -> None:
    file = load_bench(
        write_conditions(*QUIET, ('dark_current = "20 nA"', 'dark_current = "20 nA"\nD_per_kelvin = 0.013'))
    )
    with open_bench(file) as bench:
        cold = bench.acquire(replace(take, temperature_K=295.0))
        warm = bench.acquire(replace(take, temperature_K=310.0))
    assert cold.readings["stage_temperature"] == pytest.approx(295.0, abs=1e-3)
    assert warm.readings["stage_temperature"] == pytest.approx(310.0, abs=0.1)
    for trace in (cold, warm):  # light pulse: plateau = value at the edge, which temperature leaves alone
        lit = (trace.time_s > -0.19) & (trace.time_s < -2e-3)
        assert np.ptp(trace.current_A[lit]) < 1e-15
    edge_A = cold.current_A[np.searchsorted(cold.time_s, -0.1)]
    decaying = cold.time_s > 5e-3
    ratio = (edge_A - warm.current_A[decaying]) / (edge_A - cold.current_A[decaying])
    np.testing.assert_allclose(ratio, 1 + 0.013 * 15, rtol=1e-5)


@pytest.mark.parametrize(("gate_V", "empties"), [(2.0, True), (2.5, True), (1.9, False), (-2.5, False)])
def test_a_gate_pulse_of_the_stated_voltage_empties_the_memory(
    write_conditions: Write, take: TraceRequest, gate_V: float, empties: bool
) -> None:
    memory = ('dark_current = "20 nA"', 'dark_current = "20 nA"\nmemory = true\ngate_reset = "2 V"')
    file = load_bench(write_conditions(*QUIET, memory))
    with open_bench(file) as bench:
        one = bench.acquire(replace(take, gate_V=gate_V))
        two = bench.acquire(replace(take, gate_V=gate_V))
    dark = [trace.current_A[trace.time_s < -0.21].mean() for trace in (one, two)]
    assert dark[0] == pytest.approx(20e-9, abs=1e-15)
    if empties:
        np.testing.assert_allclose(two.current_A, one.current_A, rtol=0, atol=1e-15)
    else:
        assert abs(dark[1] - dark[0]) > 1e-10  # what the first pulse left


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_gate_that_does_not_switch_off_is_output_state_unknown(
    write_conditions: Write, take: TraceRequest, built: list[VirtualBench]
) -> None:
    file = load_bench(write_conditions())
    bench_of_file = open_bench(file)
    bench = bench_of_file.__enter__()
    (virtual,) = built
    twin = virtual.twins["gate"]._twin
    handle = twin.handle
    twin.handle = lambda message: None if message == b"OUTPUT 0" else handle(message)
    with pytest.raises(OutputUnknownError, match="output state unknown: gate: output: asked for False"):
        bench.acquire(replace(take, gate_V=1.0))
    with pytest.raises(OutputUnknownError):
        bench_of_file.__exit__(None, None, None)
    assert virtual.twins["gate"].output_on
    assert virtual.twins["gate"]._twin._set["volt"] == 0.0  # it came down at least
    assert not any(virtual.twins[role].output_on for role in ("light", "meter", "drain"))


def test_a_ramp_that_fails_does_not_keep_the_output_on(write_conditions: Write, take: TraceRequest) -> None:
    file = load_bench(write_conditions())
    virtual = build_virtual(file)
    link = VISAAdapter(file.instruments["gate"].address, visa_library=virtual.library,
                       read_termination="\n", write_termination="\n")  # fmt: skip
    gate = build("gate", link, file, virtual.world.clock)
    gate.reset()
    gate.apply(1.0)
    twin = virtual.twins["gate"]._twin
    handle = twin.handle
    twin.handle = lambda message: b"1.0" if message == b":SOURCE:VOLTAGE?" else handle(message)
    with pytest.raises(InstrumentError, match=r"level \(V\): asked for 0\.9"):
        gate.make_safe()
    assert not twin.output_on
    link.connection.close()
