"""Figures of a capture: what was measured, how its traces look, and how they changed while the sweep ran."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from otters_lab.core.protocols import Array
from otters_lab.measurements.capture import Capture
from otters_lab.reports.capture_numbers import away_from_their_like, drift_of, noise_spectra, sorted_devices, usable
from otters_lab.reports.figures import (
    BAD,
    GOOD,
    INK,
    PALETTE,
    SIZES,
    Blocks,
    Drawing,
    Unit,
    cells,
    every_so,
    panel,
    plain_log_axis,
    shaded_cells,
    slug,
    spread_out,
    sqrt_seconds_axis,
    unit_for,
)

POOR = 20  # signal-to-noise below which a decay says little
MOST_TRACES, MOST_POINTS = 40, 110
_MOST_PANELS, _MOST_REPEATS, _MOST_DOTS = 12, 6, 800
_MOST_SQUARES, _MOST_TOLD = 40, 150  # along a side; in all, for a number in each


def coverage_figure(numbers: pd.DataFrame, repeats: int | None) -> Drawing:
    """How many good traces each point has on each device; `repeats` of each are planned, None if that is not known."""
    decays = numbers[numbers["decays"]]
    columns = Blocks.of(sorted_devices(decays["device_name"]), _MOST_SQUARES)
    rows = Blocks.of(sorted(decays["point"].unique()), _MOST_SQUARES)
    at = rows.places(decays["point"].tolist()), columns.places(decays["device_name"].tolist())
    ok = (decays["status"] == "ok").to_numpy()
    good, flagged = (np.zeros((len(rows.parts), len(columns.parts)), dtype=int) for _ in range(2))
    np.add.at(good, (at[0][ok], at[1][ok]), 1)
    np.add.at(flagged, (at[0][~ok], at[1][~ok]), 1)
    with panel((SIZES["panel"][0], min(SIZES["panel"][1], 1.1 + 0.35 * len(rows.parts)))) as (figure, axes):
        for row, column in np.ndindex(good.shape):
            here, joined = int(good[row, column]), len(rows.parts[row]) * len(columns.parts[column])
            share = here / joined / max(repeats or 0, int((good + flagged).max(initial=1)))
            cells(axes, [(column, row)] if here else [], GOOD, 0.1 + 0.6 * min(share, 1.0))
            if flagged[row, column]:
                axes.plot([column + 0.35], [row - 0.3], "v", color=BAD, ms=4)
            if here and good.size <= _MOST_TOLD:
                axes.text(column, row, f"{here}", ha="center", va="center", fontsize=8)
        _squares(axes, rows, columns)
        axes.set(xlabel="device", ylabel="point")
    wanted = f", of {repeats} planned repeats" if repeats else ""
    return Drawing(
        "coverage",
        figure,
        f"Good traces by point and device{wanted}; a triangle marks a square with flagged traces. Every square "
        "should be filled alike: a pale row or column was cut short, an empty one never measured.",
    )


def records_figure(capture: Capture, numbers: pd.DataFrame) -> Drawing:
    """Whole records of some devices: dark, light, decay."""
    decays = numbers[numbers["decays"] & (numbers["n_samples"] > 1)]
    firsts = decays.groupby("device_name", sort=False).head(1)
    rows = firsts["row"].to_numpy()[every_so(len(firsts), 8)]
    unit = unit_for(capture.current_A[rows], "A")
    with panel() as (figure, axes):
        for row in rows:
            t, current = _samples(capture, row)
            use = np.union1d(
                spread_out(t, MOST_POINTS), spread_out(np.sqrt(np.abs(t[t > 0])), 40) + int((t <= 0).sum())
            )
            axes.plot(t[use], current[use] * unit.scale, lw=0.9, label=f"device {numbers['device_name'].iloc[row]}")
        axes.set(xlabel="time after the light's edge (s)", ylabel=f"current ({unit.name})")
        _legend(axes, len(rows))
    return Drawing(
        "records",
        figure,
        "The first whole record of each device (at most eight). Before the pulse the current lies at its dark value, "
        "then on the lit plateau, and decays from 0 s on. A plateau that still climbs means that the pulse is too "
        "short; a step within the decay, that a range changed or a contact moved.",
    )


def decays_figure(capture: Capture, numbers: pd.DataFrame) -> Drawing:
    """Decays on square-root time, a colour a device."""
    decays = numbers[numbers["decays"] & (numbers["n_samples"] > 1)]
    rows = decays["row"].to_numpy()[every_so(len(decays), MOST_TRACES)]
    devices = sorted_devices(numbers["device_name"])
    unit = unit_for(capture.current_A[rows], "A")
    longest_s = float(np.nanmax(capture.time_s[rows]))
    with panel() as (figure, axes):
        for row in rows:
            t, current = _decay(capture, row)
            colour = PALETTE[devices.index(numbers["device_name"].iloc[row]) % len(PALETTE)]
            axes.plot(t, current * unit.scale, color=colour, lw=0.7, alpha=0.75)
        sqrt_seconds_axis(axes, longest_s)
        axes.set(xlabel="time after the light's edge, square-root scale", ylabel=f"current ({unit.name})")
    return Drawing(
        "decays",
        figure,
        f"{len(rows)} of {len(decays)} decays, a colour a device. On this scale a stretched exponential with an "
        "exponent near 1/2 begins as a straight line. Curves of one device should lie "
        "together; one that leaves its bundle is an outlier, a bundle that fans out in order of time is drift.",
    )


def device_figures(capture: Capture, numbers: pd.DataFrame) -> list[Drawing]:
    """A small panel a device, or a device's point: its repeats from the first to the last, flagged ones dashed."""
    decays = numbers[numbers["decays"] & (numbers["n_samples"] > 1)]
    several = numbers["point"].nunique() > 1
    known = decays.drop_duplicates("cell")
    order = sorted_devices(known["device_name"])
    places = np.array([order.index(name) for name in known["device_name"]])
    known = known.iloc[np.lexsort((known["point"].to_numpy(), places))]
    drawings = []
    chosen = known[["device_name", "point", "cell"]].iloc[every_so(len(known), _MOST_PANELS)]
    for number, (device, point, cell) in enumerate(chosen.itertuples(index=False), 1):
        own = decays[decays["cell"] == cell].sort_values("elapsed_h", kind="stable")
        good, bad = (own.loc[found, "row"].to_numpy() for found in (own["status"] == "ok", own["status"] != "ok"))
        good, bad = (rows[every_so(len(rows), _MOST_REPEATS)] if len(rows) else rows for rows in (good, bad))
        unit = unit_for(capture.current_A[own["row"].to_numpy()], "A")
        title = f"device {device}, point {point}" if several else f"device {device}"
        with panel(SIZES["small"]) as (figure, axes):
            for place, row in enumerate(good):
                _draw(axes, capture, row, unit, color=PALETTE[0], alpha=0.25 + 0.75 * (place + 1) / len(good))
            for row in bad:
                _draw(axes, capture, row, unit, color=BAD, ls="--")
            axes.set_title(title, loc="left")
            sqrt_seconds_axis(axes, float(np.nanmax(capture.time_s[own["row"].to_numpy()])), narrow=True)
            axes.set(ylabel=f"current ({unit.name})")
        shown = f"{len(good) + len(bad)} of {len(own)} repeats" if len(own) > 1 else "its one decay"
        later = ", later ones darker" if len(good) > 1 else ""
        flagged = f", {len(bad)} flagged (dashed)" if len(bad) else ""
        caption = f"{title.capitalize()}: {shown}{later}{flagged}."
        drawings.append(Drawing(slug(f"traces {number:02d} {title}"), figure, caption, "small"))
    return drawings


