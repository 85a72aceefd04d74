"""A capture as a page: was everything measured, is it good, did it stay the same while the sweep ran."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from otters_lab.core.quantity import format_quantity
from otters_lab.measurements.capture import Capture
from otters_lab.reports.capture_figures import (
    POOR,
    coverage_figure,
    decays_figure,
    device_figures,
    drift_figures,
    drift_words,
    noise_figure,
    records_figure,
    repeats_figure,
    signal_figure,
)
from otters_lab.reports.capture_numbers import STATUS_WORDS, drift_of, numbers_of, sorted_devices
from otters_lab.reports.figures import Drawing
from otters_lab.reports.html import Verdict, paragraph, table
from otters_lab.reports.report import Part, Report, provenance_part
from otters_lab.sweeps.adaptive import WARNING

MOST_ROWS = 200
_RESOLVED = 3.0  # a slope of so many sd


def capture_report(capture: Capture) -> Report:
    """The page of a loaded capture."""
    numbers = numbers_of(capture)
    traces: list[str | Drawing] = [paragraph("There is no decay to draw.")]
    if (numbers["decays"] & (numbers["n_samples"] > 1)).any():
        traces = [records_figure(capture, numbers), decays_figure(capture, numbers), *device_figures(capture, numbers)]
    parts = [
        Part("Coverage", [*_coverage(capture, numbers)]),
        Part("Flagged traces", [_flagged(numbers)]),
        Part("Traces by device and repeat", traces),
        Part("Signal and noise", _signal(capture, numbers)),
        Part("Drift over the run", _drift(numbers, capture)),
        provenance_part(
            capture.header,
            capture.sha256,
            {"recipe, as it was": capture.recipe, "bench, as it was": capture.bench},
        ),
    ]
    devices = numbers["device_name"].nunique()
    chips = sorted(numbers["chip"].unique())
    about = f"chip {', '.join(chips)}: {_many(len(numbers), 'trace')} of {_many(devices, 'device')}"
    start = min((start for start in numbers["start_utc"] if start), default="")
    if start:
        about += f", begun {start[:16].replace('T', ' ')} UTC"
    if capture.note:
        about += f"; {capture.note}"
    return Report(f"Capture {capture.path.name}", about, capture.header.origin, _verdicts(capture, numbers), parts)


def _verdicts(capture: Capture, numbers: pd.DataFrame) -> list[Verdict]:
    """What a reader should know before anything else."""
    there, planned = len(numbers), capture.planned
    if planned is None or capture.origin == "imported":  # an import plans what it finds
        found = [Verdict("open", f"{_many(there, 'trace')}; how many were planned is not recorded")]
    else:
        found = [Verdict("good" if there >= planned else "bad", f"{there} of {planned} planned traces are there")]
    counts = Counter(status for status in numbers["status"] if status != "ok")
    kinds = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    flagged = sum(counts.values())
    found.append(
        Verdict("bad", f"{flagged} of {there} traces flagged: {kinds}") if flagged
        else Verdict("good", f"0 of {there} traces flagged")
    )  # fmt: skip
    worth = numbers.loc[numbers["decays"] & (numbers["status"] == "ok"), "signal_to_noise"].dropna()
    if worth.empty:
        found.append(Verdict("open", "signal-to-noise unknown: no trace has a decay and enough readings"))
    else:
        poor = int((worth < POOR).sum())
        tail = f"; {poor} of {len(worth)} below {POOR}" if poor else ""
        found.append(
            Verdict("good" if worth.median() >= POOR else "bad", f"median signal-to-noise {worth.median():.3g}{tail}")
        )
    full = int((numbers["range_use"] > 0.95).sum())
    if full:
        found.append(Verdict("bad", f"{_many(full, 'trace')} used more than 95 % of the meter's range"))
    slope = drift_of(numbers, "drop_A")
    if slope is not None:
        resolved = abs(slope[0]) > _RESOLVED * slope[1]
        hours = float(numbers["elapsed_h"].max())
        change = drift_words((slope[0] * hours, slope[1] * hours), "A", "over the run")
        share = f"{abs(slope[0] * hours / numbers['drop_A'].median()):.1%} of it"
        word = f"the drop drifts: {change}, {share}" if resolved else f"no drift of the drop resolved: {change}"
        found.append(Verdict("open" if resolved else "good", word))
    if capture.seams:
        found.append(Verdict("open", f"the sweep stood still {_many(len(capture.seams), 'time')}; see Drift"))
    if capture.header.config.get("adaptive"):
        found.append(Verdict("open", WARNING))
    return found


def _coverage(capture: Capture, numbers: pd.DataFrame) -> list[str | Drawing]:
    config = capture.header.config
    repeats = config.get("repeats") if not config.get("adaptive") else None
    content: list[str | Drawing] = []
    if numbers["decays"].any():
        content += filter(None, [coverage_figure(numbers, repeats), repeats_figure(numbers)])
    kinds = pd.crosstab(numbers["kind"], numbers["status"])
    rows = [
        (str(kind), *(str(count) for count in counts)) for kind, counts in zip(kinds.index, kinds.values, strict=True)
    ]
    content.append(table(("kind of trace", *map(str, kinds.columns)), rows))
    if capture.planned is not None and len(numbers) < capture.planned:
        content.append(
            paragraph(f"{capture.planned - len(numbers)} planned traces are missing: the sweep ended early.")
        )
    content.append(_points(capture, numbers))
    return content


def _points(capture: Capture, numbers: pd.DataFrame) -> str:
    """A row a point: what it sets, and how many traces it has."""
    alike = {
        name: _setting(numbers[name], unit)
        for name, unit in capture.parameter_units.items()
        if numbers[name].nunique(dropna=False) == 1
    }
    units = {name: unit for name, unit in capture.parameter_units.items() if name not in alike}
    rows = []
    for point, own in numbers.groupby("point"):
        settings = [_setting(own[name], unit) for name, unit in units.items()]
        good = int((own["status"] == "ok").sum())
        rows.append((str(point), *settings, str(own["device_name"].nunique()), str(good), str(len(own) - good)))
    shown = rows[:MOST_ROWS]
    more = "" if len(rows) == len(shown) else paragraph(f"{len(rows) - len(shown)} more points are not listed.")
    same = ", ".join(f"{name} {value}" for name, value in alike.items())
    said = paragraph(f"The same at every point: {same}.") if same else ""
    return said + table(("point", *units, "devices", "good", "flagged"), shown) + more


def _setting(values: pd.Series, unit: str) -> str:
    """The value of a point's parameter; a range where its traces differ (a reading that was taken as a setting)."""
    known = values.dropna().unique()
    if len(known) == 0:
        return ""
    low, high = format_quantity(float(known.min()), unit), format_quantity(float(known.max()), unit)
    return low if low == high else f"{low} to {high}"


