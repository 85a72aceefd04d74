"""What the times of a take are worth: computed from the bench file and the registry, before anything is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.core.quantity import format_quantity
from otters_lab.instruments.acquire import TraceRequest, edge_uncertainty_s, light_edge_s, meter_settings
from otters_lab.instruments.benchfile import BenchFile

# The published fit in the form of `virtual.law.Decay`: beta and c = 1/I0 (paper.md, section 2); T = 15 levels above 0.
_BETA, _C, _T = 0.495, 1 / 110.989, 15


@dataclass(frozen=True)
class Timing:
    """Times of one take, in seconds; None is unknown, never 0.

    shortest_interval_s : the meter can begin a reading this often at this aperture, settled or not.
    settling_s : time in which a reading settles on the range after a step of the current, as the meter's manual or
        data sheet states it; None where none was found.
    shortest_settled_s : the meter can begin a reading this often and each is settled, whatever the current did before.
    timestamp_resolution_s, timestamp_jitter_s : of the meter's own timestamps, as the registry states them.
    sync, edge_uncertainty_s : what begins the light, and how well its falling edge is known on the meter's axis; a
        meter that the light triggers knows it well, whatever begins the light.
    first_sample_s : middle of the first aperture that lies after the edge; None if there is none.
    levels_before_first : the k of 1..T whose level time lies before it, by the published law on this window: the decay
        must be extrapolated to them. None without a window or a first sample.
    levels_within_uncertainty : the k whose level time is smaller than the edge's uncertainty.
    """

    interval_s: float
    aperture_s: float
    range_A: float
    shortest_interval_s: float
    settling_s: float | None
    shortest_settled_s: float | None
    timestamp_resolution_s: float | None
    timestamp_jitter_s: float | None
    sync: Literal["trigger", "software"]
    edge_uncertainty_s: float
    first_sample_s: float | None
    levels_before_first: list[int] | None
    levels_within_uncertainty: list[int] | None

    def warnings(self) -> list[str]:
        """What a reader of the capture ought to know beforehand."""
        found = []
        if self.settling_s is not None and self.interval_s < self.settling_s * (1 - 1e-9):
            interval, settling = format_quantity(self.interval_s, "s"), format_quantity(self.settling_s, "s")
            place = f"the {format_quantity(self.range_A, 'A')} range"
            found.append(f"the interval of {interval} is shorter than the {settling} in which {place} settles")
        if self.levels_before_first:
            found.append(f"{_levels(self.levels_before_first)} before the first sample after the light's edge")
        if self.levels_within_uncertainty:
            found.append(f"{_levels(self.levels_within_uncertainty)} within the uncertainty of the light's edge")
        return found


def timing(request: TraceRequest, bench: BenchFile, window_s: float | None = None) -> Timing:
    """The times of a take on a bench; `window_s` is W, in which the levels 0..T lie."""
    meter, light = bench.meter.known, bench.light.known
    aperture_s = request.aperture_s * bench.meter.filter
    shortest_s, settling_s = max(meter.interval_s[0], aperture_s + meter.dead_s), meter.settling_of(request.range_A)
    first_s = _first_sample_s(request, bench, aperture_s)
    edge_s = edge_uncertainty_s(bench)
    before = within = None
    if window_s is not None:
        times_s = level_times_s(window_s)
        within = [k for k in range(1, _T + 1) if times_s[k] < edge_s]
        before = None if first_s is None else [k for k in range(1, _T + 1) if times_s[k] < first_s]
    return Timing(
        interval_s=request.interval_s,
        aperture_s=aperture_s,
        range_A=request.range_A,
        shortest_interval_s=shortest_s,
        settling_s=settling_s,
        shortest_settled_s=None if settling_s is None else max(shortest_s, settling_s),
        timestamp_resolution_s=meter.timestamp_resolution_s,
        timestamp_jitter_s=meter.timestamp_jitter_s,
        sync=light.sync,
        edge_uncertainty_s=edge_s,
        first_sample_s=first_s,
        levels_before_first=before,
        levels_within_uncertainty=within,
    )


def level_times_s(window_s: float) -> Array:
    """t_k (s), k = 0..15, at which the published law stretched to the window takes the values (15 - k)/15.

    t_k = W*[ln(1 - c*k/T)/ln(1 - c)]**(1/beta). A calibrated chip has level times of its own.
    """
    k = np.arange(_T + 1)
    return np.asarray(window_s * (np.log1p(-_C * k / _T) / math.log1p(-_C)) ** (1 / _BETA))


def _first_sample_s(request: TraceRequest, bench: BenchFile, aperture_s: float) -> float | None:
    """Middle of the first aperture that begins at the edge or later, 0 at the edge."""
    # A scope's record begins before its trigger, and its times are the middles of its apertures.
    begin_s = -meter_settings(request, bench).before_s - (aperture_s / 2 if bench.meter.known.timebase else 0.0)
    edge_s = light_edge_s(request, bench) - bench.sync.meter_latency - begin_s
    index = max(0, math.ceil(edge_s / request.interval_s - 1e-9))
    if index >= request.n_samples:
        return None
    return index * request.interval_s - edge_s + aperture_s / 2


def _levels(numbers: list[int]) -> str:
    """ "level 1 lies", "levels 1 to 3 lie": the numbers are 1..n, since level times rise."""
    return f"level {numbers[0]} lies" if len(numbers) == 1 else f"levels {numbers[0]} to {numbers[-1]} lie"
