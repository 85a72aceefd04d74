"""The whole road once, on the virtual bench: sweep, fit, train, evaluate, energy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from otters_lab.calibration.file import Calibration
from otters_lab.core.errors import InputError
from otters_lab.energy.report import EnergyReport
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.capture import load_capture
from otters_lab.reports.figures import calibration_figure, capture_figure
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.sweeps.sweep import SweepResult, run_sweep
from otters_lab.training.evaluate import EvaluationResult
from otters_lab.workflows.fitting import fit_files
from otters_lab.workflows.networks import checkpoint_energy, evaluate_checkpoint, train_on_calibration
from otters_lab.workflows.workspace import lay_out


@dataclass(frozen=True)
class DemoResult:
    """What the road gave, how long each part took (s), and where every file lies."""

    sweep: SweepResult
    calibration: Calibration
    evaluation: EvaluationResult
    energy: list[EnergyReport]
    seconds: dict[str, float]
    files: dict[str, Path]


def run_demo(folder: Path, say: Callable[[str], None]) -> DemoResult:
    """Lays out a workspace in `folder` and runs the whole road there; `say` gets a line before each part.

    The chip is synthetic and so is every number that comes from it.

    Raises
    ------
    InputError
        if an earlier demo's capture stands in the folder.
    """
    files = {
        "capture": folder / "measurements" / "demo.h5",
        "capture's figure": folder / "measurements" / "demo.svg",
        "calibration": folder / "calibration" / "demo.json",
        "calibration's figure": folder / "calibration" / "demo.svg",
        "checkpoint": folder / "networks" / "digits",
        "evaluation": folder / "networks" / "digits" / "evaluation.json",
    }
    if files["capture"].exists():
        raise InputError("a demo has run here already: name another folder, or delete this one", file=folder)
    seconds: dict[str, float] = {}

    @contextmanager
    def part(name: str, words: str) -> Iterator[None]:
        say(words)
        begun = time.monotonic()
        yield
        seconds[name] = time.monotonic() - begun

    lay_out(folder)
    bench = load_bench(folder / "instruments" / "virtual.toml")
    plan = Plan(load_recipe(folder / "sweeps" / "decay.toml"))
    with part("sweep", f"sweep: {len(plan)} traces of a synthetic chip on the virtual bench"):
        swept = run_sweep(plan, bench, chip="demo", note="demo", capture=files["capture"], resume=False)
    with part("fit", "fit: the stochastic device model"):
        calibration = fit_files([files["capture"]], files["calibration"])
    with part("figures", "figures: traces and levels"):
        capture_figure(load_capture(files["capture"]), files["capture's figure"])
        calibration_figure(calibration, files["calibration's figure"])
    with part("train", "train: teacher, then the spiking student under the measured noise (a minute or two)"):
        train_on_calibration("digits", files["calibration"], files["checkpoint"])
    with part("evaluate", "evaluate: sampled noise, sampled devices, recorded traces"):
        evaluation = evaluate_checkpoint(files["checkpoint"], capture_path=files["capture"])
    with part("energy", "energy: every constant with a source, the rest left open"):
        energy = [checkpoint_energy(files["checkpoint"], "open22", hops) for hops in (0.0, None)]
    return DemoResult(swept, calibration, evaluation, energy, seconds, files)
