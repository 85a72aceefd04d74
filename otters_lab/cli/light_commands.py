"""Commands on light: lightcal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otters_lab.cli.show import print_json, print_line, print_table


def lightcal(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV recordings of drive and power: repeats.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="CAL", help="The light calibration to write (.json).")],
    area: Annotated[str, typer.Option("--area", metavar="AREA", help='Area of the light\'s spot, "100 um^2".')],
    wavelength: Annotated[str | None, typer.Option("--wavelength", help='"455 nm", if the files do not say.')] = None,
    meter: Annotated[str | None, typer.Option("--meter", help="The power meter, if the files do not say.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
    ] = False,
) -> None:
    """Make a light calibration (drive to optical power) of power-meter recordings. What is assumed is said."""
    from otters_lab.core.errors import InputError
    from otters_lab.core.quantity import format_quantity, parse_quantity
    from otters_lab.instruments.lightcal import parse_area
    from otters_lab.workflows.lightcal import import_light_calibration

    try:
        area_m2 = parse_area(area)
        wavelength_m = None if wavelength is None else parse_quantity(wavelength, "length")
    except ValueError as error:
        raise InputError(f"--area or --wavelength: {error}") from None
    made = import_light_calibration(files, out, spot_area_m2=area_m2, wavelength_m=wavelength_m, power_meter=meter)
    found = made.calibration
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
