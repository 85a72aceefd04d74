"""How often `compare` says refit: for the same chip measured again, for another of its kind, for one that changed.

python tests/benchmarks/compare_alarms.py [--chips 80] [--output FILE]

Chips are simulated by the generator of tests/calibration (the published stretched exponential, 6 devices of 10 runs, D
and beta vary by 5 % between devices, by 2 % between runs, white noise 0.5 %), each drawn anew. Nominal: 5 % refits
where nothing has changed. The bound on a share p of n chips is its Monte-Carlo error sqrt(p*(1 - p)/n).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from otters_lab.calibration import fit
from otters_lab.calibration.again import measured_again
from otters_lab.calibration.compare import Measured, compare
from otters_lab.calibration.fit import fit_captures

GENERATOR = Path(__file__).resolve().parents[1] / "calibration" / "conftest.py"
CHANGED = {"swing 0.5": {"swing": 0.5}, "swing 0.98": {"swing": 0.98}}


def generator() -> ModuleType:
    """The simulated chip of the tests."""
    spec = importlib.util.spec_from_file_location("simulated_chip", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(chips: int) -> dict[str, object]:
    """Shares of refits by case, and the median half-width of the mean's interval at level 12, in levels."""
    fit.MAX_JUDGED = 1  # the comparison of laws takes most of a fit's time and does not matter here
    simulated = generator()
    refits: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chip.h5"
        for number in range(chips):
            truth = simulated.Truth(repeats=10, chip_seed=100 + number)
            old = fit_captures([simulated.simulate(path, truth, 1000 + number)])
            same = simulated.simulate(path, truth, 2000 + number)
            other = replace(truth, chip="S2", chip_seed=9000 + number)
            sides = {
                "same chip, capture": measured_again([same], old.device),
                "same chip, calibration": Measured.of(fit_captures([same])),
                "another chip of its kind": Measured.of(fit_captures([simulated.simulate(path, other, 3000 + number)])),
            }
            for name, change in CHANGED.items():
                capture = simulated.simulate(path, replace(truth, **change), 4000 + number)
                sides[name] = measured_again([capture], old.device)
            for name, side in sides.items():
                result = compare(Measured.of(old), side)
                low, high = result.levels[12].mean_interval
                refits.setdefault(name, []).append(result.verdict == "refit")
                widths.setdefault(name, []).append((high - low) / 2 * 15)
    return {
        name: {
            "refit": round(float(np.mean(said)), 4),
            "monte_carlo_sd": round(float(np.sqrt(np.mean(said) * (1 - np.mean(said)) / len(said))), 4),
            "half_width_levels": round(float(np.median(widths[name])), 4),
        }
        for name, said in refits.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, default=80)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    command = f"python tests/benchmarks/compare_alarms.py --chips {arguments.chips}"
    text = json.dumps({"command": command, "chips": arguments.chips, "nominal": 0.05, **run(arguments.chips)}, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
