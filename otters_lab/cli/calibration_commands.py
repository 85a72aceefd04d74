"""Commands on calibrations: compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otters_lab.cli.show import print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.calibration.compare import Comparison, SdChange


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The calibration in use (.json).")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A later calibration, or a capture of the same setting.")],
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="LEVELS", help="Smallest shift of a mean that counts.", min=0)
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
    ] = False,
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
    app.command("compare")(compare)
