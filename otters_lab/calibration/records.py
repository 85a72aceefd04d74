"""What a fit found, as the parts of a calibration file."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import t as student

from otters_lab.calibration.bulk import BulkFit, Decays, SharedC
from otters_lab.calibration.choice import TraceVerdict
from otters_lab.calibration.file import (
    Constants,
    DeviceRecord,
    DriftRecord,
    LawRecord,
    LevelTable,
    ModeRecord,
    ModesRecord,
    NoiseRecord,
    TraceTable,
    matrix_record,
    rounded,
    spread_record,
)
from otters_lab.calibration.model import PARAMETERS, DeviceModel
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.normalise import NormalisedFit
from otters_lab.calibration.population import Population
from otters_lab.calibration.select import Selection
from otters_lab.calibration.spread import Spread
from otters_lab.core.protocols import Array

N_LEVELS = 16  # the level table's resolution, 4 bits; the model itself serves any


def device_record(normal: NormalisedFit, chosen: Selection, decays: Decays, law: str) -> DeviceRecord:
    population, c = normal.population, normal.shared.c
    logit_beta = float(population.mean[2])
    model = normal.device_model(chosen.window_s)
    edge_end = np.array([[1.0, 0.0, 0.0], [1.0, -1.0, 0.0]]) * normal.swing_A
    cov = population.mean_cov
    baseline = chosen.table["baseline_A"].to_numpy(dtype=float)
    return DeviceRecord(
        law=LawRecord(
            name="power" if c == 0.0 else "unified",
            formula="O(u) = O0 - D*[1 - (1-c)**(u**beta)]/c, u = t/W",
            c=rounded(c),
            c_sd=None if normal.shared.sd is None else rounded(normal.shared.sd),
            because=_reason(normal.shared, law),
        ),
        constants=Constants(
            window_s=rounded(chosen.window_s),
            I_edge_A=rounded(normal.I_end_A + normal.swing_A),
            I_end_A=rounded(normal.I_end_A),
            I_dark_A=rounded(float(np.nanmean(baseline))) if np.isfinite(baseline).any() else None,
            covariance_A2=None if cov is None else matrix_record(edge_end @ cov @ edge_end.T),
            polarity="falls" if normal.swing_A > 0 else "rises",
        ),
        logit_beta=rounded(logit_beta),
        logit_beta_interval=_mean_interval(population, 2),
        mean_covariance=None if cov is None else matrix_record(cov),
        run_to_run=spread_record(population.run_to_run),
        device_to_device=spread_record(population.device_to_device),
        tail=population.tails.tail if np.isfinite(population.tails.tail) else None,
        modes=_modes_record(normal),
        drift=_drift_record(population),
        levels=_level_table(model, normal, _first_time(decays)),
    )


def _reason(shared: SharedC, law: str) -> str:
    if law == "power":
        return "asked for"
    sd = "its sd unknown" if shared.sd is None else f"sd {shared.sd:.2g}"
    near = shared.sd is not None and abs(shared.c) < 2 * shared.sd
    verdict = "a power law (c = 0) is not excluded" if near else "neither a power law (c = 0) nor free of curvature"
    return (
        f"on this window only the curvature c of the unified law is identifiable: c = {shared.c:.3g} ({sd}); {verdict}"
    )


def _first_time(decays: Decays) -> float:
    used = np.broadcast_to(decays.used > 0, decays.y.shape)
    return float(np.min(np.broadcast_to(decays.time_s, decays.y.shape)[used]))


def _mean_interval(population: Population, index: int) -> tuple[float, float] | None:
    """95 % interval of a mean over devices; None with one."""
    dof = population.device_to_device.dof
    if population.mean_cov is None or dof < 1:
        return None
    half = float(student.ppf(0.975, dof) * population.mean_cov[index, index] ** 0.5)
    return rounded(float(population.mean[index]) - half), rounded(float(population.mean[index]) + half)


def _drift_record(population: Population) -> DriftRecord | None:
    drift = population.drift
    if drift is None:
        return None

    def named(values: Array) -> dict[str, float]:
        return {name: rounded(float(v)) for name, v in zip(PARAMETERS, values, strict=True)}

    return DriftRecord(
        per_hour=named(drift.per_s * 3600.0),
        sd_per_hour=named(drift.sd_per_s * 3600.0),
        per_repeat=None if drift.per_repeat is None else named(drift.per_repeat),
        sd_per_repeat=None if drift.sd_per_repeat is None else named(drift.sd_per_repeat),
        shared_with_time=None if drift.shared is None else rounded(drift.shared),
    )


def _modes_record(normal: NormalisedFit) -> ModesRecord | None:
    modes = normal.mode_curves
    if modes is None:
        return None
    levels = normal.level_sensitivity(N_LEVELS)[:, 3:].T
    runs, devices = normal.extended.run_to_run, normal.extended.device_to_device
    return ModesRecord(
        modes=[
            ModeRecord(
                legendre=[rounded(float(v)) for v in legendre],
                tangent=[rounded(float(v)) for v in tangent],
                levels=[rounded(float(v)) for v in level],
            )
            for legendre, tangent, level in zip(modes.legendre, modes.tangent, levels, strict=True)
        ],
        run_to_run_covariance=matrix_record(runs.covariance, runs.resolved),
        device_to_device_covariance=matrix_record(devices.covariance, devices.resolved),
    )


def _level_table(model: DeviceModel, normal: NormalisedFit, first_s: float) -> LevelTable:
    times = model.level_times(N_LEVELS) * model.window_s
    sensitivity = normal.level_sensitivity(N_LEVELS)

    def spread(part: Spread) -> tuple[list[float | None], list[list[float | None]] | None]:
        if not any(part.resolved):
            return [None] * N_LEVELS, None
        covariance = sensitivity @ part.covariance @ sensitivity.T
        # A level that only an unresolved parameter moves (O0 at k = 0) has an unknown spread, not none.
        known = [bool(value > 0) for value in np.diag(covariance)]
        sd = [rounded(float(v) ** 0.5) if k else None for v, k in zip(np.diag(covariance), known, strict=True)]
        return sd, matrix_record(covariance, known)

    run_sd, run_cov = spread(normal.extended.run_to_run)
    device_sd, device_cov = spread(normal.extended.device_to_device)
    return LevelTable(
        n_levels=N_LEVELS,
        time_s=[rounded(float(t)) for t in times],
        mean=[rounded(float(v)) for v in model.levels(model.mean[None], N_LEVELS)[0]],
        run_to_run_sd=run_sd,
        device_to_device_sd=device_sd,
        run_to_run_covariance=run_cov,
        device_to_device_covariance=device_cov,
        extrapolated=[int(k) for k in np.flatnonzero(times < first_s)],
    )


def noise_record(noise: ReadNoise, chosen: Selection) -> NoiseRecord:
    low, high = noise.band_Hz(chosen.duration_s)
    aperture = chosen.table["aperture_s"].to_numpy(dtype=float)
    errors = np.sqrt(np.clip(np.diag(noise.power_cov), 0.0, None))
    # sd of a root is that of the square over twice the root; at a root of 0 the root of the sd bounds it.
    white_error, flicker_error = (
        min(float(error) / (2 * value), float(error) ** 0.5) if value > 0 else float(error) ** 0.5
        for error, value in zip(errors, (noise.white_sd, noise.flicker), strict=True)
    )
    return NoiseRecord(
        white_A_per_sqrtHz=rounded(noise.white_density),
        white_error_A_per_sqrtHz=rounded(white_error * (2 * noise.interval_s) ** 0.5),
        flicker_A_per_sqrtHz=rounded(noise.flicker),
        flicker_error_A_per_sqrtHz=rounded(flicker_error),
        band_Hz=(rounded(low), rounded(high)),
        aperture_s=rounded(float(np.nanmedian(aperture))) if np.isfinite(aperture).any() else None,
        white_sd_A=rounded(noise.white_sd),
        flicker_A=rounded(noise.flicker),
        interval_s=rounded(noise.interval_s),
        segments=noise.segments,
        source=noise.source,
    )


def trace_table(
    fit: BulkFit, chosen: Selection, verdicts: dict[int, TraceVerdict], normal: NormalisedFit | None
) -> TraceTable:
    columns = ["chip", "device", "point", "repeat", "edge_A", "drop_A", "beta", "outlier"]
    columns += ["law", "rival", "polarity", "parameters", "standard_errors", "autocorrelation", "notes"]
    columns += ["status", "aic", "bic", "effective_samples", "mode_scores"]
    scores = None if normal is None or normal.modes is None or not normal.modes.count else normal.modes.scores
    outliers = set() if normal is None else set(normal.population.outliers.tolist())
    rows: list[list[Any]] = []
    for row, meta in enumerate(chosen.table[["chip", "device", "point", "repeat"]].to_dict("records")):
        edge, drop, logit_beta = (float(v) for v in fit.theta[row])
        entry: list[Any] = [str(meta["chip"]), int(meta["device"]), int(meta["point"]), int(meta["repeat"])]
        entry += [rounded(edge), rounded(drop), rounded(float(expit(logit_beta))), row in outliers]
        verdict = verdicts.get(row)
        if verdict is None:
            entry += [None] * 11
        else:
            errors = {k: None if v is None else rounded(v) for k, v in verdict.errors.items()}
            values = {k: rounded(v) for k, v in verdict.values.items()}
            entry += [verdict.law, verdict.rival, verdict.polarity, values, errors]
            entry += [rounded(verdict.autocorrelation), verdict.notes, verdict.status]
            entry += [{k: rounded(v) for k, v in criterion.items()} for criterion in (verdict.aic, verdict.bic)]
            entry.append(rounded(verdict.n_effective))
        entry.append(None if scores is None else [rounded(float(v)) for v in scores[row]])
        rows.append(entry)
    return TraceTable(columns=columns, rows=rows)
