"""From captures to a calibration: select, fit, deconvolve, judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from otters_lab.calibration.bulk import fit_bulk
from otters_lab.calibration.choice import TraceVerdict, judge_trace
from otters_lab.calibration.conditions_fit import fit_conditions, mark_outliers
from otters_lab.calibration.curvature import shared_curvature
from otters_lab.calibration.engines import ON_ONE_CORE, Runner
from otters_lab.calibration.file import Calibration
from otters_lab.calibration.gates import at_least
from otters_lab.calibration.noise import estimate_noise
from otters_lab.calibration.normalise import normalise
from otters_lab.calibration.records import N_LEVELS, device_record, noise_record, trace_table
from otters_lab.calibration.select import Selection, select
from otters_lab.calibration.trace_laws import LAWS
from otters_lab.calibration.verdicts import population_gates, trace_gates
from otters_lab.core.errors import InputError
from otters_lab.core.log import progress
from otters_lab.core.provenance import common_origin, new_header, reference
from otters_lab.measurements.capture import Capture

MAX_JUDGED = 40  # traces on which all laws are compared
LAW_CHOICES = ("auto", *LAWS)
DEVICE_LAWS = ("auto", "unified", "kww", "power")  # the unified law, free or held: what networks are trained on


def fit_captures(
    captures: Sequence[Capture],
    *,
    window_s: float | None = None,
    law: str = "auto",
    point: int | None = None,
    runner: Runner = ON_ONE_CORE,
) -> Calibration:
    """Fits a calibration to captures: one device model, or one for each of several settings (`fit_conditions`).

    Parameters
    ----------
    window_s : the window W in seconds; None takes the captures' own.
    law : "auto" and "unified" let the shared c decide; "power" holds c = 0; "kww" keeps 0 < c < 1. Of "exp" and "biexp"
        there is no device model: the calibration holds the traces' own fits, `device` None and a failed gate saying
        so. Any but "auto" is also the law whose numbers the traces' verdicts give, whatever AIC prefers.
    point : use this setting alone.
    runner : where traces are fitted; the calibration does not depend on it.

    Raises
    ------
    InputError
        if there is nothing to fit (see `select`), or no such law.
    RefusedError
        naming the traces that were lost with a runner's workers.
    """
    chosen = select(captures, window_s, point)
    if law not in LAW_CHOICES:
        raise InputError("no such law", key="law", found=law, expected=", ".join(LAW_CHOICES))
    verdicts = _judge(chosen, None if law == "auto" else law)
    segments, source = chosen.steady_segments()
    noise = estimate_noise(segments, chosen.interval_s, chosen.duration_s, source)
    device, normal, conditions = None, None, None
    if law not in DEVICE_LAWS:
        decays = chosen.decays()
        fit = fit_bulk(decays, 0.0)
        gates = [at_least("a law with a device model", 0, 1, f"{law} has none: its traces are fitted, no more")]
        gates += trace_gates(fit, chosen, decays, verdicts)
        traces = trace_table(fit, chosen, verdicts, None)
    elif len(chosen.settings) > 1:
        found = fit_conditions(chosen, verdicts, noise, law, runner)
        fit, conditions, gates = found.traces, found.records, found.gates
        traces = mark_outliers(trace_table(fit, chosen, verdicts, None), found.outliers)
    else:
        decays = chosen.decays()
        shared = shared_curvature(decays, chosen.table["device_code"].to_numpy(), law, runner)
        normal = normalise(shared, chosen, decays, noise, free_c=law != "power", runner=runner)
        fit, noise = normal.shared.fit, normal.noise
        device = device_record(normal, chosen, decays, law)
        gates = population_gates(normal, chosen, decays, device.levels.extrapolated, N_LEVELS)
        gates += trace_gates(fit, chosen, decays, verdicts)
        traces = trace_table(fit, chosen, verdicts, normal)
    header = new_header(
        "calibration",
        origin=common_origin(capture.header.origin or "imported" for capture in captures),
        inputs=[reference(capture.path, "capture", capture.header.uid) for capture in captures],
        config={"window_s": chosen.window_s, "law": law, "point": point, "dropped_by_status": chosen.dropped},
    )
    return Calibration(
        header=header,
        chip=", ".join(sorted({str(chip) for chip in chosen.table["chip"]})),
        settings=chosen.settings,
        noise=None if noise is None else noise_record(noise, chosen),
        device=device,
        gates=gates,
        laws_preferred=_count([verdict.preferred for verdict in verdicts.values()]),
        traces=traces,
        conditions=conditions,
    )


def _judge(chosen: Selection, asked: str | None) -> dict[int, TraceVerdict]:
    """Law comparison on every trace, or on evenly spread ones where there are many."""
    count = len(chosen.table)
    rows = range(count) if count <= MAX_JUDGED else np.linspace(0, count - 1, MAX_JUDGED).astype(int)
    verdicts = {}
    with progress("comparing laws", len(rows)) as advance:
        for row in rows:
            t, current = chosen.decay(int(row))
            if len(t) >= 8:
                meta = chosen.table.iloc[int(row)]
                aperture_s, edge_sd_s = (
                    float(meta[name]) if np.isfinite(meta[name]) else 0.0
                    for name in ("aperture_s", "edge_uncertainty_s")
                )
                verdicts[int(row)] = judge_trace(t, current, aperture_s=aperture_s, edge_sd_s=edge_sd_s, asked=asked)
            advance(1)
    return verdicts


def _count(names: list[str]) -> dict[str, int]:
    order = [*LAWS, "line"]
    return {name: names.count(name) for name in order if name in names}
