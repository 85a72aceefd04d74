"""How fine a clock, and how fine a converter, the reading of levels needs.

    python tests/benchmarks/clock.py --output tests/benchmarks/results/clock.json

Levels of the reference calibration's mean curve and of the published fit, 4 bits: each level is read at the nearest
free tick of a uniform clock; what it is off by is told in levels (1/15 of the full scale).
Level 15 is never read. A converter of b bits rounds each reading to 1/(2**b - 1) of the full scale.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from otters_lab.calibration.file import read_calibration
from otters_lab.calibration.laws import logit_of
from otters_lab.calibration.model import DeviceModel

ROOT = Path(__file__).resolve().parents[2]
TICKS = (15, 30, 60, 120, 240, 480, 960, 2000, 4000, 16000)
ADC_BITS = (3, 4, 5, 6, 8)
LEVELS, TOP = 16, 15


def errors(model: DeviceModel, **how: Any) -> dict[str, float]:
    """Largest and rms error of levels 0..14, in levels."""
    ideal = 1 - np.arange(LEVELS) / TOP
    reader = model.reader(LEVELS, **how)
    away = TOP * np.abs(reader.read(1, (0,))[0] - ideal)[:TOP]
    return {
        "largest": round(float(away.max()), 4),
        "at_level": int(away.argmax()),
        "rms": round(float(np.sqrt(np.mean(away**2))), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    still = np.zeros((3, 3))
    reference = read_calibration(ROOT / "calibration" / "reference.json").device_model()
    models = {
        "reference calibration": DeviceModel(reference.window_s, reference.c, reference.logit_beta, still, still),
        "published fit": DeviceModel(1.0, 1 / 110.989, logit_of(0.495), still, still),
    }
    record = {
        "command": "python tests/benchmarks/clock.py --output tests/benchmarks/results/clock.json",
        "unit": "levels (1/15 of the full scale)",
        "ticks_a_window": {name: {n: errors(model, ticks=n) for n in TICKS} for name, model in models.items()},
        "converter_bits": {name: {b: errors(model, adc_bits=b) for b in ADC_BITS} for name, model in models.items()},
    }
    text = json.dumps(record, indent=1) + "\n"
    if given.output:
        given.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
