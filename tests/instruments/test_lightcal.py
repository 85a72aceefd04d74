"""Light calibrations: a curve and its inverse, nothing beyond its ends, and a file that cannot be altered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.provenance import new_header
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.benchfile import load_bench
from otters_lab.instruments.lightcal import (
    KIND,
    LightCalibration,
    parse_area,
    read_light_calibration,
    write_light_calibration,
)
from otters_lab.instruments.refusals import violations


def light(**changes: object) -> LightCalibration:
    fields = {
        "header": new_header(KIND, origin="imported"),
        "wavelength_m": 455e-9,
        "spot_area_m2": 5e-8,
        "power_meter": "S120VC",
        "measured_utc": ["2026-01-01T08:00:00.000000Z"],
        "drive_unit": "V",
        "drive": [0.0, 1.0, 2.0, 4.0, 5.0],
        "power_W": [1e-9, 5e-6, 11e-6, 20e-6, 26e-6],
        "power_sd_W": [1e-10, 1e-7, 3e-7, 4e-7, 4e-7],
        "repeats": 2,
    }
    return LightCalibration.model_validate({**fields, **changes})


@pytest.fixture
def bench_with_light(tmp_path: Path, write_bench: Callable[[str, str], Path]) -> Callable[[str, str], Path]:
    """The shipped bench with a light calibration beside it, and one more replacement."""
    write_light_calibration(tmp_path / "light.json", light())

    def write(old: str, new: str) -> Path:
        path = write_bench('load = "high impedance"', 'load = "high impedance"\ncalibration = "light.json"')
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return path

    return write


@given(st.floats(0.0, 5.0))
def test_the_inverse_gives_the_drive_back(drive: float) -> None:
    calibration = light()
    irradiance = calibration.irradiance_at(drive)
    assert irradiance == calibration.power_at(drive) / 5e-8
    assert calibration.irradiance_at(calibration.drive_for_irradiance(irradiance)) == pytest.approx(
        irradiance, rel=1e-9
    )
    assert calibration.drive_for_irradiance(irradiance) == pytest.approx(drive, abs=1e-6)


def test_the_curve_goes_through_its_points_and_rises_between_them() -> None:
    calibration = light()
    for drive, power_W in zip(calibration.drive, calibration.power_W, strict=True):
        assert calibration.power_at(drive) == pytest.approx(power_W, rel=1e-12)
        assert calibration.drive_for_irradiance(power_W / 5e-8) == pytest.approx(drive, abs=1e-9)
    powers = [calibration.power_at(drive) for drive in np.linspace(0, 5, 501)]
    assert np.all(np.diff(powers) > 0)


def test_nothing_is_extrapolated() -> None:
    for drive in (-0.01, 5.01, float("nan")):
        with pytest.raises(InputError, match=r"nothing is extrapolated.*expected 0 V to 5 V"):
            light().power_at(drive)
    with pytest.raises(InputError, match=r"irradiance.*found '530 W/m\^2', expected 0\.02 W/m\^2 to 520 W/m\^2"):
        light().drive_for_irradiance(530.0)


def test_the_spread_of_repeats_is_null_for_a_single_one() -> None:
    assert light().power_sd_at(1.5) == pytest.approx(2e-7)
    assert light(power_sd_W=[None] * 5, repeats=1).power_sd_at(1.5) is None


def test_a_curve_without_an_inverse_is_refused() -> None:
    with pytest.raises(ValueError, match="power_W does not rise"):
        light(power_W=[1e-9, 5e-6, 4e-6, 20e-6, 26e-6])


def test_a_file_reads_back_and_an_altered_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "light.json"
    written = write_light_calibration(path, light())
    assert read_light_calibration(path) == written
    record = json.loads(path.read_text())
    record["spot_area_m2"] = 6e-8
    path.write_text(json.dumps(record))
    with pytest.raises(DamagedFileError, match="altered"):
        read_light_calibration(path)
    path.write_text('{"header": {"kind": "calibration"}}')
    with pytest.raises(InputError, match="not a light calibration"):
        read_light_calibration(path)


@pytest.mark.parametrize(("text", "area_m2"), [("100 um^2", 1e-10), ("0.05 mm^2", 5e-8), ("2e-8 m^2", 2e-8)])
def test_areas_are_read_in_square_units(text: str, area_m2: float) -> None:
    assert parse_area(text) == pytest.approx(area_m2, rel=1e-12)


@pytest.mark.parametrize("text", ["100", "100 um", "1,5 mm^2", "0 mm^2", "-1 mm^2", "1 V^2", "nan mm^2"])
def test_areas_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"found"):
        parse_area(text)


def test_a_limit_on_the_optical_power_binds_the_drive(
    bench_with_light: Callable[[str, str], Path], take: TraceRequest
) -> None:
    bench = load_bench(bench_with_light('drive = "5 V"', 'drive = "10 V"\noptical_power = "15 uW"'))
    assert violations(replace(take, drive_V=2.0), bench) == []
    (over,) = violations(replace(take, drive_V=4.0), bench)
    assert over == "optical power is 20 uW, over the bench's limit of 15 uW"
    (unknown,) = violations(replace(take, drive_V=6.0), bench)
    assert "not known" in unknown
    assert "0 V to 5 V" in unknown


def test_what_a_bench_says_of_light_must_hang_together(
    tmp_path: Path, write_bench: Callable[[str, str], Path], bench_with_light: Callable[[str, str], Path]
) -> None:
    with pytest.raises(InputError, match=r"optical_power needs light\.calibration"):
        load_bench(write_bench('drive = "5 V"', 'drive = "5 V"\noptical_power = "15 uW"'))
    path = bench_with_light('driver = "agilent-33500"', 'driver = "agilent-33500"')
    write_light_calibration(tmp_path / "light.json", light(drive_unit="A"))
    with pytest.raises(InputError, match=r"of another drive; found 'A', expected V"):
        load_bench(path)
    (tmp_path / "light.json").unlink()
    with pytest.raises(InputError, match=r"light\.calibration: no such file: light\.json"):
        load_bench(path)
