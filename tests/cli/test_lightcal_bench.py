"""`lightcal --bench`: the loop from a swept calibration to a recipe in irradiance, and the one-line refusals."""

import json

import pytest

from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.capture import load_capture
from tests.instruments.conftest import LIGHT, POWER

SWEEP = ["--drives", "0.5 V:5 V:10", "--width", "200 ms", "--wavelength", "455 nm", "--area", "0.05 mm^2"]


@pytest.fixture
def power_bench(tmp_path, bench):
    path = tmp_path / "power.toml"
    path.write_text(bench.read_text().replace("\n[sync]\n", POWER, 1) + LIGHT)
    return path


def test_the_loop_closes_a_recipe_in_irradiance_is_driven_as_the_closed_form_says(cli, tmp_path, recipe, power_bench):
    light = tmp_path / "light.json"
    code, out, err = cli("lightcal", "--bench", power_bench, *SWEEP, "-o", light)
    assert (code, err) == (0, "")
    assert "24.5 uW" in out
    assert "3 repeats, Thorlabs,PM100USB,VIRTUAL,1.7.0; sensor S130VC, VIRTUAL" in out
    code, out, _ = cli("check", light, "--json")
    assert (code, json.loads(out)[0]["kind"]) == (0, "light calibration")

    named = tmp_path / "named.toml"
    load = 'load = "high impedance"'
    named.write_text(power_bench.read_text().replace(load, f'{load}\ncalibration = "light.json"', 1))
    recipe.write_text(recipe.read_text().replace('drive = "5 V"', 'irradiance = ["10 mW/cm^2", "40 mW/cm^2"]'))
    capture_path = tmp_path / "c.h5"
    code, _, err = cli("sweep", recipe, "--bench", named, "--chip", "A1", "-o", capture_path)
    assert code == 0, err
    capture = load_capture(capture_path)
    at = dict(zip(capture.table["irradiance"], capture.table["drive"], strict=True))
    # power = 5 uW/V * (drive - 0.1 V), irradiance = power / 0.05 mm^2
    for irradiance_W_m2 in (100.0, 400.0):
        assert at[irradiance_W_m2] == pytest.approx(0.1 + irradiance_W_m2 * 5e-8 / 5e-6, rel=1e-6)
    assert [ref.role for ref in capture.header.inputs] == ["light calibration", "recipe", "bench"]
    assert load_bench(named).light_calibration.header.origin == "synthetic"


def test_a_dry_run_shows_drives_limits_and_duration_and_writes_nothing(cli, tmp_path, power_bench):
    before = set(tmp_path.iterdir())
    code, out, _ = cli("lightcal", "--bench", power_bench, *SWEEP, "--dry-run", "--repeats", "2", "--rest", "300 ms")
    assert code == 0
    assert "drives: 500 mV, 1 V, 1.5 V, 2 V, 2.5 V, 3 V, 3.5 V, 4 V, 4.5 V, 5 V" in out
    assert "20 pulses of 200 ms (2 repeats), 300 ms of dark after each: duty 0.4" in out
    assert "takes 10 s" in out
    code, out, _ = cli("lightcal", "--bench", power_bench, *SWEEP, "--dry-run", "--json")
    assert (code, json.loads(out)["duration_s"]) == (0, pytest.approx(12.0))
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "takes recordings (FILE...) or --bench; found 'neither'"),
        (["a.csv", "--bench", "B"], "takes recordings (FILE...) or --bench; found 'both'"),
        (["a.csv", "--drives", "1 V,2 V"], "--drives needs --bench"),
        (["a.csv", "--dry-run"], "--dry-run needs --bench"),
        (["a.csv", "--area", "1 mm^2"], "lightcal needs -o"),
        (["--bench", "B", "-o", "x.json"], "lightcal needs --area, --drives, --width, --wavelength"),
        (["--bench", "B", *SWEEP, "-o", "x.json", "--meter", "S120VC"], "--meter is for recordings"),
        (["--bench", "B", *SWEEP, "-o", "nowhere/x.json"], "no such folder"),
        (["--bench", "B", *SWEEP[2:], "--drives", "1 V:2 V", "-o", "x.json"], "--drives: found '1 V:2 V'"),
        (["--bench", "B", *SWEEP, "--width", "0.2", "-o", "x.json"], "--width: found '0.2' without a unit"),
        (["--bench", "B", *SWEEP, "--wavelength", "365 nm", "-o", "x.json"], "wavelength (m): asked for 3.65e-07"),
    ],
)
def test_what_is_no_calibration_is_refused_in_one_line(cli, tmp_path, monkeypatch, power_bench, words, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("lightcal", *[power_bench if word == "B" else word for word in words])
    assert code in (2, 3)
    assert said in err
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "x.json").exists()


def test_a_virtual_power_meter_needs_light_to_read(cli, power_bench):
    power_bench.write_text(power_bench.read_text().replace(LIGHT, ""))
    code, _, err = cli("check", power_bench)
    assert (code, "needs [virtual.light]" in err) == (2, True)
