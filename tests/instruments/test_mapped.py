"""PyMeasure classes in a role by an attribute map: what a bench file may say, and what the instrument is told."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymeasure.adapters import ProtocolAdapter
from pymeasure.instruments import Instrument
from pymeasure.instruments.keithley import Keithley2400

from otters_lab.core.clock import SystemClock
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.entries import AttributeMap
from otters_lab.instruments.drivers.mapped import WORDS, MappedInstrument, is_mapped, map_problems
from otters_lab.instruments.drivers.registry import build
from otters_lab.instruments.links import SYSTEM_LIBRARY, identify, open_link
from otters_lab.instruments.virtual.server import serving, tcp_text

MAPPED_GATE = (
    'driver = "keithley-2400"\n',
    """driver = "pymeasure.instruments.keithley:Keithley2400"
attributes = { level = "source_voltage", limit = "compliance_current", output = "source_enabled" }
preset = { source_mode = "voltage", auto_output_off_enabled = false }
error_query = "SYST:ERR?"
abilities = { bias = "210 V", compliance = ["1 nA", "1.05 A"] }
""",
)
MAPPED_STAGE = (
    'driver = "lakeshore-336"\n',
    """driver = "pymeasure.instruments.lakeshore:LakeShore3xx"
attributes = { temperature = "input_A.celsius [degC]", setpoint = "output_1.setpoint", heater = "output_1.range" }
on = "low"
off = "off"
reset = []
abilities = { temperature = ["1 K", "400 K"] }
""",
)
REAL = ('backend = "virtual"', 'backend = "visa"')


# --- what the file may say ------------------------------------------------------------------------------------------

MISTAKES = [
    (MAPPED_GATE, 'level = "source_voltage", ', "", "gate: attributes has no level"),
    (MAPPED_GATE, "level =", "levle =", "gate: attributes names 'levle', expected level, output, limit"),
    (MAPPED_GATE, '"source_voltage"', '"source_voltage [A]"', r"level is in 'A', expected a unit of voltage"),
    (MAPPED_GATE, '"source_enabled"', '"source_enabled [V]"', r"attributes\.output is in 'V', expected no unit"),
    (MAPPED_GATE, '"source_voltage"', '"source voltage"', r"attributes\.level is 'source voltage', expected a path"),
    (MAPPED_GATE, "abilities = {", "# abilities = {", r"gate: .*its \[abilities\] are missing"),
    (MAPPED_GATE, 'compliance = "1 uA"', 'compliance = "2 A"', "gate: compliance is 2 A, .*takes 1e-09 to 1.05 A"),
    (MAPPED_GATE, "attributes = {", "# attributes = {", r"its \[attributes\] are missing"),
    (MAPPED_GATE, 'pymeasure.instruments.keithley:', 'pymeasure.keithley:', "found the driver 'pymeasure.keithley:"),
    (MAPPED_GATE, "preset = { source_mode", "presets = { source_mode", r'gate\.presets: unknown key.*"preset"'),
    (MAPPED_STAGE, "[degC]", "[V]", "attributes.temperature is in 'V', expected a unit of temperature"),
    (MAPPED_STAGE, "abilities = {", "# abilities = {", r"temperature: .*its \[abilities\] are missing"),
    (None, 'driver = "keithley-2400"\n', 'driver = "keithley-2400"\non = 1\n', "gate: on goes with a PyMeasure class"),
    (None, 'driver = "keithley-2400"', 'driver = "keithly-2400"', r'gate\.driver: .*did you mean "keithley-2400"'),
    (None, 'compliance = "1 uA"\nramp', 'compliance = "1 pA"\nramp', "gate: compliance is 1e-12 A, keithley-2400"),
    (None, 'driver = "lakeshore-336"\n', 'driver = "lakeshore-336"\nabilities = { temperature = ["1 K", "2 K"] }\n',
     "temperature: the abilities of lakeshore-336 are known"),
    (None, 'gate = "3 V"\n', "", "limits.gate go together"),
    (None, 'temperature = ["290 K", "320 K"]\n', "", "limits.temperature go together"),
    (None, '["290 K", "320 K"]', '["320 K", "290 K"]', "limits.temperature falls"),
    (None, '["290 K", "320 K"]', '["290 K"]', r"limits\.temperature"),
    (None, 'after = "off"\n', "", r"temperature\.after: missing"),
    (None, 'ramp = "2 V/s"', 'ramp = "2 V"', r"gate\.ramp: found the unit 'V'"),
    (None, "[limits]", '[safety]\noff = ["light", "meter", "gate"]\n[limits]', r"safety\.off is .*each once"),
]  # fmt: skip


@pytest.mark.parametrize(("mapped", "old", "new", "message"), MISTAKES)
def test_a_mistake_is_one_line_with_file_line_and_key(
    write_conditions: Callable[..., Path], mapped: Any, old: str, new: str, message: str
) -> None:
    path = write_conditions(*([mapped, REAL] if mapped else []), (old, new))
    with pytest.raises(InputError, match=message) as caught:
        load_bench(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_bench_file_with_maps_is_read_without_loading_a_class(write_conditions: Callable[..., Path]) -> None:
    path = write_conditions(MAPPED_GATE, MAPPED_STAGE, REAL)
    program = (
        "import sys; from pathlib import Path; from otters_lab.instruments.benchfile import load_bench;"
        f"bench = load_bench(Path({str(path)!r}));"
        "print(bench.gate.known.bias_V, [name for name in sys.modules if name.startswith('pymeasure')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "210.0 []\n"


def test_a_mapped_driver_has_no_twin(write_conditions: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="no driver of this package and has no virtual twin"):
        load_bench(write_conditions(MAPPED_GATE))


@pytest.mark.parametrize(
    ("driver", "mapped"),
    [
        ("pymeasure.instruments.keithley:Keithley2400", True), ("pymeasure.instruments.a.b:C", True),
        ("pymeasure.instruments:C", True), ("pymeasure.adapters:VISAAdapter", False), ("os:system", False),
        ("pymeasure.instruments.keithley", False), ("keithley.py:Keithley2400", False), ("keithley-2400", False),
    ],
)  # fmt: skip
def test_only_pymeasure_s_instruments_are_taken_by_a_map(driver: str, mapped: bool) -> None:
    assert is_mapped(driver) is mapped


@pytest.mark.parametrize("kind", WORDS)
def test_a_map_with_every_word_is_whole_and_one_word_short_is_not(kind: str) -> None:
    whole = dict.fromkeys(WORDS[kind], "x.y")
    assert map_problems(kind, whole) == []
    for word, meaning in WORDS[kind].items():
        short = {name: path for name, path in whole.items() if name != word}
        needed = not meaning.optional or (kind == "meter" and word in ("bias", "compliance", "output"))
        assert bool(map_problems(kind, short)) is needed, word


# --- what the instrument is told ------------------------------------------------------------------------------------


def mapped_on(
    found: type, kind: str, attributes: dict[str, str], *pairs: tuple[Any, Any], **more: Any
) -> MappedInstrument:
    map_ = AttributeMap("x:Y", attributes, **more)
    return MappedInstrument(found(ProtocolAdapter(list(pairs))), "gate", kind, map_, "SYST:ERR?")


INIT = (":FORMAT:ELEMENTS VOLTAGE, CURRENT, RESISTANCE, TIME, STATUS", None)
LEVEL = {"level": "source_voltage", "output": "source_enabled"}


class Meter(Instrument):
    """An instrument that speaks nanometres and degrees Celsius."""

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter, "meter", includeSCPI=False)

    wavelength = Instrument.control("WAV?", "WAV %.6g", """Control the wavelength in nm (float).""")
    warmth = Instrument.measurement("TEMP?", """Get the temperature in degrees Celsius (float).""")


def test_a_number_goes_out_and_comes_in_in_the_unit_of_its_class() -> None:
    pairs = [("WAV 635", None), ("WAV?", "635.0"), ("WAV?", "635.0")]
    mapped = mapped_on(Meter, "power", {"power": "warmth", "wavelength": "wavelength [nm]"}, *pairs)
    mapped.set_number("wavelength", 635e-9)
    assert mapped.number("wavelength") == pytest.approx(635e-9, rel=1e-12)
    attributes = {"temperature": "warmth [degC]", "setpoint": "warmth", "heater": "warmth"}
    assert mapped_on(Meter, "temperature", attributes, ("TEMP?", "21.85")).number("temperature") == 295.0


def test_a_setting_that_reads_back_otherwise_is_an_error() -> None:
    pairs = [INIT, (":SOURCE:VOLTAGE 1", None), (":SOURCE:VOLTAGE?", "2.0")]
    mapped = mapped_on(Keithley2400, "bias", LEVEL, *pairs)
    with pytest.raises(InstrumentError, match=r"gate: level \(V\): asked for 1, the instrument says 2"):
        mapped.set_number("level", 1.0)


@pytest.mark.parametrize("reply", ["ERROR", "nan", "inf", "9.9E37", "9.91E37", ""])
def test_what_is_no_finite_number_is_none(reply: str) -> None:
    mapped = mapped_on(Keithley2400, "bias", LEVEL, INIT, (":SOURCE:VOLTAGE?", reply))
    with pytest.raises(InstrumentError, match="gate"):
        mapped.number("level")


def test_an_attribute_that_is_no_command_is_not_set() -> None:
    """Python would make one of any name, and it would read back as it was set."""
    for path in ("source_voltag", "SCPI"):
        mapped = mapped_on(Keithley2400, "bias", {**LEVEL, "level": path}, INIT)
        with pytest.raises(InstrumentError, match=f"Keithley2400 has no attribute '{path}' that can be set"):
            mapped.set_number("level", 1.0)


def test_an_attribute_that_can_only_be_read_is_not_set() -> None:
    mapped = mapped_on(Keithley2400, "bias", {**LEVEL, "level": "current"}, INIT)
    with pytest.raises(InstrumentError, match="not understood"):
        mapped.set_number("level", 1.0)


def test_a_preset_that_does_not_hold_is_an_error() -> None:
    pairs = [INIT, (":SOURCE:FUNCTION VOLT", None), (":SOURCE:FUNCTION?", "CURR")]
    mapped = mapped_on(Keithley2400, "bias", LEVEL, *pairs, preset={"source_mode": "voltage"}, reset=())
    with pytest.raises(InstrumentError, match="source_mode: asked for 'voltage', the instrument says 'current'"):
        mapped.reset()


def test_whatever_a_class_raises_is_an_error_of_its_role() -> None:
    class Broken(Meter):
        @property
        def power(self) -> float:
            raise RuntimeError("no lamp")

    mapped = mapped_on(Broken, "power", {"power": "power"})
    with pytest.raises(InstrumentError, match="gate: RuntimeError: no lamp"):
        mapped.number("power")


def test_the_error_queue_is_read_by_the_message_that_the_file_gives() -> None:
    mapped = mapped_on(Keithley2400, "bias", LEVEL, INIT, ("SYST:ERR?", '-222,"Parameter out of range"'))
    with pytest.raises(InstrumentError, match="gate: error queue after it: -222 Parameter out of range"):
        mapped.check_errors("after it")


# --- PyMeasure's Keithley2400 over TCP ------------------------------------------------------------------------------


@contextmanager
def linked(path: Path, role: str, *edits: tuple[str, str]) -> Iterator[tuple[Any, BenchFile, io.StringIO]]:
    """A served bench, its file rewritten with `edits`, and the role of one instrument on a link of its own."""
    virtual, record = load_bench(path), io.StringIO()
    with serving(virtual, record) as served:
        text = tcp_text(virtual, served)
        for old, new in edits:
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text)
        bench = load_bench(path)
        link = open_link(role, bench.instruments[role], SYSTEM_LIBRARY)
        try:
            identify(link, bench.instruments[role], bench)
            yield build(role, link, bench, SystemClock()), bench, record
        finally:
            link.hang_up()


def entries(record: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.getvalue().splitlines()]


def levels(record: io.StringIO) -> list[tuple[float, float]]:
    """Times (s) and voltages (V) that the gate's twin was set to, from its last reset on."""
    found = [(entry["t"], entry["message"]) for entry in entries(record) if entry.get("role") == "gate"]
    start = max((number for number, (_, text) in enumerate(found) if text == "*RST"), default=0)
    return [(t, float(text.split()[1])) for t, text in found[start:] if text.startswith(":SOURCE:VOLTAGE ")]


