"""House rules for every registered driver and its twin: registered means tested."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from pymeasure.adapters import Adapter, VISAAdapter
from pymeasure.instruments import Instrument

import otters_lab.instruments.drivers as package
from otters_lab.instruments.benchfile import BenchFile, MeterEntry, load_bench
from otters_lab.instruments.drivers.conditions import BIASES, POWER_METERS, STAGES
from otters_lab.instruments.drivers.entries import Entry, MeterDriver, Validated, load
from otters_lab.instruments.drivers.lights import LIGHTS
from otters_lab.instruments.drivers.mapped import load_class, map_problems
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.drivers.options import NAMES
from otters_lab.instruments.drivers.registry import build
from otters_lab.instruments.drivers.switches import SWITCHES
from otters_lab.instruments.setups import AmplifierTable, LedTable
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

KINDS: dict[str, Mapping[str, Entry]] = {
    "meter": METERS, "light": LIGHTS, "switch": SWITCHES, "bias": BIASES, "temperature": STAGES, "power": POWER_METERS,
}  # fmt: skip
ENTRIES = [
    pytest.param(kind, entry, id=f"{kind} {name}") for kind, table in KINDS.items() for name, entry in table.items()
]
NOT_UNDERSTOOD = {-113, -285, -104, -108, -109}


def own_classes() -> Iterator[type[Instrument]]:
    """The PyMeasure classes that are ours."""
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        for found in vars(importlib.import_module(module.name)).values():
            if isinstance(found, type) and issubclass(found, Instrument) and found.__module__ == module.name:
                yield found


def own_properties(found: type[Instrument]) -> dict[str, property]:
    """Public properties that a class or its bases define, PyMeasure's own left out."""
    bases = [base for base in reversed(found.__mro__) if base.__module__.startswith(package.__name__)]
    return {
        name: value
        for base in bases
        for name, value in vars(base).items()
        if isinstance(value, property) and not name.startswith("_")
    }


CLASSES = sorted(own_classes(), key=lambda found: found.__name__)
PROPERTIES = [(found, name) for found in CLASSES for name in own_properties(found)]
IDS = [f"{found.__name__}.{name}" for found, name in PROPERTIES]


def doc(found: type[Instrument], name: str) -> str:
    own = own_properties(found)[name]
    return " ".join((own.__doc__ or (own.fget.__doc__ if own.fget else "") or "").split())


def settable(found: type[Instrument], name: str) -> bool:
    """Whether it can be set; PyMeasure gives even a measurement a setter, which raises."""
    return doc(found, name).startswith(("Control", "Set"))


# --- entries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_an_entry_says_what_stands_behind_it_and_leads_to_code(kind: str, entry: Entry) -> None:
    assert entry.validated in get_args(Validated)
    assert len(entry.evidence) > 5
    if entry.validated == "independent driver":
        assert re.search("PyMeasure|QCoDeS", entry.evidence), entry.evidence
    assert callable(load(entry.twin))
    if entry.map is None:
        assert callable(load(entry.build))
    else:
        assert isinstance(load_class(entry.map.instrument), type)
        assert map_problems(kind, entry.map.attributes) == []


@pytest.mark.parametrize("name", [name for table in KINDS.values() for name in table])
def test_a_short_name_is_short(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name)


@pytest.mark.parametrize("name", METERS)
def test_a_meters_abilities_are_in_order_and_its_options_are_settings_of_the_bench_file(name: str) -> None:
    meter: MeterDriver = METERS[name]
    assert list(meter.ranges_A) == sorted(set(meter.ranges_A))
    assert meter.ranges_A or meter.ranges_V  # a voltmeter has those of its amplifier
    assert 0 <= meter.nplc[0] < meter.nplc[1]
    for low, high in (meter.interval_s, meter.samples):
        assert 0 < low < high
    assert set(meter.options) <= set(NAMES)
    for option, values in meter.options.items():
        for value in values:
            given = int(value) if value.isdigit() else value
            table = {"driver": name, "address": "x", "identity": "y", option: given}
            entry = MeterEntry.model_validate(table)
            assert getattr(entry, option) == given


