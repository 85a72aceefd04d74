"""An energy report as one self-contained page: no script, nothing fetched, light and dark by the reader's system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otters_lab.core.quantity import format_quantity
from otters_lab.energy.pricing import Interval, NetworkEnergy
from otters_lab.energy.report import CONSTANT_COLUMNS, BreakEven, EnergyReport, break_even_sentence, constant_row
from otters_lab.energy.sweeps import Sweep, sentence
from otters_lab.reports.energy_figures import layers_figure, sweep_figure, terms_figure, totals_figure
from otters_lab.reports.html import Verdict, bullets, folded, paragraph, table
from otters_lab.reports.report import Part, Report, write_report


def write_energy_page(report: EnergyReport, found: Sequence[Sweep], title: str, path: Path) -> Path:
    """Writes the report with its sweeps; `title` says of what."""
    return write_report(energy_report_page(report, found, title), path).page


def energy_report_page(report: EnergyReport, found: Sequence[Sweep], title: str) -> Report:
    """The page: what the device may cost, networks side by side, terms, layers, sweeps, hardware, constants."""
    main = report.main
    hops = "on a mesh" if report.settings.hops == "mesh" else f"{report.settings.hops:g} hops a message"
    about = f"preset {report.preset}, spikes as {report.settings.encoding} messages, {hops}"
    intervals = (
        "Intervals: 95 % over the constants' ranges, log-uniform and independent, the same draws for all networks."
    )
    columns = ("network", "known energy", "from", "to", "over the first", "from", "to", "left out", "source")
    parts = [
        Part("What the device may cost", _break_evens(report)),
        Part("Networks", [totals_figure(report), terms_figure(report.networks), paragraph(intervals),
                          table(columns, (_network_row(report, energy) for energy in report.networks))]),
        Part("Terms", [_terms(energy) for energy in report.networks]),
        Part(f"Layers of {main.network.name}", [layers_figure(main), folded("By term", _layers(main))]),
        Part("Sweeps", [
            paragraph("Known energy; where the device's constants are unknown, that of a free device."),
            *(sweep_figure(sweep) for sweep in found),
            *(_crossings(sweep) for sweep in found),
        ]),
        Part("Latency and area", [_hardware(report)]),
        Part("Constants", [table(CONSTANT_COLUMNS, map(constant_row, report.constants.values()))]),
    ]  # fmt: skip
    return Report(f"Energy of an inference: {title}", about, None, energy_verdicts(report), parts)


def energy_verdicts(report: EnergyReport) -> list[Verdict]:
    """What a reader should know first: the main network's energy, what it leaves out, and what that may cost."""
    main = report.main
    value, low, high = _cells(report.totals[main.network.name])
    left = f", without {', '.join(main.unknown)}: no published value" if main.unknown else ""
    said = f"{main.network.name}: {value} an inference [{low}, {high}]{left}"
    found = [Verdict("open" if main.unknown else "good", said)]
    limits = [one for one in main_break_evens(report) if one.per_read_J.value is not None]
    above = [one for one in limits if one.per_read_J.value <= 0]  # type: ignore[operator]
    if above:
        names = ", ".join(one.baseline for one in above)
        found.append(Verdict("bad", f"it takes more than {names} even with a free device"))
    below = [one for one in limits if one not in above]
    if below:
        hardest = min(below, key=lambda one: one.per_read_J.value or 0.0)
        found.append(Verdict("open", f"the hardest of the others to beat: {break_even_sentence(hardest)}"))
    return found


def main_break_evens(report: EnergyReport) -> list[BreakEven]:
    """Those of the network in question, spikes sent as the settings say."""
    mine = (report.main.network.name, report.settings.encoding)
    return [one for one in report.break_even if (one.network, one.encoding) == mine]


def _break_evens(report: EnergyReport) -> list[str]:
    said = (
        "A level read, with its share of the light pulses, may cost this much before the network of devices takes as "
        "much as the baseline. Negative: it takes more even with a free device."
    )
    columns = ("network", "baseline", "spikes as", "a level read may cost", "from", "to", "or a pulse, reading free")

    def listed(found: Sequence[BreakEven]) -> str:
        return table(columns, ((b.network, b.baseline, b.encoding, *_cells(b.per_read_J), _joules(b.per_pulse_J.value))
                               for b in found))  # fmt: skip

    mine = main_break_evens(report)
    others = [one for one in report.break_even if one not in mine]
    return [paragraph(said), listed(mine), folded("Other networks of devices, other messages", listed(others))]


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
    return folded(f"{energy.network.name}: {_joules(energy.known_J)}", terms_table(energy))


def terms_table(energy: NetworkEnergy) -> str:
    """A row a term."""
    rows = [
        (term.name, f"{term.amount:.4g}", " x ".join(f.name for f in term.factors), _joules(term.energy_J),
         f"{term.energy_J / energy.known_J:.1%}" if term.energy_J is not None and energy.known_J else "")
        for term in energy.terms
    ]  # fmt: skip
    rows.append(("sum of the known terms" if energy.unknown else "sum", "", "", _joules(energy.known_J), ""))
    return table(("term", "amount", "each", "energy", "share"), rows)


def _layers(energy: NetworkEnergy) -> str:
    names = list(dict.fromkeys(name for by_term in energy.layers.values() for name in by_term))
    rows = (
        (layer, *(_joules(by_term.get(name, 0.0)) for name in names), _joules(sum(by_term.values())))
        for layer, by_term in energy.layers.items()
    )
    return table(("layer", *names, "sum"), rows)


def _crossings(sweep: Sweep) -> str:
    first = sweep.crossings[0].network
    lines = [sentence(sweep, crossing) for crossing in sweep.crossings if crossing.network == first]
    return folded(f"Where lines cross over {sweep.name}", bullets(lines))


def _hardware(report: EnergyReport) -> str:
    time = report.latency
    readout = "" if time.readout_known else " (readout left out: no time of a conversion is given)"
    blocks = paragraph(
        f"A block takes {format_quantity(time.block_s, 's')}, the network {format_quantity(time.inference_s, 's')}: "
        f"{time.stages} windows one after the other, {time.passes} passes, {format_quantity(time.stage_s, 's')} each"
        f"{readout}."
    )
    rows = (
        (name, f"{a.devices:.4g}", f"{a.converters:.4g}", f"{a.comparators:.4g}",
         f"{a.devices:.4g} times the pitch squared" if a.device_m2 is None else f"{a.device_m2 * 1e6:.4g} mm^2")
        for name, a in report.areas.items()
    )  # fmt: skip
    return blocks + table(("network", "devices", "converters", "comparators", "area of the devices"), rows)
