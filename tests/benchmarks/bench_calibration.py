"""Simulated chips through the calibration: bias, efficiency, spreads, correlations, coverage of the stated intervals.

    python tests/benchmarks/bench_calibration.py --output tests/benchmarks/results/calibration.json
    python tests/benchmarks/bench_calibration.py --only published --chips 5      (a part of it, printed)

The generator shares no code with the fitter: it is the closed form of the law, a Cholesky factor of the noise's exact
covariance, and numpy. Lengths are in windows, currents in units of the mean curve's drop. Regimes: `published` is the
published fit on its window (c = 1/110.989, beta 0.495), `well` has tau 2, beta 0.6 and a window of 98 % of the decay.
Read noise: white 0.5 % a reading, 1/f 0.1 % rms in the record's band (100 dark, 100 lit, 400 decay samples).

Large chips (8 devices x 200 repeats) show bias, RMSE over the Cramer-Rao bound under the true spectrum (c shared and
unknown), the sd of levels sampled from the calibration over the truth, correlations. Small chips (8 x 12) show how
often the 95 % intervals hold the truth; a spread that is not resolved counts by its upper bound. Each result says how
many chips it is of and what it costs to be wrong by chance.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from otters_lab.calibration.bulk import fit_shared_c
from otters_lab.calibration.noise import estimate_noise
from otters_lab.calibration.normalise import NormalisedFit, normalise
from otters_lab.calibration.select import Selection

LEVELS = (0, 1, 4, 8, 12, 14)
N_LEVELS = 16
RUN_SD = np.array([0.005, 0.02, 0.02])  # O0, D, logit beta
RUN_CORRELATION = np.array([[1, 0.3, -0.2], [0.3, 1, 0.4], [-0.2, 0.4, 1]])
DEVICE_SD = np.array([0.01, 0.05, 0.07])
DEVICE_CORRELATION = np.array([[1, 0.2, 0.0], [0.2, 1, -0.3], [0.0, -0.3, 1]])
MODE_CORRELATION = np.array([0.2, 0.5, -0.3])  # of the mode's score with O0, D, logit beta
WHITE, FLICKER_RMS = 0.005, 0.001
DECAY, BEFORE = 400, 200
STEP = 1 / DECAY
APERTURE = 0.5 * STEP
PULSE = 100 * STEP


@dataclass(frozen=True)
class Case:
    """A kind of chip. mode_sd, jitter (sd of the light's edge, windows), tail (of a multivariate t; 0: Gaussian)."""

    name: str
    regime: str = "published"
    devices: int = 8
    repeats: int = 12
    mode_sd: float = 0.0
    jitter: float = 0.0
    tail: float = 0.0
    noise_from: str = "dark and lit"

    @property
    def law(self) -> tuple[float, float]:
        """(logit beta, c) of the mean curve."""
        beta, c = (0.495, 1 / 110.989) if self.regime == "published" else (0.6, 0.98)
        return float(np.log(beta / (1 - beta))), c


LARGE = {
    case.name: case
    for case in (
        Case("published", repeats=200),
        Case("well", "well", repeats=200),
        Case("published+mode", repeats=200, mode_sd=0.006),
        Case("published+jitter", repeats=200, jitter=4e-4),
        Case("published+t4", repeats=200, tail=4),
    )
}
SMALL = {
    case.name: case
    for case in (
        Case("small"),
        Case("small well", "well"),
        Case("small+mode", mode_sd=0.006),
        Case("small+jitter", jitter=4e-4),
        Case("small+t4", tail=4),
        Case("small, noise from residuals", noise_from="residuals"),
    )
}


def curve(u: Any, O0: Any, D: Any, logit_beta: Any, c: float) -> Any:
    """O(u) = O0 - D*(1 - (1-c)**(u**beta))/c."""
    beta = 1 / (1 + np.exp(-np.asarray(logit_beta)))
    return O0 - D * (1 - np.exp(np.log(1 - c) * np.maximum(u, 0.0) ** beta)) / c


def mode(u: Any) -> Any:
    """A bump that no stretched exponential has: 1 at u = 0.15."""
    return np.maximum(u, 0.0) / 0.15 * np.exp(1 - np.maximum(u, 0.0) / 0.15)


def averaged(function: Any, t: Any) -> Any:
    """The mean of a function of time over each aperture, by the substitution s**2 that tames the edge."""
    nodes, weights = np.polynomial.legendre.leggauss(10)
    a, b = np.sqrt(t - APERTURE / 2), np.sqrt(t + APERTURE / 2)
    s = (a + b)[..., None] / 2 + (b - a)[..., None] / 2 * nodes
    return np.sum(function(s**2) * 2 * s * weights, axis=-1) * (b - a) / 2 / APERTURE


def noise_covariance() -> Any:
    """Exact covariance [sample, sample] of a record: white, and 1/f lines from half its lowest bin up to Nyquist."""
    n = 2 * (DECAY + BEFORE)
    f = np.arange(1, n // 2) / (n * STEP)
    power = 1 / f
    power *= FLICKER_RMS**2 / power[1:].sum()  # the record's own band begins at its lowest bin, f[1]
    lag = np.arange(DECAY + BEFORE) * STEP
    by_lag = np.cos(2 * np.pi * np.outer(lag, f)) @ power
    index = np.abs(np.subtract.outer(np.arange(len(lag)), np.arange(len(lag))))
    return by_lag[index] + WHITE**2 * np.eye(len(lag))


NOISE = noise_covariance()
NOISE_ROOT = np.linalg.cholesky(NOISE)
T = (np.arange(-BEFORE, DECAY) + 0.5) * STEP


@dataclass(frozen=True)
class Chip:
    """A simulated chip: what the fitter sees, and the truth."""

    selection: Selection
    theta: Any  # [trace, 3]
    device: Any  # [trace]
    centres: Any  # [device, 3]


def make_chip(case: Case, seed: int) -> Chip:
    rng = np.random.default_rng([seed, sum(map(ord, case.name))])
    logit_beta, c = case.law
    root = np.linalg.cholesky(DEVICE_CORRELATION) * DEVICE_SD[:, None]
    centres = np.array([1.0, 1.0, logit_beta]) + rng.standard_normal((case.devices, 3)) @ root.T
    device = np.repeat(np.arange(case.devices), case.repeats)
    order = np.concatenate([rng.permutation(case.devices) + case.devices * r for r in range(case.repeats)])
    position = np.empty(len(device))
    for place, which in enumerate(order):  # repeat by repeat, each time the devices in another order
        position[which % case.devices * case.repeats + which // case.devices] = place
    runs, score = draw_runs(case, rng, len(device))
    theta = centres[device] + runs
    late = case.jitter * rng.standard_normal(len(device))
    after = T[BEFORE:]
    current = np.empty((len(device), len(T)))
    for row in range(len(device)):
        O0, D, lb = theta[row]
        # The meter's clock starts at the edge it was told of; the true one comes `late`.
        decay = averaged(lambda u: curve(u - late[row], O0, D, lb, c) + score[row] * mode(u), after)  # noqa: B023
        current[row, BEFORE:] = decay
        current[row, :BEFORE] = np.where(T[:BEFORE] < -PULSE, -5.0, O0)
    current += rng.standard_normal(current.shape) @ NOISE_ROOT.T
    if case.noise_from == "residuals":
        current[:, :BEFORE] = np.nan
    table = pd.DataFrame(
        {
            "kind": "decay",
            "chip": "S",
            "device": device + 1,
            "repeat": np.tile(np.arange(case.repeats), case.devices),
            "device_code": device,
            "elapsed_s": position * 2.0,
            "aperture_s": APERTURE,
            "edge_uncertainty_s": max(case.jitter, 1e-7),
            "pulse_width_s": PULSE,
            "baseline_A": -5.0,
        }
    )
    time_s = np.broadcast_to(T, current.shape)
    return Chip(Selection(time_s, current, table, [], 1.0, {}), theta, device, centres)


def draw_runs(case: Case, rng: Any, count: int) -> tuple[Any, Any]:
    """Run-to-run parts of (O0, D, logit beta) [count, 3], and the mode's scores [count]."""
    full = np.eye(4)
    full[:3, :3], full[3, :3], full[:3, 3] = RUN_CORRELATION, MODE_CORRELATION, MODE_CORRELATION
    z = rng.standard_normal((count, 4)) @ np.linalg.cholesky(full).T
    if case.tail:
        z *= np.sqrt((case.tail - 2) / rng.chisquare(case.tail, count))[:, None]
    return z[:, :3] * RUN_SD, z[:, 3] * case.mode_sd


def calibrate(chip: Chip) -> NormalisedFit:
    """The same functions, in the same order, as `otters-lab fit`; the laws are not compared."""
    chosen = chip.selection
    segments, source = chosen.steady_segments()
    noise = estimate_noise(segments, chosen.interval_s, chosen.duration_s, source)
    decays = chosen.decays()
    return normalise(fit_shared_c(decays, chip.device), chosen, decays, noise)


def derivatives(case: Case) -> tuple[Any, Any, Any, Any]:
    """By theta [sample, 3], by c [sample], the mode [sample], by the edge's time [sample], at the mean curve."""
    logit_beta, c = case.law
    mean = np.array([1.0, 1.0, logit_beta])
    after = T[BEFORE:]

    def at(theta: Any, c: float, late: float = 0.0) -> Any:
        return averaged(lambda u: curve(u - late, *theta, c), after)

    h = 1e-5
    J = np.stack([(at(mean + h * e, c) - at(mean - h * e, c)) / (2 * h) for e in np.eye(3)], axis=1)
    hc = 1e-5 * (1 - c)
    edge = (at(mean, c, case.jitter or h) - at(mean, c, -(case.jitter or h))) / (2 * (case.jitter or h))
    return J, (at(mean, c + hc) - at(mean, c - hc)) / (2 * hc), averaged(mode, after), edge


def cramer_rao(case: Case) -> tuple[Any, Any]:
    """Bound of the sd of (O0, D, logit beta) of one trace, c shared by the chip; and what a score adds to theta [3]."""
    J, by_c, bump, edge = derivatives(case)
    C = NOISE[BEFORE:, BEFORE:] + case.jitter**2 * np.outer(edge, edge)
    weighted = np.linalg.solve(C, np.column_stack([J, by_c]))
    V = np.linalg.inv(J.T @ weighted[:, :3])
    shift = V @ J.T @ weighted[:, 3]
    information = case.devices * case.repeats * (by_c @ weighted[:, 3] - shift @ J.T @ weighted[:, 3])
    return np.sqrt(np.diag(V) + shift**2 / information), V @ J.T @ np.linalg.solve(C, bump)


def correlation_sampling_error(case: Case) -> list[float]:
    """sd that the best estimate of each run-to-run correlation has, of the runs there are and their estimation noise.

    Of S - V, with S the covariance of the fitted runs (Wishart) and V that of the fits, known: the delta method.
    """
    J, _, _, edge = derivatives(case)
    C = NOISE[BEFORE:, BEFORE:] + case.jitter**2 * np.outer(edge, edge)
    R = RUN_CORRELATION * np.outer(RUN_SD, RUN_SD)
    S = R + np.linalg.inv(J.T @ np.linalg.solve(C, J))
    dof, found = case.devices * (case.repeats - 1), []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        r, step, slopes = R[i, j] / np.sqrt(R[i, i] * R[j, j]), 1e-9, {}
        for a, b in ((i, i), (j, j), (i, j)):
            moved = R.copy()
            moved[a, b] = moved[b, a] = R[a, b] + step
            slopes[a, b] = (moved[i, j] / np.sqrt(moved[i, i] * moved[j, j]) - r) / step
        variance = sum(
            x * y * (S[a, d] * S[b, e] + S[a, e] * S[b, d]) / dof
            for (a, b), x in slopes.items()
            for (d, e), y in slopes.items()
        )
        found.append(round(float(variance) ** 0.5, 4))
    return found


def judge_large(job: tuple[Case, int]) -> dict[str, Any]:
    """One large chip."""
    case, seed = job
    start = time.perf_counter()
    chip = make_chip(case, seed)
    made = time.perf_counter() - start
    normal = calibrate(chip)
    s, end = normal.swing_A, normal.I_end_A
    bound = cramer_rao(case)[0]
    back = np.stack([normal.theta[:, 0] * s + end, normal.theta[:, 1] * s, normal.theta[:, 2]], axis=1)
    error = back - chip.theta if not case.mode_sd else np.full_like(back, np.nan)
    population = normal.population
    model = normal.device_model(1.0)
    u = model.level_times(N_LEVELS)[list(LEVELS)]
    rng = np.random.default_rng(seed)
    runs, score = draw_runs(replace(case, tail=0.0), rng, 3000)
    c = case.law[1]
    within = [np.var(truth(u, centre, runs, score, c), axis=0) for centre in chip.centres]
    true_sd = np.sqrt(np.mean(within, axis=0)) / abs(s)
    ideal = truth(u, np.array([1.0, 1.0, float(population.mean[2])]), runs, score, c)
    found = np.cov(model.reader(N_LEVELS).read(20_000, (seed,))[:, list(LEVELS)].T)
    sampled_sd = np.sqrt(np.diag(found))
    level_correlation = found[4, 1] / np.sqrt(found[4, 4] * found[1, 1])
    R = population.run_to_run.covariance
    sd = np.sqrt(np.diag(R)) + 1e-300
    corrected = (
        chip.theta - np.stack([chip.theta[chip.device == d].mean(axis=0) for d in range(case.devices)])[chip.device]
    )
    oracle = np.corrcoef(corrected.T)
    pairs = ([0, 0, 1], [1, 2, 2])
    return {
        "seconds": time.perf_counter() - start - made,
        "bias": np.mean(error, axis=0).tolist(),
        "rmse_over_bound": (np.sqrt(np.mean(error**2, axis=0)) / bound).tolist(),
        "level_sd_over_truth": (sampled_sd / true_sd).tolist(),
        "level_1_12_correlation_error": float(level_correlation - np.corrcoef(ideal.T)[4, 1]),
        "correlation_error": (R / np.outer(sd, sd) - RUN_CORRELATION)[pairs].tolist(),
        "oracle_correlation_error": (oracle - RUN_CORRELATION)[pairs].tolist(),
        "c_error": normal.shared.c - c,
        "c_sd": normal.shared.sd,
        "extra_mode": bool(normal.modes is not None and normal.modes.count),
        "outliers": len(population.outliers),
        "white_over_truth": normal.noise.white_sd / WHITE,
        "flicker_rms_over_truth": normal.noise.rms_flicker(1.5) / FLICKER_RMS,
    }


def truth(u: Any, centre: Any, runs: Any, score: Any, c: float) -> Any:
    """True O(u) [run, level] of runs about a centre."""
    theta = centre + runs
    return curve(u, theta[:, :1], theta[:, 1:2], theta[:, 2:], c) + score[:, None] * mode(u)


def judge_small(job: tuple[Case, int]) -> dict[str, Any]:
    """One small chip: does each interval hold the truth? Which spreads were not resolved?"""
    case, seed = job
    normal = calibrate(make_chip(case, seed))
    s = abs(normal.swing_A)
    unit = np.array([s, s, 1.0])
    run_cov = RUN_CORRELATION * np.outer(RUN_SD, RUN_SD)
    if case.mode_sd:
        full = np.eye(4) * case.mode_sd**2
        full[:3, :3] = run_cov
        full[3, :3] = full[:3, 3] = MODE_CORRELATION * RUN_SD * case.mode_sd
        moved = np.column_stack([np.eye(3), cramer_rao(case)[1]])
        run_cov = moved @ full @ moved.T
    population = normal.population
    result: dict[str, Any] = {"extra_mode": bool(normal.modes is not None and normal.modes.count)}
    for name, spread, true in (
        ("run", population.run_to_run, np.sqrt(np.diag(run_cov)) / unit),
        ("device", population.device_to_device, DEVICE_SD / unit),
    ):
        held, null = [], []
        for i in range(3):
            interval, upper = spread.interval[i], spread.upper[i]
            null.append(interval is None)
            if interval is not None:
                held.append(bool(interval[0] <= true[i] <= interval[1]))
            else:
                held.append(bool(upper is not None and true[i] <= upper))
        result[name], result[name + "_null"] = held, null
    from scipy.stats import t as student

    half = student.ppf(0.975, case.devices - 1) * float(population.mean_cov[2, 2]) ** 0.5
    result["mean_logit_beta"] = bool(abs(population.mean[2] - case.law[0]) <= half)
    result["outliers"] = len(population.outliers)
    return result


def summarise_large(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over chips with their Monte-Carlo errors."""

    def mean(key: str) -> Any:
        values = np.array([result[key] for result in results], dtype=float)
        return {
            "mean": np.round(values.mean(axis=0), 5).tolist(),
            "error": np.round(values.std(axis=0, ddof=1) / len(values) ** 0.5, 5).tolist(),
        }

    def rms(key: str) -> Any:
        return np.round(np.sqrt(np.mean(np.array([result[key] for result in results]) ** 2, axis=0)), 4).tolist()

    keys = ("bias", "rmse_over_bound", "level_sd_over_truth", "level_1_12_correlation_error", "correlation_error")
    return {
        "chips": len(results),
        **{key: mean(key) for key in keys},
        "correlation_error_rms": rms("correlation_error"),
        "oracle_correlation_error_rms": rms("oracle_correlation_error"),
        "c_error": mean("c_error"),
        "c_error_over_stated_sd_rms": float(np.sqrt(np.mean([(r["c_error"] / r["c_sd"]) ** 2 for r in results]))),
        "extra_mode_found": float(np.mean([r["extra_mode"] for r in results])),
        "outlier_share": float(np.mean([r["outliers"] for r in results])),
        "white_over_truth": mean("white_over_truth"),
        "flicker_rms_over_truth": mean("flicker_rms_over_truth"),
        "seconds_a_chip": float(np.median([r["seconds"] for r in results])),
    }


def summarise_small(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Coverage by kind, pooled, and its Monte-Carlo error: chips are independent, the intervals of one are not."""
    by_chip = np.array([np.mean([*r["run"], *r["device"], r["mean_logit_beta"]]) for r in results])
    names = ("O0", "D", "logit_beta")

    def share(key: str) -> dict[str, float]:
        return dict(zip(names, np.round(np.mean([r[key] for r in results], axis=0), 4).tolist(), strict=True))

    return {
        "chips": len(results),
        "coverage": {
            "pooled": round(float(by_chip.mean()), 4),
            "error": round(float(by_chip.std(ddof=1) / len(by_chip) ** 0.5), 4),
            "run_to_run": share("run"),
            "device_to_device": share("device"),
            "mean_logit_beta": round(float(np.mean([r["mean_logit_beta"] for r in results])), 4),
        },
        "not_resolved": {"run_to_run": share("run_null"), "device_to_device": share("device_null")},
        "extra_mode_found": float(np.mean([r["extra_mode"] for r in results])),
        "outliers_a_chip": float(np.mean([r["outliers"] for r in results])),
    }


def known(value: Any) -> Any:
    """The same with null in place of NaN: what a case has no truth for is not a number, and JSON has no NaN."""
    if isinstance(value, dict):
        return {name: known(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [known(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=[*LARGE, *SMALL], help="these cases alone")
    parser.add_argument("--chips", type=int, help="so many chips a case; else 50 large ones, 1000 small ones")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the first chip")
    parser.add_argument("--output", type=Path, help="JSON to write, or to put these cases into")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    report = json.loads(options.output.read_text()) if options.output and options.output.exists() else {}
    report.setdefault("cases", {})
    report["environment"] = {"python": platform.python_version(), "numpy": np.__version__}
    command = " ".join(["python", *sys.argv])
    with ProcessPoolExecutor(options.workers) as pool:
        for name in options.only or [*LARGE, *SMALL]:
            large = name in LARGE
            case = LARGE[name] if large else SMALL[name]
            count = options.chips or (50 if large else 1000)
            jobs = [(case, options.seed + index) for index in range(count)]
            results = list(pool.map(judge_large if large else judge_small, jobs, chunksize=1 if large else 10))
            summary = {
                "case": asdict(case),
                "command": command,
                **(summarise_large if large else summarise_small)(results),
            }
            if large and not case.mode_sd and not case.tail:
                summary["correlation_sampling_error"] = correlation_sampling_error(case)
            report["cases"][name] = summary
            print(name, json.dumps(summary), file=sys.stderr, flush=True)
            if options.output:
                options.output.write_text(json.dumps(known(report), indent=1, allow_nan=False) + "\n")
    if not options.output:
        json.dump(report, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
