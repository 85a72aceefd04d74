"""`[notify]` of a training configuration: told how a training ended, and in no record of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from otters_lab.core.consent import trust
from otters_lab.core.errors import RefusedError
from otters_lab.core.provenance import new_header
from otters_lab.training.config import read_config
from otters_lab.training.train import TrainResult
from otters_lab.workflows.checking import check_file
from otters_lab.workflows.networks import train_on_calibration

TRAIN = "otters_lab.workflows.networks.train"  # hours of work, not what is looked at here


@pytest.fixture
def schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    code = f"import sys; open({str(tmp_path / 'told.json')!r}, 'a').write(sys.stdin.read() + chr(10))"
    path = tmp_path / "schedule.toml"
    path.write_text(f"[notify]\ncommand = {json.dumps([sys.executable, '-c', code])}\n")
    return path


def test_a_training_tells_its_end_once_the_file_is_trusted(
    schedule: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration, out = root / "calibration" / "reference.json", tmp_path / "net"
    began: list[Any] = []

    def finish(*arguments: Any) -> TrainResult:
        began.append(arguments)
        return TrainResult(out, "accuracy", 0.99, {"hybrid": 0.97}, 1.0, 2.0, new_header("checkpoint"))

    def fail(*_: Any) -> TrainResult:
        raise MemoryError("too large")

    monkeypatch.setattr(TRAIN, finish)
    with pytest.raises(RefusedError, match="otters-lab trust"):
        train_on_calibration("digits", calibration, out, schedule)
    assert began == []
    trust(schedule)
    train_on_calibration("digits", calibration, out, schedule)
    monkeypatch.setattr(TRAIN, fail)
    with pytest.raises(MemoryError):
        train_on_calibration("digits", calibration, out, schedule)
    finished, failed = (json.loads(line) for line in (tmp_path / "told.json").read_text().splitlines())
    assert finished == {"outcome": "finished", "task": "digits", "checkpoint": str(out), "metric": "accuracy",
                        "validation": {"hybrid": 0.97}}  # fmt: skip
    assert (failed["outcome"], failed["detail"]) == ("failed", "too large")


def test_no_record_of_a_run_names_who_was_told(made: Path) -> None:
    """It was told to a web hook that nobody listens at, and ended as if nothing were."""
    assert read_config(made / "schedule.toml").notify is not None
    for path in made.rglob("*"):
        if path.is_file() and path.name != "schedule.toml":
            data = path.read_bytes()
            assert b"token-of-the-lab" not in data, path
            assert b"LAB_HOOK" not in data, path


def test_a_configuration_of_notify_alone_is_a_training_configuration(schedule: Path) -> None:
    assert check_file(schedule, None)["kind"] == "training configuration"
