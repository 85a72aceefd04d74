"""What a recipe may say, and how it is told that it says something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otters_lab.core.errors import InputError
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import Recipe, load_recipe
from otters_lab.sweeps.values import parse_devices, parse_swept, resolve_devices

MakePlan = Callable[..., Plan]


# --- values -----------------------------------------------------------------------------------------------------------


@given(st.integers(2, 50), st.floats(0.01, 10), st.floats(0.01, 10))
def test_steps_run_from_one_end_to_the_other(points: int, first: float, last: float) -> None:
    table = {"from": f"{first!r} V", "to": f"{last!r} V", "points": points}
    for scale, ideal in (("linear", np.linspace), ("log", np.geomspace)):
        found = parse_swept({**table, "scale": scale}, "voltage")
        np.testing.assert_allclose(found, ideal(first, last, points), rtol=1e-12)


def test_log_steps_may_lie_below_zero_but_not_on_both_sides() -> None:
    found = parse_swept({"from": "-1 V", "to": "-100 V", "points": 3, "scale": "log"}, "voltage")
    np.testing.assert_allclose(found, [-1, -10, -100])
    with pytest.raises(ValueError, match="log scale"):
        parse_swept({"from": "-1 V", "to": "1 V", "points": 3, "scale": "log"}, "voltage")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "empty list"),
        ({"from": "1 V", "to": "2 V"}, "points"),
        ({"from": "1 V", "to": "2 V", "points": 1}, "points = 1"),
        ({"from": "1 V", "to": "2 V", "points": True}, "points = True"),
        ({"from": "1 V", "to": "2 V", "points": 3, "scale": "cubic"}, "cubic"),
        ({"from": "1 V", "to": "2 V", "step": 3}, "step"),
        (["1 V", "2 s"], "'s'"),
    ],
)
def test_what_is_no_sweep_is_refused(value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_swept(value, "voltage")


def test_channels_by_pattern_become_the_devices_behind_them() -> None:
    channels = {1: "1A01", 2: "1A02", 3: "1B01", 4: "2A01"}
    assert resolve_devices(parse_devices("1A*"), channels) == (1, 2)
    assert resolve_devices(parse_devices("*"), channels) == (1, 2, 3, 4)
    assert resolve_devices(parse_devices([4, "1A*"]), channels) == (4, 1, 2)
    with pytest.raises(ValueError, match="fits no channel"):
        resolve_devices(["3*"], channels)
    with pytest.raises(ValueError, match="twice"):
        resolve_devices([1, "*"], channels)


# --- several parameters -----------------------------------------------------------------------------------------------


def test_zipped_lists_step_together(plan: MakePlan) -> None:
    made = plan(
        'zip = [["light.drive", "light.width"]]',
        light='light = { drive = ["3 V", "4 V", "5 V"], width = ["30 ms", "20 ms", "10 ms"] }',
    )
    assert [(p.drive_V, p.width_s) for p in made.points()] == [(3, 0.03), (4, 0.02), (5, 0.01)]


def test_a_table_lists_points_one_by_one(plan: MakePlan) -> None:
    made = plan(
        '[table]\ncolumns = ["light.drive", "bias.voltage"]\nrows = [["3 V", "1 V"], ["5 V", "2 V"], ["3 V", "2 V"]]\n',
        light='light = { width = ["10 ms", "20 ms"] }',
        bias="",
    )
    found = [(p.drive_V, p.bias_V, p.width_s) for p in made.points()]
    assert found == [(d, b, w) for d, b in ((3, 1), (5, 2), (3, 2)) for w in (0.01, 0.02)]


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ('zip = [["light.drive", "light.width"]]', "light.drive has 2, light.width has 1"),
        ('zip = [["light.drive", "light.colour"]]', "light.colour"),
        ('zip = [["light.drive", "bias.voltage"], ["light.drive", "light.width"]]', "light.drive' twice"),
        ('[order]\nnesting = ["gate.voltage"]', "gate.voltage"),
        ('[table]\ncolumns = ["light.drive"]\nrows = [["1 V"]]', "stands in the table too"),
        ('[table]\ncolumns = ["light.irradiance", "light.width"]\nrows = [["1 W/m^2"]]', "row 1 has 1 values"),
        ('[table]\ncolumns = ["gate.voltage"]\nrows = [["1,5 V"]]', "decimal point"),
        ('[precondition]\ngate_pulse = "5 V"', "gate_width go together"),
        ('[noise]\nevery = 0', "noise.every"),
        ('[adaptive]\nerror = "1 %"\nleast = 2', "adaptive.least"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_in_one_line(plan: MakePlan, added: str, says: str) -> None:
    with pytest.raises(InputError) as failure:
        plan(added)
    assert says in str(failure.value)
    assert str(failure.value).startswith("recipe.toml")


def test_a_grid_goes_with_points(plan: MakePlan) -> None:
    linear = 'sampling = { dark = "50 ms", decay = "200 ms", interval = "2 ms", aperture = "1 ms", range = "1 uA" }'
    sampling = linear.replace(" }", ', grid = "log" }')
    with pytest.raises(InputError, match="points go with"):
        plan(sampling=sampling)
    assert plan(sampling=sampling.replace(" }", ", points = 20 }")).recipe.model.sampling.points == 20


# --- extends ----------------------------------------------------------------------------------------------------------


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    from tests.sweeps.conftest import RECIPE

    return write(tmp_path, "base.toml", RECIPE)


def test_a_recipe_takes_from_another_what_it_does_not_say_itself(base: Path, tmp_path: Path) -> None:
    own = write(tmp_path, "own.toml", 'extends = "base.toml"\nrepeats = 7\n[light]\ndrive = "1 V"\n')
    model = load_recipe(own).model
    assert (model.repeats, model.light.drive, model.light.width) == (7, [1.0], [0.05])
    assert model.devices == [1, 2, 3]
    again = write(tmp_path, "again.toml", 'extends = "own.toml"\nwindow = "100 ms"\n')
    assert (load_recipe(again).model.repeats, load_recipe(again).model.window) == (7, 0.1)


def test_both_texts_are_kept_and_an_error_names_the_file_that_it_stands_in(base: Path, tmp_path: Path) -> None:
    own = write(tmp_path, "own.toml", 'extends = "base.toml"\n')
    assert "extends" in load_recipe(own).text
    assert 'devices = "1-3"' in load_recipe(own).text
    base.write_text(base.read_text().replace('"1 s"', '"1 V"'))
    with pytest.raises(InputError, match=r"base\.toml:8: recovery\.dark_time") as failure:
        load_recipe(own)
    assert "own.toml" not in str(failure.value)
    wrong = write(tmp_path, "wrong.toml", 'extends = "base.toml"\nrepeats = 0\n')
    with pytest.raises(InputError, match=r"wrong\.toml:2: repeats"):
        load_recipe(wrong)


def test_a_recipe_that_extends_itself_or_nothing_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", 'extends = "b.toml"\n')
    write(tmp_path, "b.toml", 'extends = "a.toml"\n')
    with pytest.raises(InputError, match="extends itself"):
        load_recipe(tmp_path / "a.toml")
    with pytest.raises(InputError, match="no such file"):
        load_recipe(write(tmp_path, "c.toml", 'extends = "nowhere.toml"\n'))


def test_an_extended_recipe_sets_what_one_of_its_whole_text_sets(
    base: Path, tmp_path: Path, recipe: Callable[[str], Recipe]
) -> None:
    own = Plan(load_recipe(write(tmp_path, "own.toml", 'extends = "base.toml"\nrepeats = 7\n')))
    whole = Plan(recipe(base.read_text().replace("repeats = 2", "repeats = 7")))
    assert own.digest == whole.digest
