"""Commands on light: lightcal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile
    from otters_lab.instruments.lightsweep import LightSweep
    from otters_lab.workflows.lightcal import MadeLight


def lightcal(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="CSV recordings of drive and power: repeats.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="CAL", help="The light calibration to write (.json).")
    ] = None,
    area: Annotated[
        str | None, typer.Option("--area", metavar="AREA", help='Area of the light\'s spot, "100 um^2".')
    ] = None,
    wavelength: Annotated[
        str | None, typer.Option("--wavelength", metavar="LENGTH", help='"455 nm", if the files do not say.')
    ] = None,
    meter: Annotated[
        str | None, typer.Option("--meter", metavar="NAME", help="The power meter, if the files do not say.")
    ] = None,
    bench: Annotated[
        Path | None, typer.Option("--bench", metavar="B", help="Sweep with this bench's power meter instead of files.")
    ] = None,
    drives: Annotated[
        str | None,
        typer.Option(
            "--drives", metavar="VOLTAGES", help='With --bench: "0.5 V:5 V:10" (first:last:how many), "1 V,2 V,5 V".'
        ),
    ] = None,
    width: Annotated[
        str | None, typer.Option("--width", metavar="TIME", help='With --bench: length of a pulse, "200 ms".')
    ] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", metavar="N", help="With --bench: how often, 3 if not given.")
    ] = None,
    rest: Annotated[
        str | None,
        typer.Option(
            "--rest", metavar="TIME", help="With --bench: dark after a pulse; as long as it, or what duty asks."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --bench: show drives, limits and duration, measure nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a light calibration (drive to optical power): of power-meter recordings, or swept on a bench."""
    from otters_lab.core.errors import InputError
    from otters_lab.core.quantity import parse_quantity
    from otters_lab.instruments.lightcal import parse_area

    for_bench = {
        "--drives": drives,
        "--width": width,
        "--repeats": repeats,
        "--rest": rest,
        "--dry-run": dry_run or None,
    }
    given = [name for name, value in for_bench.items() if value is not None]
    if bool(files) == (bench is not None):
        found = "both" if files else "neither"
        raise InputError("lightcal takes recordings (FILE...) or --bench", found=found, expected="one of them")
    if given and bench is None:
        raise InputError(f"{given[0]} needs --bench: recordings were swept already")
    if meter is not None and bench is not None:
        raise InputError("--meter is for recordings: a bench's power meter says itself what it is")
    needed = {"--area": area, "-o": out or dry_run or None}
    if bench is not None:
        needed |= {"--drives": drives, "--width": width, "--wavelength": wavelength}
    if missing := [name for name, value in needed.items() if value is None]:
        raise InputError(f"lightcal needs {', '.join(missing)}")
    try:
        area_m2 = parse_area(area or "")
        wavelength_m = None if wavelength is None else parse_quantity(wavelength, "length")
    except ValueError as error:
        raise InputError(f"--area or --wavelength: {error}") from None
    if bench is not None:
        from otters_lab.instruments.benchfile import load_bench
        from otters_lab.workflows.lightcal import sweep_light_calibration

        sweep = _sweep(drives, width, 3 if repeats is None else repeats, rest, wavelength_m, area_m2)
        if out is None or dry_run:
            return _show_sweep(sweep, load_bench(bench), as_json)
        return _show(sweep_light_calibration(sweep, load_bench(bench), out), as_json)
    from otters_lab.workflows.lightcal import import_light_calibration

    assert out is not None
    made = import_light_calibration(
        files or [], out, spot_area_m2=area_m2, wavelength_m=wavelength_m, power_meter=meter
    )
    return _show(made, as_json)


def _sweep(
    drives: str | None, width: str | None, repeats: int, rest: str | None, wavelength_m: float | None, area_m2: float
) -> LightSweep:
    from otters_lab.core.errors import InputError
    from otters_lab.core.quantity import parse_quantity
    from otters_lab.instruments.lightsweep import LightSweep, parse_drives

    option = "--drives"
    try:
        drives_V = parse_drives(drives or "")
        option = "--width"
        width_s = parse_quantity(width, "time")
        option = "--rest"
        rest_s = None if rest is None else parse_quantity(rest, "time")
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    return LightSweep(drives_V, width_s, repeats, wavelength_m or 0.0, area_m2, rest_s)


def _show_sweep(sweep: LightSweep, bench: BenchFile, as_json: bool) -> None:
    from dataclasses import asdict

    from otters_lab.core.quantity import format_quantity
    from otters_lab.instruments.lightsweep import check_sweep

    opened = check_sweep(sweep, bench)
    rest_s, duration_s = sweep.dark_s(opened), sweep.duration_s(opened)
    duty = sweep.width_s / (sweep.width_s + rest_s)
    if as_json:
        facts = {**asdict(sweep), "rest_s": rest_s, "duty": duty, "duration_s": duration_s, "limits": "kept"}
        return print_json(facts)
    shown = ", ".join(format_quantity(drive, "V") for drive in sweep.drives_V)
    print_line(f"drives: {shown}")
    pulses = sweep.repeats * len(sweep.drives_V)
    print_line(
        f"{pulses} pulses of {format_quantity(sweep.width_s, 's')} ({sweep.repeats} repeats), "
        f"{format_quantity(rest_s, 's')} of dark after each: duty {duty:.3g}"
    )
    limits = {"drive": (bench.limits.drive, "V"), "pulse_width": (bench.limits.pulse_width, "s"),
              "optical_power": (bench.limits.optical_power, "W"), "duty": (bench.limits.duty, "1")}  # fmt: skip
    known = [f"{name} {format_quantity(value, unit)}" for name, (value, unit) in limits.items() if value is not None]
    print_line(f"limits: {', '.join(known)}: kept")
    print_line(f"takes {duration_s:.0f} s and what the links need; nothing was measured")
    return None


def _show(made: MadeLight, as_json: bool) -> None:
    from otters_lab.core.quantity import format_quantity

    found, out = made.calibration, made.path
    if as_json:
        return print_json({"calibration": str(out), **found.model_dump(mode="json"), "notes": made.notes})
    for remark in made.notes:
        print_line(f"note: {remark}")
    rows = []
    last = len(found.drive) - 1
    for index in sorted({0, last // 4, last // 2, 3 * last // 4, last}):
        sd, power = found.power_sd_W[index], found.power_W[index]
        rows.append(
            (
                format_quantity(found.drive[index], found.drive_unit),
                format_quantity(power, "W"),
                None if sd is None else f"{sd / power:.1%}",
                format_quantity(power / found.spot_area_m2, "W/m^2"),
            )
        )
    print_table(("drive", "power", "sd of repeats", "irradiance"), rows)
    print_line(f"{out}: {format_quantity(found.wavelength_m, 'm')}, {found.repeats} repeats, {found.power_meter}")
    return None


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("lightcal")(lightcal)
