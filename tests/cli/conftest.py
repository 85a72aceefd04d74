import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cli(monkeypatch, capsys):
    """cli("fit", path, ...) -> (exit code, stdout, stderr), by the program's own entry point."""
    from otters_lab.cli.main import run
    from otters_lab.core.log import logger

    # A command sets up logging for its process; in a test run that process goes on.
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    monkeypatch.setattr(logger, "propagate", logger.propagate)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["otters-lab", *(str(word) for word in words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            run()
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return call


@pytest.fixture(scope="session")
def root():
    """The checkout: its top folders are a workspace."""
    return ROOT


SMALL = """
devices = "1-3"
repeats = 4
window = "1 s"
light = { drive = "5 V", width = "100 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "60 ms", decay = "1 s", interval = "5 ms", aperture = "1 ms", range = "10 uA" }
order = { seed = 3 }
recovery = { dark_time = "1 s" }
"""


@pytest.fixture
def recipe(tmp_path):
    """A recipe of twelve short traces."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def bench():
    """The virtual bench that the workspace ships."""
    return ROOT / "instruments" / "virtual.toml"
