"""Small synthetic captures: dark baseline, light pulse, decay, with noise from a fixed seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import otters_lab
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path


def make_trace(index: int, n_samples: int = 60) -> Trace:
    """Dark for 0.1 s, lit for 0.1 s, then a decay; 5 ms a sample, mid-aperture."""
    rng = np.random.default_rng([20260131, index])
    time_s = (np.arange(n_samples) - 40 + 0.5) * 5e-3
    light = np.where(time_s < -0.1, 0.0, np.where(time_s < 0, 1.0, np.exp(-np.sqrt(np.abs(time_s) / 0.1))))
    current_A = 1e-9 + 1e-6 * light + rng.normal(0, 5e-9, n_samples)
    return Trace(
        time_s=time_s,
        current_A=current_A,
        aperture_s=5e-3,
        edge_uncertainty_s=1e-6,
        pulse_width_s=0.1,
        range_A=1e-5,
        start_utc=f"2026-01-31T12:00:{index:02d}.000000Z",
    )


def make_key(index: int) -> TraceKey:
    return TraceKey("X1", index % 4 + 1, 0, index // 4, {"gate": -0.5, "drive": 1.0 + index % 4})


@pytest.fixture
def trace() -> Callable[..., Trace]:
    return make_trace


@pytest.fixture
def key() -> Callable[[int], TraceKey]:
    return make_key


@pytest.fixture
def meta() -> CaptureMeta:
    return CaptureMeta(
        origin="synthetic",
        chip="X1",
        note="for tests",
        recipe_text='# a recipe\nname = "decay"\n',
        bench_text='name = "virtual"\n',
        instruments={"meter": "OTTERS,VIRTUAL-2450,0,1"},
        parameter_units={"gate": "V", "drive": "V"},
        attributes={"truth": {"beta": 0.495, "sd": [0.02, 0.005]}},
        plan_digest="ab" * 32,
        planned_traces=12,
        seeds={"chip": 7},
        command=["otters-lab", "sweep"],
    )


@pytest.fixture
def make_capture(tmp_path: Path, meta: CaptureMeta) -> Callable[..., Path]:
    """Writes a sealed capture of 12 traces, every third one ten samples longer; returns its path."""

    def build(name: str = "run.h5", **changes: object) -> Path:
        path = tmp_path / name
        with Spool.create(spool_path(path), meta.model_copy(update=changes)) as spool:
            for index in range(12):
                spool.append(make_key(index), make_trace(index, 70 if index % 3 == 0 else 60))
        seal(spool_path(path), path)
        return path

    return build


@pytest.fixture
def environment() -> dict[str, str]:
    """For a subprocess that imports this very package, installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(otters_lab.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
