"""A sweep from recipe and bench to a sealed capture: check, spool, run, seal; and go on after any death."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from otters_lab.core.clock import iso_utc
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.log import Bar, logger, progress
from otters_lab.core.notify import Notifier
from otters_lab.core.protocols import DecaySource, Trace, TraceKey
from otters_lab.core.provenance import Header, InputRef, command_line, reference
from otters_lab.instruments.bench import Bench, open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.conditions import reading_units
from otters_lab.instruments.drivers.own import is_own, own_file
from otters_lab.instruments.refusals import check_gate_pulse, check_limits
from otters_lab.instruments.virtual.world import History
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.sweeps.adaptive import WARNING, StopRule
from otters_lab.sweeps.before import RECOVERY_UNITS, Precondition, Recovery
from otters_lab.sweeps.feed import Feed
from otters_lab.sweeps.plan import Plan, PlannedTrace
from otters_lab.sweeps.recipe import Recipe
from otters_lab.sweeps.runner import Answer, Steps, run_plan


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep: the sealed capture, its header, traces by status, how many were there before a resume."""

    path: Path
    header: Header
    statuses: dict[str, int]
    resumed_from: int


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run, beyond what is measured.

    `decays` take the place of a virtual bench's chip; `inputs` are the files they came from. `record` is a transcript
    to write. `ask` is asked at a pause; None: Ctrl-C ends the run at once.
    """

    resume: bool = False
    note: str = ""
    decays: DecaySource | None = None
    inputs: Sequence[InputRef] = field(default_factory=tuple)
    record: Path | None = None
    ask: Callable[[PlannedTrace], Answer] | None = None


def check_plan(plan: Plan, bench: BenchFile) -> None:
    """Holds every setting of a plan against the bench's limits; touches no instrument.

    Raises
    ------
    InputError
        naming recipe, limit and value.
    """
    plan = plan.on(bench)
    pulse_V = plan.recipe.model.precondition.gate_pulse
    try:
        if pulse_V is not None:
            check_gate_pulse(pulse_V, bench)
        for request in plan.requests():
            check_limits(request, bench)
    except InputError as error:
        text = str(error)
        raise error if text.startswith(str(plan.recipe.path)) else InputError(text, file=plan.recipe.path) from None


def default_capture_path(plan: Plan, chip: str) -> Path:
    """``measurements/CHIP-RECIPE-TIME.h5`` of the workspace that the recipe lies in, else of the current folder."""
    name = f"{chip}-{plan.recipe.path.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.h5"
    workspace = plan.recipe.path.resolve().parent.parent
    folder = workspace if (workspace / "measurements").is_dir() else Path()
    return folder / "measurements" / name


def run_sweep(
    plan: Plan, bench: BenchFile, *, chip: str, capture: Path, options: SweepOptions | None = None
) -> SweepResult:
    """Runs a plan on a bench and seals the capture.

    Every trace is durable in the spool beside the capture before the next begins; `options.resume` goes on from there.

    Raises
    ------
    InputError
        if the plan breaks a limit, the capture exists, or there is a spool and no `resume` (or the other way round).
    RefusedError
        if the time budget ended it; what was taken stays in the spool.
    InstrumentError
        if an instrument failed; what was taken stays in the spool.
    """
    options = options or SweepOptions()
    check_plan(plan, bench)
    plan, place = plan.on(bench), spool_path(capture)
    if capture.exists() and not (options.resume and place.exists()):
        raise InputError("a capture stands here already and is never overwritten", file=capture)
    if options.resume and not place.exists():
        raise InputError("there is nothing to resume", file=place)
    if place.exists() and not options.resume:
        raise InputError("the spool of an unfinished sweep stands here; go on with --resume", file=place)
    if options.resume and (left := _if_complete(place, plan)):
        return SweepResult(capture, seal(place, capture), left, sum(left.values()))
    notifier = Notifier(bench.notify, bench.path)
    facts = {"chip": chip, "capture": str(capture), "planned": len(plan)}
    try:
        header, statuses, resumed_from = _run(plan, bench, chip, capture, options)
    except _BudgetError as error:
        notifier.tell("budget", {**facts, "detail": str(error)})
        raise
    except BaseException as error:
        notifier.tell_of(error, facts)
        raise
    notifier.tell("finished", {**facts, "statuses": statuses})
    return SweepResult(capture, header, statuses, resumed_from)


class _BudgetError(RefusedError):
    """The time budget is used up."""


def _run(
    plan: Plan, bench: BenchFile, chip: str, capture: Path, options: SweepOptions
) -> tuple[Header, dict[str, int], int]:
    model, place = plan.recipe.model, spool_path(capture)
    history = _history(place, model.recovery.dark_time) if options.resume else None
    messages: list[str] = []
    with open_bench(
        bench, decays=options.decays, history=history, record=options.record, also_record=messages.append
    ) as open_:
        meta = _meta(plan, bench, open_, chip, options)
        spool = Spool.open(place, meta=meta) if options.resume else Spool.create(place, meta, clock=open_.clock)
        with spool:
            resumed_from = len(spool)
            feed = Feed(capture, resumed_from, len(plan))
            feed.write("running")  # the first trace may take a while: a stage must get warm, a dark current come back
            try:
                outcome = _take_all(plan, open_, spool, feed, chip, options, messages)
            except BaseException as error:
                feed.write("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", str(error))
                raise
            if outcome == "budget":
                feed.write("budget")
                raise _BudgetError(
                    f"the time budget is used up after {len(spool)} of {len(plan)} traces, which are safe in {place}; "
                    f"go on with --resume, or seal them with: otters-lab recover {place}"
                )
            spool.finish(iso_utc(open_.clock.utc()))
            statuses = spool.statuses()
            feed.write("sealing")
    header = seal(place, capture)
    feed.close()
    return header, statuses, resumed_from


def _take_all(
    plan: Plan, open_: Bench, spool: Spool, feed: Feed, chip: str, options: SweepOptions, messages: list[str]
) -> str:
    model, resumed_from = plan.recipe.model, len(spool)
    rows = (record.row for record in spool.records())
    recovery, stop_rule = Recovery(model.recovery, open_, rows), StopRule(model.adaptive)
    if model.adaptive is not None:
        for key, trace in spool.traces():
            stop_rule.add(key, trace)

    def seam(why: str) -> None:
        spool.mark_seam(iso_utc(open_.clock.utc()), why)

    if options.resume:
        seam("resumed")
    with progress(f"sweeping {chip}", len(plan)) as advance:
        advance(resumed_from)

        def store(key: TraceKey, trace: Trace) -> None:
            spool.append(key, trace, open_.history.record(), messages)
            messages.clear()

        def count(key: TraceKey, trace: Trace) -> None:
            advance(1)

        if options.ask is not None:
            open_.pause_first(lambda: logger.warning("pausing after this trace; Ctrl-C again stops now"))
        steps = Steps(
            precondition=Precondition(model.precondition, open_),
            recovery=recovery,
            stop_rule=stop_rule,
            done=_known(spool) if resumed_from else lambda key: False,
            seam=seam,
            dark_time_s=model.recovery.dark_time,
            ask=_asking(options.ask, open_, feed, advance) if options.ask else None,
            budget_s=model.budget,
        )
        return run_plan(
            plan.traces(), open_, chip=chip, sinks=(store, recovery.learn, stop_rule.add, count, feed), steps=steps
        )


def _known(spool: Spool) -> Callable[[TraceKey], bool]:
    return lambda key: key in spool


def _asking(
    ask: Callable[[PlannedTrace], Answer], open_: Bench, feed: Feed, bar: Bar
) -> Callable[[PlannedTrace], Answer]:
    """Asks, with the feed told; Ctrl-C at the question ends the run, later ones pause again."""

    def asking(planned: PlannedTrace) -> Answer:
        feed.write("paused")
        open_.pause_first(None)
        with bar.cleared():
            answer = ask(planned)
        open_.pause_first(lambda: logger.warning("pausing after this trace; Ctrl-C again stops now"))
        return answer

    return asking


def _if_complete(place: Path, plan: Plan) -> dict[str, int] | None:
    """Traces by status of a spool whose sweep had ended, or that holds its whole plan: sealing needs no bench."""
    with Spool.open(place, read_only=True) as spool:
        if spool.meta.plan_digest != plan.digest or not (spool.finished or len(spool) >= len(plan)):
            return None
        return spool.statuses()


def _meta(plan: Plan, bench: BenchFile, open_: Bench, chip: str, options: SweepOptions) -> CaptureMeta:
    recipe, model = plan.recipe, plan.recipe.model
    truth = "replayed_from" if open_.origin == "replayed" else "synthetic_truth"
    attributes: dict[str, Any] = {"window_s": model.window, truth: open_.truth}
    if model.adaptive is not None:
        attributes["adaptive"] = WARNING
    recovered = RECOVERY_UNITS if model.recovery.baseline_within is not None else {}
    return CaptureMeta(
        origin=open_.origin,
        chip=chip,
        note=options.note,
        recipe_text=recipe.text,
        bench_text=bench.text,
        instruments=dict(open_.identities),
        parameter_units=plan.parameter_units,
        reading_units={**reading_units(bench), **recovered},
        attributes=attributes,
        plan_digest=plan.digest,
        planned_traces=len(plan),
        inputs=[*options.inputs, *_light_input(bench), *read_inputs(plan.recipe, bench)],
        config={**model.model_dump(exclude={"budget"}), "timing": [asdict(timing) for timing in plan.timings(bench)]},
        seeds={"order": model.order.seed},
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


def read_inputs(recipe: Recipe, bench: BenchFile) -> list[InputRef]:
    """What people wrote and a sweep was run by, as it was read: recipe, bench file, a lab's own drivers."""
    read = {"recipe": recipe.files, "bench": bench.files}
    written = [
        InputRef(role=role, name=path.name, sha256=sha256) for role, files in read.items() for path, sha256 in files
    ]
    own = [entry.driver for entry in bench.instruments.values() if is_own(entry.driver)]
    return written + [reference(own_file(driver, bench.path.parent)[0], "driver") for driver in dict.fromkeys(own)]
