"""A calibration as a page: may a network be trained on it, what does the device do, how well is that known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from otters_lab.calibration.conditions import condition_at
from otters_lab.calibration.file import Calibration, DeviceRecord, SpreadRecord
from otters_lab.core.quantity import format_quantity
from otters_lab.measurements.capture import Capture
from otters_lab.reports.calibration_figures import (
    ALPHA,
    NAMES,
    condition_figures,
    correlation_figure,
    curve_figure,
    known,
    laws_figure,
    level_spreads,
    runs_figure,
    spread_figure,
    theta_table,
)
from otters_lab.reports.figures import Drawing
from otters_lab.reports.html import Cell, Verdict, bullets, paragraph, table
from otters_lab.reports.report import Part, Report, provenance_part
from otters_lab.reports.residual_figures import (
    autocorrelation_figure,
    qq_figure,
    residual_figure,
    sampled_figure,
    sampled_sd_figure,
)
from otters_lab.reports.residuals import fitted, level_scatter, white_residuals

_SIGNS = {"pass": "good", "fail": "bad", "unknown": "open"}
_NEEDS_CAPTURE = (
    "Residuals against time, their Q\u2013Q plot and autocorrelation, and measured against sampled need the readings "
    "themselves: "
)
MOST_ROWS = 200


def calibration_report(
    calibration: Calibration, path: Path, sha256: str, captures: Sequence[Capture] | None, missing: str = ""
) -> Report:
    """The page of a calibration file.

    captures : what it was fitted to, for the figures of residuals; None where they are not at hand, and `missing` says
        how to bring them.

    Raises
    ------
    InputError
        if they are not the captures it was fitted to.
    """
    about = f"chip {calibration.chip}, {len(calibration.traces.rows)} traces"
    if calibration.window_s is not None:
        about += f", window {format_quantity(calibration.window_s, 's')}"
    if calibration.device is not None:
        middle = [*_one_setting(calibration), *_with_captures(calibration, captures, missing)]
    elif calibration.conditions:
        about += f", {len(calibration.conditions)} settings"
        of_one = "Residuals are drawn, and draws of the model compared, for one setting: fit --point N takes one."
        middle = [_settings(calibration), Part("Residuals", [paragraph(of_one)])]
    else:
        middle = [Part("Device model", [paragraph("None: the law that was asked for gives none.")])]
    parts = [
        Part("Gates", [_gates(calibration)]),
        *middle,
        Part("Outliers", [_outliers(calibration)]),
        Part("Choice of the law", _laws(calibration)),
        provenance_part(calibration.header, sha256),
    ]
    return Report(f"Calibration {path.name}", about, calibration.header.origin, _verdicts(calibration), parts)


def _verdicts(calibration: Calibration) -> list[Verdict]:
    """What a reader should know before anything else."""
    gates = calibration.gates
    passed, failed, unknown = (
        [gate.name for gate in gates if gate.verdict == verdict] for verdict in ("pass", "fail", "unknown")
    )
    found = [
        Verdict("bad" if failed else "good", f"{len(passed)} of {len(gates)} gates passed"
                + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    ]  # fmt: skip
    if failed:
        found.append(Verdict("bad", "train and evaluate refuse this calibration"))
    if unknown:
        found.append(Verdict("open", f"the data cannot give {len(unknown)} of the gates: {', '.join(unknown)}"))
    place = calibration.traces.columns.index("outlier")
    out = sum(bool(row[place]) for row in calibration.traces.rows)
    found.append(Verdict("good" if not out else "open", f"{out} of {len(calibration.traces.rows)} traces are outliers"))
    device = calibration.device
    if device is None:
        few = "one model for each setting" if calibration.conditions else "no device model"
        found.append(Verdict("open", f"{few}; training takes one setting"))
        return found
    for name, spread in (("run-to-run", device.run_to_run), ("device-to-device", device.device_to_device)):
        lost = [NAMES[parameter] for parameter, sd in spread.sd.items() if sd is None]
        if lost:
            found.append(Verdict("open", f"the {name} spread of {', '.join(lost)} is not resolved"))
    early = [str(k) for k in device.levels.extrapolated if k > 0]
    if early:
        found.append(Verdict("open", f"levels {', '.join(early)} lie before the first sample: extrapolated"))
    if device.drift is not None:
        moved = [NAMES[n] for n, slope in device.drift.per_hour.items() if abs(slope) > 3 * device.drift.sd_per_hour[n]]
        if moved:
            found.append(Verdict("open", f"{', '.join(moved)} drifted while the captures were taken"))
    return found


def _gates(calibration: Calibration) -> str:
    rows: list[tuple[Cell, ...]] = [
        (gate.name, "unknown" if gate.value is None else f"{gate.value:.4g}", f"{gate.rule} {gate.limit:g}",
         Verdict(_SIGNS[gate.verdict], gate.verdict), gate.about)  # type: ignore[arg-type]
        for gate in calibration.gates
    ]  # fmt: skip
    return table(("gate", "value", "limit", "verdict", "about"), rows)


def _one_setting(calibration: Calibration) -> list[Part]:
    device = calibration.device
    assert device is not None
    spreads = level_spreads(calibration)
    levels = device.levels
    rows = []
    for k in range(levels.n_levels):
        cells: list[str] = []
        for of_file, kind in zip((levels.run_to_run_sd, levels.device_to_device_sd), spreads.values(), strict=True):
            sd, ends = known(of_file)[k], kind[k].interval(ALPHA) if k < len(kind) else None
            cells.append("unknown" if np.isnan(sd) else f"{sd:.4f}")
            cells.append("" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}")
        read = "never read" if k == levels.n_levels - 1 else "extrapolated" if k in levels.extrapolated else "sampled"
        rows.append((str(k), format_quantity(levels.time_s[k], "s"), f"{levels.mean[k]:.4f}", *cells, read))
    columns = ("k", "time", "O", "run-to-run sd", "95 %", "device-to-device sd", "95 %", "the time was")
    setting = ", ".join(f"{name} {value:g}" for name, value in calibration.settings[0].items())
    told = [paragraph(f"Measured at {setting} (SI units).")] if setting else []
    return [
        Part("Mean curve and levels", [curve_figure(calibration), spread_figure(calibration, spreads), *told,
                                       table(columns, rows)]),
        Part("Parameters", [runs_figure(calibration), correlation_figure(device), *_parameters(calibration, device)]),
    ]  # fmt: skip


def _parameters(calibration: Calibration, device: DeviceRecord) -> list[str]:
    constants, law = device.constants, device.law
    beta = device.logit_beta_interval
    cov = constants.covariance_A2

    def current(value: float | None, place: int | None) -> tuple[str, str]:
        variance = None if cov is None or place is None else cov[place][place]
        return format_quantity(
            value, "A", 6
        ), "" if variance is None else f"sd {format_quantity(variance**0.5, 'A', 3)}"

    rows = [
        ("c, curvature", f"{law.c:.5g}", "" if law.c_sd is None else f"sd {law.c_sd:.2g}"),
        ("\u03b2, exponent", f"{expit(device.logit_beta):.5f}",
         "" if beta is None else f"{expit(beta[0]):.5f} to {expit(beta[1]):.5f}"),
        ("W, window", format_quantity(constants.window_s, "s", 6), "chosen"),
        ("I at the edge (O = 1)", *current(constants.I_edge_A, 0)),
        ("I at the window's end (O = 0)", *current(constants.I_end_A, 1)),
        ("I in the dark", *current(constants.I_dark_A, None)),
    ]  # fmt: skip
    noise = calibration.noise
    if noise is not None:
        rows.append(("white noise", f"{format_quantity(noise.white_A_per_sqrtHz, 'A', 4)}/\u221aHz",
                     f"sd {format_quantity(noise.white_error_A_per_sqrtHz, 'A', 3)}/\u221aHz"))  # fmt: skip
        rows.append(("1/f noise at 1 Hz", f"{format_quantity(noise.flicker_A_per_sqrtHz, 'A', 4)}/\u221aHz",
                     f"sd {format_quantity(noise.flicker_error_A_per_sqrtHz, 'A', 3)}/\u221aHz"))  # fmt: skip
    spread = [
        (NAMES[name], *_spread(device.run_to_run, name), *_spread(device.device_to_device, name), *_drift(device, name))
        for name in NAMES
    ]
    said = [f"{law.formula}: {law.because}.", f"After the light the current {constants.polarity}."]
    if device.modes is not None:
        said.append(f"{len(device.modes.modes)} modes beyond the law are part of the model.")
    if device.tail is not None:
        said.append(f"The runs' tails are those of a t distribution with {device.tail:g} degrees of freedom.")
    columns = ("parameter", "run-to-run sd", "95 %", "device-to-device sd", "95 %", "drift an hour", "sd of the drift")
    return [bullets(said), table(("parameter", "value", "95 %, or sd"), rows), table(columns, spread)]


def _spread(spread: SpreadRecord, name: str) -> tuple[str, str]:
    sd, interval, upper = spread.sd[name], spread.interval[name], spread.upper_bound[name]
    if sd is None:
        return "unknown", "" if upper is None else f"< {upper:.4f}"
    return f"{sd:.4f}", "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _drift(device: DeviceRecord, name: str) -> tuple[str, str]:
    if device.drift is None:
        return "unknown", ""
    return f"{device.drift.per_hour[name]:+.4f}", f"{device.drift.sd_per_hour[name]:.4f}"


def _with_captures(calibration: Calibration, captures: Sequence[Capture] | None, missing: str) -> list[Part]:
    """What only the readings themselves can show."""
    if captures is None:
        return [Part("Residuals", [paragraph(_NEEDS_CAPTURE + (missing or "the capture is not at hand") + ".")])]
    found = fitted(calibration, captures)
    groups = white_residuals(calibration, found)
    noise_A = None if calibration.noise is None else calibration.noise.white_sd_A
    scatter = level_scatter(calibration, found)
    sampled: list[str | Drawing] = [paragraph("Too few repeats, or traces that do not share their times.")]
    if scatter is not None:
        sampled = [sampled_figure(scatter), sampled_sd_figure(scatter)]
    return [
        Part("Residuals", [residual_figure(found, noise_A), qq_figure(groups), autocorrelation_figure(groups, found)]),
        Part("Measured against sampled", sampled),
    ]


def _settings(calibration: Calibration) -> Part:
    """A row a setting, and figures of all."""
    conditions = calibration.conditions or []
    rows = []
    for point in conditions:
        found = condition_at([point], point.settings)
        numbers = {name: (value, found.sd[name]) for name, value in found.values.items()}
        runs, devices = point.device.run_to_run, point.device.device_to_device
        rows.append(
            (
                *(f"{value:g}" for value in point.settings.values()),
                str(point.traces),
                *(_with_sd(*numbers[name], "A") for name in ("I_edge_A", "swing_A")),
                f"{expit(point.device.logit_beta):.4f}",
                _with_sd(*numbers["c"], "1"),
                *(_spread(spread, "D")[0] for spread in (runs, devices)),
            )
        )
    columns = (*conditions[0].settings, "traces", "I at the edge", "swing", "\u03b2", "c", "run-to-run sd of D",
               "device-to-device sd of D")  # fmt: skip
    return Part("Settings", [*condition_figures(calibration), table(columns, rows)])


def _with_sd(value: float | None, sd: float | None, unit: str) -> str:
    shown = format_quantity(value, unit, 4)
    return shown if sd is None else f"{shown} \u00b1 {format_quantity(sd, unit, 2)}"


def _outliers(calibration: Calibration) -> str:
    """Traces that are kept out of the spreads, by their ids."""
    place = {name: number for number, name in enumerate(calibration.traces.columns)}
    marked = [number for number, row in enumerate(calibration.traces.rows) if row[place["outlier"]]]
    if not marked:
        return paragraph("None: no run lies further from its device than one in 10 000 would by chance.")
    theta = None if calibration.device is None else theta_table(calibration)
    rows = []
    for number in marked[:MOST_ROWS]:
        row = calibration.traces.rows[number]
        values = () if theta is None else tuple(f"{theta[name][number]:.4f}" for name in ("O0", "D", "beta"))
        rows.append((str(number), *(str(row[place[name]]) for name in ("chip", "device", "point", "repeat")), *values))
    columns = ("trace", "chip", "device", "point", "repeat", *(() if theta is None else ("O0", "D", "\u03b2")))
    said = (
        "Runs further from their device than one in 10 000 would be by chance. They stay out of the spreads; look at "
        "their traces before you believe that they are not the device's own doing."
    )
    more = f" The first {MOST_ROWS} of {len(marked)}." if len(marked) > MOST_ROWS else ""
    return paragraph(said + more) + table(columns, rows)


def _laws(calibration: Calibration) -> list[str | Drawing]:
    """How single traces chose among the laws."""
    figure = laws_figure(calibration)
    if figure is None:
        return [paragraph("Laws were not compared: too few samples a trace.")]
    place = {name: number for number, name in enumerate(calibration.traces.columns)}
    judged = [row for row in calibration.traces.rows if row[place["aic"]]]
    rows = []
    for law in judged[0][place["aic"]]:
        worse = np.array([row[place["aic"]][law] for row in judged])
        by_bic = sum(row[place["bic"]][law] <= min(row[place["bic"]].values()) for row in judged)
        preferred = calibration.laws_preferred.get(law, 0)
        rows.append(
            (law, str(preferred), str(by_bic), f"{np.median(worse):.3g}", f"{int((worse < 10).sum())} of {len(judged)}")
        )
    columns = ("law", "preferred by AIC", "lowest BIC", "AIC above the best, median", "not excluded (< 10)")
    correlated = np.median([row[place["autocorrelation"]] for row in judged])
    said = paragraph(f"Lag-one autocorrelation of the chosen laws' residuals: {correlated:.2f} in the median trace.")
    return [figure, table(columns, rows), said]
