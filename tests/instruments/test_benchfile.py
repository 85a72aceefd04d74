"""Bench files: what is read, and how a mistake is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from otters_lab.core.errors import InputError
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.virtual.noise import flicker_rms_A, white_noise_sd_A


def test_the_shipped_bench_is_virtual_and_keeps_its_text(shipped: BenchFile) -> None:
    assert shipped.backend == "virtual"
    assert "THE CHIP IS SYNTHETIC" in shipped.text
    assert shipped.path.name == "virtual.toml"
    assert shipped.switch.channels == {device: 100 + device for device in range(1, 9)}


def test_the_shipped_numbers_are_the_stated_ones(shipped: BenchFile) -> None:
    assert shipped.virtual is not None
    chip, noise = shipped.virtual.chip, shipped.virtual.noise
    assert chip is not None
    assert noise is not None
    assert (chip.devices, chip.window) == (8, 1.0)
    assert (chip.run_to_run.D, chip.run_to_run.O0, chip.run_to_run.logit_beta) == (0.02, 0.005, 0.02)
    assert (chip.device_to_device.D, chip.device_to_device.logit_beta) == (0.05, 0.05)
    assert white_noise_sd_A(noise.white, 1e-3) == pytest.approx(0.005 * chip.swing, rel=1e-3)
    assert flicker_rms_A(noise.flicker_1Hz, 650) == pytest.approx(0.001 * chip.swing, rel=1e-3)
    assert chip.drift * 400 * 6.4 == pytest.approx(0.01, rel=0.02)
    assert len(chip.outliers) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('bias = "2 V"', 'bias = "2"', r"bench\.toml:50: limits\.bias: found '2' without a unit"),
        ('bias = "2 V"', 'bias = "1,5 V"', "decimal point, not a comma"),
        ('bias = "2 V"', 'bias = "2 A"', "unit 'A'"),
        ('bias = "2 V"', 'bias = "-1 V"', r"limits\.bias: .*greater than 0"),
        ('bias = "2 V"', 'biass = "2 V"', r'limits\.biass: unknown key.*did you mean "bias"'),
        (
            '"keithley-2450"',
            '"keithley-245"',
            r"meter\.driver: .*'keithley-245', .*did you mean .keithley-2450",
        ),
        ("1 = 101", "one = 101", "device 'one'"),
        ("1 = 101", "1 = 102", "two devices through one channel"),
        ("1 = 101", '1 = "101"', r"switch\.channels\.1: found '101', expected a valid integer"),
        ("GPIB0::10::INSTR", "gpib0::18::INSTR", "same address"),
        ('"50 Hz"', '"55 Hz"', "line_frequency is 55 Hz"),
        ("I_offset = -109.989", "I_offset = -100.0", r"I_offset is 10\.989, expected 1"),
        ("device = 3", "device = 30", "outlier on device 30"),
        ("2026-01-01T08:00:00Z", "2026-01-01T08:00:00", "no offset from UTC"),
        ("edge_uncertainty", "# edge_uncertainty", r"sync\.edge_uncertainty: missing"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(
    write_bench: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_bench(write_bench(old, new))


def test_a_virtual_bench_without_a_virtual_table_is_refused(tmp_path: Path, shipped: BenchFile) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(re.split(r"^\[virtual\]$", shipped.text, flags=re.MULTILINE)[0])
    with pytest.raises(InputError, match=r'backend = "virtual" needs a \[virtual\] table'):
        load_bench(path)


def test_the_same_file_without_a_virtual_table_describes_a_real_bench(tmp_path: Path, shipped: BenchFile) -> None:
    path = tmp_path / "bench.toml"
    real = re.split(r"^\[virtual\]$", shipped.text, flags=re.MULTILINE)[0]
    path.write_text(real.replace('backend = "virtual"', 'backend = "visa"'))
    assert load_bench(path).backend == "visa"
