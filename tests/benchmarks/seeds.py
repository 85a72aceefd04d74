"""What several seeds of one network keep of their teacher, and how two networks differ over seeds: one small JSON.

    otters-lab evaluate RUN --runs 20 --examples RUN.parquet
    python tests/benchmarks/seeds.py --output tests/benchmarks/results/seeds.json NAME=A.parquet,B.parquet ...
    python tests/benchmarks/seeds.py --output ... NAME=... OTHER=... --less NAME OTHER

Sentences, seeds and each seed's runs are drawn at once (`paired_bootstrap`). `--less` compares a network with another
one under the same devices: run r of a seed is the same draw for both.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from networks import TARGETS

from otters_lab.core.protocols import Array
from otters_lab.measurements.tables import require_pyarrow
from otters_lab.training.compare import paired_bootstrap
from otters_lab.training.conditions import TEACHER

KEPT = "share", "share_interval", "difference", "difference_interval", "target", "verdict"


def predictions(files: list[Path]) -> tuple[dict[str, Array], Array]:
    """Predictions [seeds, runs, n] by condition, of as many runs as every seed has, and targets [n]."""
    found: dict[str, list[Array]] = {}
    for file in files:
        table = pd.read_parquet(file)
        targets = table.drop_duplicates("example").sort_values("example")["target"].to_numpy()
        for condition, rows in table.fillna({"run": 0}).groupby("condition"):
            by_run = rows.pivot(index="run", columns="example", values="prediction").to_numpy()
            found.setdefault(str(condition), []).append(by_run)
    everywhere = {name: parts for name, parts in found.items() if len(parts) == len(files)}
    runs = {name: min(map(len, parts)) for name, parts in everywhere.items()}
    return {name: np.stack([one[: runs[name]] for one in parts]) for name, parts in everywhere.items()}, targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NAME=FILE,FILE")
    parser.add_argument("--metric", default="accuracy")
    parser.add_argument("--less", nargs=2, action="append", default=[], metavar=("NAME", "OTHER"))
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    require_pyarrow(asked.output)

    known = {name: predictions([Path(file) for file in files.split(",")])
             for name, _, files in (text.partition("=") for text in asked.networks)}  # fmt: skip
    record: dict[str, Any] = {"command": "python tests/benchmarks/seeds.py", "metric": asked.metric, "networks": {}}

    def told(of: Array, against: Array, targets: Array, target: float | None = None) -> dict[str, Any]:
        found = paired_bootstrap(of, against, targets, asked.metric, target=target).model_dump()
        return {"seeds": len(of), "runs": of.shape[1]} | {name: found[name] for name in ("student", "teacher", *KEPT)}

    for name, (found, targets) in known.items():
        record["networks"][name] = {
            condition: told(of, found[TEACHER], targets, TARGETS.get(condition))
            for condition, of in found.items()
            if condition != TEACHER
        }
        for condition, one in record["networks"][name].items():
            low, high = one["share_interval"]
            share = f"{one['student']:.4f} = {one['share']:.4f} [{low:.4f}, {high:.4f}]"
            verdict = "" if one["target"] is None else f"{one['target']}: {one['verdict']}; "
            print(f"{name:30} {condition:34} {share} {verdict}{one['seeds']} seeds, {one['runs']} runs")
    for name, other in asked.less:
        (found, targets), (against, _) = known[name], known[other]
        record[f"{name} less {other}"] = both = {
            condition: told(of, against[condition], targets)
            for condition, of in found.items()
            if condition in against and condition != TEACHER
        }
        for condition, one in both.items():
            low, high = one["difference_interval"]
            print(f"{name} less {other}, {condition}: {one['difference']:+.4f} [{low:+.4f}, {high:+.4f}]")
    asked.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
