from pathlib import Path

import pytest

from otters_lab.core.consent import consent_path, trust
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import load_bench
from otters_lab.instruments.drivers.own import is_own, load_own, own_file
from otters_lab.instruments.roles import Switch
from otters_lab.instruments.virtual.assemble import build_virtual

DRIVER = """
from pathlib import Path
Path(__file__).with_name("ran").touch()

class Relay:
    def __init__(self, adapter, bench, clock): pass
    def identify(self): return "relay"
    def reset(self): pass
    def close(self, device): pass
    def make_safe(self): pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A workspace's instruments folder, and a user who has consented to nothing."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # locks of its own: another run may hold these addresses
    place = tmp_path / "lab" / "instruments"
    place.mkdir(parents=True)
    (place / "relay.py").write_text(DRIVER)
    return place


def test_a_workspace_s_code_does_not_run_before_the_user_has_consented(folder):
    with pytest.raises(RefusedError, match="otters-lab trust"):
        load_own("relay.py:Relay", folder, Switch)
    assert own_file("relay.py:Relay", folder)[1] == "Relay"
    assert not (folder / "ran").exists()


def test_consent_is_for_the_bytes_and_lies_with_the_user(folder):
    trust(folder / "relay.py")
    assert load_own("relay.py:Relay", folder, Switch).__name__ == "Relay"
    assert folder not in consent_path().parents
    (folder / "relay.py").write_text(DRIVER + "\n# changed\n")
    with pytest.raises(RefusedError):
        load_own("relay.py:Relay", folder, Switch)


@pytest.mark.parametrize("driver", ["../elsewhere.py:Relay", "/etc/passwd.py:Relay", "link.py:Relay"])
def test_a_driver_outside_the_instruments_folder_is_refused(folder, driver):
    outside = folder.parent / "elsewhere.py"
    outside.write_text(DRIVER)
    (folder / "link.py").symlink_to(outside)
    trust(outside)
    with pytest.raises(InputError, match="instruments folder"):
        load_own(driver, folder, Switch)


def test_a_class_that_is_missing_broken_or_of_another_role_is_named(folder):
    for text, words in [
        ("class Other: pass", "no such class"),
        ("class Relay:\n    def identify(self): ...", "it lacks reset, close, make_safe"),
        ("1/0", "ZeroDivisionError"),
        ("class Relay(:", "SyntaxError"),
    ]:
        (folder / "relay.py").write_text(text)
        trust(folder / "relay.py")
        with pytest.raises(InputError, match=words):
            load_own("relay.py:Relay", folder, Switch)


@pytest.mark.parametrize(
    ("name", "own"),
    [("keithley-2450", False), ("a.py:B", True), ("a:B", False), ("sub/a.py:B_1", True), ("a.py:", False)],
)
def test_own_drivers_are_told_from_short_names(name, own):
    assert is_own(name) is own


def test_a_broken_consent_file_holds_no_consent(folder):
    consent_path().parent.mkdir(parents=True)
    consent_path().write_text("not json")
    with pytest.raises(RefusedError):
        load_own("relay.py:Relay", folder, Switch)


ABILITIES = """[light.abilities]
width = ["1 ms", "1 s"]
delay = ["0 s", "1 s"]
drive = ["0 V", "5 V"]

"""

OWN_SWITCH = """
from otters_lab.instruments.drivers.keithley2700 import build

class Relay:
    def __init__(self, adapter, bench, clock):
        self._inner = build(adapter, bench, clock)
    def identify(self): return self._inner.identify()
    def reset(self): self._inner.reset()
    def close(self, device): self._inner.close(device)
    def make_safe(self): self._inner.make_safe()
"""


def test_a_lab_s_own_driver_fills_a_role_on_a_real_bench(folder, monkeypatch):
    shipped = Path(__file__).parents[2] / "instruments" / "virtual.toml"
    twins = build_virtual(load_bench(shipped))
    monkeypatch.setattr("otters_lab.instruments.session.SYSTEM_LIBRARY", twins.library)
    text = shipped.read_text().partition("\n[virtual]\n")[0].replace('"keithley-2700"', '"relay.py:Relay"')
    path = folder / "bench.toml"
    path.write_text(text.replace('backend = "virtual"', 'backend = "visa"'))
    (folder / "relay.py").write_text(OWN_SWITCH)
    bench = load_bench(path)
    with pytest.raises(RefusedError, match="otters-lab trust"), open_bench(bench, clock=twins.world.clock):
        pass
    trust(folder / "relay.py")
    with open_bench(bench, clock=twins.world.clock) as opened:
        opened._switch.close(3)
        assert twins.world.connected == 3
    assert twins.world.connected is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"keithley-2700"', '"relay.py:Relay"', "no virtual twin"),
        ('"keithley-2450"', '"smu.py:Mine"', r"meter: .*its \[abilities\] are missing"),
        ("[sync]", ABILITIES + "[sync]", r"light: .*expected no \[abilities\]"),
    ],
)
def test_abilities_are_stated_for_own_drivers_and_for_no_others(folder, old, new, words):
    shipped = Path(__file__).parents[2] / "instruments" / "virtual.toml"
    path = folder / "bench.toml"
    path.write_text(shipped.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        load_bench(path)
