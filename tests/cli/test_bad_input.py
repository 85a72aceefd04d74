"""Every kind of bad input ends in one clear line and the right exit code."""

import json
import shutil

import pytest

RECIPE = {
    "missing unit": ('"5 V"', '"5"', ["light.drive", "without a unit"]),
    "decimal comma": ('"5 V"', '"1,5 V"', ["light.drive", "not a comma"]),
    "arithmetic": ('"5 V"', '"2*3 V"', ["light.drive", "found '2*3 V'"]),
    "not a number": ('"5 V"', '"nan V"', ["light.drive", "found 'nan V'"]),
    "wrong dimension": ('"5 V"', '"5 s"', ["light.drive", "unit 's'"]),
    "number for a quantity": ('"5 V"', "5", ["light.drive", "found 5"]),
    "unknown key": ("repeats", "repaets", ["repaets", "unknown key", 'did you mean "repeats"']),
    "duplicate key": ("repeats = 4", "repeats = 4\nrepeats = 5", [":4:", "not valid TOML"]),
    "wrong type": ("repeats = 4", 'repeats = "four"', ["repeats", "found 'four'", "integer"]),
    "out of range": ("repeats = 4", "repeats = 0", ["repeats", "found 0", "greater than or equal to 1"]),
    "backward range": ('"1-3"', '"3-1"', ["devices", "backward range"]),
    "not TOML": ("repeats = 4", "repeats = = 4", ["not valid TOML"]),
    "missing key": ('window = "1 s"\n', "", ["window", "missing"]),
    "empty list": ('"5 V"', "[]", ["light.drive", "empty list"]),
}


@pytest.mark.parametrize("kind", RECIPE)
def test_a_bad_recipe_is_refused_in_one_line_that_names_its_place(cli, recipe, bench, kind):
    old, new, words = RECIPE[kind]
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new, 1))
    for command in (("check", recipe), ("sweep", recipe, "--bench", bench, "--chip", "A1", "--dry-run")):
        code, out, err = cli(*command)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert err.startswith(f"otters-lab: {recipe}:")
        for word in words:
            assert word in err


LIMITS = {
    "drive over the limit": ('"5 V"', '"6 V"', "drive is 6 V, over the bench's limit of 5 V"),
    "pulse over the limit": ('"100 ms"', '"2 s"', "pulse width is 2 s, over the bench's limit of 1 s"),
    "bias over the limit": ('"100 mV"', '"3 V"', "bias is 3 V, over the bench's limit of 2 V"),
    "range over the limit": ('"10 uA"', '"1 mA"', "range is 1 mA, over the bench's limit"),
    "device not wired": ('"1-3"', '"1-9"', "device 9 is not on the switch"),
    "aperture over the interval": ('"1 ms"', '"20 ms"', "longer than the interval"),
}


@pytest.mark.parametrize("kind", LIMITS)
def test_a_recipe_over_the_bench_s_limits_is_refused_before_anything_is_touched(cli, recipe, bench, kind, monkeypatch):
    old, new, words = LIMITS[kind]
    recipe.write_text(recipe.read_text().replace(old, new, 1))

    def touched(*_, **__):
        raise AssertionError("the bench was opened")

    monkeypatch.setattr("otters_lab.sweeps.sweep.open_bench", touched)
    for command in (("check", recipe, "--bench", bench), ("sweep", recipe, "--bench", bench, "--chip", "A1")):
        code, out, err = cli(*command)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert words in err
        assert str(recipe) in err


def test_files_that_are_missing_or_of_another_kind(cli, recipe, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    fake = tmp_path / "fake.h5"
    fake.write_text("time,current\n0,1\n")
    table = tmp_path / "other.toml"
    table.write_text("colour = 3\n")
    for path, code, words in [
        (tmp_path / "nowhere.toml", 2, "no such file"),
        (tmp_path / "nowhere.h5", 2, "no such file"),
        (tmp_path / "nowhere.json", 2, "no such file"),
        (text, 2, "cannot tell what this is"),
        (fake, 4, "not an HDF5 file"),
        (table, 2, "no key of a bench"),
    ]:
        found, out, err = cli("check", path)
        assert (found, out, err.count("\n")) == (code, "", 1), err
        assert words in err
        assert str(path) in err
    assert cli("fit", fake, "-o", tmp_path / "x.json")[0] == 4
    assert cli("fit", tmp_path / "nowhere.h5", "-o", tmp_path / "x.json")[0] == 2


@pytest.fixture
def files(root, tmp_path):
    """Copies of the reference capture and calibration, sidecars included."""
    for folder, name in (("measurements", "reference.h5"), ("calibration", "reference.json")):
        for suffix in ("", ".prov.json"):
            shutil.copyfile(root / folder / (name + suffix), tmp_path / (name + suffix))
    return tmp_path / "reference.h5", tmp_path / "reference.json"


def test_a_truncated_capture_and_a_flipped_bit_exit_with_4(cli, files, tmp_path):
    capture, _ = files
    whole = capture.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        whole[:-1],
        whole[:700_000] + bytes([whole[700_000] ^ 4]) + whole[700_001:],
    ):
        capture.write_bytes(damaged)
        for command in (("check", capture), ("fit", capture, "-o", tmp_path / "x.json")):
            code, out, err = cli(*command)
            assert (code, out, err.count("\n")) == (4, "", 1)
            assert str(capture) in err
    assert not (tmp_path / "x.json").exists()


def test_an_altered_calibration_exits_with_4(cli, files, tmp_path):
    _, calibration = files
    record = json.loads(calibration.read_text())
    record["device"]["run_to_run"]["sd"]["D"] *= 0.5
    calibration.write_text(json.dumps(record))
    for command in (("check", calibration), ("train", "digits", "--calibration", calibration, "-o", tmp_path / "net")):
        code, out, err = cli(*command)
        assert (code, out, err.count("\n")) == (4, "", 1)
        assert "altered after the fit" in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["sweep"], "RECIPE"),
        (["sweep", "x.toml", "--bench", "y.toml"], "--chip"),
        (["fit", "x.h5"], "--output"),
        (["frobnicate"], "frobnicate"),
        (["fit", "x.h5", "-o", "y.json", "--law", "linear"], "linear"),
        (["check", "--colour", "x"], "--colour"),
    ],
)
def test_bad_usage_exits_with_2_in_one_line(cli, words, part):
    code, out, err = cli(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert part in err


@pytest.mark.parametrize("window", ["1", "1,5 s", "-1 s", "soon"])
def test_a_bad_window_is_named(cli, window, tmp_path, root):
    code, out, err = cli("fit", root / "measurements/reference.h5", "-o", tmp_path / "x.json", f"--window={window}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--window" in err


def test_no_bad_input_shows_a_traceback_unless_asked(cli, tmp_path):
    assert "Traceback" not in cli("check", tmp_path / "nowhere.toml")[2]


@pytest.mark.parametrize("start", [("digits",), ("--from", "networks/digits")])
def test_an_option_of_the_other_kind_of_training_is_refused_and_not_ignored(cli, tmp_path, start):
    of = {"digits": (("--steps", "10"), ("--runs", "2"), ("--weights",))}
    others = of.get(start[0], (("--config", "x.toml"), ("--teacher", "minilm"), ("--noise", "curve:0.1")))
    for option in others:
        code, out, err = cli("train", *start, "--calibration", "c.json", "-o", tmp_path / "net", *option)
        assert (code, out) == (2, "")
        assert err.startswith(f"otters-lab: {option[0]} is of a ")
        assert err.count("\n") == 1