@pytest.mark.parametrize("by", ["short name", "map"])
def test_pymeasure_s_2400_biases_a_gate_no_faster_than_its_ramp_and_comes_down_the_same_way(
    write_conditions: Callable[..., Path], by: str
) -> None:
    edits = [] if by == "short name" else [MAPPED_GATE]
    with linked(write_conditions(), "gate", *edits) as (gate, _, record):
        gate.make_safe()
        gate.reset()
        gate.apply(1.0)
        up = levels(record)
        gate.make_safe()
        both = levels(record)
    states = [entry["state"]["gate"] for entry in entries(record) if "state" in entry]
    assert states == [False, True, False]
    rising, falling = up[-10:], both[len(up) :]
    assert [level for _, level in rising] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert [level for _, level in falling] == pytest.approx([0.1 * step for step in range(9, -1, -1)])
    at_zero_s, at_one_s = up[-11][0], rising[-1][0]
    assert all(level <= 2.0 * (t - at_zero_s) for t, level in rising)  # 2 V/s, and never ahead of it
    assert all(1.0 - level <= 2.0 * (t - at_one_s) for t, level in falling)


def test_a_misspelt_attribute_is_named_before_anything_is_set(write_conditions: Callable[..., Path]) -> None:
    wrong = (MAPPED_GATE[0], MAPPED_GATE[1].replace("compliance_current", "complience_current"))
    path, record = write_conditions(), io.StringIO()
    virtual = load_bench(path)
    with serving(virtual, record) as served:
        path.write_text(tcp_text(virtual, served).replace(*wrong, 1))
        bench = load_bench(path)
        link = open_link("gate", bench.instruments["gate"], SYSTEM_LIBRARY)
        with pytest.raises(InputError, match=r"bench\.toml:\d+: gate\.attributes\.limit: .*'complience_current'"):
            build("gate", link, bench, SystemClock())
        link.hang_up()
    sent = [entry["message"] for entry in entries(record) if entry.get("role") == "gate"]
    assert sent in ([], [INIT[0]])  # what PyMeasure's constructor sends


def test_a_stage_in_degrees_celsius_speaks_kelvin_to_us(write_conditions: Callable[..., Path]) -> None:
    with linked(write_conditions(), "temperature", MAPPED_STAGE) as (stage, _, record):
        stage.reset()
        assert stage.temperature_K() == pytest.approx(295.0, abs=1e-3)
        stage.go_to(296.0)
        assert entries(record)[-1]["message"].startswith("RANGE? 1")
        stage.make_safe()
    sent = [entry["message"] for entry in entries(record) if entry.get("role") == "temperature"]
    assert "RANGE 1,1" in sent  # "low", as the file's `on` says
    assert [entry["state"]["temperature"] for entry in entries(record) if "state" in entry] == [False, True, False]
