"""Recipes and virtual benches for sweeps."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from otters_lab.core.tomlfile import TomlText
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import Recipe, recipe_from

BENCH = Path(__file__).resolve().parents[2] / "instruments" / "virtual.toml"

RECIPE = """
devices = "1-3"
repeats = 2
window = "200 ms"
light = { drive = ["3 V", "5 V"], width = "50 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "50 ms", decay = "200 ms", interval = "2 ms", aperture = "1 ms", range = "1 uA" }
recovery = { dark_time = "1 s" }
"""

GATE = """
[gate]
driver = "keithley-2400"
address = "GPIB0::24::INSTR"
identity = "MODEL 2400"
compliance = "1 uA"
"""
STAGE = """
[temperature]
driver = "lakeshore-336"
address = "GPIB0::12::INSTR"
identity = "MODEL336"
tolerance = "0.1 K"
soak = "5 s"
after = "off"
"""


def recipe_of(text: str) -> Recipe:
    return recipe_from(TomlText(Path("recipe.toml"), text, tomllib.loads(text)))


@pytest.fixture
def recipe() -> Callable[[str], Recipe]:
    return recipe_of


@pytest.fixture
def plan() -> Callable[..., Plan]:
    """A plan of RECIPE with pieces of text replaced, and text added."""

    def build(added: str = "", **replaced: str) -> Plan:
        text = RECIPE
        for old, new in replaced.items():
            lines = [line for line in text.splitlines() if not line.startswith(old)]
            text = "\n".join([*lines, new]) if new else "\n".join(lines)
        return Plan(recipe_of(text + "\n" + added))

    return build


@pytest.fixture
def bench_of(tmp_path: Path) -> Callable[..., BenchFile]:
    """The shipped virtual bench with tables added, and pieces of text replaced."""

    def build(*tables: str, **replaced: tuple[str, str]) -> BenchFile:
        text = BENCH.read_text()
        for old, new in replaced.values():
            assert old in text, old
            text = text.replace(old, new, 1)
        for table in tables:
            text = text.replace("[sync]", table + "\n[sync]", 1)
            if table == GATE:
                text = text.replace('drive = "5 V"', 'drive = "5 V"\ngate = "20 V"', 1)
            if table == STAGE:
                text = text.replace('drive = "5 V"', 'drive = "5 V"\ntemperature = ["280 K", "350 K"]', 1)
        path = tmp_path / "bench.toml"
        path.write_text(text)
        return load_bench(path)

    return build
