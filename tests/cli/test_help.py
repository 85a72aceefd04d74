"""What `--help` says is right and fits a terminal, and a shell completes what is begun."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from otters_lab.cli.help import HELP, explain
from otters_lab.cli.main import app
from otters_lab.version import __version__

GROUP = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)


def help_of(cli, monkeypatch, *words):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = cli(*words, "--help")
    assert (code, err) == (0, "")
    return out


def examples_in(text):
    """Example commands of a help text, lines that "\\" joins put together."""
    _, _, block = text.partition("\n  Examples:\n")
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_of_a_command_is_one_that_it_takes(cli, monkeypatch, name):
    examples = examples_in(help_of(cli, monkeypatch, name))
    assert examples, f"{name} has no example"
    for program, command, *words in examples:
        assert (program, command) == ("otters-lab", name)
        GROUP.get_command(None, name).make_context(name, words)  # parses, and runs nothing


def test_an_example_with_a_wrong_option_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        GROUP.get_command(None, "fit").make_context("fit", ["a.h5", "-o", "a.json", "--windw", "1 s"])


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_80_columns_and_says_everything_in_whole(cli, monkeypatch, name):
    text = help_of(cli, monkeypatch, *([name] if name else []))
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text.startswith(f"Usage: otters-lab {name}".rstrip())
    if not name:
        listed = dict(re.findall(r"^  (\w+)  +(.+)$", text.partition("Commands:")[2], flags=re.MULTILINE))
        assert listed == {command: HELP[command].summary for command in COMMANDS}


def test_only_commands_that_exist_are_explained():
    assert set(HELP) == set(COMMANDS)
    explain(app)  # again: it adds nothing twice
    assert typer.main.get_command(app).commands["fit"].epilog.count("Examples") == 1


def test_version(cli):
    assert cli("--version") == (0, f"otters-lab {__version__}\n", "")


def completions(*words):
    """What bash offers behind the last word, by the script that our program prints for it."""
    script = 'eval "$(_OTTERS_LAB_COMPLETE=source_bash otters-lab)"; ' + (
        f"COMP_WORDS=({' '.join(shlex.quote(word) for word in words)}); COMP_CWORD={len(words) - 1}; "
        '_otters_lab_completion otters-lab; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True,
                          check=True)  # fmt: skip
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_commands_options_and_words():
    assert completions("otters-lab", "ca") == ["captures", "calibrations"]
    assert completions("otters-lab", "fit", "--wi") == ["--window"]
    assert completions("otters-lab", "calibrations", "--gates", "f") == ["failed"]
