"""The whole road once, on the virtual bench, from the sweep to the reports. What is there already is reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from otters_lab.calibration.file import Calibration, read_calibration
from otters_lab.core.files import sha256_file
from otters_lab.energy.report import EnergyReport, energy_report
from otters_lab.energy.settings import Settings
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.capture import Capture, load_capture
from otters_lab.measurements.spool import spool_path
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.sweeps.sweep import SweepOptions
from otters_lab.training.checkpoint_files import PROVENANCE, check_files
from otters_lab.training.evaluate import EvaluationResult
from otters_lab.workflows.fitting import fit_files
from otters_lab.workflows.networks import checkpoint_sites, evaluate_checkpoint, train_on_calibration
from otters_lab.workflows.reporting import report_file
from otters_lab.workflows.sweeping import sweep_bench
from otters_lab.workflows.workspace import lay_out


@dataclass(frozen=True)
class DemoResult:
    """What the road gave, how long each part took (s), and where every file lies."""

    capture: Capture
    calibration: Calibration
    evaluation: EvaluationResult
    energy: list[EnergyReport]
    seconds: dict[str, float]
    files: dict[str, Path]


def run_demo(folder: Path, say: Callable[[str], None]) -> DemoResult:
    """Lays out a workspace in `folder` and runs the whole road there; `say` gets a line before each part.

    The chip is synthetic and so is every number that comes from it. A part is skipped where its result stands there
    already, unaltered and made from the same input; a sweep that was cut short is resumed.

    Raises
    ------
    InputError, DamagedFileError
        for files in the folder that are in the way, or altered.
    """
    files = {
        "capture": folder / "measurements" / "demo.h5",
        "calibration": folder / "calibration" / "demo.json",
        "checkpoint": folder / "networks" / "digits",
        "evaluation": folder / "networks" / "digits" / "evaluation.json",
        "capture's report": folder / "measurements" / "demo.html",
        "calibration's report": folder / "calibration" / "demo.html",
        "checkpoint's report": folder / "networks" / "digits.html",
    }
    seconds: dict[str, float] = {}

    @contextmanager
    def part(name: str, words: str) -> Iterator[None]:
        say(words)
        begun = time.monotonic()
        yield
        seconds[name] = time.monotonic() - begun

    lay_out(folder)
    with part("sweep", "sweep: a synthetic chip on the virtual bench"):
        capture = _sweep(folder, files["capture"])
    with part("fit", "fit: the stochastic device model"):
        calibration = _fit(capture, files["calibration"])
    with part("train", "train: teacher, then the spiking student under the measured noise (a minute or two)"):
        if not _made_from(files["checkpoint"], files["calibration"]):
            train_on_calibration("digits", files["calibration"], files["checkpoint"])
    with part("evaluate", "evaluate: sampled noise, sampled devices, recorded traces"):
        evaluation = evaluate_checkpoint(files["checkpoint"], capture_path=files["capture"])
    with part("energy", "energy: every constant with a source, the rest left open"):
        sites = checkpoint_sites(files["checkpoint"])
        energy = [energy_report(sites, settings=settings) for settings in (Settings(hops=0.0), Settings())]
    with part("reports", "reports: a page each"):
        for name in ("capture", "calibration", "checkpoint"):
            report_file(files[name], files[f"{name}'s report"])
    return DemoResult(capture, calibration, evaluation, energy, seconds, files)


def _sweep(folder: Path, path: Path) -> Capture:
    if not path.exists():
        plan = Plan(load_recipe(folder / "sweeps" / "decay.toml"))
        bench = load_bench(folder / "instruments" / "virtual.toml")
        options = SweepOptions(resume=spool_path(path).exists(), note="demo")
        sweep_bench(plan, bench, chip="demo", capture=path, options=options)
    return load_capture(path)


def _fit(capture: Capture, path: Path) -> Calibration:
    if path.exists():
        found = read_calibration(path)
        if [ref.sha256 for ref in found.header.inputs] == [capture.sha256]:
            return found
    return fit_files([capture.path], path)


def _made_from(checkpoint: Path, calibration: Path) -> bool:
    """Whether a checkpoint stands there, whole, that was trained on this very calibration."""
    if not (checkpoint / PROVENANCE).exists():
        return False
    return [ref.sha256 for ref in check_files(checkpoint).inputs] == [sha256_file(calibration)]
