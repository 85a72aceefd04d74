"""Finds the light pulses in a recording that was not timed by an instrument: only the light column tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from otters_lab.core.protocols import Array


@dataclass(frozen=True)
class LightPulse:
    """One falling edge of the light, and the samples around it.

    The light fell somewhere between the last lit and the first dark sample. Nothing says where, so the edge stands in
    the middle of the gap: of all places that one has the smallest largest error, half the gap, and it is not biased
    to either side, as the first dark sample (late) or the last lit one (early) would be.
    """

    edge_s: float
    edge_uncertainty_s: float
    width_s: float  # NaN if the light was on when the recording began
    begin: int  # first sample of the trace: the first dark one after the pulse before, or the recording's first
    end: int  # one past its last: the light's next rise, or the recording's end
    first_lit: int
    first_dark: int


def default_threshold(light: Array) -> float:
    """A tenth of the largest reading: pulses of a drive series differ, but seldom tenfold."""
    return 0.1 * float(np.max(np.abs(light))) if len(light) else math.nan


def find_pulses(time_s: Array, light: Array, threshold: float) -> list[LightPulse]:
    """The pulses of a recording: times [sample], light [sample] in any unit, lit where |light| > threshold.

    A pulse that still shines at the end has no decay and is not among them.
    """
    lit = np.abs(light) > threshold
    rises = np.flatnonzero(~lit[:-1] & lit[1:]) + 1
    falls = np.flatnonzero(lit[:-1] & ~lit[1:]) + 1
    found = []
    begin = 0
    for fall in falls.tolist():
        before, after = rises[rises < fall].tolist(), rises[rises > fall].tolist()
        edge_s = _middle(time_s, fall)
        known = len(before) > 0  # else the light was on from the first sample
        found.append(
            LightPulse(
                edge_s=edge_s,
                edge_uncertainty_s=float(time_s[fall] - time_s[fall - 1]) / 2,
                width_s=edge_s - _middle(time_s, before[-1]) if known else math.nan,
                begin=begin,
                end=after[0] if after else len(time_s),
                first_lit=before[-1] if known else 0,
                first_dark=fall,
            )
        )
        begin = fall
    return found


def pulses_at(time_s: Array, edges_s: Sequence[float], width_s: float, uncertainty_s: float) -> list[LightPulse]:
    """The pulses of a recording without a light column, whose falling edges somebody knows: times [sample] rise, and
    so do `edges_s`. `width_s` is the same for all; with several edges it must be known.
    """
    found = []
    begin = 0
    for number, edge_s in enumerate(edges_s):
        first_dark = int(np.searchsorted(time_s, edge_s, side="right"))
        after = edges_s[number + 1] - width_s if number + 1 < len(edges_s) else math.inf
        found.append(
            LightPulse(
                edge_s=edge_s,
                edge_uncertainty_s=uncertainty_s,
                width_s=width_s,
                begin=begin,
                end=int(np.searchsorted(time_s, after)),
                first_lit=0 if math.isnan(width_s) else int(np.searchsorted(time_s, edge_s - width_s)),
                first_dark=first_dark,
            )
        )
        begin = first_dark
    return found


def _middle(time_s: Array, index: int) -> float:
    return float(time_s[index - 1] + time_s[index]) / 2
