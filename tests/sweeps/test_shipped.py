"""The recipes and benches that come with the package do what their comments say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.capture import load_capture
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.sweeps.sweep import run_sweep

ROOT = Path(__file__).resolve().parents[2]


def test_the_recipe_with_everything_runs_on_the_bench_with_everything(tmp_path: Path) -> None:
    plan = Plan(load_recipe(ROOT / "sweeps" / "conditions.toml"))
    run_sweep(plan, load_bench(ROOT / "instruments" / "conditions.toml"), chip="A1", capture=tmp_path / "a.h5")
    table = load_capture(tmp_path / "a.h5").table
    assert table["kind"].value_counts().to_dict() == {"decay": 144, "reference": 6, "dark": 6, "lit": 6}
    assert (table["status"] == "ok").all()
    decays = table[table["kind"] == "decay"]
    np.testing.assert_allclose(decays["stage_temperature"], decays["temperature"], atol=0.1)
    # The pulse on the gate has emptied the traps: no trace begins above the dark current.
    np.testing.assert_allclose(decays["baseline_A"], 20e-9, rtol=0.02)
    assert set(zip(decays["drive"], decays["width"], strict=True)) == {(2.0, 0.1), (3.5, 0.05), (5.0, 0.02)}


def test_the_bench_of_real_instruments_measures_on_their_twins_and_says_how_badly_it_knows_the_edge(
    tmp_path: Path,
) -> None:
    real = (ROOT / "instruments" / "keithley2450-dc2200.toml").read_text()
    twins = "[virtual]" + (ROOT / "instruments" / "virtual.toml").read_text().partition("\n[virtual]")[2]
    (tmp_path / "bench.toml").write_text(real.replace('backend = "visa"', 'backend = "virtual"') + twins)
    (tmp_path / "one.toml").write_text(
        f'extends = "{(ROOT / "sweeps" / "decay.toml").as_posix()}"\ndevices = "1"\nrepeats = 3\n'
    )
    bench = load_bench(tmp_path / "bench.toml")
    run_sweep(Plan(load_recipe(tmp_path / "one.toml")), bench, chip="A1", capture=tmp_path / "a.h5")
    table = load_capture(tmp_path / "a.h5").table
    assert table["status"].tolist() == ["ok"] * 3
    # A pulse begun by software: the DC2200's own scatter of 10 ms, and 5 ms of the file, in squares.
    np.testing.assert_allclose(table["edge_uncertainty_s"], np.hypot(10e-3, 5e-3), rtol=1e-3)
