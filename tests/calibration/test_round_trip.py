"""Calibrate, sample a chip from the calibration, sweep it, calibrate again."""

import importlib.util
import sys

import pytest


@pytest.mark.long
def test_a_chip_sampled_from_a_calibration_calibrates_to_it(root, monkeypatch):
    spec = importlib.util.spec_from_file_location("round_trip", root / "tests" / "benchmarks" / "round_trip.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)  # its dataclasses look themselves up there
    spec.loader.exec_module(script)
    found = script.run(chips=4, repeats=25)
    # Of four chips one interval of 95 % may miss (two would happen once in 70 times).
    assert found["verdict_keep"] >= 0.75
    assert found["mean_covered"] >= 0.75
    assert min(found["run_to_run_sd_covered"].values()) >= 0.75
    # 8 devices of 25 runs, four times: the mean ratio of sds is known to 2 %.
    for ratio in found["run_to_run_sd_over_source"]["mean"]:
        assert ratio == pytest.approx(1.0, abs=0.06)
