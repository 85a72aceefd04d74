"""Figures of a simulated network: which neuron fired when, and how membranes met the staircase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from otters_lab.core.errors import RefusedError
from otters_lab.reports.figures import STYLE, save
from otters_lab.ttfs.spikes import MembraneTrace, Record, SpikeTrain, Ticks

_MOST_PANELS = 4
# Words of a site's name that every site has, or that say nothing to a reader.
_FILLER = {"code", "neurons", "ttfs", "encoder", "transformer", "layer", "layers", "dense", "self"}


def raster_plot(record: Record, path: Path, *, example: int = 0, token: int = 0) -> Path:
    """Draws the spikes that one token of one example fires, a window a site, a colour a layer; writes the figure.

    A neuron's number is its line's in the synapse array that it feeds; the heads of attention stand one upon another.

    Raises
    ------
    RefusedError
        if the record holds no spike trains.
    """
    if not record.spikes:
        raise RefusedError("this record holds no spike trains to draw")
    layers = sorted({_layer(train.site) for train in record.spikes})
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        axes = figure.subplots()
        for train in record.spikes:
            colour = f"C{layers.index(_layer(train.site))}"
            ticks = _one_token(train, example, token)
            axes.axvspan(train.window, train.window + 1, color=colour, alpha=0.07 if train.window % 2 else 0.02, lw=0)
            for rail, row in zip(train.rails, ticks, strict=True):
                fired = np.flatnonzero(row < train.top)
                when = train.window + (row[fired] + 0.5) / (train.top + 1)
                axes.plot(when, fired, **_mark(rail, colour))
            # A window's lines end where its array ends.
            axes.plot([train.window, train.window + 1], [len(ticks[0]) - 0.5] * 2, color=colour, lw=0.8, alpha=0.6)
        windows = [train.window for train in record.spikes]
        axes.set(xlabel="time (windows)", ylabel="neuron", xlim=(min(windows), max(windows) + 1), ylim=(-1, None))
        top = axes.secondary_xaxis("top")
        top.set_xticks([w + 0.5 for w in windows], [_told(train) for train in record.spikes])
        top.tick_params(axis="x", length=0, labelrotation=40)
        for label in top.get_xticklabels():
            label.set_horizontalalignment("left")
            label.set_rotation_mode("anchor")
        handles = [Line2D([], [], color=f"C{i}", lw=4, label=f"layer {name}") for i, name in enumerate(layers)]
        handles += [Line2D([], [], label=f"{word} rail", **_mark(rail, "0.3")) for rail, word in _WORDS]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        share = record.total() / max(1, sum(record.neurons.values()))
        axes.set_title(f"example {example}, token {token}; {share:.0%} of all neurons of the run fire", loc="left")
        return save(figure, path)


def membrane_plot(record: Record, path: Path) -> Path:
    """Draws watched neurons, up to four, in their input's window and their own, against the staircase; writes it.

    Raises
    ------
    RefusedError
        if no neuron was watched.
    """
    if not record.membranes:
        raise RefusedError("this record watches no membranes: say how many in `watch`")
    chosen = _varied(record.membranes)
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 2.1 * len(chosen) + 0.6), layout="constrained")
        panels = figure.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0]
        for axes, trace in zip(panels, chosen, strict=True):
            _draw_membrane(axes, trace)
        panels[-1].set_xlabel("time (windows after the input's begins)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), frameon=False)
        return save(figure, path)


def _draw_membrane(axes: Axes, trace: MembraneTrace) -> None:
    """V in the input's window; then each rail's charge, V or -V with its pre-charge, against the falling staircase."""
    charging = np.array(trace.charging)
    ticks = np.arange(len(charging) + 1) / len(charging)
    axes.stairs(charging, ticks, baseline=None, color="C0", lw=1.4, label="membrane V")
    steps = np.array([*trace.staircase, np.nan])
    own = 1 + np.arange(len(steps) + 1) / len(steps)
    axes.stairs(steps, own, baseline=None, color="k", lw=1.2, label=r"staircase $\theta(t_k)$")
    for rail, word, colour in (
        (+1, r"positive rail, $V + \alpha/2$", "C1"),
        (-1, r"negative rail, $-V + \alpha/2$", "C2"),
    ):
        if rail not in trace.rails:
            continue
        held = rail * trace.potential + trace.precharge
        fires = rail == trace.rail
        # A rail that has fired is out for the rest of its window.
        end = 1 + trace.tick / len(steps) if fires else 2.0
        axes.plot([1, end], [held, held], color=colour, lw=1.4, ls="-" if rail > 0 else "--", label=word)
        if fires:
            axes.plot(end, held, "o", color=colour, ms=6, zorder=3)
    axes.axvline(1, color="0.5", lw=0.8)
    level = trace.rail * (len(trace.staircase) - trace.tick)
    said = f"fires at $t_{{{trace.tick}}}$: level {level}".replace("-", "\u2212") if trace.rail else "silent: level 0"
    axes.set_title(f"{_short(trace.layer)}, layer {_layer(trace.layer)}, neuron {trace.neuron}: {said}", loc="left")
    axes.set(ylabel="V", xlim=(0, 2))


def _varied(traces: tuple[MembraneTrace, ...]) -> list[MembraneTrace]:
    """Four of different fates where there are: a positive spike, a negative, silence, then by time."""
    rest, chosen = list(traces), []
    for rail in (+1, -1, 0):
        found = next((trace for trace in rest if trace.rail == rail), None)
        if found is not None:
            chosen.append(found)
            rest.remove(found)
    return sorted([*chosen, *rest][:_MOST_PANELS], key=lambda trace: (trace.window, trace.neuron))


_WORDS = ((+1, "positive"), (-1, "negative"))


def _mark(rail: int, colour: str) -> dict[str, Any]:
    filled: dict[str, Any] = (
        {"marker": "|", "ms": 5, "mew": 1.4} if rail > 0 else {"marker": "o", "ms": 2.4, "mew": 0.6, "mfc": "none"}
    )
    return {"ls": "", "color": colour, **filled}


def _one_token(train: SpikeTrain, example: int, token: int) -> Ticks:
    """The ticks [rails, lines] of one token; arrays [B, ..., tokens, lines] have it before their lines."""
    ticks = train.ticks[:, min(example, train.ticks.shape[1] - 1)]
    if ticks.ndim > 2:
        ticks = ticks[..., min(token, ticks.shape[-2] - 1), :]
    return ticks.reshape(len(train.rails), -1)


def _layer(site: str) -> int:
    """The number in a site's name; 0 where it has none."""
    return next((int(part) for part in site.split(".") if part.isdigit()), 0)


def _told(train: SpikeTrain) -> str:
    """What an array is: the neurons behind a projection, or the lines into a linear layer, or else its own name."""
    if train.fired_from == "membrane":
        return f"{_short(train.site)} fires"
    return f"into {_short(train.site)}" if train.site.endswith(".code") else _short(train.site)


def _short(site: str) -> str:
    """What tells a site from the others of its layer."""
    parts = site.split(".")
    place = next((i for i, part in enumerate(parts) if part.isdigit()), -1)
    words = [part for part in parts[place + 1 :] if part not in _FILLER]
    return " ".join(words)
