"""Calibrate, sample a synthetic chip from the calibration, sweep it, calibrate again: is it the same device model?

python tests/benchmarks/round_trip.py [--chips 20] [--repeats 50] [--output FILE]

Each chip is drawn anew from calibration/reference.json (`decays = "calibration"` in the bench file, a seed each) and
swept by sweeps/decay.toml on instruments/virtual.toml, down to the SCPI bytes. Its calibration is compared with the one
it was sampled from: O(t_k) in that one's constants. The source's drift runs from the moment the bench is on, so that
what it has done by the middle of a sweep is taken off the means before they are judged. The source is known exactly
here, so an interval is judged by whether it covers the source's value; levels of one chip move together, so chips are
counted, not levels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from otters_lab.calibration.compare import Measured, compare
from otters_lab.calibration.file import Calibration, read_calibration
from otters_lab.calibration.fit import fit_captures
from otters_lab.calibration.frame import Frame, runs_in, sensitivity
from otters_lab.calibration.model import PARAMETERS
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.capture import load_capture
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.workflows.sweeping import sweep_bench

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "calibration" / "reference.json"
START = "2026-01-01T08:00:00Z"  # of the bench file's virtual clock
LEVELS = (1, 4, 8, 12, 14)


@dataclass(frozen=True)
class Trip:
    """One chip: what it gave, and whether its intervals hold the source's values."""

    verdict: str
    because: list[str]
    mean_error: list[float]  # O(t_k), new less source, at LEVELS
    mean_covered: bool  # 95 %, t over the devices, at level 12
    sd_ratio: list[float]  # run-to-run sd of O(t_k) over the source's, at LEVELS
    sd_covered: dict[str, bool]  # run-to-run sd of each parameter, by the file's 95 % interval
    device_sd_covered: dict[str, bool | None]
    gates_failed: list[str]


def again(folder: Path, seed: int, repeats: int) -> tuple[Calibration, float]:
    """Samples, sweeps and fits a chip; its calibration, and the mean time (h) its traces came after switching on."""
    bench = folder / f"bench{seed}.toml"
    text = (ROOT / "instruments" / "virtual.toml").read_text()
    bench.write_text(text.replace("seed = 2026", f'seed = {seed}\ndecays = "calibration"\nfile = "{SOURCE}"', 1))
    recipe = folder / f"recipe{seed}.toml"
    recipe.write_text((ROOT / "sweeps" / "decay.toml").read_text().replace("repeats = 50", f"repeats = {repeats}", 1))
    capture = folder / f"chip{seed}.h5"
    sweep_bench(Plan(load_recipe(recipe)), load_bench(bench), chip=f"sampled {seed}", capture=capture)
    measured = load_capture(capture)
    on = pd.to_datetime(measured.table["start_utc"], utc=True, format="ISO8601") - pd.Timestamp(START)
    return fit_captures([measured]), float(on.dt.total_seconds().mean()) / 3600


def judge(source: Calibration, calibration: Calibration, on_h: float) -> Trip:
    """Compares a chip's calibration with the one it was sampled from."""
    compared = compare(Measured.of(source), Measured.of(calibration))
    assert source.device is not None
    assert calibration.device is not None
    frame = Frame.of(source.device)
    means = np.stack(list(runs_in(frame, calibration.device, calibration.traces).means().values()))
    expected = 1 - np.arange(len(frame.u)) / len(frame.u)
    if source.device.drift is not None:
        drift_per_h = np.array([source.device.drift.per_hour[name] for name in PARAMETERS])
        expected = expected + sensitivity(frame, source.device) @ drift_per_h * on_h
    n = len(means)
    away = means.mean(axis=0) - expected
    se = means.std(axis=0, ddof=1) / n**0.5
    new, old = calibration.device.run_to_run, source.device.run_to_run
    devices_new, devices_old = calibration.device.device_to_device, source.device.device_to_device
    ratios = [compared.levels[k].run_to_run for k in LEVELS]
    return Trip(
        verdict=compared.verdict,
        because=compared.because,
        mean_error=[round(float(away[k]), 6) for k in LEVELS],
        mean_covered=bool(abs(away[12]) <= t.ppf(0.975, n - 1) * se[12]),
        sd_ratio=[round(r.new / r.old, 4) for r in ratios if r.new is not None and r.old],
        sd_covered={k: i is not None and i[0] <= (old.sd[k] or 0) <= i[1] for k, i in new.interval.items()},
        device_sd_covered={
            k: None if i is None or devices_old.sd[k] is None else i[0] <= (devices_old.sd[k] or 0) <= i[1]
            for k, i in devices_new.interval.items()
        },
        gates_failed=[gate.name for gate in calibration.gates if gate.verdict == "fail"],
    )


def summary(trips: list[Trip]) -> dict[str, object]:
    """Counts over chips; a share of n chips has a Monte-Carlo error of sqrt(p*(1 - p)/n)."""
    n = len(trips)
    errors, ratios = np.array([trip.mean_error for trip in trips]), np.array([trip.sd_ratio for trip in trips])
    names = list(trips[0].sd_covered)
    known = {k: [trip.device_sd_covered[k] for trip in trips if trip.device_sd_covered[k] is not None] for k in names}
    return {
        "chips": n,
        "levels": list(LEVELS),
        "verdict_keep": sum(trip.verdict == "keep" for trip in trips) / n,
        "refit_because": [trip.because for trip in trips if trip.because],
        "mean_error": {
            "mean": np.round(errors.mean(axis=0), 6).tolist(),
            "sd": np.round(errors.std(axis=0), 6).tolist(),
        },
        "mean_covered": sum(trip.mean_covered for trip in trips) / n,
        "run_to_run_sd_over_source": {
            "mean": np.round(ratios.mean(axis=0), 4).tolist(),
            "standard_error": np.round(ratios.std(axis=0, ddof=1) / n**0.5, 4).tolist() if n > 1 else None,
        },
        "run_to_run_sd_covered": {k: sum(trip.sd_covered[k] for trip in trips) / n for k in names},
        "device_to_device_sd_covered": {k: sum(v) / len(v) if v else None for k, v in known.items()},
        "gates_failed": sorted({name for trip in trips for name in trip.gates_failed}),
    }


def run(chips: int, repeats: int) -> dict[str, object]:
    """The whole trip, `chips` times."""
    source = read_calibration(SOURCE)
    with tempfile.TemporaryDirectory() as folder:
        trips = [judge(source, *again(Path(folder), 100 + number, repeats)) for number in range(chips)]
    return {"source": SOURCE.name, "devices": 8, "repeats": repeats, **summary(trips)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    command = f"python tests/benchmarks/round_trip.py --chips {arguments.chips} --repeats {arguments.repeats}"
    text = json.dumps({"command": command, **run(arguments.chips, arguments.repeats)}, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
