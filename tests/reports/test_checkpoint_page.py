"""A checkpoint's page from what lies in and beside its folder; no network is loaded, nothing of another is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otters_lab.core.errors import DamagedFileError
from otters_lab.core.files import canonical_json, pretty_json, sha256_bytes, sha256_file
from otters_lab.core.provenance import Header, new_header, write_sidecar
from otters_lab.energy.report import energy_report
from otters_lab.energy.shapes import shape_sites
from otters_lab.reports.checkpoint_page import checkpoint_report
from otters_lab.training.about import about_checkpoint
from otters_lab.training.config import TrainingConfig
from otters_lab.training.evaluate import EvaluationResult, NoisyScore

SITES = shape_sites(2, 32, 48, 6, 0.25, heads=4)
SCORE = NoisyScore(mean=0.9, sd=0.02, interval=(0.88, 0.92), minimum=0.87, runs=[0.87, 0.9, 0.93])


def log_lines() -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for stage, first in (("teacher", 2.0), ("weights", 1.0)):
        for step in range(0, 100, 20):
            parts = {} if stage == "teacher" else {"hidden": 0.2, "soft": 0.1, "spikes": 0.0, "noise": step / 100}
            lines.append({"stage": stage, "step": step, "loss": first * 0.99**step, "lr_share": 1.0, **parts})
        lines.append({"stage": stage, "validation": 0.9})
    return lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint but for its weights: what a report reads, hashed as a checkpoint's files are."""
    path = tmp_path / "net"
    (path / "arms").mkdir(parents=True)
    section = {"task": "digits", "code": {"bits": 4}, "calibration_sha256": None}
    (path / "config.json").write_bytes(pretty_json({"otters": section}))
    (path / "sites.json").write_bytes(pretty_json({"sites": [site.model_dump() for site in SITES]}))
    (path / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log_lines()))
    gates = [{"name": "identifiability", "verdict": "pass"}, {"name": "outlier share", "verdict": "fail"}]
    (path / "calibration.json").write_bytes(pretty_json({"gates": gates}))
    files = {one.name: sha256_file(one) for one in sorted(path.iterdir()) if one.is_file()}
    header = new_header("checkpoint", origin="synthetic", config=TrainingConfig().model_dump())
    sealed = header.model_copy(update={"payload_digest": sha256_bytes(canonical_json(files))})
    (path / "otters.prov.json").write_bytes(pretty_json({**sealed.model_dump(), "files": files}))
    arm = {"arm": "hybrid", "seed": 0, "steps": 5, "seconds": 1.0, "metric": "accuracy", "clean": 0.91}
    (path / "arms" / "hybrid-0.json").write_bytes(pretty_json({**arm, "under": SCORE.model_dump()}))
    return path


@pytest.fixture
def evaluated(folder: Path) -> Callable[..., Path]:
    """Writes an evaluation into the folder, of this checkpoint or another."""

    def write(uid: str | None = None) -> Path:
        own = json.loads((folder / "otters.prov.json").read_text())["uid"]
        result = EvaluationResult(
            task="digits", part="test", metric="accuracy", examples=540, teacher={"accuracy": 0.95},
            quantised={"accuracy": 0.92}, ttfs_ideal={"accuracy": 0.92}, ideal_equals_quantised=True,
            under={"run-to-run": SCORE, "level:0.05": SCORE, "level:0.1": SCORE}, seed=3,
        )  # fmt: skip
        header = new_header("evaluation", origin="synthetic", config={"checkpoint": uid or own})
        path = folder / "evaluation.json"
        path.write_bytes(pretty_json({"header": header.model_dump(), **result.model_dump()}))
        write_sidecar(path, Header.model_validate(header.model_dump()))
        return path

    return write


