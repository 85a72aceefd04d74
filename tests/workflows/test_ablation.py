"""Arms of an ablation: equal but for what they learn under, scored on the same draws, and not run twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.training.ablation import ARMS, GAUSSIAN, MEASURED, ablate
from otters_lab.training.checkpoint import load_checkpoint
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.train import train
from otters_lab.ttfs.plain_noise import PlainNoise
from otters_lab.workflows.networks import ablate_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TrainingConfig(
        shape=ShapeConfig(hidden=32, layers=1, heads=2, feed_forward=48),
        teacher=TeacherConfig(steps=200, lr=3e-3),
        stages=[StageConfig(name="all", steps=60, lr=4e-3, weights=True, states=True)],
    )
    return train("digits", PlainNoise("curve", 0.1, 16), tmp_path_factory.mktemp("trunk") / "net", config).folder


def test_all_arms_branch_from_one_trunk_and_an_ideal_device_is_the_quantised_network(
    trunk: Path, tmp_path: Path
) -> None:
    readers = {MEASURED: PlainNoise("curve", 0.3, 16), GAUSSIAN: PlainNoise("level", 0.1, 16)}
    checkpoint = load_checkpoint(trunk)
    before = {name: tensor.clone() for name, tensor in checkpoint.student.state_dict().items()}
    found = {result.arm: result for result in ablate(checkpoint, readers, tmp_path, steps=30, runs=2)}
    assert list(found) == ["QNN converted (the trunk)", *ARMS]
    assert all(tensor.equal(before[name]) for name, tensor in checkpoint.student.state_dict().items())
    plain, ideal = found["QNN"], found["hybrid, ideal device"]
    assert (plain.clean, plain.under) == (ideal.clean, ideal.under), "the same bits, and the same draws"
    learnt_with = [name for name, result in found.items() if result.under_own is not None]
    assert learnt_with == ["hybrid, Gaussian noise on each level (HAT)"], "others met theirs in `under`, or none"
    assert len({result.under.mean for result in found.values()}) > 3
    assert len(list(tmp_path.glob("*.json"))) == len(found)
    again = {result.arm: result for result in ablate(checkpoint, readers, tmp_path, steps=30, runs=2)}
    assert again == found, "times and all: nothing was run again"
    for key, had, wanted, how in (("steps", 30, 31, (31, 2)), ("runs", 2, 3, (30, 3))):
        with pytest.raises(InputError, match=rf": {key}: an arm of another.* {had}, expected {wanted}, or"):
            ablate(checkpoint, readers, tmp_path, steps=how[0], runs=how[1])
    qnn = tmp_path / "qnn-0.json"
    qnn.write_text(qnn.read_text().replace(checkpoint.header.uid, "of-another-trunk"))
    with pytest.raises(InputError, match=r"qnn-0\.json: trunk: .*of-another-trunk"):
        ablate(checkpoint, readers, tmp_path, steps=30, runs=2)
    qnn.write_text("{}")
    with pytest.raises(DamagedFileError, match=r"qnn-0\.json.*arm"):
        ablate(checkpoint, readers, tmp_path, steps=30, runs=2)


def test_a_price_is_of_the_noise_that_was_learnt_under_alone(trunk: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {
        "calibration_path": ROOT / "calibration" / "reference.json",
        "steps": 3,
        "runs": 1,
        "price_alone": True,
    }
    found = ablate_checkpoint(trunk, tmp_path / "arms", plain=["curve:0.05", "curve:0.1"], **how)
    assert [result.arm for result in found] == [
        "QNN converted (the trunk)", "QNN", "hybrid, curve:0.05", "hybrid, curve:0.1"
    ]  # fmt: skip
    assert [result.under_own is None for result in found] == [True, True, False, False]
    with pytest.raises(InputError, match="a price needs noise to be learnt under"):
        ablate_checkpoint(trunk, tmp_path / "none", **how)
