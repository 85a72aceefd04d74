import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

ROOT = Path(__file__).parents[2]


def test_help_lists_every_command_and_the_exit_codes(cli):
    code, out, _ = cli("--help")
    assert code == 0
    for word in ("init", "check", "sweep", "import", "fit", "train", "evaluate", "energy", "demo", "Exit codes"):
        assert word in out


def test_a_workspace_is_laid_out_once_and_never_overwritten(cli, tmp_path):
    folder = tmp_path / "lab"
    assert cli("init", folder)[0] == 0
    recipe = folder / "sweeps" / "decay.toml"
    recipe.write_text("# mine\n")
    code, out, _ = cli("init", folder, "--json")
    assert code == 0
    assert recipe.read_text() == "# mine\n"
    assert "sweeps/decay.toml" in json.loads(out)["kept"]
    assert (folder / "calibration" / "reference.json").exists()


def test_every_file_of_a_workspace_checks_out_together(cli, root):
    files = [
        path
        for folder in ("instruments", "sweeps", "measurements", "calibration")
        for path in (root / folder).iterdir()
        if path.name != "conditions.toml" and not path.name.startswith(".")
    ]
    code, out, err = cli("check", *files, "--bench", root / "instruments/virtual.toml", "--json")
    assert code == 0, err
    conditions = [root / folder / "conditions.toml" for folder in ("instruments", "sweeps")]
    assert cli("check", *conditions, "--bench", conditions[0])[0] == 0
    assert cli("check", conditions[1], "--bench", root / "instruments/virtual.toml")[0] == 2  # it has no gate
    kinds = {facts["kind"] for facts in json.loads(out)}
    assert kinds == {"bench", "recipe", "capture", "calibration", "provenance"}


