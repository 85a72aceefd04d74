"""The monitor's figures, as elements of its page. Nothing that files hold is drawn as it is: names are made plain."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from otters_lab.core.protocols import Array
from otters_lab.reports.figures import slug
from otters_lab.reports.html import PAGE_STYLE, svg
from otters_lab.reports.monitor.growth import Growth
from otters_lab.reports.monitor.trainings import Training

_SIZE = (5.2, 3.0)  # inches: letters stay legible on a phone
_MAX_CURVES = 6
_MAX_POINTS = 400  # of a curve of a training
_SHARES = ("spikes", "noise", "lr_share")  # between 0 and 1
_SCORE = "validation"
_STYLES = re.compile(r' style="([^"]*)"')


def last_traces(growth: Growth) -> str:
    """The newest trace, and the few before it faintly."""
    factor, unit = _scale(trace.current_A for trace in growth.last)
    with rc_context(PAGE_STYLE):
        figure, axes = _figure()
        for trace in growth.last[:-1]:
            axes.plot(trace.time_s, trace.current_A * factor, color="C7", lw=0.7, alpha=0.6)
        newest = growth.last[-1]
        axes.plot(newest.time_s, newest.current_A * factor, color="C0", lw=1.2)
        axes.axvline(0, color="C1", lw=0.8, ls="--")
        axes.set(xlabel="time after the light's edge (s)", ylabel=f"current ({unit})")
    return _element(figure, "last-trace")


def decays_by_point(growth: Growth) -> str:
    """The decay's mean at each point, with a band of one standard deviation."""
    chosen = _few(sorted(growth.points), _MAX_CURVES)
    decays = {number: growth.points[number].decay_A for number in chosen}
    factor, unit = _scale(mean for mean, _ in decays.values())
    with rc_context(PAGE_STYLE):
        figure, axes = _figure()
        for colour, (number, (mean_A, sd_A)) in enumerate(decays.items()):
            mean, sd = mean_A * factor, sd_A * factor
            axes.plot(growth.probes_s, mean, color=f"C{colour}", lw=1.2, label=f"point {number}")
            axes.fill_between(growth.probes_s, mean - sd, mean + sd, color=f"C{colour}", alpha=0.2, lw=0)
        axes.set(xscale="log", xlabel="time after the light's edge (s)", ylabel=f"current ({unit})")
        if len(chosen) > 1:
            axes.legend(fontsize=8, framealpha=0)
    return _element(figure, "decays")


def plateaus(growth: Growth) -> str:
    """The plateau of each trace, as far back as they are kept; those that are not ok as crosses."""
    number = np.array([plateau.number + 1 for plateau in growth.plateaus])
    value = np.array([plateau.value_A for plateau in growth.plateaus])
    point = np.array([plateau.point for plateau in growth.plateaus])
    ok = np.array([plateau.ok for plateau in growth.plateaus], dtype=bool)
    factor, unit = _scale([value])
    with rc_context(PAGE_STYLE):
        figure, axes = _figure()
        for one in np.unique(point):
            here = ok & (point == one)
            axes.plot(number[here], value[here] * factor, ".", ms=4, color=f"C{int(one) % 10}")
        axes.plot(number[~ok], value[~ok] * factor, "x", ms=5, color="C3")
        axes.set(xlabel="trace", ylabel=f"lit plateau ({unit})")
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
    with rc_context(PAGE_STYLE):
        figure, axes = _figure()
        for colour, name in enumerate(names[:_MAX_CURVES]):
            steps, values = _joined([stage.curves.get(name, ([], [])) for stage in training.stages], firsts)
            axes.plot(steps, values, color=f"C{colour}", lw=1, marker=marker, ms=4, label=plain(name))
            drawn.append(values)
        for first in firsts[1:-1]:
            axes.axvline(first - 0.5, color="C7", lw=0.8, ls=":")
        if log and any((values > 0).any() for values in drawn):
            axes.set_yscale("log", nonpositive="mask")
        axes.set(xlabel="step", ylabel=label)
        if len(drawn) > 1:
            axes.legend(fontsize=8, framealpha=0)
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


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.subplots()


def _scale(currents_A: Iterable[Array]) -> tuple[float, str]:
    """The factor that brings the largest of some currents between 1 and 1000, and the unit it is then in."""
    largest = max((float(np.max(np.abs(c[np.isfinite(c)]), initial=0.0)) for c in currents_A), default=0.0)
    power = 0 if largest == 0 else min(0, max(-15, 3 * math.floor(math.log10(largest) / 3)))
    prefix = {0: "", -3: "m", -6: "u", -9: "n", -12: "p", -15: "f"}[power]
    return 10.0**-power, f"{prefix}A"


def _few(numbers: Sequence[int], many: int) -> list[int]:
    """At most so many of them, evenly."""
    if len(numbers) <= many:
        return list(numbers)
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, many).astype(int)]


def _element(figure: Figure, name: str) -> str:
    """The figure as an element that a page without inline styles shows: each property as an attribute."""
    return _STYLES.sub(lambda found: _attributes(found[1]), svg(figure, name))


def _attributes(style: str) -> str:
    pairs = (pair.split(":", 1) for pair in style.split(";") if ":" in pair)
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs if name.strip() != "font-family")
