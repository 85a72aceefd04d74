"""How a trained network bears noise, by what shares a draw of it and for how long: one small JSON.

    python tests/benchmarks/noise_places.py RUN --output tests/benchmarks/results/noise_places.json

Examples are the first of a fixed permutation of the private test part, the same in every cell. Kinds: the calibration's
run-to-run noise, the same with devices drawn anew a run, and curve noise of 10 %.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import get_args

import torch

from otters_lab.training.checkpoint import load_checkpoint
from otters_lab.training.config import ReadingConfig
from otters_lab.training.evaluate import score_under
from otters_lab.training.measure import score, torch_threads
from otters_lab.ttfs.config import NoiseConfig, Place
from otters_lab.ttfs.plain_noise import plain_noise
from otters_lab.workflows.networks import embedded_calibration, sampled_readers

PLAIN = "curve:0.1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--runs", type=int, default=6)
    asked = parser.parse_args()

    checkpoint = load_checkpoint(asked.run)
    levels = 2**checkpoint.section.code.bits
    how = ReadingConfig(**checkpoint.header.config.get("reading", {}))
    readers = sampled_readers(embedded_calibration(checkpoint).device_model(), levels, how)
    readers[PLAIN] = plain_noise(PLAIN, levels)
    test = checkpoint.splits().test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: asked.examples]
    examples, metric = test.take(order), checkpoint.task.metrics[0]
    began_s, cells = time.monotonic(), []
    with torch_threads(1):
        clean = score(checkpoint.student, examples, checkpoint.task.metrics)
        for place in get_args(Place):
            for when in ("run", "sentence", "token"):
                noise = NoiseConfig(run_place=place, run_time=when, device_place=place)
                for name, reader in readers.items():
                    found = score_under(
                        checkpoint.student, examples, metric, reader, noise, runs=asked.runs, seed=0, name=name
                    )
                    cells.append({"place": place, "time": when, "noise": name, **found.model_dump()})
                    print(f"{place:8} {when:9} {name:32} {found.mean:.4f} +- {found.sd:.4f}, min {found.minimum:.4f}")
    record = {
        "command": f"python tests/benchmarks/noise_places.py RUN --examples {asked.examples} --runs {asked.runs} "
        "--output tests/benchmarks/results/noise_places.json",
        "checkpoint": checkpoint.header.uid,
        "task": checkpoint.task.name,
        "examples": len(examples),
        "metric": metric,
        "clean": clean,
        "seconds": round(time.monotonic() - began_s, 1),
        "cells": cells,
    }
    asked.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
