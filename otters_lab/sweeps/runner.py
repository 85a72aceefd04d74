"""The runner: takes a plan's traces on a bench and hands each to the sinks. It knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.instruments.bench import Bench
from otters_lab.sweeps.plan import PlannedTrace

Sink = Callable[[TraceKey, Trace], None]


def run_plan(
    traces: Iterable[PlannedTrace],
    bench: Bench,
    *,
    chip: str,
    sinks: Iterable[Sink],
    done: Collection[tuple[int, int, int]] = (),
    dark_time_s: float,
) -> None:
    """Takes every trace whose place is not in `done`, in order.

    Each trace goes to the sinks in the order given (the spool first: only what it has acknowledged is shown), then
    the device rests in the dark. Whatever a sink or the bench raises ends the run: the bench is made safe by whoever
    opened it.
    """
    sinks = list(sinks)
    for planned in traces:
        if planned.place in done:
            continue
        trace = bench.acquire(planned.request)
        key = TraceKey(chip, planned.device, planned.point, planned.repeat, planned.parameters)
        for sink in sinks:
            sink(key, trace)
        bench.wait(dark_time_s)
