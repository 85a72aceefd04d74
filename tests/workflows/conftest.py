"""A whole small chain: power-meter recordings and bench, recipe, capture, calibration, network, evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import otters_lab

ROOT = Path(otters_lab.__file__).parents[1]

BASE = """
window = "1 s"
light = { drive = "5 V", width = "100 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "60 ms", decay = "1 s", interval = "5 ms", aperture = "1 ms", range = "1 uA" }
recovery = { dark_time = "1 s" }
"""
RECIPE = 'extends = "base.toml"\ndevices = "1-3"\nrepeats = 4\n'
RECORDING = """#Parameters:
#\tLaser wavelength: 455
#Metadata:
#\tSensor model: S120VC
#\tStart time: 1760371415.7
#Data:
VL (V),Power (W)
"""
# So few traces pass the gates of a calibration where the meter is quiet.
BENCH = {
    'load = "high impedance"': 'load = "high impedance"\ncalibration = "lamp.json"',
    'white = "1.78885 pA/sqrt(Hz)"': 'white = "0.1 pA/sqrt(Hz)"',
    'flicker_1Hz = "3.17177 pA/sqrt(Hz)"': 'flicker_1Hz = "0.1 pA/sqrt(Hz)"',
}
HOOK = "http://127.0.0.1:9/token-of-the-lab"  # nobody listens there


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which a recipe that extends another was swept, fitted and exported."""
    from otters_lab.instruments.benchfile import load_bench
    from otters_lab.measurements.export import export_capture
    from otters_lab.sweeps.plan import Plan
    from otters_lab.sweeps.recipe import load_recipe
    from otters_lab.workflows.fitting import fit_files
    from otters_lab.workflows.lightcal import import_light_calibration
    from otters_lab.workflows.sweeping import sweep_bench

    lab = tmp_path_factory.mktemp("measured") / "lab"
    for folder in ("instruments", "sweeps", "measurements", "calibration"):
        (lab / folder).mkdir(parents=True)
    lamp = lab / "instruments" / "lamp.csv"
    lamp.write_text(RECORDING + "".join(f"{drive},{5e-6 * drive}\n" for drive in (0.5, 1.0, 3.0, 5.0)))
    import_light_calibration([lamp], lab / "instruments" / "lamp.json", spot_area_m2=5e-8)
    bench = (ROOT / "instruments" / "virtual.toml").read_text()
    for old, new in BENCH.items():
        assert old in bench
        bench = bench.replace(old, new)
    (lab / "instruments" / "virtual.toml").write_text(bench)
    (lab / "sweeps" / "base.toml").write_text(BASE)
    (lab / "sweeps" / "own.toml").write_text(RECIPE)
    plan, bench_file = Plan(load_recipe(lab / "sweeps" / "own.toml")), load_bench(lab / "instruments" / "virtual.toml")
    capture = lab / "measurements" / "a1.h5"
    sweep_bench(plan, bench_file, chip="A1", capture=capture)
    fit_files([capture], lab / "calibration" / "a1.json")
    export_capture(capture, lab / "a1.csv")
    return lab


@pytest.fixture(scope="session")
def made(measured: Path, base: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and a text network of one step on it, packed, both evaluated. Its training could notify nobody."""
    from otters_lab.workflows.networks import evaluate_checkpoint, pack_checkpoint, train_on_calibration

    lab = tmp_path_factory.mktemp("made") / "lab"
    shutil.copytree(measured, lab)
    schedule = lab / "schedule.toml"
    schedule.write_text(
        "threads = 1\nbatch = 16\nmax_tokens = 16\n[teacher]\nsteps = 1\n"
        '[[stages]]\nname = "all"\nsteps = 1\nlr = 1e-3\nweights = true\nstates = true\nnoise = 1.0\n'
        '[notify]\nwebhook_env = "LAB_HOOK"\n'
    )
    net, student = lab / "networks" / "net", lab / "networks" / "student.safetensors"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LAB_HOOK", HOOK)
        train_on_calibration("sst2", lab / "calibration" / "a1.json", net, schedule, data=texts, teacher=str(base))
    pack_checkpoint(net, student)
    evaluate_checkpoint(net, part="dev", runs=2)
    evaluate_checkpoint(student, part="dev", runs=2, data=texts, calibration_path=lab / "calibration" / "a1.json")
    return lab


@pytest.fixture
def lab(measured: Path, tmp_path: Path) -> Path:
    """A copy of `measured`, to spoil."""
    shutil.copytree(measured, tmp_path / "lab")
    return tmp_path / "lab"


@pytest.fixture
def chain(made: Path, tmp_path: Path) -> Path:
    """A copy of `made`, to spoil."""
    shutil.copytree(made, tmp_path / "lab")
    return tmp_path / "lab"