def _flagged(numbers: pd.DataFrame) -> str:
    flagged = numbers[numbers["status"] != "ok"]
    if flagged.empty:
        return paragraph("None: the instruments reported nothing that would keep a trace out of a fit.")
    rows = [
        (str(row), name, status, STATUS_WORDS.get(status, ""), f"{samples}", start)
        for row, name, status, samples, start in flagged[
            ["row", "name", "status", "n_samples", "start_utc"]
        ].itertuples(index=False)
    ]
    more = f" The first {MOST_ROWS} of {len(rows)}." if len(rows) > MOST_ROWS else ""
    said = paragraph(f"They are kept, and stay out of fits; nothing was silently taken again.{more}")
    return said + table(("trace", "id", "status", "because", "samples", "start (UTC)"), rows[:MOST_ROWS])


def _signal(capture: Capture, numbers: pd.DataFrame) -> list[str | Drawing]:
    rows = []
    good = numbers[(numbers["status"] == "ok") & numbers["decays"]]
    names = sorted_devices(good["device_name"])
    for device in names[:MOST_ROWS]:
        own = good[good["device_name"] == device]
        within = own.groupby("cell")["drop_A"].var().mean()
        rows.append(
            (
                device,
                str(len(own)),
                format_quantity(float(own["drop_A"].mean()), "A"),
                format_quantity(float(np.sqrt(within)), "A", 3),
                format_quantity(float(own["noise_A"].median()), "A", 3),
                f"{own['signal_to_noise'].median():.3g}" if own["signal_to_noise"].notna().any() else "unknown",
                format_quantity(float(own["plateau_A"].mean()), "A"),
                format_quantity(float(own["baseline_A"].mean()), "A"),
                f"{own['range_use'].max():.0%}" if own["range_use"].notna().any() else "unknown",
            )
        )
    columns = ("device", "good traces", "drop", "sd of the drop at a point", "noise of a reading", "signal-to-noise",
               "lit plateau", "dark baseline", "most of the range used")  # fmt: skip
    more = [paragraph(f"The first {MOST_ROWS} of {len(names)} devices.")] if len(names) > MOST_ROWS else []
    drawn = [drawing for drawing in (signal_figure(numbers), noise_figure(capture, numbers)) if drawing is not None]
    return [*drawn, table(columns, rows), *more]


def _drift(numbers: pd.DataFrame, capture: Capture) -> list[str | Drawing]:
    content: list[str | Drawing] = [*drift_figures(numbers)]
    if not content:
        content.append(paragraph("Too few repeats of a device's point to tell drift from anything else."))
    rows = [
        (name, format_quantity(float(own.min()), unit), format_quantity(float(own.mean()), unit),
         format_quantity(float(own.max()), unit))
        for name, unit in capture.reading_units.items() if not (own := numbers[name].dropna()).empty
    ]  # fmt: skip
    if rows:
        content.append(table(("reading at each trace", "smallest", "mean", "largest"), rows))
    if capture.seams:
        seams = [
            (str(seam.get("trace", "")), str(seam.get("utc", "")), str(seam.get("why", ""))) for seam in capture.seams
        ]
        content.append(paragraph("The sweep stood still before these traces; memory of light may differ after each."))
        content.append(table(("before trace", "UTC", "because"), seams[:MOST_ROWS]))
    return content


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
