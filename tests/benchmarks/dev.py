"""The one pass over dev: final configurations, each scored on the dev part of its task. Refuses a second one.

    python tests/benchmarks/dev.py --output tests/benchmarks/results/dev.json --runs 20 NAME=RUN ...

Networks are chosen and compared on validation and private test parts; dev says what that was worth elsewhere. What
stands in the file already is refused, since what is tried again after a look at dev is chosen on it. An entry is that
of networks.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from networks import TARGETS, entry

from otters_lab.core.files import pretty_json, write_atomically
from otters_lab.training.compare import judged
from otters_lab.workflows.networks import evaluate_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs_of", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    named = dict(text.split("=", 1) for text in asked.runs_of)
    known = json.loads(asked.output.read_text()) if asked.output.exists() else {}
    again = sorted(known.keys() & named.keys())
    if again:
        parser.error(f"{asked.output}: {', '.join(again)}: dev was looked at before")
    for name, run in named.items():
        with tempfile.TemporaryDirectory() as scratch:  # whose own evaluation stays
            copy = Path(scratch) / "run"
            shutil.copytree(run, copy)
            found = evaluate_checkpoint(copy, part="dev", runs=asked.runs)
            known[name] = {"command": f"python tests/benchmarks/dev.py --runs {asked.runs}", **entry(copy)}
        write_atomically(asked.output, pretty_json(known))
        print(f"{name}: {found.examples} examples, teacher {found.teacher}, quantised {found.quantised}")
        for condition, share in found.share_of_teacher.items():
            noisy, target = found.under.get(condition), TARGETS.get(condition)
            low, high = share.share_interval or (float("nan"), float("nan"))
            sd = "" if noisy is None else f" +- {noisy.sd or 0:.4f}, min {noisy.minimum:.4f}"
            verdict = "" if target is None else f"; {target}: {judged(share.share_interval, target)}"
            print(f"  {condition:34} {share.student:.4f}{sd} = {share.share:.4f} [{low:.4f}, {high:.4f}]{verdict}")


if __name__ == "__main__":
    main()
