"""Benches to test on: the shipped virtual one, a quiet one without noise and variation, and their twins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

SHIPPED = Path(__file__).resolve().parents[2] / "instruments" / "virtual.toml"

TAKE = TraceRequest(
    device=1,
    drive_V=3.0,
    width_s=0.2,
    bias_V=0.5,
    dark_s=0.1,
    decay_s=1.0,
    interval_s=2e-3,
    aperture_s=1e-3,
    range_A=1e-6,
)


@pytest.fixture(scope="session")
def shipped() -> BenchFile:
    return load_bench(SHIPPED)


@pytest.fixture(scope="session")
def quiet(shipped: BenchFile) -> BenchFile:
    """The shipped bench without read noise, variation, drift and outliers."""
    virtual = shipped.virtual
    assert virtual is not None
    assert virtual.chip is not None
    none = {"D": 0.0, "O0": 0.0, "logit_beta": 0.0}
    chip = virtual.chip.model_copy(
        update={
            "run_to_run": virtual.chip.run_to_run.model_copy(update=none),
            "device_to_device": virtual.chip.device_to_device.model_copy(update={"D": 0.0, "logit_beta": 0.0}),
            "drift": 0.0,
            "outliers": [],
        }
    )
    return shipped.model_copy(update={"virtual": virtual.model_copy(update={"noise": None, "chip": chip})})


@pytest.fixture
def take() -> TraceRequest:
    return TAKE


@pytest.fixture
def twins(shipped: BenchFile) -> VirtualBench:
    return build_virtual(shipped)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[VirtualBench]:
    """The virtual benches that `open_bench` builds, so that their twins can be looked at even if it refuses."""
    import otters_lab.instruments.bench as module

    made: list[VirtualBench] = []

    def remember(*arguments: Any, **options: Any) -> VirtualBench:
        made.append(build_virtual(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(module, "build_virtual", remember)
    return made


@pytest.fixture
def write_bench(tmp_path: Path, shipped: BenchFile) -> Callable[[str, str], Path]:
    """The shipped bench file with one piece of text replaced."""

    def write(old: str, new: str) -> Path:
        assert old in shipped.text, old
        path = tmp_path / "bench.toml"
        path.write_text(shipped.text.replace(old, new, 1))
        return path

    return write


CONDITIONS = """
[gate]
driver = "keithley-2400"
address = "GPIB0::24::INSTR"
identity = "MODEL 2400"
compliance = "1 uA"
ramp = "2 V/s"
settle = "50 ms"

[drain]
driver = "keithley-2601b"
address = "GPIB0::26::INSTR"
identity = "Model 2601B"
compliance = "1 uA"

[temperature]
driver = "lakeshore-336"
address = "GPIB0::12::INSTR"
identity = "MODEL336"
tolerance = "0.1 K"
soak = "10 s"
timeout_stable = "5 min"
after = "off"

[sync]
"""


@pytest.fixture
def write_conditions(tmp_path: Path, shipped: BenchFile) -> Callable[..., Path]:
    """The shipped bench file with a gate, a drain and a stage, and pieces of text replaced by others."""

    def write(*edits: tuple[str, str], name: str = "bench.toml") -> Path:
        text = shipped.text.replace("\n[sync]\n", CONDITIONS, 1)
        limits = 'pulse_width = "1 s"\n'
        text = text.replace(limits, limits + 'gate = "3 V"\ntemperature = ["290 K", "320 K"]\n', 1)
        for old, new in edits:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
