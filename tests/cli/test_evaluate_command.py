"""`evaluate` from the command line: noise by size, place and time, what a network bears, and the table of examples."""

import json

import pytest

from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.train import train
from otters_lab.ttfs.code import IdealReader


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = TrainingConfig(
        shape=ShapeConfig(hidden=32, layers=1, heads=2, feed_forward=48),
        teacher=TeacherConfig(steps=40, lr=3e-3),
        stages=[StageConfig(name="all", steps=20, lr=4e-3, weights=True, states=True)],
    )
    return train("digits", IdealReader(4), tmp_path_factory.mktemp("net") / "net", config).folder


def test_one_call_sweeps_noise_where_and_when_it_is_told(cli, folder, root, tmp_path):
    calibration, table = root / "calibration" / "reference.json", tmp_path / "said.parquet"
    words = ("evaluate", folder, "--calibration", calibration, "--runs", 1, "--sweep", "--sizes", "0,0.1")
    where = ("--place", "network", "--time", "run", "--device-place", "line")
    code, out, err = cli(*words, *where, "--tolerance", "--examples", table, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {"relative:0", "relative:0.1", "curve:0", "curve:0.1", "level:0", "level:0.1"} < set(found["under"])
    drawn = found["noise"]
    assert (drawn["run_place"], drawn["run_time"], drawn["device_place"]) == ("network", "run", "line")
    assert table.exists()
    assert set(found["tolerated"]) == {"run-to-run", "run-to-run and device-to-device"}
    code, out, _ = cli(*words[:-2])
    assert code == 0
    assert "TTFS, curve:0.02" in out
    assert "of the teacher" in out
    assert json.loads((folder / "evaluation.json").read_text())["noise"]["run_place"] == "layer", "the network's own"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--sweep", "--sizes", "a few"), "--sizes: found 'a few'"),
        (("--sweep", "--sizes", "2"), "no such noise"),
        (("--place", "chip"), "chip"),
        (("--examples", "said.csv"), "ends in .parquet"),
    ],
)
def test_what_it_cannot_do_is_said_in_one_line(cli, folder, root, words, complaint):
    code, _, err = cli("evaluate", folder, "--calibration", root / "calibration" / "reference.json", *words)
    assert code == 2
    assert complaint in err
    assert len(err.strip().splitlines()) == 1
