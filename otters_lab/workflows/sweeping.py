"""Sweeps with everything their bench file names: decays that are replayed from a capture or sampled from a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import DecaySource
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.sweep import SweepOptions, SweepResult, check_plan, run_sweep
from otters_lab.sweeps.trial import TrialReport, try_once
from otters_lab.workflows.decays import Decays, load_decays


def check_sweep(plan: Plan, bench: BenchFile) -> Decays | None:
    """Holds a plan against the bench's limits, and against the recording that it replays; returns the bench's decays.

    Raises
    ------
    InputError
        if a limit forbids it, or a recording is asked for what it does not hold.
    DamagedFileError
        if the file of the decays is damaged or altered.
    """
    check_plan(plan, bench)
    decays = load_decays(bench)
    if decays is not None and bench.virtual is not None and bench.virtual.decays == "replay":
        _check_recorded(plan.on(bench), decays.source, stops=bench.virtual.at_end == "stop")
    return decays


def _check_recorded(plan: Plan, source: DecaySource, *, stops: bool) -> None:
    from otters_lab.measurements.replay import ReplayedDecays

    if not isinstance(source, ReplayedDecays):
        return
    settings = Counter((point.drive_V, point.width_s) for point in plan.points())
    asked = ((device, *setting, points) for device in plan.devices for setting, points in settings.items())
    for device, drive_V, width_s, points in asked:
        if device not in source.devices:  # the bench itself says so when it comes to it
            continue
        recorded, needed = source.repeats(device, drive_V, width_s), points * plan.recipe.model.repeats
        if stops and needed > recorded:
            raise InputError(
                f"{needed} repeats of device {device} at drive {drive_V:g} V, width {width_s:g} s",
                file=plan.recipe.path,
                key="repeats",
                expected=f'at most the {recorded} recorded, or at_end = "loop" or "sample" in the bench file',
            )


def sweep_bench(
    plan: Plan, bench: BenchFile, *, chip: str, capture: Path, options: SweepOptions | None = None
) -> SweepResult:
    """`run_sweep` on the bench as its file describes it.

    Raises
    ------
    InputError, RefusedError, InstrumentError, DamagedFileError
        as `run_sweep` and `load_decays`.
    """
    options, decays = options or SweepOptions(), check_sweep(plan, bench)
    if decays is not None:
        options = replace(options, decays=decays.source, inputs=decays.inputs)
    return run_sweep(plan, bench, chip=chip, capture=capture, options=options)


def try_bench(plan: Plan, bench: BenchFile, record: Path | None = None) -> TrialReport:
    """`try_once` on the bench as its file describes it.

    Raises
    ------
    InputError, InstrumentError, DamagedFileError
        as `try_once` and `load_decays`.
    """
    decays = check_sweep(plan, bench)
    return try_once(plan.on(bench), bench, decays=decays.source if decays else None, record=record)
