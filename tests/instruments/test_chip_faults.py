"""Chips as they come: dead devices, noisy ones, and runs that go wrong by chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Pulse
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.virtual.assemble import build_virtual
from otters_lab.instruments.virtual.chip import SyntheticChip
from otters_lab.instruments.virtual.tables import ChipTable, DeadDevice, NoisyDevice, RandomOutliers


def table(bench: BenchFile, **changes: Any) -> ChipTable:
    assert bench.virtual is not None
    assert bench.virtual.chip is not None
    return bench.virtual.chip.model_copy(update=changes)


def with_chip(bench: BenchFile, **changes: Any) -> BenchFile:
    assert bench.virtual is not None
    chip = table(bench, **changes)
    return bench.model_copy(update={"virtual": bench.virtual.model_copy(update={"chip": chip})})


def test_dead_devices_do_not_answer_to_light(quiet: BenchFile, take: TraceRequest) -> None:
    dead = [DeadDevice(device=1, stuck="dark"), DeadDevice(device=2, stuck="plateau")]
    with open_bench(with_chip(quiet, dead=dead)) as bench:
        dark, lit, sound = (bench.acquire(replace(take, device=device)).current_A for device in (1, 2, 3))
        assert bench.truth is not None
        assert bench.truth["decays"]["dead"] == {"1": "dark", "2": "plateau"}
    np.testing.assert_allclose(dark, 20e-9, rtol=1e-9)
    np.testing.assert_allclose(lit, 20e-9 + 110.989 * 8e-9, rtol=1e-9)
    assert np.ptp(sound) > 100 * 8e-9


def test_a_noisy_device_has_its_factor_of_noise_and_the_others_stay_as_they_were(
    shipped: BenchFile, take: TraceRequest
) -> None:
    def readings(bench_file: BenchFile, device: int) -> np.ndarray:
        with open_bench(bench_file) as bench:
            return bench.acquire(replace(take, device=device)).current_A

    noisy = with_chip(shipped, noisy=[NoisyDevice(device=2, factor=5.0)])
    np.testing.assert_array_equal(readings(noisy, 1), readings(shipped, 1))
    plain, loud = (np.diff(readings(bench, 2)[:50]).std() for bench in (shipped, noisy))
    assert loud / plain == pytest.approx(5.0, rel=1e-3)


def test_outliers_by_chance_come_as_often_as_stated_and_leave_the_others_alone(shipped: BenchFile) -> None:
    chance = RandomOutliers.model_construct(probability=0.05, D_factor=0.5, O0_shift=0.1)
    spoilt = SyntheticChip(table(shipped, outliers=[], random_outliers=chance), seed=7)
    sound = SyntheticChip(table(shipped, outliers=[]), seed=7)
    pulses = [Pulse(device, index, 5.0, 0.2, 0.0) for device in range(1, 9) for index in range(500)]
    pairs = [(spoilt.decay(pulse), sound.decay(pulse)) for pulse in pulses]
    wrong = [(bad, good) for bad, good in pairs if bad != good]
    assert len(wrong) == pytest.approx(0.05 * 4000, abs=4 * np.sqrt(4000 * 0.05 * 0.95))
    assert all(pytest.approx(0.5) == bad.D / good.D for bad, good in wrong)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("drift =", 'dead = [{ device = 9, stuck = "dark" }]\ndrift =', "dead device 9, expected 1 to 8"),
        ("drift =", 'dead = [{ device = 1, stuck = "dim" }]\ndrift =', r"dead\.0\.stuck.*'dark' or 'plateau'"),
        ("drift =", "noisy = [{ device = 9, factor = 2.0 }]\ndrift =", "noisy device 9"),
        ("seed = 2026", 'seed = 2026\ndecays = "replay"', 'needs file = "..."'),
        ("seed = 2026", 'seed = 2026\nfile = "x.h5"', 'decays = "chip" reads none'),
        ("seed = 2026", 'seed = 2026\nat_end = "loop"', "at_end is for"),
        ("seed = 2026", 'seed = 2026\nhum = "1 nA"\ndecays = "replay"\nfile = "x.h5"', "recordings carry their own"),
    ],
)
def test_a_mistake_in_the_virtual_table_is_named(
    write_bench: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_bench(write_bench(old, new))


def test_decays_from_a_file_are_never_quietly_replaced_by_the_chip(write_bench: Callable[[str, str], Path]) -> None:
    bench = load_bench(write_bench("seed = 2026", 'seed = 2026\ndecays = "replay"\nfile = "x.h5"'))
    with pytest.raises(InputError, match="were not loaded"):
        build_virtual(bench)
