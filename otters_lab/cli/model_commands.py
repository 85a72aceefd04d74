"""Commands on the model's side: fit, train, evaluate, energy, and the demo of it all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otters_lab.cli.show import print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.calibration.file import Calibration
    from otters_lab.energy.report import EnergyReport

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]


class LawChoice(StrEnum):
    """Laws a device model can be fitted with."""

    auto = "auto"
    unified = "unified"
    kww = "kww"
    power = "power"


def fit(
    captures: Annotated[list[Path], typer.Argument(metavar="CAPTURE...", help="Sealed captures; several are pooled.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="CALIBRATION", help="The calibration (.json).")],
    window: Annotated[str | None, typer.Option("--window", help='The window W, like "1 s".')] = None,
    law: Annotated[LawChoice, typer.Option("--law", help="Curvature free, held to a KWW, or none.")] = LawChoice.auto,
    point: Annotated[int | None, typer.Option("--point", help="Use this setting of the sweep alone.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a stochastic device model. Exit code 1 if a gate fails; the file is written all the same."""
    from otters_lab.workflows.fitting import fit_files

    calibration = fit_files(captures, out, window=window, law=law.value, point=point)
    if as_json:
        print_json({"calibration": str(out), "passed": calibration.passed, **calibration.model_dump(mode="json")})
    else:
        _show_calibration(calibration, out)
    if not calibration.passed:
        raise typer.Exit(1)


def _show_calibration(calibration: Calibration, out: Path) -> None:
    from otters_lab.core.quantity import format_quantity

    if calibration.device is None:
        _show_trace_verdicts(calibration)
    else:
        device = calibration.device
        runs, devices = device.run_to_run, device.device_to_device
        constants = device.constants
        print_line(
            f"chip {calibration.chip}: window {format_quantity(constants.window_s, 's')}, current {constants.polarity} "
            f"from {format_quantity(constants.I_edge_A, 'A', 6)} to {format_quantity(constants.I_end_A, 'A', 6)}"
        )
        print_line(f"law: {device.law.formula}; {device.law.because}")
        rows = [
            (name, _interval(runs.sd[name], runs.interval[name]), _interval(devices.sd[name], devices.interval[name]))
            for name in runs.sd
        ]
        print_table(("parameter", "run-to-run sd (95 %)", "device-to-device sd (95 %)"), rows)
    gates = [(g.name, _number(g.value), f"{g.rule} {g.limit:g}", g.verdict) for g in calibration.gates]
    print_table(("gate", "value", "limit", "verdict"), gates)
    preferred = ", ".join(f"{law} {count}" for law, count in calibration.laws_preferred.items())
    print_line(f"laws preferred by single traces: {preferred}")
    print_line(f"{out}: {'all gates passed' if calibration.passed else 'gates failed; not fit for training'}")


def _show_trace_verdicts(calibration: Calibration) -> None:
    """One line a trace: what it prefers, and what it cannot tell."""
    columns = calibration.traces.columns
    rows = []
    for row in (dict(zip(columns, entry, strict=True)) for entry in calibration.traces.rows):
        shape = (row["parameters"] or {}).get("beta")
        notes = "; ".join(row["notes"] or []) or "-"
        tau = next(
            (row["parameters"][n] for n in ("tau", "tau1") if row["parameters"] and n in row["parameters"]), None
        )
        law = row["law"] if row["rival"] is None else f"{row['law']} (or {row['rival']})"
        place = f"{row['device']}/{row['point']}/{row['repeat']}"
        rows.append((place, row["polarity"], law, _number(tau, "-"), _number(shape, "-"), notes))
    print_table(("device/point/repeat", "current", "law", "tau (s)", "beta", "verdict"), rows)


def _number(value: float | None, absent: str = "unknown") -> str:
    return absent if value is None else f"{value:.3g}"


def _interval(sd: float | None, interval: tuple[float, float] | None) -> str:
    if sd is None or interval is None:
        return "not resolved"
    return f"{sd:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"


def energy(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="A trained checkpoint.")],
    preset: Annotated[str, typer.Option("--preset", metavar="P", help="open22 or horowitz45.")] = "open22",
    hops: Annotated[float | None, typer.Option("--hops", help="Mean hops of a message; default 4.75.", min=0)] = None,
    as_json: JsonOption = False,
) -> None:
    """Energy of one inference, term by term, every constant with its source, the unknown left open."""
    from otters_lab.workflows.energetics import checkpoint_energy

    report = checkpoint_energy(checkpoint, preset, hops)
    if as_json:
        return print_json(energy_json(report))
    for network in report.networks:
        rows = [
            (t.name, f"{t.count:.4g}", _joules(t.constant.value_J), _joules(t.energy_J), t.constant.source)
            for t in network.terms
        ]
        known = "sum of the known terms" if network.unknown else "sum"
        rows.append((known, "", "", _joules(network.known_J), ""))
        print_table(("term", "count", "each", "energy", "source"), rows, title=network.network)
    print_line(break_even_line(report))
    return None


def _joules(value: float | None) -> str:
    from otters_lab.core.quantity import format_quantity

    return format_quantity(value, "J")


def break_even_line(report: EnergyReport) -> str:
    """What the device may cost, in one sentence."""
    value = report.break_even_read_J
    if value is None:
        return f"preset {report.preset}: no break-even, since it leaves digital terms unknown"
    start = f"preset {report.preset}, {report.hops:g} hops: the spiking network takes less than the same network run densely"
    if value <= 0:
        return f"{start} under no cost of the device: its known terms alone take more"
    return f"{start} if light and device read together cost less than {_joules(value)} a level read"


def energy_json(report: EnergyReport) -> dict[str, Any]:
    """The report as a JSON document."""
    return {
        "preset": report.preset,
        "hops": report.hops,
        "break_even_read_J": report.break_even_read_J,
        "networks": [
            {
                "network": network.network,
                "known_J": network.known_J,
                "unknown": network.unknown,
                "terms": [
                    {
                        "name": term.name,
                        "count": term.count,
                        "constant_J": term.constant.value_J,
                        "per": term.constant.per,
                        "node": term.constant.node,
                        "source": term.constant.source,
                        "energy_J": term.energy_J,
                    }
                    for term in network.terms
                ],
            }
            for network in report.networks
        ],
    }


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("fit")(fit)
    app.command("energy")(energy)
