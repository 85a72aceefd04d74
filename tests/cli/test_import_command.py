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
@pytest.mark.parametrize(
    ("step", "count", "rising"), [pytest.param(1, 37, 21, marks=pytest.mark.long, id="all"), (6, 7, 3)]
)
def test_the_real_recordings_end_in_verdicts_and_not_in_an_exception(cli, tmp_path, step, count, rising):
    files = sorted(RECORDINGS.glob("It*.csv"))[::step]
    capture, calibration = tmp_path / "real.h5", tmp_path / "real.json"
    assert cli("import", *files, "-o", capture, "--device", 1)[0] == 0
    code, out, err = cli("fit", capture, "-o", calibration, "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert found["device"] is None
    assert found["header"]["origin"] == "imported"
    rows = [dict(zip(found["traces"]["columns"], row, strict=True)) for row in found["traces"]["rows"]]
    assert len(rows) == count
    assert [row["polarity"] for row in rows].count("rises") == rising
    assert all(row["law"] in ("exp", "biexp", "kww", "power", "unified", "line") for row in rows)
    # An honest verdict: with 1/f noise like this, no trace is without a remark on what it cannot tell.
    assert all(row["notes"] for row in rows)


def test_a_mapping_file_and_captures_are_imported_by_the_same_command(cli, tmp_path):
    (tmp_path / "a.csv").write_text("0;1,5;0\n1;9,5;5\n2;7,5;0\n3;6,5;0\n")
    columns = 'time = { name = "1", unit = "ms" }\ncurrent = { name = "2", unit = "nA" }\nlight = { name = "3" }\n'
    (tmp_path / "map.toml").write_text(
        f'decimal = ","\nheadings = false\n[columns]\n{columns}[constants]\nchip = "A"\n'
    )
    code, out, _ = cli("check", tmp_path / "map.toml")
    assert (code, out.endswith("ok, import mapping: time in '1', current in '2'\n")) == (0, True)
    mapped, both = tmp_path / "mapped.h5", tmp_path / "both.h5"
    code, out, err = cli("import", tmp_path / "a.csv", "-o", mapped, "--mapping", tmp_path / "map.toml", "--json")
    assert (code, err) == (0, "")
    assert (json.loads(out)["traces"], json.loads(out)["origin"]) == (1, "imported")
    code, out, _ = cli("import", mapped, "-o", both)
    assert (code, out) == (0, f"{both}: 1 traces from 1 files, origin imported\n")
    code, _, err = cli("import", tmp_path / "a.csv", "-o", tmp_path / "c.h5", "--mapping", tmp_path / "map.toml",
                       "--time", "1")  # fmt: skip
    assert (code, "--mapping says which columns" in err) == (2, True)
    mapped.write_bytes(mapped.read_bytes()[:-1])
    assert cli("import", mapped, "-o", tmp_path / "d.h5")[0] == 4
