"""Commands on calibrations: fit and compare."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line, print_table
from otters_lab.core.errors import InputError

if TYPE_CHECKING:
    from otters_lab.calibration.comparison import Comparison, SdChange
    from otters_lab.calibration.engines import Engine
    from otters_lab.calibration.file import Calibration


_FEW_TRACES = 40


class LawChoice(StrEnum):
    """Laws of `fit`; an exponential and two of them describe traces and give no device model."""

    auto = "auto"
    unified = "unified"
    kww = "kww"
    exp = "exp"
    biexp = "biexp"
    power = "power"


_WORKERS_HELP = "Fit traces in N processes, 4096 a chunk; the same call goes on after an interruption."
_DASK_HELP = "Fit traces on the workers of this dask scheduler: tls://HOST:PORT, or tcp:// on this machine."
_LAW_HELP = "Curvature free (auto, unified), held to a KWW, none (power); exp, biexp: traces only, no device model."


def fit(
    captures: Annotated[list[Path], typer.Argument(metavar="CAPTURE", help="Sealed captures; several are pooled.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="CALIBRATION", help="The calibration (.json).")],
    window: Annotated[str | None, typer.Option("--window", metavar="TIME", help='The window W, like "1 s".')] = None,
    law: Annotated[LawChoice, typer.Option("--law", help=_LAW_HELP)] = LawChoice.auto,
    point: Annotated[
        int | None, typer.Option("--point", metavar="N", help="Use this setting of the sweep alone.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", min=1, help=_WORKERS_HELP)] = None,
    dask: Annotated[str | None, typer.Option("--dask", metavar="ADDRESS", help=_DASK_HELP)] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a stochastic device model. Exit code 1 if a gate fails; the file is written all the same."""
    from otters_lab.workflows.fitting import fit_files

    engine = _engine(workers, dask)
    calibration = fit_files(captures, out, window=window, law=law.value, point=point, engine=engine)
    if as_json:
        print_json({"calibration": str(out), "passed": calibration.passed, **calibration.model_dump(mode="json")})
    else:
        _show_calibration(calibration, out)
    if not calibration.passed:
        raise typer.Exit(1)


def _engine(workers: int | None, dask: str | None) -> Engine | None:
    from otters_lab.calibration.engines import Cluster, Workers

    if workers is not None and dask is not None:
        raise InputError("--workers and --dask exclude each other", expected="one of them")
    if dask is not None:
        return Cluster(dask)
    return None if workers is None else Workers(workers)


def _show_calibration(calibration: Calibration, out: Path) -> None:
    from otters_lab.core.quantity import format_quantity

    if calibration.device is None:
        _show_conditions(calibration)
        if len(calibration.traces.rows) <= _FEW_TRACES:
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


def _show_conditions(calibration: Calibration) -> None:
    """A row a setting: what its device model is."""
    from otters_lab.core.quantity import format_quantity

    points = calibration.conditions or []
    swept = [name for name in points[0].settings if len({point.settings.get(name) for point in points}) > 1]
    rows = []
    for point in points:
        constants, runs, devices = point.device.constants, point.device.run_to_run, point.device.device_to_device
        swing = constants.I_edge_A - constants.I_end_A
        cov = constants.covariance_A2
        sd = None if cov is None else ((cov[0][0] or 0) + (cov[1][1] or 0) - 2 * (cov[0][1] or 0)) ** 0.5
        rows.append(
            (*(f"{point.settings[name]:g}" if name in point.settings else "-" for name in swept),
             format_quantity(constants.I_edge_A, "A"),
             f"{format_quantity(swing, 'A')} (sd {format_quantity(sd, 'A', 2)})",
             f"{point.device.logit_beta:.3f}", f"{point.device.law.c:.3g}",
             _interval(runs.sd["D"], runs.interval["D"]), _interval(devices.sd["D"], devices.interval["D"]))
        )  # fmt: skip
    heads = ("I_edge", "swing", "logit beta", "c", "run-to-run sd of D (95 %)", "device-to-device sd of D (95 %)")
    print_table((*swept, *heads), rows)
    print_line("a device model at a setting, in Python: read_calibration(FILE).at(...)")


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
    polarities = [row[1] for row in rows]
    print_line(f"{polarities.count('falls')} currents fall after the light goes off, {polarities.count('rises')} rise")
    print_line("correlated residuals are 1/f noise or a mode that no law has: standard errors are too small")


def _number(value: float | None, absent: str = "unknown") -> str:
    return absent if value is None else f"{value:.3g}"


def _interval(sd: float | None, interval: tuple[float, float] | None) -> str:
    if sd is None or interval is None:
        return "not resolved"
    return f"{sd:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The calibration in use (.json).")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A later calibration, or a capture of the same setting.")],
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="LEVELS", help="Smallest shift of a mean that counts.", min=0)
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Has the chip drifted: NEW's levels in OLD's constants. Exit code 1 if a refit is due."""
    from otters_lab.workflows.comparing import compare_files

    result = compare_files(old, new, tolerance)
    if as_json:
        print_json({"old": str(old), "new": str(new), **result.model_dump(mode="json")})
    else:
        _show(result)
    if result.verdict == "refit":
        raise typer.Exit(1)


def _show(result: Comparison) -> None:
    rows = []
    for level in result.levels:
        half = (level.mean_interval[1] - level.mean_interval[0]) / 2
        change = f"{level.mean_change:+.4f} +- {half:.4f}"
        rows.append(
            (f"{level.k}", f"{level.mean_old:.4f}", change, f"{level.levels:+.3f}", _sd(level.run_to_run),
             _sd(level.device_to_device))
        )  # fmt: skip
    print_table(("level", "mean, old", "change", "in levels", "run-to-run sd", "device-to-device sd"), rows)
    for note in [result.design, *result.notes]:
        print_line(note)
    print_line(f"swing: {result.swing_ratio:.3f} of the old one")
    print_line(f"largest shift: {result.largest_shift_levels:+.3f} levels, at level {result.largest_shift_at}")
    print_line(f"rule: {result.rule}")
    print_line(f"verdict: {result.verdict}" + "".join(f"; {reason}" for reason in result.because))


def _sd(sd: SdChange) -> str:
    old, new = ("not resolved" if v is None else f"{v:.4f}" for v in (sd.old, sd.new))
    if sd.interval is None:
        return f"{old} to {new}"
    return f"{old} to {new} ({sd.interval[0]:+.4f} to {sd.interval[1]:+.4f})"


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("fit")(fit)
    app.command("compare")(compare)
