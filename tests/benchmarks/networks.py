"""Collects trained and evaluated checkpoints into one small JSON, and prints them as a table.

    otters-lab train sst2 --calibration calibration/reference.json --data DATA --config SST2.toml -o RUN
    otters-lab evaluate RUN --runs 20 --sweep --sizes 0.05,0.1,0.2,0.4
    python tests/benchmarks/networks.py --output tests/benchmarks/results/networks.json NAME=RUN ...

An entry holds the configuration, what validation said after each stage, the evaluation as it was, and spikes a neuron.
Entries of other names stay in the file. The evaluation's digest of draws is in its own header.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from otters_lab.training.checkpoint_files import PROVENANCE, check_files
from otters_lab.training.compare import judged


def entry(folder: Path) -> dict[str, Any]:
    """What is worth keeping of a checkpoint's folder; its files must be as they were written."""
    header = check_files(folder)
    log = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    sites = json.loads((folder / "sites.json").read_text())["sites"]
    evaluation = json.loads((folder / "evaluation.json").read_text())
    told = evaluation.pop("header")
    left = "shape", "jitter", "data", "student", "layers"
    config = {name: value for name, value in header.config.items() if name not in left}
    config["teacher"] = {name: value for name, value in config["teacher"].items() if name != "trained"}
    return {
        "checkpoint": header.uid,
        "payload_digest": header.payload_digest,
        "software": header.software.revision,
        "config": config,
        "made_from": [ref.model_dump() for ref in header.inputs],
        "validation": {line["stage"]: line["validation"] for line in log if "validation" in line},
        "spikes_a_neuron": spikes(sites),
        "spikes_by_site": {site["name"]: round(site["fire_rate"], 4) for site in sites},
        "evaluated": {name: told[name] for name in ("config", "seeds")} | evaluation,
    }


# Shares of the teacher's score that are aimed at.
TARGETS = {
    "quantised": 0.985,
    "run-to-run": 0.98,
    "run-to-run and device-to-device": 0.97,
    "curve:0.1": 0.96,
    "curve:0.2": 0.92,
    "relative:0.4": 0.97,
}


def spikes(sites: list[dict[str, Any]]) -> dict[str, float]:
    """Spikes a neuron, padding left out: of signed neurons, of the feed-forward's, of probabilities."""
    groups = {
        "signed": [site for site in sites if site["rails"] == 2],
        "feed-forward": [site for site in sites if site["rails"] == 1 and site["kind"] == "linear input"],
        "probability": [site for site in sites if site["kind"] == "attention probability"],
    }
    return {
        name: round(sum(s["mean_spikes"] for s in group) / sum(s["neurons"] for s in group), 4)
        for name, group in groups.items()
        if group
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    known = json.loads(options.output.read_text()) if options.output.exists() else {}
    for text in options.runs:
        name, _, folder = text.partition("=")
        if not (Path(folder) / PROVENANCE).exists():
            parser.error(f"{folder}: is not a checkpoint")
        known[name] = entry(Path(folder))
    options.output.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    for name, kept in known.items():
        told = kept["evaluated"]
        print(f"\n{name}: {told['part']}, {told['examples']} examples, spikes {kept['spikes_a_neuron']}")
        print(f"  validation {kept['validation']}")
        print(f"  teacher {told['teacher']}  QNN {told['quantised']}  equal to ideal: {told['ideal_equals_quantised']}")
        for condition, share in told["share_of_teacher"].items():
            found = told["under"].get(condition)
            runs = "" if found is None else f"sd {found['sd'] or 0:.4f}, min {found['minimum']:.4f}"
            low, high = share["share_interval"]
            target = TARGETS.get(condition)
            told_of = "" if target is None else f"{target}: {judged((low, high), target)}; "
            of_teacher = f"{share['share']:.3f} [{low:.3f}, {high:.3f}] of the teacher"
            print(f"  {condition:34s} {share['student']:.4f} = {of_teacher}; {told_of}{runs}")
        for condition, borne in told["tolerated"].items():
            print(f"  {condition:40s} {borne}")


if __name__ == "__main__":
    main()
