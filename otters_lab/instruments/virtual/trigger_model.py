"""The trigger model of a Keithley 2450, played through in one go: blocks in, times out.

Blocks and events as in the Model 2450 Reference Manual, 2450-901-01 Rev. B, pages 6-124 to 6-173, for the blocks that a
timed acquisition needs. Blocks take no time of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_STEPS = 2_000_000


@dataclass(frozen=True)
class Block:
    """One block: its kind and its parameters after the block number."""

    kind: str  # "clear", "notify", "wait", "measure", "count", "delay", "source"
    value: float = 0.0  # notify: number; count: target; delay: seconds; source: 0 or 1
    event: str = ""  # wait: "TIM1" ...
    to: int = 0  # count: block to branch to


@dataclass
class Timer:
    """A trigger timer. `count` 0 runs for ever; `at_start` gives an event at the start as well."""

    delay_s: float = 10e-6
    count: int = 1
    at_start: bool = False
    stimulus: str = "NONE"
    enabled: bool = False


@dataclass
class Timeline:
    """What happened, in seconds after INIT. `readings_s` [sample] are the starts of the apertures."""

    readings_s: list[float] = field(default_factory=list)
    notified: list[tuple[float, str]] = field(default_factory=list)
    cleared: bool = False
    end_s: float = 0.0
    last_block: int = 0
    failed: bool = False


@dataclass
class _RunningTimer:
    timer: Timer
    started_s: float = math.inf
    taken: int = 0  # events that a wait block has consumed or that came before one it consumed

    def start(self, now_s: float) -> None:
        self.started_s, self.taken = now_s, 0

    def next_event_s(self, now_s: float) -> float:
        """Consumes the next event: a missed one at once (the detector latches one), else the coming one."""
        if not math.isfinite(self.started_s):
            return math.inf
        first = 0 if self.timer.at_start else 1
        last = math.inf if self.timer.count == 0 else self.timer.count
        # A tick's worth of tolerance: sums of intervals are not exact in floating point.
        passed = math.floor((now_s - self.started_s) / self.timer.delay_s + 1e-9) - first + 1
        passed = int(min(passed, last + 1 - first))
        if passed > self.taken:
            self.taken = passed
            return now_s
        number = first + self.taken
        if number > last:
            return math.inf
        self.taken += 1
        return self.started_s + number * self.timer.delay_s


def play(blocks: Mapping[int, Block], timers: Mapping[int, Timer], aperture_s: float) -> Timeline:
    """Runs the model from block 1 to its end.

    `failed` is set for a gap in the blocks, a branch to nowhere, an event that never comes, or a model without end.
    """
    line = Timeline()
    running = {f"TIM{number}": _RunningTimer(timer) for number, timer in timers.items() if timer.enabled}
    counters: dict[int, int] = {}
    now_s, position, steps = 0.0, 1, 0
    end = max(blocks, default=0)
    while position <= end:
        steps += 1
        block = blocks.get(position)
        if block is None or steps > MAX_STEPS:
            line.failed = True
            break
        line.last_block = position
        position += 1
        if block.kind == "clear":
            line.readings_s.clear()
            line.cleared = True
        elif block.kind == "notify":
            event = f"NOT{block.value:.0f}"
            line.notified.append((now_s, event))
            for timer in running.values():
                if timer.timer.stimulus == event:
                    timer.start(now_s)
        elif block.kind == "wait":
            event_s = running[block.event].next_event_s(now_s) if block.event in running else math.inf
            if not math.isfinite(event_s):
                line.failed = True
                break
            now_s = max(now_s, event_s)
        elif block.kind == "measure":
            line.readings_s.append(now_s)
            now_s += aperture_s
        elif block.kind == "delay":
            now_s += block.value
        elif block.kind == "count":
            counters[line.last_block] = counters.get(line.last_block, 0) + 1
            if counters[line.last_block] < block.value:
                position = block.to
            else:
                counters[line.last_block] = 0
    line.end_s = now_s
    return line
