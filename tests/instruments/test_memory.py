"""Photoconductive memory: pulses pile up by the closed form; and what else the world can add to a current."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from otters_lab.core.protocols import Pulse
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.virtual.chip import SyntheticChip
from otters_lab.instruments.virtual.law import Kww
from otters_lab.instruments.virtual.memory import Memory, MemoryState
from otters_lab.instruments.virtual.noise import Hum, hum_A
from otters_lab.instruments.virtual.world import History

SWING_A, DARK_A, I0 = 8e-9, 20e-9, 110.989
LAW = Kww(I0=I0, tau=1.3425, beta=0.495, I_offset=-109.989)


def altered(bench: BenchFile, chip: dict[str, Any] | None = None, **table: Any) -> BenchFile:
    assert bench.virtual is not None
    assert bench.virtual.chip is not None
    changed = bench.virtual.chip.model_copy(update=chip or {})
    return bench.model_copy(update={"virtual": bench.virtual.model_copy(update={"chip": changed, **table})})


def left(after_s: float) -> float:
    """What is left of a pulse: I0*swing*exp(-(t/tau)**beta), the window being 1 s."""
    return I0 * SWING_A * float(np.exp(-((after_s / LAW.tau_for_window(1.0)) ** LAW.beta)))


def test_99_per_cent_of_the_amplitude_is_still_there_at_the_windows_end() -> None:
    assert left(1.0) / left(0.0) == pytest.approx(1 - 1 / I0, rel=1e-9)


def test_pulses_pile_up_by_the_closed_form_and_not_without_memory(quiet: BenchFile, take: TraceRequest) -> None:
    remembering = altered(quiet, {"memory": True})
    take = replace(take, range_A=10e-6)
    edges_s, baselines = [], []
    with open_bench(remembering) as bench:
        assert bench.virtual is not None
        for _ in range(11):  # more than are kept exactly
            t0 = bench.clock.monotonic_s()
            trace = bench.acquire(take)
            pulse = bench.virtual.world.pulses[-1]
            assert pulse.start_s > t0
            edges_s.append(pulse.stop_s)
            baselines.append((pulse.start_s, trace.current_A[0]))
            bench.wait(0.5)
    assert baselines[-1][1] > DARK_A + 9.4 * I0 * SWING_A  # ten pulses, hardly anything forgotten
    for n, (lit_s, baseline) in enumerate(baselines):
        first_s = lit_s - take.dark_s + 0.5 * take.aperture_s
        expected = DARK_A + sum(left(first_s - edge_s) for edge_s in edges_s[:n])
        assert baseline == pytest.approx(expected, abs=2e-4 * I0 * SWING_A), n
    with open_bench(quiet) as bench:
        assert [bench.acquire(take).current_A[0] for _ in range(3)] == pytest.approx([DARK_A] * 3, rel=1e-9)


def test_a_device_that_recovers_for_long_forgets(quiet: BenchFile, take: TraceRequest) -> None:
    with open_bench(altered(quiet, {"memory": True})) as bench:
        bench.acquire(take)
        bench.wait(1e7)
        assert bench.acquire(take).current_A[0] == pytest.approx(DARK_A, rel=1e-6)
        assert bench.acquire(replace(take, device=2)).current_A[0] == pytest.approx(DARK_A, rel=1e-9)  # another's light


def test_the_tail_of_many_pulses_is_as_good_as_stated_and_does_not_grow(shipped: BenchFile) -> None:
    assert shipped.virtual is not None
    assert shipped.virtual.chip is not None
    chip = SyntheticChip(shipped.virtual.chip.model_copy(update={"memory": True}), seed=7)
    for period_s in (1.5, 600.0):
        memory = Memory(chip, {})
        given = [(Pulse(1, n, 5.0, 0.2, n * period_s), n * period_s) for n in range(200)]
        for pulse, edge_s in given:
            memory.add(pulse, edge_s)
        assert len(memory.states()[1].recent) == 8
        for lag_s in (1e-3, 1.0, 100.0, 1e4, 1e5, 1e6, 1e7):
            begin = np.array([given[-1][1] + lag_s])
            end = begin + 1e-2 * lag_s
            exact = sum(chip.excess_A(pulse, begin - edge_s, end - edge_s)[0] for pulse, edge_s in given)
            assert memory.residual_A(1, begin, end)[0] == pytest.approx(exact, abs=1e-3 * I0 * SWING_A)


def test_a_resumed_bench_remembers_what_the_first_one_did(shipped: BenchFile, take: TraceRequest) -> None:
    remembering = altered(shipped, {"memory": True})
    with open_bench(remembering) as bench:
        for _ in range(10):
            bench.acquire(take)
        history = bench.history
        straight = bench.acquire(take)
    record = history.record()
    assert History.read(record) == history
    assert len(MemoryState.read(record["memory"]["1"]).recent) == 8
    with open_bench(remembering, history=History.read(record)) as bench:
        resumed = bench.acquire(take)
    np.testing.assert_allclose(resumed.current_A, straight.current_A, rtol=1e-9)


def test_hum_is_seen_at_short_apertures_and_integrates_away_at_whole_line_cycles(
    quiet: BenchFile, take: TraceRequest
) -> None:
    with open_bench(quiet) as bench:
        clean, clean_slow = bench.acquire(take), bench.acquire(replace(take, interval_s=0.025, aperture_s=0.02))
    with open_bench(altered(quiet, hum=1e-9)) as bench:
        hum, hum_slow = bench.acquire(take), bench.acquire(replace(take, interval_s=0.025, aperture_s=0.02))
        again = bench.acquire(take)
    added = hum.current_A - clean.current_A
    fast = np.sinc(50 * 1e-3)  # the mean of a sine over 1 ms
    assert np.sqrt(2) * added[:600].std() == pytest.approx(1e-9 * fast, rel=1e-3)
    assert np.max(np.abs(hum_slow.current_A - clean_slow.current_A)) < 1e-15
    assert np.max(np.abs(again.current_A - hum.current_A)) > 1e-11  # the mains have another phase each time


def test_the_mean_of_the_hum_is_that_of_a_finely_sampled_sine() -> None:
    begin, end = np.array([0.0, 0.013]), np.array([0.004, 0.020])
    got = hum_A(Hum(2e-9, 60.0), begin, end, phase=0.7)
    for value, a, b in zip(got, begin, end, strict=True):
        t = a + (np.arange(20_000) + 0.5) / 20_000 * (b - a)
        assert value == pytest.approx(np.mean(2e-9 * np.sin(2 * np.pi * 60 * t + 0.7)), rel=1e-6)


def test_ambient_light_adds_a_constant(quiet: BenchFile, take: TraceRequest) -> None:
    with open_bench(quiet) as bench:
        dark = bench.acquire(take)
    with open_bench(altered(quiet, ambient=3e-9)) as bench:
        assert bench.truth is not None
        assert bench.truth["ambient_A"] == 3e-9
        np.testing.assert_allclose(bench.acquire(take).current_A - dark.current_A, 3e-9, rtol=1e-6)
