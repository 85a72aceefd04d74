"""torchrun's processes, each with its slice of every batch, learn what one process learns."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from otters_lab.core.errors import InputError
from otters_lab.training.checkpoint_files import PROVENANCE, check_files
from otters_lab.training.parallel import alone

RUNS = Path(__file__).with_name("in_parallel.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]


KILLED = """
import os, signal, sys
from pathlib import Path
import otters_lab.training.train as training
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.parallel import is_first
from otters_lab.training.runstate import RunState
from otters_lab.ttfs.plain_noise import PlainNoise

class Often(RunState):
    def __init__(self, folder, identity):
        super().__init__(folder, identity, every_s=0.0)

    def save_if_due(self, stage, step, *rest):
        if (stage, str(step), is_first()) == ("all", sys.argv[2], sys.argv[3] == "first"):
            os.kill(os.getpid(), signal.SIGKILL)
        super().save_if_due(stage, step, *rest)

training.RunState = Often
config = TrainingConfig(
    shape=ShapeConfig(hidden=16, layers=1, heads=2, feed_forward=16),
    batch=16,
    teacher=TeacherConfig(steps=10, check_every=5),
    stages=[
        StageConfig(name="all", steps=60, lr=2e-2, weights=True, states=True, noise=1.0, check_every=4, patience=2)
    ],
)
training.train("digits", PlainNoise("curve", 0.1, 16), Path(sys.argv[1]), config)
"""


def started_in_two(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *TORCHRUN, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, base: Path, texts: Path) -> tuple[Path, Path, str]:
    """The folders of all runs in one process and in two, and what the two printed."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    runpy.run_path(str(RUNS))["run"](one, base, texts, one)
    done = started_in_two(RUNS, two, base, texts, one)
    assert done.returncode == 0, done.stderr
    return one, two, done.stdout


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def alike(line: dict[str, Any], other: dict[str, Any], relative: float) -> bool:
    names, numbers = ({name: v for name, v in x.items() if name != "stage"} for x in (line, other))
    return line["stage"] == other["stage"] and bool(names == pytest.approx(numbers, rel=relative))


@pytest.mark.long
@pytest.mark.parametrize("task", ["digits", "sst2"])
@pytest.mark.parametrize("part", ["teacher", "student"])
def test_two_processes_log_the_losses_of_one_and_end_with_its_weights(
    runs: tuple[Path, Path, str], task: str, part: str
) -> None:
    one, two = (folder / f"{task} {part}" for folder in runs[:2])
    # A student's scales jump by which side of a threshold the largest value falls on, so its teacher must be the same.
    wanted, found = ([line for line in lines(f) if part == "student" or line["stage"] == "teacher"] for f in (one, two))
    assert len(found) == len(wanted) >= 3
    for line, other in zip(found, wanted, strict=True):
        assert alike(line, other, 1e-9), "float64"
    weights = "teacher/model.safetensors" if part == "teacher" else "model.safetensors"
    here, there = load_file(one / weights), load_file(two / weights)
    assert here.keys() == there.keys()
    for name, tensor in here.items():
        assert tensor.dtype == torch.float64
        torch.testing.assert_close(there[name], tensor, rtol=0, atol=1e-7)
        assert not ((tensor >= 0) != (there[name] >= 0))[tensor.abs() > 1e-7].any()
    if part == "student":
        assert all(line["spikes"] > 0 for line in found if "spikes" in line), "a price that is paid"
    check_files(two)


@pytest.mark.long
def test_kill_9_of_a_process_and_the_same_call_again_give_the_undisturbed_run_and_its_early_stop(
    tmp_path: Path,
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    whole, net = tmp_path / "whole", tmp_path / "net"
    assert started_in_two(script, whole, "never", "first").returncode == 0
    last = max(line["step"] for line in lines(whole) if line["stage"] == "all" and "step" in line)
    assert 7 < last < 59, "it has stopped early"
    for step, who in ((last - 1, "first"), (last, "second")):  # steps counted from 1: between the last two checks
        assert started_in_two(script, net, step, who).returncode != 0
        assert not (net / PROVENANCE).exists(), "what is not whole does not load"
    done = started_in_two(script, net, "never", "first")
    assert done.returncode == 0, done.stderr
    assert check_files(net).payload_digest == check_files(whole).payload_digest


@pytest.mark.long
def test_in_float32_losses_are_those_of_one_process_to_its_last_digits(runs: tuple[Path, Path, str]) -> None:
    one, two = (lines(folder / "float32") for folder in runs[:2])
    for line, other in zip(two, one, strict=True):
        if line["stage"] == "teacher":
            assert alike(line, other, 1e-5)


@pytest.mark.long
def test_the_number_of_processes_is_recorded(runs: tuple[Path, Path, str]) -> None:
    one, two = (json.loads((folder / "float32" / "otters.prov.json").read_text())["config"] for folder in runs[:2])
    assert two == {**one, "processes": 2}


@pytest.mark.long
def test_a_batch_that_does_not_divide_is_refused(runs: tuple[Path, Path, str]) -> None:
    for first in (True, False):
        assert (runs[1] / f"odd {first}").read_text() == (
            "batch: does not divide among the processes; found 15, expected a multiple of 2"
        )
    assert not (runs[1] / "odd").exists()


@pytest.mark.long
def test_of_a_command_in_two_processes_one_answers(runs: tuple[Path, Path, str]) -> None:
    assert json.loads(runs[2])["checkpoint"] == str(runs[1] / "command")
    check_files(runs[1] / "command")


def test_what_takes_one_process_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    alone("a refit")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="a refit takes one process; found '2 processes'"):
        alone("a refit")