def repeats_figure(numbers: pd.DataFrame) -> Drawing | None:
    """Every trace as a square, device by repeat: how far its drop is from its like's mean; None without repeats."""
    decays = numbers[numbers["decays"]]
    away, ok = away_from_their_like(decays, "drop_A"), (decays["status"] == "ok").to_numpy()
    if (ok & np.isfinite(away)).sum() < 3:
        return None
    sd = float(1.4826 * np.nanmedian(np.abs(away[ok]))) or 1.0  # outliers do not widen it
    several = numbers["point"].nunique() > 1
    known = sorted_devices(decays["device_name"])
    lines = [
        f"{device}, {point}" if several else device
        for device, point in decays[["device_name", "point"]].itertuples(index=False)
    ]
    order = dict(
        zip(lines, zip((known.index(d) for d in decays["device_name"]), decays["point"], strict=True), strict=True)
    )
    rows = Blocks.of(sorted(order, key=lambda line: order[line]), _MOST_SQUARES)
    columns = Blocks.of(sorted(decays["repeat"].unique()), 60)
    at = rows.places(lines), columns.places(decays["repeat"].tolist())
    values = np.full((len(rows.parts), len(columns.parts)), np.nan)
    furthest_last = np.argsort(np.nan_to_num(np.abs(away)), kind="stable")  # of those that share a square it shows
    values[at[0][furthest_last], at[1][furthest_last]] = (away / sd)[furthest_last]
    with panel((SIZES["panel"][0], float(np.clip(1.0 + 0.25 * len(rows.parts), 1.6, 4.5)))) as (figure, axes):
        shaded_cells(axes, values, 4.0)
        axes.plot(at[1][~ok], at[0][~ok], "x", color=BAD, ms=5)
        _squares(axes, rows, columns)
        axes.set(xlabel="repeat", ylabel="device, point" if several else "device")
    return Drawing(
        "repeats",
        figure,
        "The drop of every trace against the mean of its device's good traces at the point: orange larger, blue "
        "smaller, full colour at four standard deviations of all; a cross is a flagged trace. It should look like "
        "noise. A row that turns from one colour to the other drifts; a lone strong square is an outlier; a column, "
        "something that befell all devices at once.",
    )


