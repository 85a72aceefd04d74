"""What the README shows is run, not believed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def blocks(root, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (root / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.long
def test_the_road_runs_command_by_command(root, tmp_path):
    (road,) = [block for block in blocks(root, "sh") if "otters-lab init" in block]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", road],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lab" / "networks" / "digits" / "evaluation.json").exists()


def test_the_capture_goes_out_as_parquet_and_pandas_opens_it(root, tmp_path):
    (commands,) = [block for block in blocks(root, "sh") if "read_parquet" in block]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "measurements").symlink_to(root / "measurements")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Name: current_A, Length: 400" in done.stdout


def test_the_python_snippets_run(root, monkeypatch):
    monkeypatch.chdir(root)
    snippets = blocks(root, "python")
    assert len(snippets) == 2
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})


def test_every_command_is_in_the_table_with_its_options(root, cli):
    table = (root / "README.md").read_text().partition("| command | does |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)([^`]*)` \|", table, flags=re.MULTILINE)
    _, out, _ = cli("--help")
    listed = re.findall(r"^  (\w+)  ", out.partition("Commands:")[2], flags=re.MULTILINE)
    assert {name for name, _ in rows} == set(listed)
    for name, usage in rows:
        _, out, _ = cli(name, "--help")
        for option in re.findall(r"--[a-z-]+", usage):
            assert option in out, f"{name} {option}"
