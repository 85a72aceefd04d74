"""A sweep from recipe and bench to a sealed capture: check, spool, run, seal; and go on after any death."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from otters_lab.core.errors import InputError
from otters_lab.core.log import progress
from otters_lab.core.protocols import DecaySource, Trace, TraceKey
from otters_lab.core.provenance import Header, InputRef, command_line, reference
from otters_lab.instruments.acquire import check_limits
from otters_lab.instruments.bench import Bench, open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.virtual.world import History
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.runner import run_plan
from otters_lab.sweeps.trial import TrialReport, report_trial


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep: the sealed capture, its header, traces by status, how many were there before a resume."""

    path: Path
    header: Header
    statuses: dict[str, int]
    resumed_from: int


def check_plan(plan: Plan, bench: BenchFile) -> None:
    """Holds every setting of a plan against the bench's limits; touches no instrument.

    Raises
    ------
    InputError
        naming recipe, limit and value.
    """
    for request in plan.on(bench).requests():
        try:
            check_limits(request, bench)
        except InputError as error:
            raise InputError(str(error), file=plan.recipe.path) from None


def default_capture_path(plan: Plan, chip: str) -> Path:
    """``measurements/CHIP-RECIPE-TIME.h5`` of the workspace that the recipe lies in, else of the current folder."""
    name = f"{chip}-{plan.recipe.path.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.h5"
    workspace = plan.recipe.path.resolve().parent.parent
    folder = workspace if (workspace / "measurements").is_dir() else Path()
    return folder / "measurements" / name


def run_sweep(
    plan: Plan,
    bench: BenchFile,
    *,
    chip: str,
    note: str,
    capture: Path,
    resume: bool,
    decays: DecaySource | None = None,
    inputs: Sequence[InputRef] = (),
    record: Path | None = None,
) -> SweepResult:
    """Runs a plan on a bench and seals the capture.

    Every trace is durable in the spool beside the capture before the next begins; `resume` goes on from there. `decays`
    take the place of a virtual bench's chip; `inputs` are the files they came from. `record` is a transcript to write:
    every message to and from the instruments.

    Raises
    ------
    InputError
        if the plan breaks a limit, the capture exists, or there is a spool and no `resume` (or the other way round).
    InstrumentError
        if an instrument failed; what was taken stays in the spool.
    """
    check_plan(plan, bench)
    plan = plan.on(bench)
    place = spool_path(capture)
    if capture.exists() and not (resume and place.exists()):
        raise InputError("a capture stands here already and is never overwritten", file=capture)
    if resume and not place.exists():
        raise InputError("there is nothing to resume", file=place)
    if place.exists() and not resume:
        raise InputError("the spool of an unfinished sweep stands here; go on with --resume", file=place)
    if resume and (left := _if_complete(place, plan)):
        return SweepResult(capture, seal(place, capture), dict(left), left.total())
    dark_time_s = plan.recipe.model.recovery.dark_time
    history = _history(place, dark_time_s) if resume else None
    with open_bench(bench, decays=decays, history=history, record=record) as open_:
        meta = _meta(plan, bench, open_, chip, note, inputs)
        spool = Spool.open(place, meta=meta) if resume else Spool.create(place, meta, clock=open_.clock)
        with spool, progress(f"sweeping {chip}", len(plan)) as advance:
            done = spool.keys()
            advance(len(done))

            def store(key: TraceKey, trace: Trace) -> None:
                spool.append(key, trace, open_.history.record())

            def count(key: TraceKey, trace: Trace) -> None:
                advance(1)

            run_plan(
                plan.traces(),
                open_,
                chip=chip,
                sinks=(store, count),
                done=done,
                dark_time_s=dark_time_s,
            )
            statuses = Counter(str(record.row["status"]) for record in spool.records())
    header = seal(place, capture)
    return SweepResult(capture, header, dict(statuses), len(done))


def _if_complete(place: Path, plan: Plan) -> Counter[str] | None:
    """Traces by status of a spool that holds its whole plan, whose sealing was cut short: no bench is needed for it."""
    with Spool.open(place, read_only=True) as spool:
        if spool.meta.plan_digest != plan.digest or len(spool) < len(plan):
            return None
        return Counter(str(record.row["status"]) for record in spool.records())


def try_once(
    plan: Plan, bench: BenchFile, *, decays: DecaySource | None = None, record: Path | None = None
) -> TrialReport:
    """Takes the plan's first trace and judges it; nothing is stored.

    Raises
    ------
    InputError, InstrumentError
        as `run_sweep`.
    """
    check_plan(plan, bench)
    with open_bench(bench, decays=decays, record=record) as open_:
        trace = open_.acquire(next(plan.on(bench).traces()).request)
    return report_trial(trace, bench.line_frequency)


def _meta(plan: Plan, bench: BenchFile, open_: Bench, chip: str, note: str, inputs: Sequence[InputRef]) -> CaptureMeta:
    recipe = plan.recipe
    truth = "replayed_from" if open_.origin == "replayed" else "synthetic_truth"
    return CaptureMeta(
        origin=open_.origin,
        chip=chip,
        note=note,
        recipe_text=recipe.text,
        bench_text=bench.text,
        instruments=dict(open_.identities),
        parameter_units=plan.parameter_units,
        attributes={"window_s": recipe.model.window, truth: open_.truth},
        plan_digest=plan.digest,
        planned_traces=len(plan),
        inputs=[*inputs, *_light_input(bench)],
        config={**recipe.model.model_dump(), "timing": [asdict(timing) for timing in plan.timings(bench)]},
        seeds={"order": recipe.model.order.seed},
        command=command_line(),
    )


def _history(place: Path, dark_time_s: float) -> History | None:
    """What the devices of a virtual bench had been through when the last trace was stored, and the rest after it.

    A real bench's devices know it themselves, and its history is empty.
    """
    with Spool.open(place, read_only=True) as spool:
        state = spool.last_state()
    if state is None:
        return None
    history = History.read(state)
    return replace(history, elapsed_s=history.elapsed_s + dark_time_s)


def _light_input(bench: BenchFile) -> list[InputRef]:
    path, light = bench.light_calibration_path, bench.light_calibration
    return [] if path is None or light is None else [reference(path, "light calibration", light.header.uid)]