# --- properties of our own drivers ----------------------------------------------------------------------------------


def test_there_are_drivers_to_look_at() -> None:
    assert {"Keithley2450", "Keithley2460", "Keithley2600", "KeysightB2900"} <= {found.__name__ for found in CLASSES}


@pytest.mark.parametrize(("found", "name"), PROPERTIES, ids=IDS)
def test_a_property_says_what_it_is_of_which_kind_and_in_which_unit_and_range(
    found: type[Instrument], name: str
) -> None:
    text = doc(found, name)
    assert re.match(r"(Control|Get|Set|Measure) ", text), text
    assert re.search(r"\b(bool|string|str|int|float)\b|\bin (Hz|V|A|s|W|%)(?!\w)", text), text
    if re.search(r"\bfloat\b", text):
        assert re.search(r"\bin (Hz|V|A|s|W|%|power-line cycles)(?!\w)", text), text
    if settable(found, name) and re.search(r"\b(float|int)\b", text):
        assert re.search(r"from \S+ to \S+|strictly \S+ or \S+|, \S+ or \S+\)|strictly \d+: ", text), text


class Parrot(Adapter):
    """An adapter that answers everything alike."""

    def __init__(self, reply: str) -> None:
        super().__init__()
        self._reply = reply

    def _write(self, command: str, **kwargs: Any) -> None:
        pass

    def _read(self, **kwargs: Any) -> str:
        return self._reply


@pytest.mark.parametrize("reply", ["ERROR", "", "nan", "inf", "-inf", "9.9E37", "9.91E37"])
@pytest.mark.parametrize(("found", "name"), PROPERTIES, ids=IDS)
def test_what_is_no_finite_number_is_never_taken_for_one(found: type[Instrument], name: str, reply: str) -> None:
    instrument: Any = found(Parrot(reply))
    try:
        value = getattr(instrument, name)
    except Exception:
        return  # which exception is the business of each driver's own test
    texts = value if isinstance(value, list) else [value]
    assert all(text is None or isinstance(text, str) for text in texts)
    assert re.search(r"\b(string|str)\b", doc(found, name)), f"{name} gave {value!r} for {reply!r}"


# --- drivers on their twins -----------------------------------------------------------------------------------------


@contextmanager
def linked(bench: BenchFile, role: str) -> Iterator[tuple[VirtualBench, VISAAdapter]]:
    """A virtual bench, and an adapter to the twin in that role."""
    virtual = build_virtual(bench)
    address = getattr(bench, role).address
    adapter = VISAAdapter(address, visa_library=virtual.library, read_termination="\n", write_termination="\n")
    yield virtual, adapter
    adapter.connection.close()


def misunderstood(twin: Any) -> list[int]:
    """The entries of a twin's error queue that say it did not know the command; the queue is emptied."""
    found = [code for code in twin._errors if code in NOT_UNDERSTOOD]
    twin._errors.clear()
    return found


# What a bench file says besides, for drivers that need it.
AMPLIFIER = AmplifierTable.model_validate(
    {"gain": "1e6 V/A", "bandwidth": "1 MHz", "output_limit": "10 V", "inverting": False}
)
LED = LedTable.model_validate({"full_scale": "700 mA", "terminal": 2})
BESIDES: dict[str, dict[str, Any]] = {
    "keithley-dmm6500": {"amplifier": AMPLIFIER},
    "keysight-dsox1102g": {"amplifier": AMPLIFIER},
    "siglent-sds1000xhd": {"amplifier": AMPLIFIER},
    "thorlabs-dc2200": {"led": LED},
    "keithley-707b": {"channels": {1: "1A01"}},
    "keithley-3706a": {"channels": {1: 1001}},
}


