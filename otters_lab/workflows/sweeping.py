"""Sweeps with everything their bench file names: decays that are replayed from a capture or sampled from a model."""

from __future__ import annotations

from pathlib import Path

from otters_lab.instruments.benchfile import BenchFile
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.sweep import SweepResult, check_plan, run_sweep, try_once
from otters_lab.sweeps.trial import TrialReport
from otters_lab.workflows.decays import load_decays


def sweep_bench(
    plan: Plan, bench: BenchFile, *, chip: str, note: str, capture: Path, resume: bool, record: Path | None = None
) -> SweepResult:
    """`run_sweep` on the bench as its file describes it.

    Raises
    ------
    InputError, InstrumentError, DamagedFileError
        as `run_sweep` and `load_decays`.
    """
    check_plan(plan, bench)
    decays = load_decays(bench)
    return run_sweep(
        plan,
        bench,
        chip=chip,
        note=note,
        capture=capture,
        resume=resume,
        decays=decays.source if decays else None,
        inputs=decays.inputs if decays else (),
        record=record,
    )


def try_bench(plan: Plan, bench: BenchFile, record: Path | None = None) -> TrialReport:
    """`try_once` on the bench as its file describes it.

    Raises
    ------
    InputError, InstrumentError, DamagedFileError
        as `try_once` and `load_decays`.
    """
    check_plan(plan, bench)
    decays = load_decays(bench)
    return try_once(plan, bench, decays=decays.source if decays else None, record=record)
