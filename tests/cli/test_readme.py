"""What the README and the pages in docs/ show is run, not believed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from otters_lab.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
NEEDS_HARDWARE = "# needs hardware"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The words behind `otters-lab` in a block of shell, line by line."""
    parts = [part.strip() for line in block.replace("\\\n", " ").splitlines() for part in line.split(" && ")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [line[1:] for line in words if line[:1] == ["otters-lab"]]


def run(block: str, folder: Path) -> str:
    lines = [line for line in block.splitlines() if NEEDS_HARDWARE not in line]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    return done.stdout


@pytest.mark.long
def test_the_tour_and_another_chip_run_command_by_command(tmp_path):
    tour = "\n".join(blocks(ROOT / "docs" / "tour.md", "sh"))
    out = run(tour, tmp_path)
    lab = tmp_path / "lab"
    for shown in blocks(ROOT / "docs" / "tour.md", "text")[:2]:  # a dry run and one trace are the same everywhere
        for line in shown.splitlines():
            assert line.rstrip() in [printed.rstrip() for printed in out.splitlines()]
    assert (lab / "networks" / "digits" / "evaluation.json").exists()
    another, arms = [
        block
        for block in blocks(ROOT / "docs" / "training.md", "sh")
        if "--from networks/digits" in block or "ablate" in block
    ]
    run(another, lab)
    assert (lab / "networks" / "digits-b1" / "model.safetensors").exists()
    run(arms, lab)


def test_the_capture_goes_out_as_parquet_and_pandas_opens_it(tmp_path):
    (block,) = [block for block in blocks(ROOT / "docs" / "measuring.md", "sh") if "read_parquet" in block]
    (tmp_path / "measurements").symlink_to(ROOT / "measurements")
    assert "Name: current_A, Length: 400" in run(block, tmp_path)


def test_a_bench_of_one_s_own_is_checked_and_a_recipe_of_one_s_own_is_planned(tmp_path):
    page = ROOT / "docs" / "bench.md"
    (mine,) = [block for block in blocks(page, "toml") if "sweeps/mine.toml" in block]
    shell = [block for block in blocks(page, "sh") if NEEDS_HARDWARE not in block]
    init = next(at for at, block in enumerate(shell) if "otters-lab init" in block)
    script = [shell[init], f"cat > sweeps/mine.toml <<'EOF'\n{mine}EOF\n", *shell[init + 1 :]]
    out = run("\n".join(script), tmp_path)
    assert "instruments/mine.toml: ok" in out
    assert "20 traces" in out
    assert "light's edge: by software" in out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_snippets_run_and_tables_are_toml(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for snippet in blocks(page, "python"):
        exec(compile(snippet, page.name, "exec"), {})
    for text in blocks(page, "toml"):
        assert tomllib.loads(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_exists_with_its_options(page):
    group = typer.main.get_command(app)
    for block in blocks(page, "sh"):
        for name, *words in commands(block):
            command = group.commands[name]
            context = command.context_class(command, info_name=name)
            command.make_parser(context).parse_args(args=list(words))


def test_links_of_the_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_is_in_the_table_with_its_options(cli):
    table = PAGES[0].read_text(encoding="utf-8").partition("| command | does |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)([^`]*)` \|", table, flags=re.MULTILINE)
    _, out, _ = cli("--help")
    listed = re.findall(r"^  (\w+)  ", out.partition("Commands:")[2], flags=re.MULTILINE)
    assert {name for name, _ in rows} == set(listed)
    for name, usage in rows:
        _, out, _ = cli(name, "--help")
        for option in re.findall(r"--[a-z-]+", usage):
            assert option in out, f"{name} {option}"