def signal_figure(numbers: pd.DataFrame) -> Drawing | None:
    """Signal-to-noise of each trace, by device; None where no trace says it."""
    known = numbers[np.isfinite(numbers["signal_to_noise"]) & (numbers["signal_to_noise"] > 0)]
    if known.empty:
        return None
    devices = sorted_devices(known["device_name"])
    shown = known.iloc[every_so(len(known), _MOST_DOTS)]
    place = np.array([devices.index(name) for name in shown["device_name"]])
    # Side by side in the order of time, so that dots do not hide each other.
    within = shown.groupby("device_name").cumcount() / shown.groupby("device_name")["row"].transform("count")
    with panel() as (figure, axes):
        good = (shown["status"] == "ok").to_numpy()
        x, y = place - 0.35 + 0.7 * within.to_numpy(), shown["signal_to_noise"].to_numpy()
        axes.plot(x[good], y[good], ".", ms=3.5, alpha=0.7, color=PALETTE[0])
        axes.plot(x[~good], y[~good], "x", ms=5, color=BAD)
        axes.axhline(POOR, color=INK, lw=0.9, ls="--", label=f"{POOR}: below, a decay says little")
        ticks = every_so(len(devices), 12)
        axes.set_xticks(ticks, [devices[i] for i in ticks])
        axes.set(xlabel="device", ylabel="drop / noise of one reading", yscale="log")
        plain_log_axis(axes.yaxis)
        axes.legend(loc="best")
    return Drawing(
        "signal-to-noise",
        figure,
        "Signal-to-noise: the drop over the decay against the scatter of one reading (from neighbours in the dark, "
        "else in the decay), a dot a trace, in the order of time within each device. Devices should lie in level "
        "bands, well above the line; a band that sinks loses light or contact.",
    )


def noise_figure(capture: Capture, numbers: pd.DataFrame) -> Drawing | None:
    """Spectrum of the readings in the dark and on the lit plateau; None where too few are evenly spaced."""
    spectra = noise_spectra(capture, numbers)
    if not spectra:
        return None
    unit = unit_for(np.concatenate([density for _, density, _ in spectra.values()]), "A")
    with panel() as (figure, axes):
        for name, (frequency_Hz, density, count) in spectra.items():
            axes.plot(frequency_Hz, density * unit.scale, ".-", ms=3, lw=1, label=f"{name}, {count} stretches")
        axes.set(xscale="log", xlabel="frequency (Hz)", ylabel=f"current noise ({unit.name} / \u221aHz)")
        plain_log_axis(axes.xaxis)
        if max(np.ptp(np.log10(density)) for _, density, _ in spectra.values()) > 0.7:
            axes.set_yscale("log")
            plain_log_axis(axes.yaxis)
        else:
            axes.set_ylim(bottom=0)
        axes.legend()
    return Drawing(
        "noise-spectrum",
        figure,
        "Noise of the readings where the device stands still, straight lines taken off, mean of all good traces. It "
        "should be flat, and may rise to the left (1/f noise). A peak at the frequency of the mains, or at twice it, "
        "is hum or room light; lit far above dark, noise of the light source.",
    )


