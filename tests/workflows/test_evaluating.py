"""One call scores a network under a sweep of noise, drawn where it is told, and writes what it said of each example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from otters_lab.core.errors import InputError
from otters_lab.core.provenance import check_sidecar
from otters_lab.training.compare import paired_bootstrap
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.evaluate import IDEAL, QUANTISED, TEACHER, EvaluationResult
from otters_lab.training.train import train
from otters_lab.ttfs.code import IdealReader
from otters_lab.workflows.networks import RUN_TO_RUN, WITH_DEVICES, evaluate_checkpoint, score_lines

CALIBRATION = Path(__file__).parents[2] / "calibration" / "reference.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TrainingConfig(
        shape=ShapeConfig(hidden=32, layers=1, heads=2, feed_forward=48),
        teacher=TeacherConfig(steps=250, lr=3e-3),
        stages=[StageConfig(name="all", steps=80, lr=4e-3, weights=True, states=True)],
    )
    return train("digits", IdealReader(4), tmp_path_factory.mktemp("net") / "net", config).folder


@pytest.fixture(scope="module")
def swept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationResult, Path]:
    path = tmp_path_factory.mktemp("examples") / "said.parquet"
    result = evaluate_checkpoint(
        folder,
        calibration_path=CALIBRATION,
        runs=2,
        sweep=(0.0, 0.4),
        drawn={"run_place": "line", "run_time": "run"},
        tolerance=True,
        examples=path,
    )
    return result, path


def test_a_sweep_begins_at_the_ideal_device_and_ends_below_it(swept: tuple[EvaluationResult, Path]) -> None:
    result, _ = swept
    kinds = ("relative", "curve", "level")
    assert set(result.under) == {RUN_TO_RUN, WITH_DEVICES, *(f"{kind}:{sd}" for kind in kinds for sd in ("0", "0.4"))}
    for kind in kinds:
        assert result.under[f"{kind}:0"].runs == [result.ttfs_ideal["accuracy"]], "all runs are one"
        assert len(result.under[f"{kind}:0.4"].runs) == 2
    assert result.under["level:0.4"].mean < result.ttfs_ideal["accuracy"] - 0.05


def test_every_row_of_the_examples_is_what_was_scored(swept: tuple[EvaluationResult, Path]) -> None:
    result, path = swept
    table = pd.read_parquet(path)
    assert list(table.columns) == ["example", "condition", "run", "target", "prediction", "logits"]
    assert set(table.condition) == {TEACHER, QUANTISED, IDEAL, *result.under}
    right = (table.prediction == table.target).groupby([table.condition, table.run.fillna(-1)]).mean()
    assert right[TEACHER, -1] == result.teacher["accuracy"]
    assert right[IDEAL, -1] == result.ttfs_ideal["accuracy"]
    for name, scores in result.under.items():
        assert list(right[name]) == pytest.approx(scores.runs)
    assert np.array_equal(np.stack(table.logits.to_list()).argmax(axis=1), table.prediction)
    one = table[(table.condition == RUN_TO_RUN) & (table.run == 1)]
    assert list(one.example) == list(range(result.examples))
    assert check_sidecar(path) is not None
    header = json.loads(path.with_name(path.name + ".prov.json").read_text())
    assert header["kind"] == "examples"
    assert {ref["role"] for ref in header["inputs"]} == {"checkpoint", "calibration"}

    # The table is enough for a comparison later on.
    def said(name: str) -> Any:
        return table[table.condition == name].prediction.to_numpy().reshape(-1, result.examples)

    targets = one.target.to_numpy()
    again = paired_bootstrap(said(RUN_TO_RUN), said(TEACHER), targets, "accuracy", seed=result.seed)
    assert again == result.share_of_teacher[RUN_TO_RUN]


def test_shares_of_the_teacher_are_told_with_what_chance_leaves_open(swept: tuple[EvaluationResult, Path]) -> None:
    result, _ = swept
    assert set(result.share_of_teacher) == {QUANTISED, IDEAL, *result.under}
    for name, found in result.share_of_teacher.items():
        mean = result.ttfs_ideal["accuracy"] if name in (QUANTISED, IDEAL) else result.under[name].mean
        assert found.share == pytest.approx(mean / result.teacher["accuracy"])
        assert found.share_interval is not None
        assert found.share_interval[0] < found.share < found.share_interval[1]
    found = result.share_of_teacher["level:0.4"]
    assert found.share_interval is not None
    low, high = (100 * end for end in found.share_interval)
    line = score_lines(result)["TTFS, level:0.4"]
    assert line.endswith(f"of 2; {found.share:.1%} [{low:.1f}, {high:.1f}] of the teacher")


def test_the_tolerated_multiple_is_told_and_devices_lower_it(swept: tuple[EvaluationResult, Path]) -> None:
    result, _ = swept
    assert set(result.tolerated) == {RUN_TO_RUN, WITH_DEVICES}
    alone, both = result.tolerated[RUN_TO_RUN], result.tolerated[WITH_DEVICES]
    assert both.above is not None
    assert both.below is not None
    assert alone.above is not None
    assert both.above <= alone.above
    for found in (alone, both):
        assert len(found.tried) <= 8
        for multiple, score in found.tried:
            assert (score >= 0.95 * result.ttfs_ideal["accuracy"]) == (multiple <= (found.above or 0))
    assert f"between {both.above:.3g} and {both.below:.3g}" in " ".join(score_lines(result).values())


def test_place_and_time_decide_the_draws_and_are_told(
    folder: Path, swept: tuple[EvaluationResult, Path], tmp_path: Path
) -> None:
    result, _ = swept
    assert result.noise is not None
    assert (result.noise.run_place, result.noise.run_time, result.noise.device_place) == ("line", "run", "layer")
    other = evaluate_checkpoint(folder, calibration_path=CALIBRATION, runs=2, plain=["level:0.4"])
    assert other.noise is not None
    assert (other.noise.run_place, other.noise.run_time) == ("layer", "sentence"), "the network's own"
    assert other.under["level:0.4"].runs != result.under["level:0.4"].runs
    assert other.tolerated == {}
    written = json.loads((folder / "evaluation.json").read_text())
    assert written["header"]["config"]["drawn"]["run_place"] == "layer"
    del written["header"]
    assert EvaluationResult.model_validate_json(json.dumps(written)) == other
    for later in ("noise", "share_of_teacher", "tolerated"):
        del written[later]
    assert EvaluationResult.model_validate_json(json.dumps(written)).under == other.under, "as it was written earlier"


def test_a_table_that_could_not_be_written_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    there = tmp_path / "there.parquet"
    there.write_bytes(b"mine")
    for path, words in ((there, "never overwritten"), (tmp_path / "table.csv", "ends in .parquet")):
        with pytest.raises(InputError, match=words):
            evaluate_checkpoint(tmp_path / "no checkpoint", examples=path)
    assert there.read_bytes() == b"mine"
