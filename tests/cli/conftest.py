from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

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
