"""A run that is killed at any step goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otters_lab.training.checkpoint_files import RUNNING, check_files

SCRIPT = """
import sys
from pathlib import Path
import otters_lab.training.runstate as runstate
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.train import train
from otters_lab.ttfs.plain_noise import PlainNoise

class Often(runstate.RunState):
    def __init__(self, folder, identity):
        super().__init__(folder, identity, every_s=0.02)

import otters_lab.training.train as module
module.RunState = Often
config = TrainingConfig(
    shape=ShapeConfig(hidden=16, layers=1, heads=2, feed_forward=16),
    batch=16,
    teacher=TeacherConfig(steps=60, check_every=15),
    stages=[
        StageConfig(name="activations", steps=30, lr=2e-3),
        StageConfig(name="all", steps=40, lr=2e-3, weights=True, states=True, noise=1.0,
                    check_every=7, patience=5),
    ],
)
print(train("digits", PlainNoise("curve", 0.1, 16), Path(sys.argv[1]), config).header.payload_digest)
"""


def started(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    process = started(tmp_path_factory.mktemp("whole") / "net")
    return process.communicate()[0].strip()


@pytest.mark.parametrize(
    "stage",
    ["all", pytest.param("teacher", marks=pytest.mark.long), pytest.param("activations", marks=pytest.mark.long)],
)
def test_kill_9_in_a_stage_and_the_same_call_again_give_the_undisturbed_run(
    tmp_path: Path, undisturbed: str, stage: str
) -> None:
    folder = tmp_path / "net"
    process = started(folder)
    deadline = time.monotonic() + 60
    log = folder / "training.jsonl"
    while time.monotonic() < deadline:
        saved = list((folder / RUNNING).rglob("running.safetensors"))
        if saved and log.exists() and f'"stage": "{stage}", "step": 20' in log.read_text():
            break
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "otters.prov.json").exists(), "what is not whole does not load"
    again, _ = started(folder).communicate()
    assert again.strip() == undisturbed
    assert not (folder / RUNNING).exists()
    check_files(folder)
