"""What `--help` says beyond options: a line for the list of commands, and examples that a test parses."""

from __future__ import annotations

from typing import NamedTuple

import typer


class Help(NamedTuple):
    """`summary` fits beside the command's name in 80 columns; `examples` are typed as they stand, "\\\\" goes on."""

    summary: str
    examples: tuple[str, ...]


_BENCH = "instruments/virtual.toml"

HELP = {
    "init": Help("lay out a workspace", ("otters-lab init lab",)),
    "check": Help(
        "validate files of any kind of ours",
        (
            "otters-lab check measurements/a1.h5 calibration/a1.json",
            f"otters-lab check sweeps/decay.toml --bench {_BENCH}",
        ),
    ),
    "bench": Help(
        "connect, identify, self-test; leave every output off",
        (
            "otters-lab bench",
            f"otters-lab bench {_BENCH}",
            f"otters-lab bench {_BENCH} --serve --write tcp.toml",
        ),
    ),
    "lightcal": Help(
        "make a light calibration: drive to optical power",
        (
            'otters-lab lightcal power-*.csv -o instruments/lamp.json --area "0.05 mm^2"',
            'otters-lab lightcal --bench mine.toml --drives "0.5 V:5 V:10" \\\n'
            '    --width "200 ms" --wavelength "455 nm" --area "0.05 mm^2" -o lamp.json',
        ),
    ),
    "sweep": Help(
        "run a recipe on a bench: a capture",
        (
            f"otters-lab sweep sweeps/decay.toml --bench {_BENCH} \\\n    --chip A1 --dry-run",
            f"otters-lab sweep sweeps/decay.toml --bench {_BENCH} \\\n    --chip A1 -o measurements/a1.h5",
            f"otters-lab sweep sweeps/decay.toml --bench {_BENCH} \\\n    --chip A1 -o measurements/a1.h5 --resume",
        ),
    ),
    "recover": Help("seal what an unfinished sweep has measured", ("otters-lab recover measurements/a1.h5.spool",)),
    "import": Help(
        "make a capture of other people's recordings, or of captures",
        (
            "otters-lab import run-*.csv -o measurements/old.h5 --chip A1",
            "otters-lab import scope.csv --mapping scope.toml -o measurements/b.h5",
            "otters-lab import monday.h5 tuesday.h5 -o measurements/both.h5",
        ),
    ),
    "captures": Help(
        "list captures and unfinished spools, and search",
        (
            "otters-lab captures",
            'otters-lab captures measurements --chip A1 --parameter "drive>1 V"',
            "otters-lab captures /data/lab --since 2026-01-31 --origin measured",
        ),
    ),
    "calibrations": Help(
        "list calibrations, and search",
        (
            "otters-lab calibrations",
            "otters-lab calibrations --chip A1 --gates passed --since 2026-01-31",
        ),
    ),
    "runs": Help(
        "list trained networks, evaluations, trainings under way",
        (
            "otters-lab runs",
            'otters-lab runs networks --task sst2 --metric "accuracy>0.8"',
            "otters-lab runs --status unfinished --json",
        ),
    ),
    "export": Help(
        "write a capture for other programs, or a whole provenance",
        (
            "otters-lab export measurements/a1.h5 -o a1.parquet",
            "otters-lab export measurements/a1.h5 -o traces.csv --table",
            "otters-lab export networks/digits --ro-crate -o digits.zip \\\n"
            "    --license https://spdx.org/licenses/CC-BY-4.0",
        ),
    ),
    "trace": Help(
        "walk a file back to the bench, every hash checked",
        (
            "otters-lab trace networks/digits",
            "otters-lab trace mailed.json --search /data/lab",
        ),
    ),
    "fit": Help(
        "fit a stochastic device model to captures",
        (
            "otters-lab fit measurements/a1.h5 -o calibration/a1.json",
            'otters-lab fit monday.h5 tuesday.h5 -o a1.json --window "500 ms"',
            "otters-lab fit large.h5 -o large.json --workers 8",
        ),
    ),
    "compare": Help(
        "has the chip drifted, is a refit due",
        (
            "otters-lab compare calibration/a1.json measurements/a1-may.h5",
            "otters-lab compare calibration/a1.json calibration/may.json --tolerance 0.25",
        ),
    ),
    "train": Help(
        "train a teacher and its spiking student",
        (
            "otters-lab train digits --calibration calibration/a1.json \\\n    -o networks/digits",
            "otters-lab train sst2 --calibration calibration/a1.json --data glue \\\n"
            "    --config schedule.toml -o networks/sst2",
            "otters-lab train --from networks/digits --calibration calibration/b2.json \\\n    -o networks/digits-b2",
        ),
    ),
    "evaluate": Help(
        "score under sampled, recorded or live devices",
        (
            "otters-lab evaluate networks/digits",
            "otters-lab evaluate networks/digits --capture measurements/a1.h5 --runs 50",
            f"otters-lab evaluate networks/digits --bench {_BENCH} \\\n    --recipe sweeps/decay.toml",
            "otters-lab evaluate networks/digits --sweep --sizes 0,0.05,0.1",
        ),
    ),
    "ablate": Help(
        "what hybrid training buys: arms from one trunk",
        ("otters-lab ablate networks/sst2 -o arms --steps 500 --seeds 3",),
    ),
    "pack": Help(
        "write a text student as a file of a few megabytes",
        ("otters-lab pack networks/sst2 -o student.safetensors",),
    ),
    "energy": Help(
        "energy, latency and area of one inference",
        (
            "otters-lab energy networks/digits --hops mesh",
            'otters-lab energy networks/digits --light-pulse "1 fJ" --html energy.html',
            "otters-lab energy --layers 12 --hidden 768 --ffn 3072 --length 128 \\\n    --rate 0.3",
            "otters-lab energy --preset open22",
        ),
    ),
    "report": Help(
        "a self-contained page of a capture, fit or network",
        (
            "otters-lab report measurements/a1.h5 -o a1-capture.html",
            "otters-lab report calibration/a1.json -o a1.html --figures figures",
            "otters-lab report networks/digits -o digits.html",
        ),
    ),
    "monitor": Help(
        "a live page of a folder's runs, on loopback",
        ("otters-lab monitor", "otters-lab monitor lab --port 8765"),
    ),
    "trust": Help(
        "let a workspace's own driver, or a [notify] command, run",
        ("otters-lab trust instruments/mylamp.py",),
    ),
    "demo": Help("all of it on the virtual bench", ("otters-lab demo", "otters-lab demo elsewhere --json")),
}


def explain(app: typer.Typer) -> None:
    """Adds to every command what `HELP` says of it."""
    for command in app.registered_commands:
        if command.name in HELP:
            summary, examples = HELP[command.name]
            command.short_help = summary
            command.epilog = f"\b\n{examples_text(examples)}"


def examples_text(examples: tuple[str, ...]) -> str:
    """Examples under their heading, indented."""
    lines = [line for example in examples for line in example.splitlines()]
    return "\n".join(["Examples:", *(f"  {line}" for line in lines)])
