"""The command `report`: what it prints, what it finds by itself, and what it refuses in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def alone(root: Path, tmp_path: Path) -> Path:
    """A calibration mailed without its capture."""
    path = tmp_path / "mailed" / "reference.json"
    path.parent.mkdir()
    shutil.copy(root / "calibration" / "reference.json", path)
    return path


def test_a_calibration_alone_says_what_is_missing_and_finds_its_capture_under_any_name(cli, root, alone, tmp_path):
    page, figures = tmp_path / "a.html", tmp_path / "figures"
    code, out, err = cli("report", alone, "-o", page, "--figures", figures, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["report"], said["kind"]) == (str(page), "calibration")
    assert said["bytes"] == page.stat().st_size < 500_000
    assert {"state": "good", "text": "15 of 15 gates passed"} in said["verdicts"]
    assert said["figures"] == ["curve", "spread", "runs", "correlation", "laws"]
    assert [Path(path).name for path in said["files"]] == [f"{n}{s}" for n in said["figures"] for s in (".svg", ".png")]
    assert all(Path(path).stat().st_size for path in said["files"])
    assert "reference.h5 was not found by its hash; give it with --capture" in page.read_text(encoding="utf-8")
    shutil.copy(root / "measurements" / "reference.h5", alone.parent / "renamed.h5")
    shutil.copy(root / "measurements" / "reference.h5.prov.json", alone.parent / "renamed.h5.prov.json")
    code, out, _ = cli("report", alone, "-o", tmp_path / "b.html")
    assert code == 0
    assert "\u2713 15 of 15 gates passed" in out
    assert "b.html: calibration, 10 figures, " in out
    assert "Measured against sampled" in (tmp_path / "b.html").read_text(encoding="utf-8")


def test_another_capture_than_the_calibrations_is_refused(cli, root, alone, tmp_path, recipe, bench):
    other = tmp_path / "other.h5"
    assert cli("sweep", recipe, "--bench", bench, "--chip", "A1", "-o", other)[0] == 0
    code, out, err = cli("report", alone, "-o", tmp_path / "a.html", "--capture", other)
    assert (code, out) == (2, "")
    assert "other.h5: is not what reference.json was fitted to; found 'SHA-256" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "a.html").exists()
    code, out, _ = cli("report", other, "-o", tmp_path / "capture.html")
    assert code == 0
    assert "✓ 12 of 12 planned traces are there" in out
    assert "capture.html: capture, " in out


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("none.h5", None, 2, "none.h5: no such file"),
        ("none", None, 2, "none: no such file"),
        ("bench.toml", b'backend = "virtual"', 2, "there is no report of such a file; expected a capture (.h5)"),
        ("list.json", b"[1, 2]", 2, "found 'JSON that is none of ours'"),
        ("evaluation.json", b'{"header": {"kind": "evaluation"}}', 2, "expected the checkpoint's folder"),
        ("cut.json", b'{"header": ', 4, "is not JSON"),
        ("noise.h5", b"\x00" * 100, 4, "is not an HDF5 file"),
        ("student.safetensors", b"\x00" * 100, 4, "is not a packed student"),
    ],
)
def test_what_no_report_is_of_is_one_line(cli, tmp_path, name, content, code, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    found, out, err = cli("report", path, "-o", tmp_path / "page.html")
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_a_folder_that_is_no_checkpoint_and_a_page_that_is_none(cli, root, tmp_path):
    code, _, err = cli("report", tmp_path, "-o", tmp_path / "page.html")
    assert code == 2
    assert "is not a checkpoint: it has no otters.prov.json" in err
    code, _, err = cli("report", root / "calibration" / "reference.json", "-o", tmp_path / "page.h5")
    assert code == 2
    assert "a report is a page; found" in err
    assert "expected a file .html" in err


def test_an_altered_calibration_is_refused_by_name(cli, alone, tmp_path):
    alone.write_text(alone.read_text().replace('"at most"', '"at least"', 1))
    code, _, err = cli("report", alone, "-o", tmp_path / "page.html")
    assert code == 4
    assert "it was altered after the fit" in err
    assert err.count("\n") == 1


def test_a_packed_student_is_known_whatever_its_name(cli, root, tmp_path):
    student = tmp_path / "student.bin"
    shutil.copy(root / "tests" / "benchmarks" / "results" / "sst2_student.safetensors", student)
    code, out, _ = cli("report", student, "-o", tmp_path / "page.html")
    assert code == 0
    assert "page.html: checkpoint, 5 figures, " in out


def test_captures_are_for_calibrations(cli, root, tmp_path):
    capture = root / "measurements" / "reference.h5"
    code, _, err = cli("report", capture, "-o", tmp_path / "page.html", "--capture", capture)
    assert code == 2
    assert "--capture is for the report of a calibration" in err
