"""The command `energy`: of a trained network, of a shape, or a preset's constants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.energy.pricing import Interval, NetworkEnergy
    from otters_lab.energy.report import EnergyReport
    from otters_lab.energy.settings import Settings
    from otters_lab.ttfs.summary import SiteSummary

_SHAPE = "Of a shape"
_CHOICE = "Settings"


def _shape(name: str, words: str, **more: Any) -> Any:
    return typer.Option(name, help=words, rich_help_panel=_SHAPE, **more)


def _choice(name: str, words: str, metavar: str | None = None) -> Any:
    return typer.Option(name, help=words, rich_help_panel=_CHOICE, metavar=metavar)


def energy(
    checkpoint: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A trained checkpoint, or a packed student.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="P",
            help="Constants; default open22. Alone: shows them, or a published table: iclr26, ottersplusplus.",
        ),
    ] = None,
    layers: Annotated[int | None, _shape("--layers", "Layers of an encoder that is not there.")] = None,
    hidden: Annotated[int | None, _shape("--hidden", "Its width.")] = None,
    ffn: Annotated[int | None, _shape("--ffn", "Width of its feed-forward.")] = None,
    length: Annotated[int | None, _shape("--length", "Tokens of its input.")] = None,
    rate: Annotated[float | None, _shape("--rate", "Spikes a neuron, from 0 to 1.")] = None,
    heads: Annotated[int | None, _shape("--heads", "Default: 64 wide.")] = None,
    relu: Annotated[bool, typer.Option("--relu", help="ReLUs in place of GELUs.", rich_help_panel=_SHAPE)] = False,
    light: Annotated[str | None, _choice("--light", "A pulse a window or a spike.", "window|spike")] = None,
    level_read: Annotated[
        str | None, _choice("--level-read", "A read for all synapses of a device, or for each.", "once|synapse")
    ] = None,
    sharing: Annotated[int | None, _choice("--sharing", "Synapses a shared device serves; default 64.")] = None,
    reads_a_pulse: Annotated[int | None, _choice("--reads-a-pulse", "Reads until a device must be lit again.")] = None,
    adc_bits: Annotated[int | None, _choice("--adc-bits", "4 to 8.")] = None,
    adc_sharing: Annotated[int | None, _choice("--adc-sharing", "Devices that share a converter.")] = None,
    steps: Annotated[int | None, _choice("--steps", "T of the time code; default as measured, 15 of a shape.")] = None,
    hops: Annotated[str | None, _choice("--hops", "Of a message, default 4.75; or a mesh.", "N|mesh")] = None,
    encoding: Annotated[str | None, _choice("--encoding", "How spikes travel.", "event|dense")] = None,
    weights_in: Annotated[
        str | None, _choice("--weights-in", "Memory of the weights.", '"32 KiB"|"256 KiB"|"1 MiB"|DRAM')
    ] = None,
    wired_weights: Annotated[
        bool,
        typer.Option("--wired-weights", help="Signs wired into device networks: not read.", rich_help_panel=_CHOICE),
    ] = False,
    baseline_bits: Annotated[
        str | None, _choice("--baseline-bits", "Weights of spiking baselines: 1 bit, or as published.", "equal|own")
    ] = None,
    residual_bits: Annotated[int | None, _choice("--residual-bits", "16 or 32.")] = None,
    light_pulse: Annotated[str | None, _choice("--light-pulse", 'On one device, like "1 fJ".', "ENERGY")] = None,
    irradiance: Annotated[
        str | None, _choice("--irradiance", "In place of --light-pulse, with the next three.", "IRRADIANCE")
    ] = None,
    device_area: Annotated[
        str | None, _choice("--device-area", 'Lit area of a device, like "100 um^2".', "AREA")
    ] = None,
    pulse_width: Annotated[str | None, _choice("--pulse-width", "Of the light.", "TIME")] = None,
    efficiency: Annotated[float | None, _choice("--efficiency", "Of the light source, from 0 to 1.")] = None,
    device_read: Annotated[str | None, _choice("--device-read", "A level read.", "ENERGY")] = None,
    pitch: Annotated[str | None, _choice("--pitch", 'Of the devices, like "10 um".', "LENGTH")] = None,
    static: Annotated[str | None, _choice("--static", "Static power of the spiking network.", "POWER")] = None,
    window: Annotated[str | None, _choice("--window", 'Default "100 us".', "TIME")] = None,
    recovery: Annotated[str | None, _choice("--recovery", "Of the device after a window.", "TIME")] = None,
    conversion: Annotated[str | None, _choice("--conversion", "Of one level.", "TIME")] = None,
    tokens_at_once: Annotated[int | None, _choice("--tokens-at-once", "Default: all.")] = None,
    pipelined: Annotated[
        bool | None, typer.Option("--pipelined/--not-pipelined", help="Default: pipelined.", rich_help_panel=_CHOICE)
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with figures.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Energy of one inference beside its baselines, every constant with its source, the unknown as a break-even."""
    from otters_lab.core.errors import InputError
    from otters_lab.energy.report import energy_report, report_document
    from otters_lab.energy.sweeps import sweeps, sweeps_document

    shape = {"layers": layers, "hidden": hidden, "ffn": ffn, "length": length, "rate": rate}
    given_shape = any(part is not None for part in (*shape.values(), heads)) or relu
    settings = _settings(
        light=light,
        level_read=level_read,
        sharing=sharing,
        reads_a_pulse=reads_a_pulse,
        adc_bits=adc_bits,
        adc_sharing=adc_sharing,
        steps=steps,
        hops=_hops(hops),
        encoding=encoding,
        weights_in=weights_in,
        wired_weights=wired_weights or None,
        baseline_bits=baseline_bits,
        residual_bits=residual_bits,
        light_pulse_J=_light_pulse_J(light_pulse, irradiance, device_area, pulse_width, efficiency),
        device_read_J=_quantity("--device-read", device_read, "energy"),
        device_pitch_m=_quantity("--pitch", pitch, "length"),
        static_power_W=_quantity("--static", static, "power"),
        window_s=_quantity("--window", window, "time"),
        recovery_s=_quantity("--recovery", recovery, "time"),
        conversion_s=_quantity("--conversion", conversion, "time"),
        tokens_at_once=tokens_at_once,
        pipelined=pipelined,
    )
    if checkpoint is not None and given_shape:
        raise InputError("energy of what?", expected="DIR or a shape, not both")
    if checkpoint is None and not given_shape:
        if preset is None or html is not None:
            raise InputError(
                "energy of what?", expected="DIR, a shape (--layers ...), or --preset alone for its constants"
            )
        return _show_preset(preset, as_json)
    sites = _shape_sites(shape, heads, relu) if checkpoint is None else _checkpoint_sites(checkpoint)
    title = f"{layers} x {hidden}, {ffn}, {length} tokens, rate {rate}" if checkpoint is None else checkpoint.name
    report = energy_report(sites, preset or "open22", settings)
    found = sweeps(sites, report.preset, settings) if as_json or html else []
    if html is not None:
        from otters_lab.reports.energy_page import write_energy_page

        write_energy_page(report, found, title, html)
    if as_json:
        return print_json({"of": title, **report_document(report), "sweeps": sweeps_document(found)})
    _show(report, title)
    if html is not None:
        print_line(f"{html}: all terms, sweeps and constants")
    return None


