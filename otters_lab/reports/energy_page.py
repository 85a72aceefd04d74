"""An energy report as one self-contained page: no script, nothing fetched, light and dark by the reader's system."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from otters_lab.core.files import write_atomically
from otters_lab.core.quantity import format_quantity
from otters_lab.energy.pricing import Interval, NetworkEnergy
from otters_lab.energy.report import CONSTANT_COLUMNS, EnergyReport, break_even_sentence, constant_row
from otters_lab.energy.sweeps import Sweep, sentence
from otters_lab.reports.html import PAGE_STYLE, page, svg, table


def write_energy_page(report: EnergyReport, found: Sequence[Sweep], title: str, path: Path) -> Path:
    """Writes the report with its sweeps; `title` says of what."""
    write_atomically(path, energy_page(report, found, title).encode())
    return path


def energy_page(report: EnergyReport, found: Sequence[Sweep], title: str) -> str:
    """The page as text."""
    main = report.main
    hops = "on a mesh" if report.settings.hops == "mesh" else f"{report.settings.hops:g} hops a message"
    parts = [
        f"<h1>Energy of an inference: {escape(title)}</h1>",
        f"<p>Preset {escape(report.preset)}, spikes as {report.settings.encoding} messages, {hops}. Intervals: 95 % "
        "over the constants' ranges, log-uniform and independent, the same draws for all networks.</p>",
        "<h2>What the device may cost</h2>",
        "<p>A level read, with its share of the light pulses, may cost this much before the network of devices takes "
        "as much as the baseline. Negative: it takes more even with a free device.</p>",
        "<ul>"
        + "".join(
            f"<li>{escape(break_even_sentence(b))}</li>" for b in report.break_even if b.network == main.network.name
        )
        + "</ul>",
        table(
            ("network", "baseline", "spikes as", "a level read may cost", "from", "to", "or a pulse, reading free"),
            (
                (b.network, b.baseline, b.encoding, *_cells(b.per_read_J), _joules(b.per_pulse_J.value))
                for b in report.break_even
            ),
        ),
        "<h2>Networks</h2>",
        svg(_totals_figure(report)),
        table(
            ("network", "known energy", "from", "to", f"over {main.network.name}", "from", "to", "left out", "source"),
            (_network_row(report, energy) for energy in report.networks),
        ),
        "<h2>Terms</h2>",
        svg(_terms_figure(report.networks)),
        *(_terms(energy) for energy in report.networks),
        f"<h2>Layers of {escape(main.network.name)}</h2>",
        _layers(main),
        "<h2>Sweeps</h2>",
        "<p>Known energy; where the device's constants are unknown, that of a free device.</p>",
        *(_sweep_part(sweep) for sweep in found),
        "<h2>Latency and area</h2>",
        _hardware(report),
        "<h2>Constants</h2>",
        table(CONSTANT_COLUMNS, (constant_row(constant) for constant in report.constants.values())),
    ]
    return page(f"{title}: energy", parts)


def _joules(value: float | None) -> str:
    return format_quantity(value, "J", 3)


def _cells(found: Interval) -> tuple[str, str, str]:
    return _joules(found.value), _joules(found.low), _joules(found.high)


def _network_row(report: EnergyReport, energy: NetworkEnergy) -> tuple[str, ...]:
    ratio = report.ratios.get(energy.network.name)
    ratios = ("", "", "") if ratio is None or ratio.value is None else (
        f"{ratio.value:.3g}", f"{ratio.low:.3g}", f"{ratio.high:.3g}"
    )  # fmt: skip
    left = ", ".join(energy.unknown)
    return (energy.network.name, *_cells(report.totals[energy.network.name]), *ratios, left, energy.network.source)


def _terms(energy: NetworkEnergy) -> str:
    rows = [
        (term.name, f"{term.amount:.4g}", " x ".join(f.name for f in term.factors), _joules(term.energy_J),
         f"{term.energy_J / energy.known_J:.1%}" if term.energy_J is not None and energy.known_J else "")
        for term in energy.terms
    ]  # fmt: skip
    rows.append(("sum of the known terms" if energy.unknown else "sum", "", "", _joules(energy.known_J), ""))
    summary = f"<summary>{escape(energy.network.name)}: {_joules(energy.known_J)}</summary>"
    return f"<details>{summary}{table(('term', 'amount', 'each', 'energy', 'share'), rows)}</details>"


def _layers(energy: NetworkEnergy) -> str:
    names = list(dict.fromkeys(name for by_term in energy.layers.values() for name in by_term))
    rows = (
        (layer, *(_joules(by_term.get(name, 0.0)) for name in names), _joules(sum(by_term.values())))
        for layer, by_term in energy.layers.items()
    )
    return table(("layer", *names, "sum"), rows)


def _sweep_part(sweep: Sweep) -> str:
    first = sweep.crossings[0].network
    lines = [escape(sentence(sweep, crossing)) for crossing in sweep.crossings if crossing.network == first]
    return svg(_sweep_figure(sweep)) + "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _hardware(report: EnergyReport) -> str:
    time = report.latency
    readout = "" if time.readout_known else " (readout left out: no time of a conversion is given)"
    blocks = (
        f"<p>A block takes {format_quantity(time.block_s, 's')}, the network {format_quantity(time.inference_s, 's')}: "
        f"{time.stages} windows one after the other, {time.passes} passes, {format_quantity(time.stage_s, 's')} each"
        f"{readout}.</p>"
    )
    rows = (
        (name, f"{a.devices:.4g}", f"{a.converters:.4g}", f"{a.comparators:.4g}",
         f"{a.devices:.4g} times the pitch squared" if a.device_m2 is None else f"{a.device_m2 * 1e6:.4g} mm^2")
        for name, a in report.areas.items()
    )  # fmt: skip
    return blocks + table(("network", "devices", "converters", "comparators", "area of the devices"), rows)


def _totals_figure(report: EnergyReport) -> Figure:
    with rc_context(PAGE_STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots()
        for place, energy in enumerate(reversed(report.networks)):
            found = report.totals[energy.network.name]
            if found.low is None or found.high is None or found.low <= 0:
                continue
            axes.plot([found.low, found.high], [place, place], color="C0", lw=3, alpha=0.5)
            axes.plot([energy.known_J], [place], ">" if energy.unknown else "o", color="C0")
        axes.set_yticks(range(len(report.networks)), [e.network.name for e in reversed(report.networks)])
        axes.set(xscale="log", xlabel="energy of an inference (J); an arrow: at least this, the device is not in it")
    return figure


def _terms_figure(networks: Sequence[NetworkEnergy]) -> Figure:
    names = list(dict.fromkeys(term.name for energy in networks for term in energy.terms))
    with rc_context(PAGE_STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.subplots()
        left = [0.0] * len(networks)
        for number, name in enumerate(names):
            shares = [sum(t.energy_J or 0.0 for t in e.terms if t.name == name) / (e.known_J or 1.0) for e in networks]
            hatch = ("", "//", "..")[number // 10]
            axes.barh(range(len(networks)), shares, left=left, color=f"C{number % 10}", hatch=hatch, label=name)
            left = [a + b for a, b in zip(left, shares, strict=True)]
        axes.set_yticks(range(len(networks)), [e.network.name for e in networks])
        axes.invert_yaxis()
        axes.set(xlabel="share of the known energy", xlim=(0, 1))
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _sweep_figure(sweep: Sweep) -> Figure:
    with rc_context(PAGE_STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots()
        for number, (name, energies) in enumerate(sweep.energies_J.items()):
            axes.plot(
                sweep.values, energies, color=f"C{number}", lw=1.5, ls="-" if "Otters" in name else "--", label=name
            )
        scale = "log" if sweep.logarithmic else "linear"
        axes.set(
            xscale=scale,
            yscale="log",
            xlabel=f"{sweep.name} ({sweep.unit})" if sweep.unit else sweep.name,
            ylabel="energy (J)",
        )
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
