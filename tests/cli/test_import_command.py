import json
import os
from pathlib import Path

import numpy as np
import pytest

DATA = Path(os.environ.get("OTTERS_LAB_DATA", Path(__file__).parents[3] / "shared" / "data"))
RECORDINGS = DATA / "photocurrent" / "recordings"


def test_a_rising_current_from_another_program_is_imported_and_judged(cli, tmp_path):
    t = np.arange(0.0, 60.0, 0.1)
    rng = np.random.default_rng(0)
    light = np.where((t >= 10) & (t < 20), 2.5, 0.0)
    after = np.maximum(t - 20, 0)
    current = 1e-6 - 2e-7 * (t >= 10) + 2e-7 * (1 - np.exp(-after / 8)) * (t >= 20) + 5e-10 * rng.normal(size=t.size)
    rows = [f"{a:.2f},{b:.8g},{c:.2f}" for a, b, c in zip(t, current, light, strict=True)]
    path = tmp_path / "other.csv"
    path.write_bytes("\r\n".join(["t (s),I (A),VL (V)", *rows]).encode())
    capture, calibration = tmp_path / "c.h5", tmp_path / "c.json"
    code, out, _ = cli("import", path, "-o", capture, "--chip", "X", "--json")
    assert (code, json.loads(out)["traces"]) == (0, 1)
    code, out, _ = cli("fit", capture, "-o", calibration, "--json")
    assert code == 1  # one run says nothing of run-to-run variation
    (row,) = json.loads(out)["traces"]["rows"]
    verdict = dict(zip(json.loads(out)["traces"]["columns"], row, strict=True))
    assert verdict["polarity"] == "rises"
    assert verdict["law"] == "exp"
    assert verdict["parameters"]["tau"] == pytest.approx(8.0, rel=0.02)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"the real recordings are not at {RECORDINGS}")
def test_the_real_recordings_end_in_verdicts_and_not_in_an_exception(cli, tmp_path):
    files = sorted(RECORDINGS.glob("It*.csv"))
    capture, calibration = tmp_path / "real.h5", tmp_path / "real.json"
    assert cli("import", *files, "-o", capture, "--device", 1)[0] == 0
    code, out, err = cli("fit", capture, "-o", calibration, "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert found["device"] is None
    assert found["header"]["origin"] == "imported"
    rows = [dict(zip(found["traces"]["columns"], row, strict=True)) for row in found["traces"]["rows"]]
    assert len(rows) == 37
    assert [row["polarity"] for row in rows].count("rises") == 21
    assert all(row["law"] in ("exp", "biexp", "kww", "power", "unified", "line") for row in rows)
    # An honest verdict: with 1/f noise like this, no trace is without a remark on what it cannot tell.
    assert all(row["notes"] for row in rows)
