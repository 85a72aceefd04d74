"""A sweep on a bench that replays a capture, and on one that samples a calibration."""

import json

import numpy as np
import pytest

from otters_lab.measurements.capture import load_capture

REPLAY = """
devices = "1-3"
repeats = 5
window = "1 s"
light = { drive = "5 V", width = "200 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "100 ms", decay = "1 s", interval = "2 ms", aperture = "1 ms", range = "1 uA" }
order = { seed = 9 }
recovery = { dark_time = "1 s" }
"""


@pytest.fixture
def bench_with(tmp_path, bench):
    def write(extra):
        path = tmp_path / "instruments" / "bench.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(bench.read_text().replace("seed = 2026", f"seed = 2026\n{extra}", 1))
        return path

    return write


@pytest.fixture
def same_recipe(tmp_path):
    path = tmp_path / "same.toml"
    path.write_text(REPLAY)
    return path


def test_a_replayed_sweep_gives_the_recorded_values_again(cli, root, bench_with, same_recipe, tmp_path):
    bench = bench_with(f'decays = "replay"\nfile = "{root}/measurements/reference.h5"')
    out = tmp_path / "again.h5"
    code, text, err = cli("sweep", same_recipe, "--bench", bench, "--chip", "A1", "-o", out, "--json")
    assert code == 0, err
    assert json.loads(text)["origin"] == "replayed"
    recorded, again = load_capture(root / "measurements" / "reference.h5"), load_capture(out)
    assert again.origin == "replayed"
    assert [(ref.role, ref.uid) for ref in again.header.inputs if ref.uid] == [
        ("replayed capture", recorded.header.uid)
    ]
    assert again.attributes["replayed_from"]["decays"]["sha256"] == recorded.sha256
    assert "synthetic_truth" not in again.attributes
    keys = ["device", "point", "repeat"]
    rows = recorded.table.reset_index().merge(again.table[keys], on=keys, how="right")["index"]
    np.testing.assert_array_equal(again.current_A, recorded.current_A[rows])
    np.testing.assert_array_equal(again.time_s, recorded.time_s[rows])


def test_a_recording_that_is_too_short_is_refused_before_anything_is_measured(
    cli, bench_with, same_recipe, tmp_path, bench
):
    first, second = tmp_path / "instruments" / "short.h5", tmp_path / "more.h5"
    same_recipe.write_text(REPLAY.replace("repeats = 5", "repeats = 1"))
    assert cli("sweep", same_recipe, "--bench", bench, "--chip", "A1", "-o", first)[0] == 0
    same_recipe.write_text(REPLAY)
    words = ["sweep", same_recipe, "--chip", "A1", "-o", second, "--bench"]
    code, _, err = cli(*words, bench_with('decays = "replay"\nfile = "short.h5"'))
    assert code == 2
    assert "5 repeats of device 1" in err
    assert "at most the 1 recorded" in err
    assert err.count("\n") == 1
    assert not second.with_name("more.h5.spool").exists()
    same_recipe.write_text(REPLAY.replace("200 ms", "100 ms"))
    code, _, err = cli(*words, bench_with('decays = "replay"\nfile = "short.h5"'), "--dry-run")
    assert (code, "nothing recorded to replay" in err) == (2, True)
    same_recipe.write_text(REPLAY)
    code, out, err = cli(*words, bench_with('decays = "replay"\nfile = "short.h5"\nat_end = "loop"'), "--json")
    assert code == 0, err
    assert json.loads(out)["traces"] == 15


def test_a_sampled_calibration_is_measured_like_a_chip(cli, root, bench_with, same_recipe, tmp_path):
    bench = bench_with(f'decays = "calibration"\nfile = "{root}/calibration/reference.json"')
    out = tmp_path / "sampled.h5"
    code, _, err = cli("sweep", same_recipe, "--bench", bench, "--chip", "A1", "-o", out)
    assert code == 0, err
    capture = load_capture(out)
    assert capture.origin == "synthetic"
    assert capture.header.inputs[0].role == "sampled calibration"
    constants = json.loads((root / "calibration" / "reference.json").read_text())["device"]["constants"]
    assert capture.table["baseline_A"].mean() == pytest.approx(constants["I_dark_A"], rel=1e-2)
    assert capture.table["plateau_A"].mean() == pytest.approx(constants["I_edge_A"], rel=1e-3)


def test_a_missing_file_of_decays_is_named_with_the_bench(cli, bench_with, same_recipe, tmp_path):
    bench = bench_with('decays = "replay"\nfile = "nowhere.h5"')
    code, _, err = cli("sweep", same_recipe, "--bench", bench, "--chip", "A1", "-o", tmp_path / "x.h5")
    assert code == 2
    assert "nowhere.h5" in err
    assert "virtual.file" in err


def test_a_trial_sees_the_hum(cli, bench_with, same_recipe):
    code, out, _ = cli("sweep", same_recipe, "--bench", bench_with('hum = "2 nA"'), "--chip", "A1", "--try", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["hum_A"] == pytest.approx(2e-9, rel=0.1)
    assert any("hum" in warning for warning in report["warnings"])


def test_a_dry_run_says_what_the_times_are_worth_and_a_capture_keeps_it(cli, bench, same_recipe, tmp_path):
    code, out, _ = cli("sweep", same_recipe, "--bench", bench, "--chip", "A1", "--dry-run")
    assert code == 0
    assert "light's edge: by trigger, known to 1 us" in out
    assert "timestamps: resolution unknown, jitter unknown" in out
    assert "range: unknown, shortest settled interval unknown" in out
    same_recipe.write_text(REPLAY.replace('window = "1 s"', 'window = "100 ms"').replace("repeats = 5", "repeats = 1"))
    code, out, _ = cli("sweep", same_recipe, "--bench", bench, "--chip", "A1", "--dry-run", "--json")
    assert json.loads(out)["warnings"] == ["level 1 lies before the first sample after the light's edge"]
    assert cli("sweep", same_recipe, "--bench", bench, "--chip", "A1", "-o", tmp_path / "t.h5")[0] == 0
    (kept,) = load_capture(tmp_path / "t.h5").header.config["timing"]
    assert kept["levels_before_first"] == [1]
    assert kept["timestamp_jitter_s"] is None


def test_a_dry_run_warns_of_an_interval_in_which_the_range_does_not_settle(cli, bench_with, same_recipe):
    path = bench_with("")
    text = path.read_text().replace('driver = "keithley-2450"', 'driver = "keithley-2636b"', 1)
    path.write_text(text)
    code, out, err = cli("sweep", same_recipe, "--bench", path, "--chip", "A1", "--dry-run")
    assert code == 0, err
    assert "settling of the 1 uA range: 2.5 ms, shortest settled interval 2.5 ms" in out
    assert "warning: the interval of 2 ms is shorter than the 2.5 ms in which the 1 uA range settles" in out
    code, out, _ = cli("sweep", same_recipe, "--bench", path, "--chip", "A1", "--dry-run", "--json")
    assert json.loads(out)["timing"][0]["settling_s"] == 2.5e-3
