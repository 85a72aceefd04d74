"""A tiny network trained from end to end: it learns, is written, is read back bit for bit, and shows tampering."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import sha256_file
from otters_lab.training.checkpoint import load_checkpoint
from otters_lab.training.config import TrainingConfig
from otters_lab.training.evaluate import evaluate
from otters_lab.training.measure import logits
from otters_lab.training.tasks import DIGITS
from otters_lab.training.train import TrainResult, train
from otters_lab.ttfs.code import IdealReader

FILES = ("config.json", "model.safetensors", "teacher/config.json", "teacher/model.safetensors", "calibration.json",
         "sites.json", "training.jsonl")  # fmt: skip


def test_a_few_seconds_of_training_beat_chance_by_far(trained: TrainResult, curve_reader: Any) -> None:
    assert list(trained.stage_validation) == ["activations", "all", "hybrid"]
    readers = {"run to run": curve_reader(), "with devices": curve_reader(device_sd=0.05)}
    found = evaluate(load_checkpoint(trained.folder), readers, runs=3)
    assert found.teacher["accuracy"] > 0.7
    assert found.ttfs_ideal["accuracy"] > 0.5
    assert found.ideal_equals_quantised
    assert found.quantised == found.ttfs_ideal
    for under in found.under.values():
        assert under.mean > 0.5
        assert under.minimum == min(under.runs)
        assert len(under.runs) == 3


def test_the_seed_decides_an_evaluation_and_its_runs_differ(trained: TrainResult, curve_reader: Any) -> None:
    checkpoint = load_checkpoint(trained.folder)
    readers = {"loud": curve_reader(run_sd=0.15)}
    first, again, other = (evaluate(checkpoint, readers, runs=3, seed=seed).under["loud"] for seed in (0, 0, 1))
    assert first == again
    assert first.runs != other.runs
    assert first.sd is not None
    assert first.sd > 0
    assert evaluate(checkpoint, readers, runs=1).under["loud"].sd is None, "one run has no spread"


def test_the_same_seed_trains_the_same_network(
    trained: TrainResult, tiny_config: TrainingConfig, calibration_file: Path, curve_reader: Any, tmp_path: Path
) -> None:
    torch.rand(3)  # the global generator must not matter
    again = train("digits", curve_reader(), tmp_path / "net", tiny_config, calibration_file)
    assert again.header.payload_digest == trained.header.payload_digest
    assert again.header.uid != trained.header.uid


def test_a_checkpoint_read_in_a_new_process_gives_the_same_bits(trained: TrainResult) -> None:
    checkpoint = load_checkpoint(trained.folder)
    here = logits(checkpoint.student, DIGITS.splits(TrainingConfig()).validation).numpy().tobytes().hex()
    script = (
        "import sys; from pathlib import Path; from otters_lab.training.checkpoint import load_checkpoint\n"
        "from otters_lab.training.measure import logits; from otters_lab.training.tasks import DIGITS\n"
        "from otters_lab.training.config import TrainingConfig\n"
        "student = load_checkpoint(Path(sys.argv[1])).student\n"
        "print(logits(student, DIGITS.splits(TrainingConfig()).validation).numpy().tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(trained.folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == here


def test_a_checkpoint_carries_its_calibration_its_origin_and_its_sites(
    trained: TrainResult, calibration_file: Path
) -> None:
    checkpoint = load_checkpoint(trained.folder)
    assert checkpoint.calibration == calibration_file.read_bytes()
    assert checkpoint.section.calibration_sha256 == sha256_file(calibration_file)
    assert checkpoint.header.origin == "synthetic"
    assert [(ref.role, ref.name) for ref in checkpoint.header.inputs] == [("calibration", "chip.json")]
    assert len(checkpoint.sites) == 8
    assert all(0 < site.fire_rate <= 1 for site in checkpoint.sites)
    config = json.loads((trained.folder / "config.json").read_text())
    assert (config["model_type"], config["otters"]["code"]["bits"]) == ("vit", 4)
    assert [path for path in trained.folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pth")] == []


@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_in_any_file_is_found(trained: TrainResult, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(trained.folder, tmp_path / "copy")
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(DamagedFileError, match=f"{name}: sha256 .* does not match"):
        load_checkpoint(copy)


def test_missing_added_and_re_recorded_files_are_found(trained: TrainResult, tmp_path: Path) -> None:
    copy = shutil.copytree(trained.folder, tmp_path / "copy")
    (copy / "sites.json").unlink()
    with pytest.raises(DamagedFileError, match=r"sites.json: is missing, but recorded"):
        load_checkpoint(copy)
    record = json.loads((copy / "otters.prov.json").read_text())
    del record["files"]["sites.json"]
    (copy / "otters.prov.json").write_text(json.dumps(record))
    with pytest.raises(DamagedFileError, match="list of files does not match its payload digest"):
        load_checkpoint(copy)


def test_a_calibration_slipped_into_a_checkpoint_without_one_is_found(
    tiny_config: TrainingConfig, calibration_file: Path, tmp_path: Path
) -> None:
    short = tiny_config.model_copy(
        update={
            "teacher": tiny_config.teacher.model_copy(update={"steps": 2}),
            "stages": [tiny_config.stages[1].model_copy(update={"steps": 2})],
        }
    )
    folder = train("digits", IdealReader(4), tmp_path / "net", short).folder
    assert load_checkpoint(folder).calibration is None
    shutil.copy(calibration_file, folder / "calibration.json")
    with pytest.raises(DamagedFileError, match="was put there later"):
        load_checkpoint(folder)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"it has no otters.prov.json"):
        load_checkpoint(tmp_path)


def test_bad_requests_are_refused_before_any_training(tiny_config: TrainingConfig, tmp_path: Path) -> None:
    reader = IdealReader(4)
    with pytest.raises(InputError, match="no such task"):
        train("letters", reader, tmp_path / "x")
    with pytest.raises(InputError, match="found 8, expected 16 levels"):
        train("digits", IdealReader(3), tmp_path / "x")
    uneven = tiny_config.model_copy(update={"shape": tiny_config.shape.model_copy(update={"patch": [3, 8]})})
    with pytest.raises(InputError, match=r"shape.patch: the patch does not tile the image; found \[3, 8\]"):
        train("digits", reader, tmp_path / "x", uneven)
    with pytest.raises(InputError, match="no such file"):
        train("digits", reader, tmp_path / "x", tiny_config, tmp_path / "absent.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        train("digits", reader, tmp_path / "file", tiny_config)
    assert not (tmp_path / "x").exists()


def test_a_run_goes_on_from_an_earlier_one_s_teacher_or_student(
    trained: TrainResult, tiny_config: TrainingConfig, curve_reader: Any, tmp_path: Path
) -> None:
    before, folder = load_checkpoint(trained.folder), str(trained.folder)
    still = tiny_config.stages[2].model_copy(update={"steps": 1, "lr": 1e-30, "scale_lr": 1e-30})
    given = tiny_config.model_copy(update={"student": folder, "stages": [still]})
    learnt = tiny_config.teacher.model_copy(update={"trained": folder})
    afresh = tiny_config.model_copy(update={"teacher": learnt, "stages": [still]})
    images = before.splits().validation
    same, other = (
        load_checkpoint(train("digits", curve_reader(), tmp_path / name, config).folder)
        for name, config in (("on", given), ("anew", afresh))
    )
    assert torch.equal(logits(same.student, images), logits(before.student, images))
    assert not torch.equal(logits(other.student, images), logits(before.student, images))
    for found, role in ((same, "student"), (other, "teacher")):
        assert torch.equal(logits(found.teacher, images), logits(before.teacher, images))
        assert [(ref.role, ref.uid) for ref in found.header.inputs] == [(role, before.header.uid)]


def test_a_student_of_another_code_is_not_gone_on_with(
    trained: TrainResult, tiny_config: TrainingConfig, tmp_path: Path
) -> None:
    code = tiny_config.code.model_copy(update={"bits": 3})
    config = tiny_config.model_copy(update={"student": str(trained.folder), "code": code})
    with pytest.raises(InputError, match=r"code.bits: its student codes otherwise; found 4, expected 3"):
        train("digits", IdealReader(3), tmp_path / "net", config)
    assert not (tmp_path / "net").exists()
