"""One file of another program, as traces: which columns, which pulses, which settings, and what was left out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from otters_lab.core.clock import iso_utc
from otters_lab.core.errors import InputError
from otters_lab.core.protocols import Array, Trace
from otters_lab.core.quantity import UNITS
from otters_lab.measurements.csvfile import Column, CsvFile, CsvForm, parse_setting, read_csv
from otters_lab.measurements.layout import RESERVED
from otters_lab.measurements.pulses import LightPulse, default_threshold, find_pulses, pulses_at

# SCPI-1999, volume 1, 7.2.1: infinity reads 9.9E37, not-a-number 9.91E37; less where the column has a prefix.
_OVERFLOW_A = 1e20

_KNOWN = {  # role -> dimensions its unit may have, and names that tell it from other columns with such a unit
    "time": (("time",), ("t", "time", "elapsed", "elapsed time")),
    "current": (("current",), ("i", "id", "ids", "current", "i_ds", "drain current")),
    "light": (("voltage", "power", "irradiance", "current", "ratio"), ("vl", "light", "laser", "led", "v_l")),
}


@dataclass(frozen=True)
class Given:
    """What somebody knows of recordings that do not say it themselves; NaN and empty where nobody does.

    `edges_s`: the light's falling edges on the file's own time axis (s), where no column shows the light. `parameters`
    name -> (SI value, SI unit).
    """

    chip: str | None = None
    device: int | None = None
    aperture_s: float = math.nan
    edge_uncertainty_s: float = math.nan
    pulse_width_s: float = math.nan
    range_A: float = math.nan
    edges_s: tuple[float, ...] = ()
    parameters: Mapping[str, tuple[float, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """How files are read. Columns are headings as they stand in the file, or names without the unit.

    `line_Hz` is the mains frequency that the NPLC in a header counts, `light_threshold` in the light column's SI unit,
    `units` the units of columns whose headings state none, by role (time, current, light).
    """

    time: str | None = None
    current: str | None = None
    light: str | None = None
    line_Hz: float | None = None
    light_threshold: float | None = None
    form: CsvForm = field(default_factory=CsvForm)
    units: Mapping[str, str] = field(default_factory=dict)
    given: Given = field(default_factory=Given)


@dataclass(frozen=True)
class Recording:
    """The traces of one file. `settings` are per trace, name -> SI value; `units` name -> SI unit."""

    path: Path
    chip: str | None
    traces: list[Trace]
    settings: list[dict[str, float]]
    units: dict[str, str]
    texts: dict[str, str]  # header entries that are no numbers in units of ours
    notes: list[str] = field(default_factory=list)


def read_recording(path: Path, options: Options) -> Recording:
    """Reads one CSV file; every falling edge of its light gives one trace.

    Raises
    ------
    InputError
        with file and line, for a file that cannot be read or whose columns cannot be told.
    """
    given = options.given
    roles = ["time", "current"] if given.edges_s else list(_KNOWN)
    csv = read_csv(path, lambda columns: [_pick(path, columns, role, options) for role in roles], options.form)
    used = {column.index for column in csv.chosen}
    notes = [f"column {column.heading!r} not used" for column in csv.columns if column.index not in used]
    if options.form.skip_lines:
        notes.append(f"the first {options.form.skip_lines} lines not read")
    time_s, current_A, light, lines = _rows(csv, notes)
    _check_time(path, time_s, lines)
    parameters, units, texts, chip = _settings(csv)
    if texts:
        notes.append(f"kept as text, not as numbers with units of ours: {', '.join(texts)}")
    for name, (value, unit) in given.parameters.items():
        parameters[name], units[name] = value, unit
    if light is None:
        pulses = _pulses_given(path, time_s, given, notes)
    else:
        pulses = _pulses_seen(csv.chosen[2], time_s, light, options, notes)
        units["light_level"] = csv.chosen[2].si_unit
    aperture_s = _aperture_s(parameters, options, notes)
    start = _start(csv)
    traces, settings = [], []
    for pulse in pulses:
        if math.isnan(pulse.width_s):
            notes.append("the light is on when the recording begins: pulse width unknown" if light is not None else
                         "pulse width unknown")  # fmt: skip
        if pulse.begin > 0:
            notes.append("a later pulse: its dark samples are the decay of the pulse before")
        begin = "" if start is None else iso_utc(start + timedelta(seconds=float(time_s[pulse.begin])))
        range_A = next(
            (value for name, value in parameters.items() if "range" in name and units[name] == "A"), given.range_A
        )
        traces.append(_trace(pulse, time_s, current_A, aperture_s, range_A, begin, notes))
        level = {} if light is None else {"light_level": float(np.median(light[pulse.first_lit : pulse.first_dark]))}
        settings.append({**parameters, **level})
    return Recording(path, given.chip or chip, traces, settings, units, texts, notes)


def _pulses_seen(column: Column, time_s: Array, light: Array, options: Options, notes: list[str]) -> list[LightPulse]:
    """The pulses that the light column shows; what is known of their width and edges besides counts where it may."""
    threshold = default_threshold(light) if options.light_threshold is None else options.light_threshold
    pulses, given = find_pulses(time_s, light, threshold), options.given
    if not pulses:
        notes.append(f"no falling edge of the light in {column.heading!r}: nothing imported")
    elif pulses[-1].end < len(time_s):
        notes.append("the light is still on at the end: that pulse has no decay and is left out")
    if not math.isnan(given.pulse_width_s):
        notes.append("pulse width as given, not as the light column has it")
        pulses = [replace(pulse, width_s=given.pulse_width_s) for pulse in pulses]
    if not math.isnan(given.edge_uncertainty_s):
        # The edge stands in the middle of a gap in the samples: nobody's knowledge makes that place better known.
        pulses = [
            replace(pulse, edge_uncertainty_s=max(pulse.edge_uncertainty_s, given.edge_uncertainty_s))
            for pulse in pulses
        ]
    return pulses


def _pulses_given(path: Path, time_s: Array, given: Given, notes: list[str]) -> list[LightPulse]:
    notes.append("the light's falling edges as given, not seen in the file")
    if math.isnan(given.edge_uncertainty_s):
        notes.append("how well the given edges are known is unknown")
    for edge_s in given.edges_s:
        if not len(time_s) or not time_s[0] < edge_s < time_s[-1]:
            known = f"a time within the recording, {time_s[0]:g} s to {time_s[-1]:g} s" if len(time_s) else "no samples"
            raise InputError(file=path, key="edges", found=f"{edge_s:g} s", expected=known)
    return pulses_at(time_s, given.edges_s, given.pulse_width_s, given.edge_uncertainty_s)


def _pick(path: Path, columns: tuple[Column, ...], role: str, options: Options) -> Column:
    wanted: str | None = getattr(options, role)
    unit = options.units.get(role)
    if unit is not None and wanted is not None:
        columns = tuple(
            replace(column, unit=unit, dimension=UNITS[unit][0]) if wanted in (column.heading, column.name) else column
            for column in columns
        )
    dimensions, names = _KNOWN[role]
    headings = ", ".join(column.heading for column in columns)
    if wanted is not None:
        found = [column for column in columns if wanted in (column.heading, column.name)]
        if len(found) != 1:
            raise InputError("no such column", file=path, key=role, found=wanted, expected=f"one of {headings}")
        if found[0].dimension not in dimensions and role != "light":
            expected = f"a unit of {dimensions[0]} in brackets, or in a mapping file"
            raise InputError(file=path, key=role, found=found[0].heading, expected=expected)
        return found[0]
    fitting = [column for column in columns if column.dimension in dimensions]
    named = [column for column in fitting if column.name.lower() in names]
    # By its unit alone only where that leaves no choice, and never the light: a voltage may be the gate's.
    if len(named) == 1:
        return named[0]
    if len(fitting) == 1 and role != "light":
        return fitting[0]
    message = f"cannot tell the {role} column; name it with the option {role}"
    raise InputError(message, file=path, found=headings)


def _rows(csv: CsvFile, notes: list[str]) -> tuple[Array, Array, Array | None, Array]:
    """Time, current (NaN where there is no reading), light (if a column shows it) and line of every row whose light
    is known.
    """
    time_s, current_A, *lights = csv.values.T
    light = lights[0] if lights else np.zeros(len(time_s))
    if np.isnan(time_s).any():
        line = int(csv.lines[np.isnan(time_s)][0])
        raise InputError("a row without a time", file=csv.path, line=line)
    known = np.isfinite(light)
    if not known.all():
        notes.append(f"{np.count_nonzero(~known)} rows without a light reading left out")
    if np.isnan(current_A[known]).any():
        notes.append(f"{np.count_nonzero(np.isnan(current_A[known]))} rows without a current reading left out")
    lines = csv.lines[known].astype(np.float64)
    return time_s[known], current_A[known], light[known] if lights else None, lines


def _check_time(path: Path, time_s: Array, lines: Array) -> None:
    if not np.isfinite(time_s).all():
        raise InputError("a time is infinite", file=path, line=int(lines[~np.isfinite(time_s)][0]))
    back = np.flatnonzero(np.diff(time_s) <= 0)
    if len(back):
        found = f"{time_s[back[0] + 1]:.9g} s after {time_s[back[0]]:.9g} s"
        raise InputError(file=path, line=int(lines[back[0] + 1]), found=found, expected="times that increase")


def _settings(csv: CsvFile) -> tuple[dict[str, float], dict[str, str], dict[str, str], str | None]:
    parameters: dict[str, float] = {}
    units: dict[str, str] = {}
    texts: dict[str, str] = {}
    chip: list[str] = []
    for section, entries in csv.entries.items():
        for title, text in entries.items():
            value = parse_setting(text) if section == "Parameters" else None
            if title.lower().startswith("chip"):
                chip.append(text)
            if value is None or title.lower().startswith("chip"):
                texts[title] = text
                continue
            name = _identifier(title)
            parameters[name], units[name] = value
    return parameters, units, texts, " ".join(chip) or None


def _identifier(title: str) -> str:
    name = re.sub(r"[^0-9A-Za-z]+", "_", title).strip("_").lower()
    taken = name in RESERVED or name == "light_level"
    return f"header_{name}" if taken or not name or name[0].isdigit() else name


def _aperture_s(parameters: dict[str, float], options: Options, notes: list[str]) -> float:
    if not math.isnan(options.given.aperture_s):
        return options.given.aperture_s
    nplc = parameters.get("nplc", math.nan)
    if options.line_Hz is None:
        notes.append("aperture unknown: the mains frequency is not in the file (option line_Hz)")
        return math.nan
    if math.isnan(nplc):
        notes.append("aperture unknown: no NPLC in the header")
    return nplc / options.line_Hz


def _start(csv: CsvFile) -> datetime | None:
    """PyMeasure's "Start time" is seconds since 1970, from `time.time`; ISO text with an offset is understood too."""
    text = csv.entries.get("Metadata", {}).get("Start time", "")
    readers: tuple[Callable[[str], datetime], ...] = (
        lambda text: datetime.fromtimestamp(float(text), UTC),
        datetime.fromisoformat,
    )
    for read in readers:
        try:
            moment = read(text)
        except (ValueError, OverflowError, OSError):
            continue
        return moment if moment.tzinfo is not None else None
    return None


def _trace(
    pulse: LightPulse,
    time_s: Array,
    current_A: Array,
    aperture_s: float,
    range_A: float,
    start_utc: str,
    notes: list[str],
) -> Trace:
    rows = slice(pulse.begin, pulse.end)
    over = np.abs(current_A[rows]) > _OVERFLOW_A
    if over.any():
        notes.append(f"{np.count_nonzero(over)} overflowed readings left out")
    reading = np.isfinite(current_A[rows]) & ~over
    return Trace(
        time_s=time_s[rows][reading] - pulse.edge_s,
        current_A=current_A[rows][reading],
        aperture_s=aperture_s,
        edge_uncertainty_s=pulse.edge_uncertainty_s,
        pulse_width_s=pulse.width_s,
        range_A=range_A,
        start_utc=start_utc,
        status="overflow" if over.any() else "ok",
    )
