"""A sweep over several settings: one device model each, with one curvature for all unless they say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from otters_lab.calibration.bulk import BulkFit, SharedC, fit_bulk
from otters_lab.calibration.choice import TraceVerdict
from otters_lab.calibration.curvature import differ, shared_curvature
from otters_lab.calibration.engines import Runner
from otters_lab.calibration.file import ConditionRecord, TraceTable
from otters_lab.calibration.gates import Gate
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.normalise import normalise
from otters_lab.calibration.records import N_LEVELS, device_record
from otters_lab.calibration.select import Selection
from otters_lab.calibration.verdicts import population_gates, trace_gates
from otters_lab.core.protocols import AnyArray

_WORSE = {"pass": 0, "unknown": 1, "fail": 2}


@dataclass(frozen=True)
class ConditionsFit:
    """Device models by setting; every trace's own fit, in the order of the selection; outliers; the worst gates."""

    records: list[ConditionRecord]
    traces: BulkFit
    outliers: AnyArray  # trace numbers
    gates: list[Gate]


def fit_conditions(
    chosen: Selection, verdicts: dict[int, TraceVerdict], noise: ReadNoise | None, law: str, runner: Runner
) -> ConditionsFit:
    """Fits each setting by itself.

    One c is shared by all settings, found on all traces at once, unless the settings' own differ by more than their
    sds allow (`curvature.differ`). A setting is normalised by its own I_edge and I_end.
    """
    rows = _by_setting(chosen)
    parts = [replace(chosen, time_s=chosen.time_s[r], current_A=chosen.current_A[r],
                     table=chosen.table.iloc[r].reset_index(drop=True)) for r in rows]  # fmt: skip
    decays = [part.decays() for part in parts]
    groups = [part.table["device_code"].to_numpy() for part in parts]
    own = [shared_curvature(d, g, law, runner) for d, g in zip(decays, groups, strict=True)]
    if not differ(own, len(np.unique(chosen.table["device_code"]))):
        together = shared_curvature(chosen.decays(), chosen.table["device_code"].to_numpy(), law, runner)
        own = [
            SharedC(together.c, together.sd, fit_bulk(d, together.c, one.fit.theta))
            for d, one in zip(decays, own, strict=True)
        ]
    records, gates, outliers = [], [], []
    theta, rss = np.empty((len(chosen.table), 3)), np.empty(len(chosen.table))
    converged = np.zeros(len(chosen.table), dtype=bool)
    for r, part, d, one in zip(rows, parts, decays, own, strict=True):
        normal = normalise(one, part, d, noise, free_c=False, runner=runner)  # c is shared, or was free already
        fit = normal.shared.fit
        device = device_record(normal, part, d, law)
        # Joint covariances of levels follow from the parameters': at many settings they would be most of the file.
        levels = {"run_to_run_covariance": None, "device_to_device_covariance": None}
        device = device.model_copy(update={"levels": device.levels.model_copy(update=levels)})
        records.append(ConditionRecord(settings=part.settings[0], traces=len(r), device=device))
        judged = {i: verdicts[int(row)] for i, row in enumerate(r) if int(row) in verdicts}
        gates.append(
            population_gates(normal, part, d, device.levels.extrapolated, N_LEVELS) + trace_gates(fit, part, d, judged)
        )
        outliers.append(r[normal.population.outliers])
        theta[r], rss[r], converged[r] = fit.theta, fit.rss, fit.converged
    return ConditionsFit(
        records, BulkFit(theta, rss, own[0].c, converged), np.concatenate(outliers), _worst(records, gates)
    )


def _by_setting(chosen: Selection) -> list[AnyArray]:
    """Trace numbers of each setting, in the order of `Selection.settings`."""
    keys = pd.Series(list(chosen.table[chosen.parameter_names].astype(str).itertuples(index=False, name=None)))
    codes = pd.factorize(keys)[0]
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


def _worst(records: list[ConditionRecord], gates: list[list[Gate]]) -> list[Gate]:
    """Of each gate the setting where it stands worst, which it names."""
    result = []
    for same in zip(*gates, strict=True):
        sign = 1.0 if same[0].rule == "at most" else -1.0
        rank = [(_WORSE[gate.verdict], -np.inf if gate.value is None else sign * gate.value) for gate in same]
        at = max(range(len(same)), key=lambda i: rank[i])
        where = ", ".join(f"{name} {value:g}" for name, value in records[at].settings.items())
        result.append(same[at].model_copy(update={"about": f"{same[at].about}; worst setting: {where}"}))
    return result


def mark_outliers(table: TraceTable, outliers: AnyArray) -> TraceTable:
    """The table with these trace numbers marked as outliers."""
    place, out = table.columns.index("outlier"), set(outliers.tolist())
    rows = [[*row[:place], number in out, *row[place + 1 :]] for number, row in enumerate(table.rows)]
    return table.model_copy(update={"rows": rows})