def drift_figures(numbers: pd.DataFrame) -> list[Drawing]:
    """Drop, lit plateau and dark baseline over the run, each less the mean of its like."""
    words = {
        "drop_A": ("drop", "A slope is ageing of the chip or of the light; a jump, something that was touched."),
        "plateau_A": ("lit plateau", "It follows light and device together."),
        "baseline_A": ("dark baseline", "A baseline that climbs has not recovered from earlier light."),
    }
    return [
        drawing
        for column, (name, wrong) in words.items()
        if (drawing := _drift_figure(numbers, column, name, wrong)) is not None
    ]


def _drift_figure(numbers: pd.DataFrame, column: str, name: str, wrong: str) -> Drawing | None:
    away = away_from_their_like(numbers, column)
    use = np.flatnonzero(usable(numbers, column) & np.isfinite(away))
    if len(use) < 3:
        return None
    hours, unit = numbers["elapsed_h"].to_numpy(dtype=float), unit_for(away[use], "A")
    time = Unit("h", 1.0) if hours[use].max() >= 1 else Unit("min", 60.0)
    shown, slope = use[every_so(len(use), _MOST_DOTS)], drift_of(numbers, column)
    with panel() as (figure, axes):
        axes.plot(hours[shown] * time.scale, away[shown] * unit.scale, ".", ms=3.5, alpha=0.6, color=PALETTE[0])
        centre, median = _running(hours[use], away[use])
        axes.plot(centre * time.scale, median * unit.scale, "-", lw=1.5, color=PALETTE[1], label="running median")
        axes.axhline(0, color=INK, lw=0.7)
        axes.set(xlabel=f"time since the first trace ({time.name})", ylabel=f"{name} less its mean ({unit.name})")
        axes.legend()
    said = "" if slope is None else f" Slope: {drift_words(slope, 'A', 'an hour')}."
    return Drawing(
        slug(f"drift {name.split()[-1]}"),
        figure,
        f"The {name} of each trace less the mean of its device at its point.{said} The dots should scatter about the "
        f"line all along. {wrong}",
    )


def drift_words(change: tuple[float, float], unit: str, per: str) -> str:
    """A change with its sd, in one unit."""
    shown = unit_for(np.array(change), unit)
    return f"{change[0] * shown.scale:+.3g} \u00b1 {change[1] * shown.scale:.2g} {shown.name} {per}".replace(
        "-", "\u2212"
    )


def _running(x: Array, y: Array) -> tuple[Array, Array]:
    """Medians of a dozen stretches of equally many points."""
    order = np.array_split(np.argsort(x, kind="stable"), max(1, min(12, len(x) // 5)))
    return np.array([np.median(x[part]) for part in order]), np.array([np.median(y[part]) for part in order])


def _samples(capture: Capture, row: int) -> tuple[Array, Array]:
    t, current = capture.time_s[row], capture.current_A[row]
    finite = np.isfinite(t) & np.isfinite(current)
    return t[finite], current[finite]


def _decay(capture: Capture, row: int, most: int = MOST_POINTS) -> tuple[Array, Array]:
    t, current = _samples(capture, row)
    after = t > 0
    t, current = t[after], current[after]
    use = spread_out(np.sqrt(t), most)
    return t[use], current[use]


def _draw(axes: Axes, capture: Capture, row: int, unit: Unit, **how: object) -> None:
    t, current = _decay(capture, row, 60)
    axes.plot(t, current * unit.scale, lw=0.8, **how)  # type: ignore[arg-type]


def _legend(axes: Axes, count: int) -> None:
    axes.legend(ncols=1 + (count > 4), loc="best")


def _squares(axes: Axes, rows: Blocks, columns: Blocks) -> None:
    axes.set(xlim=(-0.5, len(columns.parts) - 0.5), ylim=(len(rows.parts) - 0.5, -0.5))
    axes.set_xticks(*columns.ticks())
    axes.set_yticks(*rows.ticks())
    axes.grid(visible=False)
