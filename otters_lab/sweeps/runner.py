"""The runner: takes a plan's traces on a bench and hands each to the sinks. It knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.instruments.bench import Bench
from otters_lab.sweeps.adaptive import StopRule
from otters_lab.sweeps.before import Precondition, Recovery
from otters_lab.sweeps.plan import PlannedTrace

Sink = Callable[[TraceKey, Trace], None]
Answer = Literal["continue", "skip", "abort"]


@dataclass(frozen=True)
class Steps:
    """What goes on around a trace.

    `done` says whether a trace is there already; `seam` is told why the sweep stood still; `ask` what to do at a
    pause, given the trace that comes next, None where nobody can be asked; `budget_s` counts from the runner's start.
    """

    precondition: Precondition
    recovery: Recovery
    stop_rule: StopRule
    done: Callable[[TraceKey], bool]
    seam: Callable[[str], None]
    dark_time_s: float
    ask: Callable[[PlannedTrace], Answer] | None = None
    budget_s: float | None = None


def run_plan(
    traces: Iterable[PlannedTrace], bench: Bench, *, chip: str, sinks: Sequence[Sink], steps: Steps
) -> Literal["finished", "budget"]:
    """Takes every trace that is not done, in order; says whether it got to the end or the time budget ended it.

    Each trace goes to the sinks in the order given (the spool first: only what it has acknowledged is shown), then
    the device rests in the dark. Whatever a sink or the bench raises ends the run: the bench is made safe by whoever
    opened it. The first Ctrl-C makes the bench safe after the trace that is being taken, and asks.

    Raises
    ------
    KeyboardInterrupt
        at a second Ctrl-C, any other signal, or an answer to abort.
    """
    began_s = bench.clock.monotonic_s()
    skipped: set[int] = set()
    for planned in traces:
        key = planned.key(chip)
        if planned.point in skipped or steps.done(key):
            continue
        if planned.kind == "decay" and steps.stop_rule.enough(planned.point, planned.device):
            continue
        if steps.budget_s is not None:
            used_s = bench.clock.monotonic_s() - began_s
            if used_s + planned.request.duration_s > steps.budget_s:
                return "budget"
        if bench.pause_wanted and steps.ask is not None:
            bench.make_safe()
            answer = steps.ask(planned)
            if answer == "abort":
                raise KeyboardInterrupt("aborted at a pause")
            _seam(steps, "paused")
            if answer == "skip":
                skipped.add(planned.point)
                continue
        steps.precondition.before(planned)
        waited = steps.recovery.wait(planned)
        trace = bench.acquire(planned.request)
        if waited:
            trace = replace(trace, readings={**trace.readings, **waited})
        for sink in sinks:
            sink(key, trace)
        if trace.status == "failed":
            _seam(steps, "links opened anew after a failed take")
        bench.wait(steps.dark_time_s)
    return "finished"


def _seam(steps: Steps, why: str) -> None:
    steps.seam(why)
    steps.precondition.forget()