def test_a_dry_run_says_what_a_sweep_would_do_and_does_nothing(cli, recipe, bench, tmp_path):
    before = set(tmp_path.iterdir())
    code, out, _ = cli("sweep", recipe, "--bench", bench, "--chip", "A1", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0
    assert (plan["traces"], plan["points"], plan["samples"]) == (12, 1, 232)
    assert sorted(plan["first_devices"]) == [1, 2, 3]
    assert set(tmp_path.iterdir()) == before


def test_one_trial_trace_judges_range_noise_and_light(cli, recipe, bench):
    code, out, _ = cli("sweep", recipe, "--bench", bench, "--chip", "A1", "--try", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["warnings"] == []
    assert found["signal_to_noise"] > 50
    assert found["plateau_A"] > 10 * found["baseline_A"]


def test_a_sweep_ends_in_a_capture_that_xarray_opens_as_it_is(cli, recipe, bench, tmp_path):
    capture = tmp_path / "a.h5"
    code, out, err = cli("sweep", recipe, "--bench", bench, "--chip", "A1", "-o", capture, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["statuses"] == {"ok": 12}
    assert result["origin"] == "synthetic"
    assert not capture.with_name("a.h5.spool").exists()
    with xr.open_dataset(capture, engine="h5netcdf") as data:
        assert dict(data.sizes) == {"trace": 12, "sample": 232}
        assert {str(chip) for chip in data["chip"].values} == {"A1"}
        assert all("units" in variable.attrs for variable in data.variables.values())
    assert cli("sweep", recipe, "--bench", bench, "--chip", "A1", "-o", capture)[0] == 2
    assert cli("check", capture)[0] == 0


def test_a_killed_sweep_resumes_to_the_capture_of_an_undisturbed_one(cli, recipe, bench, tmp_path):
    recipe.write_text(recipe.read_text().replace("repeats = 4", "repeats = 60"))
    whole, killed = tmp_path / "whole.h5", tmp_path / "killed.h5"
    assert cli("sweep", recipe, "--bench", bench, "--chip", "A1", "-o", whole)[0] == 0
    spool = killed.with_name("killed.h5.spool")
    # On a busy core the sweep must not be over before this process is let to look.
    command = ["nice", "-n", "19", sys.executable, "-m", "otters_lab", "sweep", recipe, "--bench", bench]
    command += ["--chip", "A1", "-o", killed]
    for attempt, how in enumerate((signal.SIGKILL, signal.SIGTERM)):
        process = subprocess.Popen([*command, *(["--resume"] if attempt else [])], stderr=subprocess.PIPE, text=True)
        _wait_for_growth(spool, process)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        if how == signal.SIGTERM and process.returncode == 130:
            assert "interrupted" in err
    assert spool.exists(), "the sweep was over before it could be killed"
    code, out, err = cli("sweep", recipe, "--bench", bench, "--chip", "A1", "-o", killed, "--resume", "--json")
    assert code == 0, err
    assert json.loads(out)["resumed_from"] > 0
    with xr.open_dataset(whole, engine="h5netcdf") as a, xr.open_dataset(killed, engine="h5netcdf") as b:
        np.testing.assert_array_equal(a["current"].values, b["current"].values)
        np.testing.assert_array_equal(a["device"].values, b["device"].values)
        np.testing.assert_array_equal(a["start_utc"].values, b["start_utc"].values)


def _wait_for_growth(spool, process):
    """Until the spool holds traces, and a few more."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        wal = spool.with_name(spool.name + "-wal")
        if wal.exists() and wal.stat().st_size > 100_000:
            return
        time.sleep(0.005)


def test_resuming_needs_something_to_resume_and_the_same_recipe(cli, recipe, bench, tmp_path):
    capture = tmp_path / "a.h5"
    arguments = ("sweep", recipe, "--bench", bench, "--chip", "A1")
    code, _, err = cli(*arguments, "-o", capture, "--resume")
    assert (code, "nothing to resume" in err) == (2, True)
    code, _, err = cli(*arguments, "--resume")
    assert (code, "-o CAPTURE" in err) == (2, True)


def test_a_sealing_that_was_cut_short_is_finished_without_the_bench(cli, recipe, bench, tmp_path, monkeypatch):
    capture = tmp_path / "a.h5"
    words = ("sweep", recipe, "--bench", bench, "--chip", "A1", "-o", capture)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("otters_lab.measurements.seal.append_seal_line", full_disk)
        code, _, err = cli(*words)
    assert (code, "all 12 traces are safe" in err) == (1, True)
    monkeypatch.setattr("otters_lab.sweeps.sweep.open_bench", None)
    code, out, _ = cli(*words, "--resume", "--json")
    assert code == 0
    assert json.loads(out)["statuses"] == {"ok": 12}
    assert cli("check", capture)[0] == 0


def test_a_fit_prints_gates_and_exits_by_them(cli, recipe, bench, few_laws, tmp_path):
    capture, calibration = tmp_path / "a.h5", tmp_path / "a.json"
    recipe.write_text(recipe.read_text().replace("repeats = 4", "repeats = 1"))
    assert cli("sweep", recipe, "--bench", bench, "--chip", "A1", "-o", capture)[0] == 0
    code, out, _ = cli("fit", capture, "-o", calibration)
    assert code == 1
    assert "not resolved" in out
    assert "gates failed" in out
    assert calibration.exists()
    code, out, _ = cli("fit", ROOT / "measurements" / "reference.h5", "-o", tmp_path / "reference.json")
    assert code == 0
    assert "gates failed" not in out
    code, _, err = cli("train", "digits", "--calibration", calibration, "-o", tmp_path / "net")
    assert code == 1
    assert "run-to-run sd of D resolved" in err


@pytest.mark.parametrize("command", ["init", "check", "sweep", "import", "fit", "train", "evaluate", "energy", "demo"])
def test_every_command_explains_itself(cli, command):
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert "--json" in out
    assert len(out.splitlines()) > 5


def test_a_fit_by_workers_is_the_fit_and_leaves_no_chunks(cli, recipe, bench, tmp_path):
    capture, found = tmp_path / "a.h5", {}
    assert cli("sweep", recipe, "--bench", bench, "--chip", "A1", "-o", capture)[0] == 0
    for name, extra in (("alone", ()), ("workers", ("--workers", "2"))):
        code, out, _ = cli("fit", capture, "-o", tmp_path / f"{name}.json", "--json", *extra)
        assert code == 1  # four runs a device are too few for its gates
        found[name] = {k: v for k, v in json.loads(out).items() if k not in ("header", "calibration", "digest")}
    assert found["workers"] == found["alone"]
    assert found["alone"]["device"] is not None
    assert not list(tmp_path.glob("*.chunks"))
    code, _, err = cli("fit", capture, "-o", tmp_path / "x.json", "--workers", "2", "--dask", "tcp://127.0.0.1:1")
    assert code == 2
    assert "exclude each other" in err
    code, _, err = cli("fit", capture, "-o", tmp_path / "x.json", "--dask", "tcp://192.0.2.1:8786")
    assert code == 2
    assert "TLS" in err
