import pytest
from pydantic import Field

from otters_lab.core.errors import InputError
from otters_lab.core.quantity import Seconds
from otters_lab.core.tomlfile import StrictModel, line_of, load_model, read_toml


class Inner(StrictModel):
    width: Seconds
    count: int = 1


class Outer(StrictModel):
    title: str
    light: Inner
    many: list[Inner] = Field(default_factory=list)


def load(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "file.toml"
    path.write_bytes(text.encode(encoding))
    return load_model(Outer, read_toml(path))


GOOD = 'title = "x"\n[light]\nwidth = "10 ms"\n'


def test_a_byte_order_mark_is_accepted(tmp_path):
    assert load(tmp_path, GOOD, "utf-8-sig").light.width == 0.01


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('title = "x"\n[light]\nwidht = "10 ms"\n', 3, ["light.widht", "unknown key", 'did you mean "width"']),
        ('title = "x"\n[light]\nwidth = "10"\n', 3, ["light.width", "without a unit"]),
        ('title = "x"\n[light]\nwidth = "10 V"\n', 3, ["light.width", "unit 'V'"]),
        ('title = "x"\n[light]\nwidth = "10 ms"\nwidth = "20 ms"\n', 4, ["Cannot overwrite"]),
        ('title = "x"\n[light]\nwidth = "10 ms"\ncount = "many"\n', 4, ["light.count", "found 'many'", "integer"]),
        ("title = 3\n[light]\nwidth = '10 ms'\n", 1, ["title", "found 3", "string"]),
        ('title = "x"\n', None, ["light: missing"]),
        ('title = "x"\n[light]\n', 2, ["light.width: missing"]),
        ('title = "x\n', 1, ["not valid TOML"]),
        (GOOD + '[[many]]\nwidth = "1 s"\n[[many]]\nwidth = 3\n', 7, ["many.1.width", "found 3"]),
    ],
)
def test_a_complaint_names_file_line_key_and_what_was_expected(tmp_path, text, line, words):
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(tmp_path / "file.toml") + (f":{line}:" if line else ":"))
    for word in words:
        assert word in message
    assert caught.value.exit_code == 2


def test_text_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(InputError, match="not UTF-8"):
        load(tmp_path, 'title = "Größe"\n', "latin-1")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_toml(tmp_path / "nowhere.toml")


def test_lines_are_found_under_dotted_and_quoted_keys():
    text = 'a.b = 1\n["c"]\n"d" = 2\n# d = 3\n[e.f]\ng = 4\n'
    assert line_of(text, ("a", "b")) == 1
    assert line_of(text, ("c", "d")) == 3
    assert line_of(text, ("e", "f", "g")) == 6
    assert line_of(text, ("e", "f", "missing")) == 5