def _checkpoint_sites(folder: Path) -> list[SiteSummary]:
    from otters_lab.workflows.networks import checkpoint_sites

    return checkpoint_sites(folder)


def _shape_sites(shape: dict[str, Any], heads: int | None, relu: bool) -> list[SiteSummary]:
    from otters_lab.core.errors import InputError
    from otters_lab.energy.shapes import shape_sites

    missing = [f"--{name}" for name, value in shape.items() if value is None]
    if missing:
        raise InputError("a shape is not complete", expected=", ".join(missing))
    return shape_sites(**shape, heads=heads, relu=relu)


def _settings(**chosen: Any) -> Settings:
    from pydantic import ValidationError

    from otters_lab.core.errors import InputError
    from otters_lab.energy.settings import Settings

    try:
        return Settings.model_validate({name: value for name, value in chosen.items() if value is not None})
    except ValidationError as failure:
        error = failure.errors()[0]
        name = str(error["loc"][0]).rpartition("_")[0] if str(error["loc"][0])[-2:] in _UNITS else str(error["loc"][0])
        raise InputError(
            key="--" + _OPTIONS.get(name, name.replace("_", "-")),
            found=error["input"],
            expected=error["msg"].removeprefix("Input should be "),
        ) from None


_UNITS = ("_J", "_m", "_s", "_W")
_OPTIONS = {"device_pitch": "pitch", "static_power": "static"}  # settings whose option has another name


def _quantity(option: str, text: str | None, dimension: str) -> float | None:
    from otters_lab.core.errors import InputError
    from otters_lab.core.quantity import parse_quantity

    try:
        return None if text is None else parse_quantity(text, dimension)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None


def _light_pulse_J(
    energy: str | None, irradiance: str | None, area: str | None, width: str | None, efficiency: float | None
) -> float | None:
    from otters_lab.core.errors import InputError
    from otters_lab.energy.constants import light_pulse_J
    from otters_lab.instruments.lightcal import parse_area

    parts = (irradiance, area, width, efficiency)
    if all(part is None for part in parts):
        return _quantity("--light-pulse", energy, "energy")
    irradiance_W_m2 = _quantity("--irradiance", irradiance, "irradiance")
    width_s = _quantity("--pulse-width", width, "time")
    if energy is not None or irradiance_W_m2 is None or area is None or width_s is None or efficiency is None:
        raise InputError(
            "what a light pulse takes",
            expected="--light-pulse, or --irradiance --device-area --pulse-width --efficiency",
        )
    try:
        return light_pulse_J(irradiance_W_m2, parse_area(area), width_s, efficiency)
    except ValueError as error:
        raise InputError(f"--device-area or --efficiency: {error}") from None


