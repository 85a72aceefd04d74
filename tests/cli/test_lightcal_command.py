"""`lightcal`, and sweeps in irradiance."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from otters_lab.measurements.capture import load_capture

DATA = Path(os.environ.get("OTTERS_LAB_DATA", Path(__file__).parents[3] / "shared" / "data"))
RECORDINGS = DATA / "photocurrent" / "recordings"
REAL = sorted(RECORDINGS.glob("LaserCalibration*.csv"))

HEAD = """#Parameters:
#\tLaser wavelength: {nm}
#Metadata:
#\tSensor model: S120VC
#\tStart time: 1760371415.7
#Data:
"""


def recording(path, factor=1.0, nm=455, floor=(1e-9, 2e-9)):
    drive = np.arange(0, 5.01, 0.5)
    power = factor * 5e-6 * drive
    power[0], power[1] = floor[0], max(power[1], floor[1])
    rows = "".join(f"{v},{p}\n" for v, p in zip(drive, power, strict=True))
    path.write_text(HEAD.format(nm=nm) + "VL (V),Power (W)\n" + rows)
    return path


@pytest.fixture
def repeats(tmp_path):
    return [recording(tmp_path / f"{n}.csv", factor) for n, factor in enumerate((0.9, 1.0, 1.1))]


@pytest.fixture
def light(cli, tmp_path, repeats):
    out = tmp_path / "light.json"
    code, _, err = cli("lightcal", *repeats, "-o", out, "--area", "0.05 mm^2")
    assert code == 0, err
    return out


@pytest.fixture
def bench_with_light(tmp_path, bench, light):
    path = tmp_path / "bench.toml"
    load = 'load = "high impedance"'
    path.write_text(bench.read_text().replace(load, f'{load}\ncalibration = "light.json"', 1))
    return path


def test_repeats_become_a_mean_with_its_spread(cli, light):
    record = json.loads(light.read_text())
    assert record["repeats"] == 3
    assert record["wavelength_m"] == pytest.approx(455e-9)
    assert record["power_W"][-1] == pytest.approx(25e-6)
    assert record["power_sd_W"][-1] == pytest.approx(2.5e-6)
    assert len(record["header"]["inputs"]) == 3
    code, out, _ = cli("check", light, "--json")
    assert code == 0
    assert json.loads(out)[0]["kind"] == "light calibration"


def test_what_is_no_set_of_repeats_is_refused(cli, tmp_path, repeats):
    words = ["-o", tmp_path / "x.json", "--area", "0.05 mm^2"]
    other = recording(tmp_path / "other.csv", nm=405)
    code, _, err = cli("lightcal", *repeats, other, *words)
    assert (code, "several wavelengths" in err) == (2, True)
    short = tmp_path / "short.csv"
    short.write_text("\n".join(repeats[0].read_text().splitlines()[:-2]) + "\n")
    code, _, err = cli("lightcal", *repeats, short, *words)
    assert (code, "no repeats" in err) == (2, True)
    code, _, err = cli("lightcal", *repeats, "-o", tmp_path / "x.json", "--area", "0.05 mm")
    assert (code, "area" in err) == (2, True)
    assert not (tmp_path / "x.json").exists()


def test_noise_below_the_threshold_is_left_out_and_said(cli, tmp_path):
    path = recording(tmp_path / "noisy.csv", floor=(3e-6, 0.0))
    code, _, err = cli("lightcal", path, "-o", tmp_path / "x.json", "--area", "1 mm^2")
    assert (code, "does not rise" in err) == (2, True)
    path.write_text(path.read_text().replace("0.5,2.5e-06", "0.5,1e-08").replace("0.0,3e-06", "0.0,3e-08"))
    code, out, _ = cli("lightcal", path, "-o", tmp_path / "x.json", "--area", "1 mm^2", "--json")
    assert code == 0
    made = json.loads(out)
    assert made["drive"][0] == 0.5
    assert made["power_sd_W"][0] is None
    assert any("left out" in note for note in made["notes"])


def test_a_recipe_in_irradiance_is_swept_through_the_calibration(cli, recipe, bench_with_light, tmp_path):
    recipe.write_text(recipe.read_text().replace('drive = "5 V"', 'irradiance = ["10 mW/cm^2", "50 mW/cm^2"]'))
    code, out, err = cli("sweep", recipe, "--bench", bench_with_light, "--chip", "A1", "--dry-run")
    assert code == 0, err
    assert "irradiance 100 W/m^2 (sd of repeats 10.0%), drive 1 V" in out
    capture_path = tmp_path / "c.h5"
    code, _, err = cli("sweep", recipe, "--bench", bench_with_light, "--chip", "A1", "-o", capture_path)
    assert code == 0, err
    capture = load_capture(capture_path)
    assert capture.parameter_units["irradiance"] == "W/m^2"
    assert sorted(set(capture.table["irradiance"])) == [100.0, 500.0]
    at = dict(zip(capture.table["irradiance"], capture.table["drive"], strict=True))
    assert at[100.0] == pytest.approx(1.0, rel=1e-6)
    assert at[500.0] == pytest.approx(5.0, rel=1e-6)
    assert [ref.role for ref in capture.header.inputs if ref.uid] == ["light calibration"]


@pytest.mark.parametrize(
    ("new", "with_light", "words"),
    [
        ('irradiance = "10 mW/cm^2"', False, "no light calibration"),
        ('irradiance = "60 mW/cm^2"', True, "nothing is extrapolated"),
        ('irradiance = "10 mW/cm^2", drive = "5 V"', True, "both of drive and irradiance"),
        ("", True, "neither of drive and irradiance"),
        ('irradiance = "10 mW"', True, "irradiance"),
    ],
)
def test_irradiance_that_cannot_be_given_is_refused(cli, recipe, bench, bench_with_light, new, with_light, words):
    text = recipe.read_text().replace('drive = "5 V"', new).replace("{ , ", "{ ")
    recipe.write_text(text)
    used = bench_with_light if with_light else bench
    code, _, err = cli("sweep", recipe, "--bench", used, "--chip", "A1", "--dry-run")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_a_recipe_in_irradiance_checks_out_without_a_bench(cli, recipe):
    recipe.write_text(recipe.read_text().replace('drive = "5 V"', 'irradiance = "10 mW/cm^2"'))
    code, out, err = cli("check", recipe, "--json")
    assert code == 0, err
    assert json.loads(out)[0]["traces"] == 12


@pytest.mark.skipif(
    len(REAL) != 8, reason=f"the eight LaserCalibration*.csv are not at {RECORDINGS} (set OTTERS_LAB_DATA)"
)
def test_the_real_recordings_give_four_wavelengths_with_two_repeats_each(cli, tmp_path):
    by_nm = {}
    for path in REAL:
        nm = next(row.split(":")[1].strip() for row in path.read_text().splitlines() if "wavelength" in row)
        by_nm.setdefault(nm, []).append(path)
    assert sorted((nm, len(paths)) for nm, paths in by_nm.items()) == [("365", 2), ("385", 2), ("405", 2), ("455", 2)]
    for nm, paths in by_nm.items():
        out = tmp_path / f"{nm}.json"
        code, text, err = cli("lightcal", *paths, "-o", out, "--area", "0.05 mm^2", "--json")
        assert code == 0, err
        made = json.loads(text)
        assert made["wavelength_m"] == pytest.approx(float(nm) * 1e-9)
        assert made["power_meter"] == "S120VC"
        last = [float(path.read_text().split()[-1].split(",")[1]) for path in paths]
        assert made["power_W"][-1] == pytest.approx(np.mean(last), rel=1e-9)
        assert made["power_sd_W"][-1] == pytest.approx(np.std(last, ddof=1), rel=1e-9)
