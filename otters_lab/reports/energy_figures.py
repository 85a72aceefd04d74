"""Figures of an energy report: what each network takes, of what, and how a choice moves it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes

from otters_lab.core.quantity import format_quantity
from otters_lab.energy.pricing import NetworkEnergy
from otters_lab.energy.report import EnergyReport
from otters_lab.energy.sweeps import Sweep
from otters_lab.reports.figures import PALETTE, Drawing, joules_axis, panel, plain_log_axis, slug

_TALL = (4.8, 4.0)


def totals_figure(report: EnergyReport) -> Drawing:
    """Known energy of each network, with its interval."""
    with panel(_TALL) as (figure, axes):
        for place, energy in enumerate(report.networks):
            found = report.totals[energy.network.name]
            if found.low is None or found.high is None or found.low <= 0:
                continue
            colour = PALETTE[1] if energy.network.device else PALETTE[0]
            axes.plot([found.low, found.high], [place, place], color=colour, lw=3, alpha=0.5, solid_capstyle="butt")
            axes.plot([energy.known_J], [place], ">" if energy.unknown else "o", color=colour)
        _named(axes, [energy.network.name for energy in report.networks])
        axes.set_xscale("log")
        joules_axis(axes.xaxis)
        axes.set(xlabel="energy of an inference")
    return Drawing(
        "energy-totals",
        figure,
        "Known energy of an inference with its 95 % interval; orange: networks that read their levels from devices. An "
        "arrowhead means at least this much: what the light and the reads take has no published value and is left "
        "out. Intervals overlap even where one network always takes less, since the same constants move both: the "
        "ratios in the table are drawn together.",
    )


def terms_figure(networks: Sequence[NetworkEnergy], most: int = 8) -> Drawing:
    """Of what each network's energy consists; the smallest terms together."""
    shares = {
        name: [
            sum(term.energy_J or 0.0 for term in energy.terms if term.name == name) / (energy.known_J or 1.0)
            for energy in networks
        ]
        for name in dict.fromkeys(term.name for energy in networks for term in energy.terms)
    }
    largest = sorted(shares, key=lambda name: -max(shares[name]))[: most - 1]
    rest = [sum(shares[name][i] for name in shares if name not in largest) for i in range(len(networks))]
    with panel((_TALL[0], 4.6)) as (figure, axes):
        left = np.zeros(len(networks))
        for number, (name, values) in enumerate([*((name, shares[name]) for name in largest), ("all others", rest)]):
            axes.barh(
                range(len(networks)), values, left=left, color=PALETTE[number % len(PALETTE)], label=name, height=0.7
            )
            left = left + values
        _named(axes, [energy.network.name for energy in networks])
        axes.set(xlabel="share of the known energy", xlim=(0, 1))
        figure.legend(loc="outside lower center", fontsize=8, ncols=2)
    return Drawing(
        "energy-terms",
        figure,
        "Of what the known energy consists. A wide block is what is worth improving; where light and reads are not "
        "known they have no block, whatever they take.",
    )


def sweep_figure(sweep: Sweep) -> Drawing:
    """Known energies over one choice."""
    with panel(_TALL) as (figure, axes):
        for number, (name, energies) in enumerate(sweep.energies_J.items()):
            style = "-" if "Otters" in name else ("--", ":")[number // len(PALETTE) % 2]
            axes.plot(sweep.values, energies, color=PALETTE[number % len(PALETTE)], lw=1.5, ls=style, label=name)
        axes.set(
            yscale="log", ylabel="energy of an inference", xlabel=f"{sweep.name} ({sweep.unit})".removesuffix(" ()")
        )
        if sweep.logarithmic:
            axes.set_xscale("log")
        if sweep.unit == "J":
            joules_axis(axes.xaxis)
            axes.set(xlabel=sweep.name)
        elif sweep.logarithmic:
            plain_log_axis(axes.xaxis)
        joules_axis(axes.yaxis)
        figure.legend(loc="outside lower center", fontsize=8, ncols=2)
    return Drawing(
        slug(f"sweep {sweep.name}"),
        figure,
        f"Known energy over {sweep.name}, all else as set. Solid lines are networks with devices. Where two lines "
        "cross the cheaper one changes; parallel lines mean that this choice does not decide between them.",
    )


def layers_figure(energy: NetworkEnergy) -> Drawing:
    """Known energy of each layer."""
    with panel() as (figure, axes):
        names = list(energy.layers)
        values = [sum(terms.values()) for terms in energy.layers.values()]
        axes.bar(range(len(names)), values, color=PALETTE[1], width=0.7)
        axes.set_xticks(range(len(names)), [name.rpartition(".")[2] for name in names])
        axes.yaxis.set_major_formatter(lambda value, _: format_quantity(value, "J", 3))
        axes.set(xlabel="layer", ylabel="known energy")
    return Drawing(
        "energy-layers",
        figure,
        f"Known energy of each layer of {energy.network.name}. Layers of one shape differ by what they fire alone; one "
        "that stands out fires too much.",
    )


def _named(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [fill(name, 26) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
