"""`otters-lab compare` on the virtual bench: the chip measured again, and the chip with half its swing."""

import json

import pytest

RECIPE = """
devices = "1-6"
repeats = 8
window = "1 s"
light = { drive = "5 V", width = "100 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "100 ms", decay = "1 s", interval = "4 ms", aperture = "1 ms", range = "10 uA" }
order = { seed = 3 }
recovery = { dark_time = "1 s" }
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory, root):
    """measured(name, *(found, replaced)) -> capture swept on the shipped virtual bench with these changes."""
    from otters_lab.instruments.benchfile import load_bench
    from otters_lab.sweeps.plan import Plan
    from otters_lab.sweeps.recipe import load_recipe
    from otters_lab.workflows.sweeping import sweep_bench

    folder = tmp_path_factory.mktemp("compare")
    (folder / "recipe.toml").write_text(RECIPE)

    def make(name, *changes):
        path = folder / f"{name}.h5"
        if not path.exists():
            text = (root / "instruments" / "virtual.toml").read_text()
            for found, replaced in changes:
                assert found in text
                text = text.replace(found, replaced, 1)
            bench = folder / f"{name}.toml"
            bench.write_text(text)
            sweep_bench(Plan(load_recipe(folder / "recipe.toml")), load_bench(bench), chip="A1", capture=path)
        return path

    return make


@pytest.fixture(scope="module")
def old(measured, few_laws):
    from otters_lab.workflows.fitting import fit_files

    capture = measured("old")
    fit_files([capture], capture.with_suffix(".json"))
    return capture.with_suffix(".json")


def test_a_chip_measured_again_keeps_its_calibration_and_one_of_half_the_swing_does_not(cli, measured, old):
    code, out, err = cli("compare", old, measured("again", ("seed = 2026", "seed = 5")), "--json")
    found = json.loads(out)
    assert (code, found["verdict"]) == (0, "keep"), (err, found["because"])
    code, out, _ = cli("compare", old, measured("dead", ('swing = "8 nA"', 'swing = "4 nA"')), "--json")
    found = json.loads(out)
    assert (code, found["verdict"]) == (1, "refit")
    assert found["swing_ratio"] == pytest.approx(0.5, abs=0.01)
    assert abs(found["largest_shift_levels"]) > 5


def test_it_says_in_words_what_the_change_is_in_levels(cli, measured, old):
    code, out, _ = cli("compare", old, measured("dead", ('swing = "8 nA"', 'swing = "4 nA"')))
    assert code == 1
    assert "verdict: refit; mean of level" in out
    assert "swing: 0.500 of the old one" in out
    assert "levels, at level" in out


def test_what_cannot_be_compared_is_one_line_that_names_the_file(cli, old, root):
    code, _, err = cli("compare", old, root / "calibration" / "nowhere.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "nowhere.json" in err
    code, _, err = cli("compare", old, root / "calibration" / "reference.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "reference.json" in err
    assert "another width" in err