def test_it_learnt_it_scores_it_fires_it_takes_energy(
    folder: Path, evaluated: Callable[..., Path], parsed: Any
) -> None:
    evaluated()
    report = checkpoint_report(about_checkpoint(folder), None)
    names = [drawing.name for drawing in report.drawings]
    assert names[:5] == ["loss", "validation", "loss-parts", "accuracy", "noise-sweep"]
    assert {"fire-rates", "levels-used", "energy-totals", "energy-terms", "ablation"} < set(names)
    lines = {line.get_label(): line.get_xydata() for line in report.drawings[0].figure.axes[0].lines}
    assert list(lines) == ["teacher", "weights"]
    assert list(lines["weights"][:, 0]) == [81, 101, 121, 141, 161]  # behind the 81 steps of the teacher
    assert lines["weights"][2, 1] == pytest.approx(0.99**40)
    text = report.html()
    page = parsed(text)
    assert len(text.encode()) < 500_000
    assert not {"script", "link", "img"} & set(page.tags)
    assert not re.search(r"url\((?!#)|http", text)
    assert page.row("run-to-run")[1:6] == ["0.9000", "0.8800 to 0.9200", "0.0200", "0.8700", "3"]
    assert page.row("hybrid")[1:5] == ["0", "5", "0.9100", "0.9000"]
    assert "accuracy 92.00% with an ideal device (teacher 95.00%), bit for bit" in page.text
    assert "1 of 2 gates passed; FAILED: outlier share" in page.text
    assert "SYNTHETIC" in page.text
    energies = energy_report(SITES)
    known = [row for row in page.rows if row and row[0].startswith("sum")]
    assert len(known) == 1
    assert float(known[0][3].split()[0]) == pytest.approx(energies.main.known_J * 1e9, rel=5e-3)


def test_what_is_of_another_checkpoint_is_said_and_left_out(
    folder: Path, evaluated: Callable[..., Path], parsed: Any
) -> None:
    evaluated(uid="another")
    report = checkpoint_report(about_checkpoint(folder), None)
    assert "accuracy" not in [drawing.name for drawing in report.drawings]
    said = [verdict.text for verdict in report.verdicts]
    assert "not evaluated under noise: run otters-lab evaluate" in said
    assert "evaluation.json is of another checkpoint, and left out: run evaluate again" in said


@pytest.mark.parametrize("name", ["training.jsonl", "sites.json", "calibration.json", "config.json"])
def test_an_altered_file_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1) + b" ")
    with pytest.raises(DamagedFileError, match=f"{name}: sha256"):
        about_checkpoint(folder)


def test_an_altered_evaluation_is_named(folder: Path, evaluated: Callable[..., Path]) -> None:
    path = evaluated()
    path.write_text(path.read_text().replace("0.9", "0.8", 1))
    with pytest.raises(DamagedFileError, match=r"evaluation\.json: sha256"):
        about_checkpoint(folder)


def test_a_packed_student_shows_what_is_in_it_without_its_base(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otters_lab.training.packed.find_base", lambda base: "/nowhere")
    path = root / "tests" / "benchmarks" / "results" / "sst2_student.safetensors"
    about = about_checkpoint(path)
    report = checkpoint_report(about, "0" * 64)
    assert [drawing.name for drawing in report.drawings][:2] == ["fire-rates", "levels-used"]
    rates = {line.get_label(): line.get_ydata() for line in report.drawings[0].figure.axes[0].lines}
    first = next(site for site in about.sites if site.name.endswith("layer.0.attention.self.query.code"))
    assert rates["into attention query"][0] == first.fire_rate
    assert any("packed student" in verdict.text for verdict in report.verdicts)


def test_a_cut_packed_student_is_damaged(root: Path, tmp_path: Path) -> None:
    whole = (root / "tests" / "benchmarks" / "results" / "sst2_student.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    for size in (4, len(whole) // 2):
        cut.write_bytes(whole[:size])
        with pytest.raises(DamagedFileError, match=r"is not a packed student|do not match its seal"):
            about_checkpoint(cut)
