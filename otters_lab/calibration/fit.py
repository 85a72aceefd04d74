"""From captures to a calibration: select, fit, deconvolve, judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from otters_lab.calibration.bulk import C_BOUNDS, BulkFit, Decays, SharedC, fit_bulk, fit_shared_c
from otters_lab.calibration.choice import TraceVerdict, judge_trace
from otters_lab.calibration.file import Calibration
from otters_lab.calibration.gates import at_most
from otters_lab.calibration.laws import LAWS
from otters_lab.calibration.noise import estimate_noise
from otters_lab.calibration.normalise import normalise
from otters_lab.calibration.records import N_LEVELS, device_record, noise_record, trace_table
from otters_lab.calibration.select import Selection, select
from otters_lab.calibration.verdicts import population_gates, trace_gates
from otters_lab.core.log import progress
from otters_lab.core.provenance import common_origin, new_header, reference
from otters_lab.measurements.capture import Capture

MAX_JUDGED = 40  # traces on which all laws are compared
LAW_CHOICES = ("auto", "unified", "kww", "power")


def fit_captures(
    captures: Sequence[Capture], *, window_s: float | None = None, law: str = "auto", point: int | None = None
) -> Calibration:
    """Fits a calibration to captures.

    Parameters
    ----------
    window_s : the window W in seconds; None takes the captures' own.
    law : "auto" and "unified" let the shared c decide; "power" holds c = 0; "kww" keeps 0 < c < 1.
    point : use this setting alone.

    Raises
    ------
    InputError
        if there is nothing to fit (see `select`).
    """
    chosen = select(captures, window_s, point)
    verdicts = _judge(chosen)
    segments, source = chosen.steady_segments()
    noise = estimate_noise(segments, chosen.interval_s, chosen.duration_s, source)
    settings = chosen.settings
    gates = [at_most("one setting", float(len(settings)), 1, "a device model describes one setting of the sweep")]
    decays = chosen.decays()
    fit, shared = _fit_law(decays, chosen, law, one_setting=len(settings) == 1)
    device, normal = None, None
    if shared is not None:
        normal = normalise(shared, chosen, decays, noise, free_c=law != "power")
        fit, noise = normal.shared.fit, normal.noise
        device = device_record(normal, chosen, decays, law)
        gates += population_gates(normal, chosen, decays, device.levels.extrapolated, N_LEVELS)
    gates += trace_gates(fit, chosen, decays, verdicts)
    header = new_header(
        "calibration",
        origin=common_origin(capture.header.origin or "imported" for capture in captures),
        inputs=[reference(capture.path, "capture", capture.header.uid) for capture in captures],
        config={"window_s": chosen.window_s, "law": law, "point": point, "dropped_by_status": chosen.dropped},
    )
    return Calibration(
        header=header,
        chip=", ".join(sorted({str(chip) for chip in chosen.table["chip"]})),
        settings=settings,
        noise=None if noise is None else noise_record(noise, chosen),
        device=device,
        gates=gates,
        laws_preferred=_count([verdict.law for verdict in verdicts.values()]),
        traces=trace_table(fit, chosen, verdicts, normal),
    )


def _judge(chosen: Selection) -> dict[int, TraceVerdict]:
    """Law comparison on every trace, or on evenly spread ones where there are many."""
    count = len(chosen.table)
    rows = range(count) if count <= MAX_JUDGED else np.linspace(0, count - 1, MAX_JUDGED).astype(int)
    verdicts = {}
    with progress("comparing laws", len(rows)) as advance:
        for row in rows:
            t, current = chosen.decay(int(row))
            if len(t) >= 8:
                verdicts[int(row)] = judge_trace(t, current)
            advance(1)
    return verdicts


def _fit_law(decays: Decays, chosen: Selection, law: str, *, one_setting: bool) -> tuple[BulkFit, SharedC | None]:
    """Every trace by the unified law: with one c where there is one setting, else as power laws (c = 0)."""
    if not one_setting:
        return fit_bulk(decays, 0.0), None
    groups = chosen.table["device_code"].to_numpy()
    if law == "power":
        shared = SharedC(0.0, None, fit_bulk(decays, 0.0))
    else:
        shared = fit_shared_c(decays, groups, (1e-9, C_BOUNDS[1]) if law == "kww" else C_BOUNDS)
    return shared.fit, shared


def _count(names: list[str]) -> dict[str, int]:
    order = [*LAWS, "line"]
    return {name: names.count(name) for name in order if name in names}