@pytest.mark.parametrize("name", METERS)
def test_a_twin_knows_every_property_of_its_driver(name: str, shipped: BenchFile) -> None:
    """What is read is written back. PyMeasure's own classes have a table of their own, with what is not modelled."""
    entry = shipped.meter.model_copy(update={"driver": name, **BESIDES.get(name, {})})
    bench = shipped.model_copy(update={"meter": entry})
    with linked(bench, "meter") as (virtual, adapter):
        role: Any = build("meter", adapter, bench, virtual.world.clock)
        role.identify()
        role.reset()
        instrument = getattr(role, "_instrument", None)
        if not isinstance(instrument, tuple(CLASSES)):
            pytest.skip(f"{name} runs through a class that is not ours")
        for prop in own_properties(type(instrument)):
            value = getattr(instrument, prop)
            if settable(type(instrument), prop):
                setattr(instrument, prop, value)
            assert misunderstood(virtual.meter) == [], prop


@pytest.mark.parametrize("name", LIGHTS)
def test_a_light_source_arms_a_pulse_on_its_twin(name: str, shipped: BenchFile) -> None:
    light = LIGHTS[name]
    load_, drive_V = next(iter(light.drive_V.items()))
    entry = shipped.light.model_copy(update={"driver": name, "load": load_, **BESIDES.get(name, {})})
    bench = shipped.model_copy(update={"light": entry})
    with linked(bench, "light") as (virtual, adapter):
        role = build("light", adapter, bench, virtual.world.clock)
        role.identify()
        role.reset()
        role.arm_pulse(sum(drive_V) / 2, max(light.delay_s[0], 0.1), min(light.width_s[1], 0.1))
        role.make_safe()
        assert misunderstood(virtual.light) == []


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_closes_and_opens_on_its_twin(name: str, shipped: BenchFile) -> None:
    entry = shipped.switch.model_copy(update={"driver": name, **BESIDES.get(name, {})})
    bench = shipped.model_copy(update={"switch": entry})
    with linked(bench, "switch") as (virtual, adapter):
        role = build("switch", adapter, bench, virtual.world.clock)
        role.identify()
        role.reset()
        role.close(1)
        role.make_safe()
        assert misunderstood(virtual.switch) == []


CONDITIONS = [("gate", name) for name in BIASES] + [("temperature", name) for name in STAGES] + [
    ("power", name) for name in POWER_METERS
]  # fmt: skip


@pytest.mark.parametrize(("role", "name"), CONDITIONS)
def test_a_condition_s_driver_does_on_its_twin_what_its_role_asks(
    role: str, name: str, write_conditions: Callable[..., Path]
) -> None:
    edits = [('"keithley-2400"', f'"{name}"')] if role == "gate" else []
    if role == "power":
        table = f'[power]\ndriver = "{name}"\naddress = "USB0::1::2::3::INSTR"\nidentity = "VIRTUAL"\n\n'
        light = '[virtual.light]\nthreshold = "2 V"\ndrive = "5 V"\npower = "3 mW"\n'
        edits = [("[limits]\n", table + "[limits]\n"), ("[virtual.noise]", light + "\n[virtual.noise]")]
    bench = load_bench(write_conditions(*edits))
    with linked(bench, role) as (virtual, adapter):
        instrument: Any = build(role, adapter, bench, virtual.world.clock)
        assert "VIRTUAL" in instrument.identify()
        instrument.reset()
        if role == "gate":
            instrument.apply(-0.5)
            assert virtual.twins[role].bias_V == -0.5
        elif role == "temperature":
            instrument.go_to(300.0)
            assert virtual.twins[role].output_on
        else:
            instrument.expect(635e-9)
            virtual.world.light_on(virtual.world.now_s, 1e9, 4.0)
            assert instrument.power_W() == pytest.approx(2e-3)
        instrument.make_safe()
        assert not virtual.twins[role].output_on
        if role != "temperature":  # the one that has no error queue
            assert misunderstood(getattr(virtual.twins[role], "_twin", virtual.twins[role])) == []
