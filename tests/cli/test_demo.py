import json
from pathlib import Path

import pytest


@pytest.mark.long
def test_the_demo_keeps_what_the_readme_promises_and_a_second_run_reuses_it(cli, tmp_path):
    code, out, _ = cli("demo", tmp_path / "demo", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["traces"] == {"ok": 400}
    assert set(result["gates"].values()) == {"pass"}
    scores = result["evaluation"]
    assert scores["examples"] == 540
    assert scores["ideal_equals_quantised"] is True
    assert scores["teacher"] >= 0.96
    assert scores["teacher"] - scores["under"]["run-to-run"]["mean"] <= 0.015
    assert all(len(under["runs"]) == 20 for under in scores["under"].values())
    for artefact in ("capture", "calibration", "checkpoint"):
        assert "SYNTHETIC" in Path(result["files"][f"{artefact}'s report"]).read_text(encoding="utf-8")
    again = json.loads(cli("demo", tmp_path / "demo", "--json")[1])
    assert again["evaluation"] == scores
    assert again["seconds"]["train"] < 0.1 * result["seconds"]["train"]
