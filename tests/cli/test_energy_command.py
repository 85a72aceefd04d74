from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from otters_lab.energy.shapes import shape_sites
from otters_lab.workflows import networks

SHAPE = ("--layers", 1, "--hidden", 64, "--ffn", 96, "--length", 8, "--rate", 0.3)
LIGHT = ("--irradiance", "1 mW/cm^2", "--device-area", "100 um^2", "--pulse-width", "10 ms", "--efficiency", 0.2)


def test_a_shape_gives_networks_break_evens_sweeps_and_every_constant(cli):
    code, out, _ = cli("energy", *SHAPE, "--encoding", "dense", "--hops", "mesh", "--light-pulse", "1 fJ", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["settings"]["encoding"] == "dense"
    assert document["settings"]["light_pulse_J"] == 1e-15
    assert document["networks"][0]["unknown"] == ["device reads"]
    assert {sweep["name"] for sweep in document["sweeps"]} >= {"hops", "sharing", "sequence length"}
    assert all(constant["source"] for constant in document["constants"])


def test_a_light_pulse_is_known_from_irradiance_area_width_and_efficiency(cli):
    document = json.loads(cli("energy", *SHAPE, *LIGHT, "--device-read", "1 fJ", "--json")[1])
    assert document["networks"][0]["unknown"] == []
    assert document["settings"]["light_pulse_J"] == pytest.approx(10.0 * 1e-10 * 0.01 / 0.2)


def test_a_shape_for_people_says_what_the_device_may_cost(cli):
    code, out, _ = cli("energy", *SHAPE, "--pitch", "10 um", "--conversion", "1 us")
    assert code == 0
    assert "takes less than BERT, fp32 if a level read with its light costs less than" in out
    assert "mm^2" in out
    assert "a block takes 606 us" in out


def test_a_checkpoint_is_counted_with_what_it_fires(cli, monkeypatch, tmp_path):
    asked = []

    def sites(folder):
        asked.append(folder)
        return shape_sites(1, 32, 48, 6, 0.25, heads=4)

    monkeypatch.setattr(networks, "checkpoint_sites", sites)
    code, out, _ = cli("energy", tmp_path / "student", "--json")
    assert (code, asked) == (0, [tmp_path / "student"])
    terms = {term["name"]: term["amount"] for term in json.loads(out)["networks"][1]["terms"]}
    assert terms["synaptic operations"] == 0.25 * (4 * 6 * 32 * 32 + 2 * 36 * 32 + 2 * 6 * 32 * 48)


@pytest.mark.parametrize(("preset", "entries"), [("iclr26", 14), ("ottersplusplus", 15)])
def test_a_published_table_alone_shows_it_beside_the_law_fitted_to_it(cli, preset, entries):
    code, out, _ = cli("energy", "--preset", preset)
    assert code == 0
    document = json.loads(cli("energy", "--preset", preset, "--json")[1])
    assert len(document["entries"]) == entries
    assert len(document["fitted"]) < document["independent_entries"] < entries
    for entry in document["entries"]:
        assert entry["model"] in out
        assert (entry["fitted"] is None) == (entry["kind"] == "open")
        assert entry["predicted"] is None or entry["predicted"] != entry["fitted"]


@pytest.mark.parametrize("preset", ["open22", "horowitz45"])
def test_a_preset_alone_shows_its_constants(cli, preset):
    code, out, _ = cli("energy", "--preset", preset)
    assert code == 0
    assert re.search(r"light pulse +unknown", out)
    assert "Horowitz" in out
    constants = json.loads(cli("energy", "--preset", preset, "--json")[1])["constants"]
    assert {constant["status"] for constant in constants} == {"sourced", "unknown"}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.asked: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.asked += [value for name, value in attrs if name.split(":")[-1] in ("src", "href", "srcset") and value]


def test_the_page_asks_for_nothing_runs_nothing_and_shows_figures_in_light_and_dark(cli, tmp_path):
    page = tmp_path / "energy.html"
    code, out, _ = cli("energy", *SHAPE, "--html", page)
    assert code == 0
    assert str(page) in out
    text = page.read_text(encoding="utf-8")
    parsed = _Page()
    parsed.feed(text)
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    assert all(target.startswith("#") for target in parsed.asked)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "prefers-color-scheme:dark" in text
    assert "currentColor" in text
    assert parsed.tags.count("svg") >= 8
    for word in ("CACTI", "an assumption", "times the pitch squared", "layer.0"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected DIR, a shape"),
        (("--layers", 2), "a shape is not complete; expected --hidden, --ffn, --length, --rate"),
        ((*SHAPE, "--preset", "open2"), 'did you mean "open22"?'),
        ((*SHAPE, "--light", "windo"), "--light: found 'windo', expected 'window' or 'spike'"),
        ((*SHAPE, "--adc-bits", 3), "--adc-bits: found 3"),
        ((*SHAPE, "--hops", "many"), "--hops: found 'many', expected a number, or mesh"),
        ((*SHAPE, "--hops", "nan"), "--hops: found nan"),
        ((*SHAPE, "--pitch", "0 um"), "--pitch: found 0.0"),
        ((*SHAPE, "--device-read", "1 fW"), "--device-read: found the unit 'fW'"),
        (("folder", *SHAPE), "not both"),
        ((*SHAPE, "--irradiance", "1 mW/cm^2"), "--irradiance --device-area --pulse-width --efficiency"),
        ((*SHAPE, *LIGHT[:-1], 1.5), "expected an efficiency in (0, 1]"),
    ],
)
def test_bad_usage_is_one_line_that_says_what_was_expected(cli, words, said):
    code, out, err = cli("energy", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
