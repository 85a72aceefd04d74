"""The monitor's figures, as elements of its page. Nothing that files hold is drawn as it is: names are made plain."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from otters_lab.core.protocols import Array
from otters_lab.reports.figures import BAD, INK, PALETTE, every_so, panel, slug, unit_for
from otters_lab.reports.html import svg
from otters_lab.reports.monitor.growth import Growth
from otters_lab.reports.monitor.trainings import Training

_MAX_CURVES = 6
_MAX_POINTS = 400  # of a curve of a training
_SHARES = ("spikes", "noise", "lr_share")  # between 0 and 1
_SCORE = "validation"
_STYLES = re.compile(r' style="([^"]*)"')


def last_traces(growth: Growth) -> str:
    """The newest trace, and the few before it faintly."""
    unit = unit_for(np.concatenate([trace.current_A for trace in growth.last]), "A")
    with panel() as (figure, axes):
        for trace in growth.last[:-1]:
            axes.plot(trace.time_s, trace.current_A * unit.scale, color=PALETTE[6], lw=0.7, alpha=0.6)
        newest = growth.last[-1]
        axes.plot(newest.time_s, newest.current_A * unit.scale, color=PALETTE[0], lw=1.2)
        axes.axvline(0, color=PALETTE[1], lw=0.8, ls="--")
        axes.set(xlabel="time after the light's edge (s)", ylabel=f"current ({unit.name})")
    return _element(figure, "last-trace")


def decays_by_point(growth: Growth) -> str:
    """The decay's mean at each point, with a band of one standard deviation."""
    numbers = sorted(growth.points)
    chosen = [numbers[place] for place in every_so(len(numbers), _MAX_CURVES)]
    decays = {number: growth.points[number].decay_A for number in chosen}
    unit = unit_for(np.concatenate([mean for mean, _ in decays.values()]), "A")
    with panel() as (figure, axes):
        for place, (number, (mean_A, sd_A)) in enumerate(decays.items()):
            mean, sd = mean_A * unit.scale, sd_A * unit.scale
            axes.plot(growth.probes_s, mean, color=PALETTE[place], lw=1.2, label=f"point {number}")
            axes.fill_between(growth.probes_s, mean - sd, mean + sd, color=PALETTE[place], alpha=0.2, lw=0)
        axes.set(xscale="log", xlabel="time after the light's edge (s)", ylabel=f"current ({unit.name})")
        if len(chosen) > 1:
            axes.legend()
    return _element(figure, "decays")


def plateaus(growth: Growth) -> str:
    """The plateau of each trace, as far back as they are kept; those that are not ok as crosses."""
    number = np.array([plateau.number + 1 for plateau in growth.plateaus])
    value = np.array([plateau.value_A for plateau in growth.plateaus])
    point = np.array([plateau.point for plateau in growth.plateaus])
    ok = np.array([plateau.ok for plateau in growth.plateaus], dtype=bool)
    unit = unit_for(value, "A")
    with panel() as (figure, axes):
        for one in np.unique(point):
            here = ok & (point == one)
            axes.plot(number[here], value[here] * unit.scale, ".", ms=4, color=PALETTE[int(one) % len(PALETTE)])
        axes.plot(number[~ok], value[~ok] * unit.scale, "x", ms=5, color=BAD)
        axes.set(xlabel="trace", ylabel=f"lit plateau ({unit.name})")
    return _element(figure, "plateaus")


def losses(training: Training) -> str:
    """The losses by step, stage after stage."""
    names = [name for name in training.names if name != _SCORE and name not in _SHARES]
    return _curves(training, names, "loss", log=True)


def scores(training: Training) -> str:
    """The validation scores by step."""
    return _curves(training, [_SCORE], "validation score", marker="o")


def shares(training: Training) -> str:
    """What lies between 0 and 1: the learning rate's share, the noise's, how many neurons fire."""
    return _curves(training, [name for name in training.names if name in _SHARES], "share")


def _curves(training: Training, names: Sequence[str], label: str, *, log: bool = False, marker: str = "") -> str:
    firsts = np.cumsum([0, *(stage.taken for stage in training.stages)])
    drawn: list[Array] = []
    with panel() as (figure, axes):
        for place, name in enumerate(names[:_MAX_CURVES]):
            steps, values = _joined([stage.curves.get(name, ([], [])) for stage in training.stages], firsts)
            axes.plot(steps, values, color=PALETTE[place], lw=1, marker=marker, ms=4, label=plain(name))
            drawn.append(values)
        for first in firsts[1:-1]:
            axes.axvline(first - 0.5, color=INK, lw=0.8, ls=":")
        if log and any((values > 0).any() for values in drawn):
            axes.set_yscale("log", nonpositive="mask")
        axes.set(xlabel="step", ylabel=label)
        if len(drawn) > 1:
            axes.legend()
    return _element(figure, slug(label))


def _joined(curves: Sequence[tuple[list[int], list[float]]], firsts: Array) -> tuple[Array, Array]:
    """Curves of one stage after the other, thinned; each begins at its place in `firsts`, behind a gap."""
    steps, values = [], []
    every = max(1, -(-sum(len(curve) for _, curve in curves) // _MAX_POINTS))
    for (at, curve), first in zip(curves, firsts, strict=False):
        steps.append(np.array([*at[::every], 0.0]) + first)
        values.append(np.array([*curve[::every], np.nan]))
    return np.concatenate(steps), np.concatenate(values)


def plain(text: str) -> str:
    """Text that matplotlib draws as it stands: no mathematics, no hidden entry of a legend, no length without end."""
    return text.replace("$", r"\$").lstrip("_")[:40] or "?"


def _element(figure: Figure, name: str) -> str:
    """The figure as an element that a page without inline styles shows: each property as an attribute."""
    return _STYLES.sub(lambda found: _attributes(found[1]), svg(figure, name))


def _attributes(style: str) -> str:
    pairs = (pair.split(":", 1) for pair in style.split(";") if ":" in pair)
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs if name.strip() != "font-family")
