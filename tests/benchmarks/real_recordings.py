"""What real recordings say through our laws: law, tau and beta with intervals, correlation, polarity, verdict.

python tests/benchmarks/real_recordings.py [--data DIR] [--output FILE]

The recordings (a graphene/hBN phototransistor, MIT licence, github.com/Joaquim-mph/python-lab) are not part of this
project: without them nothing is done, which is said. The table holds figures derived from them, none of their data.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from otters_lab.calibration.choice import TraceVerdict, judge_trace
from otters_lab.calibration.select import Selection, select
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.importers import import_files

DATA = Path(os.environ.get("OTTERS_LAB_DATA", Path(__file__).parents[3] / "shared" / "data"))
NORMAL_95 = 1.959964


def interval(verdict: TraceVerdict, name: str) -> dict[str, Any] | None:
    """A parameter with its 95 % interval from the widened standard error, which is null unless the fit is "ok"."""
    if name not in verdict.values:
        return None
    value, error = verdict.values[name], verdict.errors.get(name)
    if verdict.status != "ok" or error is None:
        return {"value": shown(value), "interval": None}
    if name.startswith("tau"):  # known by a factor
        factor = math.exp(NORMAL_95 * error / value)
        return {"value": shown(value), "interval": [shown(value / factor), shown(value * factor)]}
    return {"value": shown(value), "interval": [shown(value - NORMAL_95 * error), shown(value + NORMAL_95 * error)]}


def shown(value: float) -> float | None:
    """Four digits."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def row(name: str, chosen: Selection, index: int) -> dict[str, Any]:
    """One recording."""
    t, current = chosen.decay(index)
    meta = chosen.table.iloc[index]
    aperture_s = float(meta["aperture_s"]) if np.isfinite(meta["aperture_s"]) else 0.0
    settings = {"aperture_s": aperture_s, "edge_sd_s": float(meta["edge_uncertainty_s"])}
    verdict = judge_trace(t, current, **settings)
    stretched = judge_trace(t, current, asked="kww", **settings)
    return {
        "recording": name,
        "samples": len(t),
        "effective_samples": shown(verdict.n_effective),
        "polarity": verdict.polarity,
        "law": verdict.law,
        "rival": verdict.rival,
        "status": verdict.status,
        "aic_of_a_line": shown(verdict.aic["line"]),
        "bic_prefers": min(verdict.bic, key=lambda law: verdict.bic[law]),
        "tau_s": interval(verdict, "tau") or interval(verdict, "tau1"),
        "beta": interval(verdict, "beta"),
        "stretched_exponential": {
            "status": stretched.status,
            "tau_s": interval(stretched, "tau"),
            "beta": interval(stretched, "beta"),
        },
        "autocorrelation": shown(verdict.autocorrelation),
        "verdict": verdict.notes,
    }


def table(recordings: Path) -> dict[str, Any]:
    """All recordings, each a device of its own."""
    files = sorted(recordings.glob("It*.csv"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "real.h5"
        notes = import_files(files, path).notes
        chosen = select([load_capture(path)], None)
    devices = chosen.table["device"].astype(int)
    rows = [row(files[device - 1].stem, chosen, index) for index, device in enumerate(devices)]
    correlations = [entry["autocorrelation"] for entry in rows]
    return {
        "recordings": len(rows),
        "window_s": shown(chosen.window_s),
        "notes": notes,
        "laws": dict(Counter(entry["law"] for entry in rows)),
        "polarity": dict(Counter(entry["polarity"] for entry in rows)),
        "status": dict(Counter(entry["status"] for entry in rows)),
        "stretched_exponential_status": dict(Counter(entry["stretched_exponential"]["status"] for entry in rows)),
        "decisive": sum(entry["law"] != "line" and entry["rival"] is None for entry in rows),
        "median_autocorrelation": shown(float(np.median(correlations))),
        "median_effective_samples": shown(float(np.median([entry["effective_samples"] for entry in rows]))),
        "table": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "photocurrent" / "recordings")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"SKIPPED: the real recordings are not at {arguments.data} (--data or OTTERS_LAB_DATA)", file=sys.stderr)
        return 0
    result = {"command": "python tests/benchmarks/real_recordings.py --output FILE", **table(arguments.data)}
    text = json.dumps(result, indent=1) + "\n"
    if arguments.output:
        arguments.output.write_text(text)
    for entry in result["table"]:
        print(
            entry["recording"], entry["polarity"], entry["law"], entry["rival"], entry["status"], entry["tau_s"],
            entry["beta"], entry["stretched_exponential"], entry["autocorrelation"], "; ".join(entry["verdict"]),
            sep=" | ",
        )  # fmt: skip
    print(json.dumps({key: value for key, value in result.items() if key != "table"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