def _hops(text: str | None) -> float | str | None:
    from otters_lab.core.errors import InputError

    if text is None or text == "mesh":
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(key="--hops", found=text, expected="a number, or mesh") from None


def _show_preset(preset: str, as_json: bool) -> None:
    from otters_lab.energy.constants import find_preset
    from otters_lab.energy.published import PRESETS
    from otters_lab.energy.report import CONSTANT_COLUMNS, constant_document, constant_row

    if preset in PRESETS:
        return _show_published(preset, as_json)
    constants = list(find_preset(preset).values())
    if as_json:
        return print_json({"preset": preset, "constants": [constant_document(constant) for constant in constants]})
    return print_table(CONSTANT_COLUMNS, map(constant_row, constants), title=f"preset {preset}")


def _show_published(name: str, as_json: bool) -> None:
    """A published table beside a law fitted to it, each entry also as the law predicts it without that entry."""
    from otters_lab.energy.published import compare, fit, published_preset

    preset = published_preset(name)
    fitted, rows = fit(preset), compare(preset)
    if as_json:
        return print_json(
            {
                "preset": name,
                "source": preset.source,
                "fitted": {
                    constant: {
                        "value": value,
                        "standard_error": fitted.standard_errors[constant],
                        "unit": preset.constants[constant],
                    }
                    for constant, value in fitted.values.items()
                },
                "independent_entries": len(preset.independent),
                "entries": [
                    {
                        "model": row.entry.model,
                        "quantity": row.entry.quantity,
                        "unit": row.entry.unit,
                        "kind": row.entry.kind,
                        "published": row.entry.value,
                        "fitted": row.fitted,
                        "predicted": row.predicted,
                    }
                    for row in rows
                ],
            }
        )
    print_table(
        ("fitted constant", "value", "standard error"),
        (
            (constant, f"{value:.4g} {preset.constants[constant]}", f"{fitted.standard_errors[constant]:.2g}")
            for constant, value in fitted.values.items()
        ),
        title=f"{name} ({preset.source}): {len(fitted.values)} constants from {len(preset.independent)} entries",
    )

    def against(residual: float | None) -> str:
        return "" if residual is None else f"{residual:+.1%}"

    print_table(
        ("model", "quantity", "published", "fitted", "predicted without it", "entry"),
        (
            (
                row.entry.model,
                row.entry.quantity,
                joules(row.entry.value) if row.entry.unit == "J" else f"{row.entry.value:g}",
                against(row.fitted_residual),
                against(row.predicted_residual),
                row.entry.kind,
            )
            for row in rows
        ),
    )
    return None


def _show(report: EnergyReport, title: str) -> None:
    from otters_lab.core.quantity import format_quantity
    from otters_lab.energy.report import break_even_sentence

    main = report.main
    rows = [
        (term.name, f"{term.amount:.4g}", " x ".join(f.name for f in term.factors), joules(term.energy_J))
        for term in main.terms
    ]
    rows.append(("sum of the known terms" if main.unknown else "sum", "", "", joules(main.known_J)))
    print_table(
        ("term", "amount", "each", "energy"), rows, title=f"{title}: {main.network.name}, preset {report.preset}"
    )
    print_table(
        ("network", "energy of an inference", "95 %", f"over {main.network.name}", "95 %", "without"),
        (
            (
                energy.network.name,
                joules(energy.known_J),
                _range(report.totals[energy.network.name]),
                ""
                if not (ratio := report.ratios.get(energy.network.name)) or not ratio.value
                else f"{ratio.value:.3g}",
                "" if not ratio or not ratio.low else f"{ratio.low:.3g} to {ratio.high:.3g}",
                ", ".join(energy.unknown),
            )
            for energy in report.networks
        ),
    )
    time, area = report.latency, report.areas[main.network.name]
    block, whole = format_quantity(time.block_s, "s"), format_quantity(time.inference_s, "s")
    readout = "" if time.readout_known else ", readout left out"
    print_line(f"a block takes {block}, the network {whole}{readout}")
    size = "pitch unknown" if area.device_m2 is None else f"{area.device_m2 * 1e6:.4g} mm^2"
    print_line(
        f"{area.devices:.4g} devices ({size}), {area.converters:.4g} converters, {area.comparators:.4g} comparators"
    )
    for one in report.break_even:
        if one.network == main.network.name:
            print_line(break_even_sentence(one))


def joules(value: float | None) -> str:
    """An energy for people."""
    from otters_lab.core.quantity import format_quantity

    return format_quantity(value, "J")


def energy_cell(energy: NetworkEnergy) -> str:
    """Energy per inference, with what it leaves out."""
    left = f", without {', '.join(energy.unknown)} (no published value)" if energy.unknown else ""
    return f"{joules(energy.known_J)} an inference{left}"


def _range(found: Interval) -> str:
    return f"{joules(found.low)} to {joules(found.high)}"


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command("energy")(energy)
