"""Drivers that nobody here wrote, unmodified, on our twins: each property set, read back, and whose fault it is if not.

    python tests/benchmarks/upstream_drivers.py [--route tcp] [--output tests/benchmarks/results/upstream_drivers.json]

QCoDeS comes with the extra `drivers`; without it PyMeasure's drivers alone are tried. A property is right if what was
set reads back and the instrument's error queue is empty; `FAULTS` names every one that is not, with whose fault.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from otters_lab.core.tomlfile import TomlText
from otters_lab.instruments.benchfile import BenchFile, bench_of
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.setups import AmplifierTable
from otters_lab.instruments.virtual.assemble import build_virtual

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "instruments" / "virtual.toml"
# What the shipped bench does not have: a stage, a power meter, and light for it to see.
MORE = """
[temperature]
driver = "lakeshore-336"
address = "GPIB0::12::INSTR"
identity = "MODEL336"
tolerance = "0.1 K"
soak = "10 s"
after = "off"

[power]
driver = "thorlabs-pm100usb"
address = "USB0::0x1313::0x8072::P0000001::INSTR"
identity = "PM100USB"

[virtual.light]
threshold = "100 mV"
drive = "5 V"
power = "25 uW"
dark = "40 nW"
"""
HAS_QCODES = importlib.util.find_spec("qcodes") is not None
TIMEOUT_S = 0.3
READ_ONLY = object()  # asked for, not set
AMPLIFIER = AmplifierTable.model_validate(  # of whatever measures volts
    {"gain": "1e6 V/A", "bandwidth": "1 MHz", "output_limit": "10 V", "inverting": False}
)


@dataclass(frozen=True)
class Row:
    """One property tried. `fault` is "upstream" or "ours" where it is not right, with `why`."""

    driver: str
    property: str
    asked: str
    found: str
    right: bool
    fault: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class Driver:
    """An upstream driver: on which twin, how it is made and asked, and what is tried: name, value, what is expected."""

    name: str
    role: str
    twin: str
    make: Callable[[Any, str], Any]
    read: Callable[[Any, str], Any]
    write: Callable[[Any, str, Any], None]
    error: Callable[[Any], str]
    close: Callable[[Any], None]
    tries: list[tuple[str, Any, Any]]
    identity: str | None = None


# --- routes -----------------------------------------------------------------------------------------------------------


@contextmanager
def in_process(bench: BenchFile, role: str, identity: str | None) -> Iterator[tuple[Any, str]]:
    """A VISA library in this process, and the twin's address on it."""
    virtual = build_virtual(bench)
    if identity:
        virtual.twins[role].identity = identity
    yield virtual.library, getattr(bench, role).address


@contextmanager
def over_tcp(bench: BenchFile, role: str, identity: str | None) -> Iterator[tuple[Any, str]]:
    """pyvisa-py, and the twin's address on 127.0.0.1."""
    from otters_lab.instruments.virtual import server  # type: ignore[attr-defined]

    built = server.build_virtual

    def with_identity(*arguments: Any, **options: Any) -> Any:
        virtual = built(*arguments, **options)
        if identity:
            virtual.twins[role].identity = identity
        return virtual

    server.build_virtual = with_identity
    try:
        with server.serving(bench) as served:
            yield "@py", getattr(served, role).address
    finally:
        server.build_virtual = built


ROUTES = {"in process": in_process, "tcp": over_tcp}


def route_exists(route: str) -> bool:
    """Whether this version has that route."""
    return route == "in process" or importlib.util.find_spec("otters_lab.instruments.virtual.server") is not None


# --- the two packages -------------------------------------------------------------------------------------------------


def reach(instrument: Any, path: str) -> tuple[Any, str]:
    """The object that has the last name of a dotted path, and that name."""
    *parents, name = path.split(".")
    for parent in parents:
        instrument = getattr(instrument, parent)
    return instrument, name


def of_pymeasure(
    name: str, role: str, twin: str, class_path: str, error: Any, tries: Any, prepare: Any = None, **more: Any
) -> Driver:
    """`prepare` is done with the instrument before its properties are tried."""

    def make(library: Any, address: str) -> Any:
        from pymeasure.adapters import VISAAdapter

        from otters_lab.instruments.links import send_at_once

        module, _, class_name = class_path.rpartition(".")
        adapter = VISAAdapter(
            address,
            visa_library=library,
            timeout=round(TIMEOUT_S * 1000),
            read_termination="\n",
            write_termination="\n",
        )
        send_at_once(adapter.connection)
        instrument = getattr(importlib.import_module(module), class_name)(adapter)
        if prepare:
            prepare(instrument)
        return instrument

    def write(instrument: Any, path: str, value: Any) -> None:
        owner, name = reach(instrument, path)
        if not hasattr(type(owner), name):  # or Python would make an attribute of it, which reads back well
            raise AttributeError(f"{type(owner).__name__} has no {name}")
        setattr(owner, name, value)

    return Driver(
        name, role, twin, make, write=write,
        read=lambda instrument, path: getattr(*reach(instrument, path)),
        error=error, close=lambda instrument: instrument.adapter.connection.close(), tries=tries, **more,
    )  # fmt: skip


def of_qcodes(name: str, role: str, twin: str, class_name: str, module: str, tries: Any, **more: Any) -> Driver:
    def make(library: Any, address: str) -> Any:
        import pyvisa

        ends = {"read_termination": "\n", "write_termination": "\n"}
        resource = pyvisa.ResourceManager(library).open_resource(address, **ends)
        found = getattr(importlib.import_module(f"qcodes.instrument_drivers.{module}"), class_name)
        # VisaInstrument takes an open resource, its drivers' signatures an address: it is handed over as `resource`.
        return found("tried", None, resource=resource, device_clear=False, timeout=TIMEOUT_S)

    def ask(instrument: Any) -> str:
        if "Lakeshore" in name:
            return event_register(instrument)
        question = "errorqueue.next()" if "2600" in name else ":SYST:ERR?"
        return str(instrument.ask(question))

    return Driver(
        name, role, twin, make,
        read=lambda instrument, path: getattr(*reach(instrument, path))(),
        write=lambda instrument, path, value: getattr(*reach(instrument, path))(value),
        error=ask, close=lambda instrument: instrument.close(), tries=tries, **more,
    )  # fmt: skip


def same(found: Any, expected: Any) -> bool:
    """Whether a value is the expected one, numbers to a millionth; a callable judges by itself."""
    if callable(expected):
        return bool(expected(found))
    try:
        return math.isclose(float(found), float(expected), rel_tol=1e-6, abs_tol=1e-15)
    except (TypeError, ValueError):
        return bool(found == expected)


def no_error(reply: str) -> bool:
    """Whether the queue was empty."""
    return float(reply.replace("\t", ",").split(",")[0]) == 0


def bench_with_more() -> BenchFile:
    """The shipped virtual bench, and `MORE`."""
    text = BENCH.read_text(encoding="utf-8").replace("[limits]", '[limits]\ntemperature = ["250 K", "350 K"]', 1) + MORE
    return bench_of(TomlText(BENCH, text, tomllib.loads(text)))


def try_driver(driver: Driver, route: str) -> list[Row]:
    """Every property of one driver on one route."""
    bench = bench_with_more()
    if driver.role == "meter":
        amplifier = AMPLIFIER if METERS[driver.twin].ranges_V else None
        meter = bench.meter.model_copy(update={"driver": driver.twin, "amplifier": amplifier})
        bench = bench.model_copy(update={"meter": meter})
    rows = []
    with ROUTES[route](bench, driver.role, driver.identity) as (library, address), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream's deprecations are not ours to judge
        instrument = driver.make(library, address)
        try:
            for name, value, expected in driver.tries:
                rows.append(try_property(driver, instrument, name, value, expected))
        finally:
            driver.close(instrument)
    return rows


def try_property(driver: Driver, instrument: Any, name: str, value: Any, expected: Any) -> Row:
    """Sets one property, reads it back, and looks into the error queue."""
    found: Any = None
    try:
        if value is not READ_ONLY:
            driver.write(instrument, name, value)
        found = driver.read(instrument, name)
        right, shown = same(found, expected), repr(found)
    except Exception as error:
        right, shown = False, f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    queue = []
    while not no_error(reply := driver.error(instrument)):
        queue.append(" ".join(reply.split("\t")[:2]))
    if queue:
        right, shown = False, f"{shown}; error queue: {'; '.join(queue)}"
    asked = "read" if value is READ_ONLY else repr(value)
    fault, why = (None, None) if right else FAULTS.get((driver.name, name, asked), ("unknown", None))
    return Row(driver.name, name, asked, shown, right, fault, why)


# --- what is tried ----------------------------------------------------------------------------------------------------


def each(*tries: tuple[Any, ...]) -> list[tuple[str, Any, Any]]:
    """Tries as (name, value, expected); the expected value is the value set unless another is given."""
    return [(name, value, rest[0] if rest else value) for name, value, *rest in tries]


def finite(value: Any) -> bool:
    """Whether it is a finite number, and none of SCPI's stand-ins for one."""
    return math.isfinite(float(value)) and abs(float(value)) < 9.9e37


def scpi_error(instrument: Any) -> str:
    return str(instrument.ask(":SYST:ERR?"))


def event_register(instrument: Any) -> str:
    """A Lake Shore has no error queue: command, query and execution errors are bits of a register."""
    return str(instrument.ask("*ESR?"))


PYMEASURE_2400 = each(
    ("source_mode", "voltage"), ("source_voltage_range", 2.0), ("source_voltage", 0.5),
    ("source_voltage_range_auto_enabled", True), ("source_current_range", 1e-3), ("source_current", 1e-4),
    ("source_current_range_auto_enabled", True), ("source_delay", 0.1), ("source_delay_auto_enabled", False),
    ("auto_zero_enabled", False), ("output_off_state", "disconnected"), ("output_off_state", "zero"),
    ("auto_output_off_enabled", False), ("filter_enabled", True), ("repeat_filter_enabled", True), ("filter_count", 5),
    ("filter_enabled", False), ("compliance_current", 2e-5), ("current_range", 1e-5, 1.05e-5),
    ("current_range_auto_enabled", True), ("current_nplc", 0.1), ("voltage_nplc", 0.5), ("compliance_voltage", 10.0),
    ("voltage_range", 2.0, 2.1), ("voltage_range_auto_enabled", True), ("wires", 4), ("wires", 2),
    ("front_terminals_enabled", False), ("line_frequency", READ_ONLY, 50), ("display_enabled", False),
    ("trigger_count", 7), ("arm_count", 1), ("trigger_delay", 0.01), ("trigger_source", "immediate"),
    ("arm_source", "immediate"), ("trigger_output_event", "delay"), ("trigger_output_event", "none"),
    ("arm_output_event", "trigger_enter"), ("arm_output_event", "trigger_exit"), ("arm_output_event", "none"),
    ("trigger_output_line", 3), ("arm_output_line", 2), ("trigger_input_line", 1), ("arm_input_line", 1),
    ("arm_timer", 0.5), ("buffer_points", 100), ("buffer_points", 2000), ("source_enabled", True),
    ("trigger_count", 1), ("current", READ_ONLY, finite), ("source_enabled", False),
    ("line_frequency_auto_enabled", True), ("resistance_mode_auto_enabled", False), ("resistance_nplc", 1.0),
    ("means", READ_ONLY, finite),
)  # fmt: skip

PYMEASURE_2600 = each(
    ("ChA.source_mode", "voltage"), ("ChA.source_voltage", 0.5), ("ChA.source_voltage_range", 20.0),
    ("ChA.compliance_current", 1e-3), ("ChA.compliance_current", 2e-7), ("ChA.compliance_voltage", 10.0),
    ("ChA.current_range", 1e-6), ("ChA.voltage_range", 20.0), ("ChA.measure_nplc", 0.1), ("ChA.measure_nplc", 1.0),
    ("ChA.measure_nplc", READ_ONLY, 1.0),
    ("ChA.wires_mode", "4"), ("ChA.wires_mode", "2"), ("ChA.source_output", "ON"), ("ChA.current", READ_ONLY, finite),
    ("ChA.voltage", READ_ONLY, finite), ("ChA.source_output", "OFF"), ("ChB.source_voltage", 0.25),
    ("next_error", READ_ONLY, lambda error: error[0] == 0),
)  # fmt: skip

PYMEASURE_6517B = each(
    ("current_range", 2e-11), ("current_range", 2e-6), ("current_range", 20e-3),
    ("current_nplc", 0.01), ("current_nplc", 0.5), ("current_nplc", 10.0), ("source_voltage", -99.5),
    ("source_voltage", 0.5), ("source_enabled", READ_ONLY, False), ("buffer_points", 1), ("buffer_points", 50_000),
    ("buffer_points", 60_000), ("current", READ_ONLY, finite),
    ("next_error", READ_ONLY, lambda error: error[0] == 0), ("id", READ_ONLY, lambda text: "MODEL 6517B" in text),
    ("complete", READ_ONLY, "1"), ("status", READ_ONLY, "0"),
    ("source_voltage_range", 1000.0), ("source_current_resistance_limit", False), ("voltage_range", 20.0),
    ("voltage_nplc", 1.0), ("resistance_nplc", 1.0),
)  # fmt: skip


def measure_current(electrometer: Any) -> None:
    """Amps, with the source in operate. PyMeasure has no command for zero check nor for joining source and ammeter."""
    electrometer.measure_current(nplc=1, current=2e-6, auto_range=False)
    electrometer.write(":SYST:ZCH 0;:SOUR:VOLT:MCON 1")


PYMEASURE_33500 = each(
    ("shape", "PULS"), ("frequency", 2e3), ("voltage_high", 3.0), ("voltage_low", -1.0), ("pulse_period", 2.0),
    ("pulse_width", 2e-4), ("burst_state", True), ("burst_mode", "TRIG"), ("burst_ncycles", 3),
    ("trigger_source", "EXT"), ("output_load", 50.0), ("output", True), ("output", False),
    ("amplitude", 1.0), ("offset", 0.1), ("pulse_dutycycle", 20.0), ("pulse_hold", "WIDT"),
    ("burst_period", 1.0), ("arb_srate", 1e5),
)  # fmt: skip

PYMEASURE_6500 = each(
    ("command_set", "SCPI"), ("mode", "voltage"), ("line_frequency", READ_ONLY, 50), ("range", 10.0),
    ("autorange_enabled", True), ("autorange_enabled", False), ("nplc", 0.5), ("aperture", 0.02),
    ("nplc", READ_ONLY, 1), ("relative", 0.5), ("relative_enabled", True), ("relative_enabled", False), ("digits", 5),
    ("autozero_enabled", False), ("terminals_used", READ_ONLY, "FRONT"), ("voltage_range", 1.0),
    ("voltage_relative", 0.25), ("voltage_relative_enabled", True), ("voltage_relative_enabled", False),
    ("voltage_nplc", 0.01), ("voltage_digits", 4), ("points_in_buffer", READ_ONLY, 0), ("voltage", READ_ONLY, finite),
    ("points_in_buffer", READ_ONLY, 1), ("buffer_points", 1000), ("data_format", "ASC"), ("current_range", 1e-3),
    ("current_nplc", 2.0), ("current_relative", 1e-3), ("current_digits", 3), ("mode", "current"),
    ("current", READ_ONLY, 0.0), ("current_ac_range", 0.1), ("current_ac_bandwidth", 30), ("current_ac_digits", 5),
    ("mode", "voltage ac"), ("range", 100.0), ("detector_bandwidth", 300), ("voltage_ac_range", 10.0),
    ("voltage_ac_relative", 0.1), ("voltage_ac_bandwidth", 3), ("resistance_range", 1e4), ("resistance_nplc", 5.0),
    ("resistance_digits", 6), ("resistance_4W_range", 1e6), ("resistance_4W_nplc", 0.1), ("mode", "resistance 4W"),
    ("nplc", 3.0), ("temperature_nplc", 1.0), ("mode", "temperature"), ("scan_count", 3), ("scan_interval", 5),
    ("mode", "frequency"), ("mode", "period"), ("mode", "capacitance"), ("diode_bias", 1e-3),
    ("scan_id", READ_ONLY, lambda reply: bool(reply)),
)  # fmt: skip

PYMEASURE_DSOX1102G = each(
    ("ch1.bwlimit", True), ("ch1.coupling", "ac"), ("ch1.coupling", "dc"), ("ch2.display", True), ("ch1.invert", True),
    ("ch1.invert", False), ("ch1.label", "TIA"), ("ch1.probe_attenuation", 10.0),
    ("ch1.probe_attenuation", 1.0), ("ch1.range", 4.0), ("ch1.scale", 0.1), ("ch1.offset", 0.25),
    ("timebase_mode", "main"), ("timebase_offset", 1e-3), ("timebase_offset", 2.5e-7), ("timebase_range", 2e-2),
    ("timebase_scale", 1e-3), ("timebase_scale", 5e-7), ("acquisition_type", "normal"),
    ("acquisition_type", "hresolution"), ("acquisition_mode", "realtime"), ("waveform_points_mode", "raw"),
    ("waveform_points", 5000), ("waveform_source", "channel1"), ("waveform_format", "byte"),
    ("waveform_format", "ascii"), ("timebase", READ_ONLY, lambda found: found["MODE"] == "MAIN"),
    ("ch1.current_configuration", READ_ONLY, lambda found: found["CHAN"] == 1),
)  # fmt: skip

PYMEASURE_SDS1000XHD = each(
    ("channel_2.display_enabled", True), ("channel_1.visible_enabled", True), ("channel_1.scale", 0.5),
    ("channel_1.offset", 0.25), ("channel_1.coupling", "AC"), ("channel_1.coupling", "DC"), ("channel_1.invert", True),
    ("channel_1.invert", False), ("channel_1.unit", "A"), ("channel_1.label", "TIA"), ("channel_1.probe", 10),
    ("channel_1.bandwidth_limit_enabled", True), ("timebase.scale", 1e-3), ("timebase.delay", 2e-3),
    ("acquisition.memory_management", "FMDepth"), ("acquisition.memory_depth", "100K", "100k"),
    ("acquisition.plot_mode", "YT"), ("acquisition.type", "NORMal"), ("acquisition.points", READ_ONLY, 100_000),
    ("acquisition.sample_rate", READ_ONLY, 1e7), ("acquisition.sequence_count", 2), ("trigger.mode", "NORMal"),
    ("trigger.type", READ_ONLY, "EDGE"), ("trigger.edge_source", "C2"), ("trigger.edge_slope", "RISing"),
    ("trigger.edge_coupling", "DC"), ("trigger.edge_level", 1.0), ("trigger.status", READ_ONLY, "Ready"),
    ("wf_C1.source", "C1"), ("wf_C1.width", "WORD"), ("wf_C1.start_point", 10), ("wf_C1.point", 100),
    ("wf_C1.interval", 2), ("wf_C1.max_point", READ_ONLY, finite),
)  # fmt: skip

PYMEASURE_PM100USB = each(
    ("sensor_name", READ_ONLY, '"S130VC"'), ("wavelength_min", READ_ONLY, 400.0), ("wavelength_max", READ_ONLY, 1100.0),
    ("wavelength", READ_ONLY, 635.0), ("wavelength", 455.0), ("wavelength", 2000.0, 1100.0),
    ("wavelength_settable", READ_ONLY, True), ("is_power_sensor", READ_ONLY, True), ("power", READ_ONLY, 40e-9),
    ("is_energy_sensor", READ_ONLY, False), ("has_temperature_sensor", READ_ONLY, False),
)  # fmt: skip

PYMEASURE_336 = each(
    ("input_A.kelvin", READ_ONLY, 295.0), ("input_A.celsius", READ_ONLY, 21.85), ("input_A.sensor", READ_ONLY, finite),
    ("input_D.kelvin", READ_ONLY, 295.0), ("input_D5.kelvin", READ_ONLY, finite), ("output_1.setpoint", 310.25),
    ("output_2.setpoint", 77.0), ("output_1.range", "medium"), ("output_1.output", READ_ONLY, 50.0),
    ("output_1.range", "off"), ("output_1.output", READ_ONLY, 0.0), ("output_1.mout", 12.5), ("output_3.setpoint", 4.2),
    ("output_4.range", "low"), ("output_4.range", "high"), ("output_3.output", READ_ONLY, finite),
)  # fmt: skip

QCODES_335 = each(
    ("A.temperature", READ_ONLY, 295.0), ("A.sensor_raw", READ_ONLY, finite), ("A.sensor_status", READ_ONLY, "OK"),
    ("A.sensor_name", "chip"), ("A.sensor_name", "chip_on_a_stage"),
    ("A.t_limit", 350.0), ("A.units", READ_ONLY, "kelvin"), ("A.units", "celsius"),
    ("A.units", "kelvin"), ("A.sensor_type", "platinum_rtd"), ("A.auto_range_enabled", True), ("A.range", 3),
    ("A.compensation_enabled", True), ("output_1.mode", "closed_loop"), ("output_1.input_channel", "A"),
    ("output_1.powerup_enable", True), ("output_1.P", 42.0), ("output_1.I", 13.0), ("output_1.D", 5.0),
    ("output_1.setpoint_ramp_rate", 30.0), ("output_1.setpoint_ramp_enabled", True),
    ("output_1.setpoint_ramp_status", READ_ONLY, False), ("output_1.setpoint", 310.0),
    ("output_1.output_range", "medium"), ("output_1.output", READ_ONLY, 50.0),
    ("output_1.setpoint_ramp_status", READ_ONLY, True), ("output_1.output_range", "off"),
    ("output_1.output_heater_resistance", "50ohm"), ("output_1.output_max_current", READ_ONLY, "1A"),
)  # fmt: skip
QCODES_336 = QCODES_335 + each(
    ("A.curve_number", READ_ONLY, 1), ("A.curve_name", READ_ONLY, lambda name: str(name).strip() == "DT-670"),
    ("A.curve_limit", READ_ONLY, 500.0), ("A.curve_coefficient", READ_ONLY, "negative"),
    ("A.curve_format", READ_ONLY, "V/K"), ("output_3.mode", "monitor_out"), ("output_3.output_range", "low"),
    ("output_3.output_range", "medium"), ("output_4.input_channel", "D"),
)  # fmt: skip

QCODES_2400 = each(
    ("mode", "VOLT"), ("rangev", 2.0), ("rangei", 1e-4), ("compliancev", 10.0), ("compliancei", 1e-3),
    ("compliancei", 2e-7), ("sense", "CURR"), ("nplcv", 0.1), ("nplci", 0.5), ("output", True), ("volt", 0.5),
    ("curr", READ_ONLY, finite), ("resistance", READ_ONLY, finite), ("output", False),
)  # fmt: skip

QCODES_2450 = each(
    ("source_function", "voltage"), ("sense_function", "current"), ("terminals", "rear"), ("terminals", "front"),
    ("line_frequency", READ_ONLY, 50), ("source.limit", 2e-5), ("source.voltage", 0.5), ("sense.range", 1e-6),
    ("sense.auto_range", False), ("sense.nplc", 0.5), ("sense.four_wire_measurement", True),
    ("sense.auto_zero_enabled", False), ("sense.count", 1), ("source.read_back_enabled", False),
    ("output_enabled", True), ("sense.current", READ_ONLY, finite), ("output_enabled", False),
    ("_buffer_defbuffer1.size", 1000), ("_buffer_defbuffer1.number_of_readings", READ_ONLY, 0), ("source.range", 2.0),
    ("source.auto_range", True), ("source.delay", 0.01), ("source.auto_delay", False),
    ("source.limit_tripped", READ_ONLY, False),
)  # fmt: skip

QCODES_2600 = each(
    ("smua.mode", "voltage"), ("smua.linefreq", READ_ONLY, 50), ("smua.nplc", 1.0), ("smua.nplc", 0.05),
    ("smua.four_wire_measurement", True), ("smua.four_wire_measurement", False), ("smua.sourcerange_v", 20.0),
    ("smua.source_autorange_v_enabled", True), ("smua.measurerange_v", 20.0),
    ("smua.measure_autorange_v_enabled", True), ("smua.sourcerange_i", 1e-3),
    ("smua.source_autorange_i_enabled", True), ("smua.measurerange_i", 1e-6), ("smua.measurerange_i", 1e-2),
    ("smua.measure_autorange_i_enabled", True), ("smua.limitv", 10.0), ("smua.limiti", 1e-3), ("smua.output", True),
    ("smua.volt", 0.5), ("smua.curr", READ_ONLY, finite), ("smua.res", READ_ONLY, finite), ("smua.output", False),
    ("smub.mode", READ_ONLY, "voltage"),
)  # fmt: skip
QCODES_2601 = [
    (name, {20.0: 6.0}.get(value, value), {20.0: 6.0}.get(expected, expected)) if isinstance(value, float) else row
    for row in QCODES_2600
    for name, value, expected in [row]
]

QCODES_6500 = each(
    ("mode", "dc voltage"), ("nplc", 0.5), ("range", 10.0), ("auto_range_enabled", True),
    ("auto_range_enabled", False), ("digits", READ_ONLY, 6), ("digits", 5), ("averaging_type", "moving"),
    ("averaging_type", "repeat"), ("averaging_count", 5), ("averaging_enabled", True), ("averaging_enabled", False),
    ("amplitude", READ_ONLY, finite), ("display_backlight", "On 100"), ("display_backlight", "Off"),
    ("display_backlight", "Blackout"), ("trigger_count", 10), ("trigger_timer", 0.1), ("trigger1_delay", 0.5),
    ("trigger4_delay", 2.0), ("trigger1_source", "external"), ("trigger2_source", "timer1"),
    ("trigger3_source", "bus"), ("trigger4_source", "immediate"), ("mode", "dc current"), ("range", 1e-3),
    ("nplc", 2.0), ("amplitude", READ_ONLY, 0.0), ("mode", "ac voltage"), ("range", 100.0), ("mode", "ac current"),
    ("mode", "2w resistance"), ("range", 1e4), ("mode", "4w resistance"), ("mode", "temperature"), ("nplc", 1.0),
    ("mode", "frequency"),
)  # fmt: skip

QCODES_33522 = each(
    ("ch1.function_type", "PULS"), ("ch1.frequency", 2e3), ("ch1.trigger_source", "EXT"), ("ch1.trigger_slope", "POS"),
    ("ch1.trigger_delay", 0.1), ("ch1.burst_state", "ON"), ("ch1.burst_mode", "N Cycle"), ("ch1.burst_ncycles", 3),
    ("ch1.pulse_width", 1e-4), ("ch1.output", "ON"), ("ch1.output", "OFF"), ("ch1.amplitude", 1.0),
    ("ch1.offset", 0.1), ("ch1.phase", 0.0), ("ch1.output_polarity", "NORM"), ("ch1.frequency_mode", "CW"),
    ("sync.output", "ON"),
)  # fmt: skip


def drivers() -> list[Driver]:
    """Every upstream driver that can be tried here."""
    found = [
        of_pymeasure("PyMeasure Keithley2400", "meter", "keithley-2400", "pymeasure.instruments.keithley.Keithley2400",
                     scpi_error, PYMEASURE_2400),
        of_pymeasure("PyMeasure Keithley2600", "meter", "keithley-2612b", "pymeasure.instruments.keithley.Keithley2600",
                     lambda instrument: instrument.ask("print(errorqueue.next())"), PYMEASURE_2600),
        of_pymeasure("PyMeasure KeithleyDMM6500", "meter", "keithley-dmm6500",
                     "pymeasure.instruments.keithley.KeithleyDMM6500", scpi_error, PYMEASURE_6500),
        of_pymeasure("PyMeasure Keithley6517B", "meter", "keithley-6517b",
                     "pymeasure.instruments.keithley.Keithley6517B", scpi_error, PYMEASURE_6517B,
                     prepare=measure_current),
        of_pymeasure("PyMeasure Agilent33500", "light", "agilent-33500", "pymeasure.instruments.agilent.Agilent33500",
                     scpi_error, PYMEASURE_33500),
        of_pymeasure("PyMeasure KeysightDSOX1102G", "meter", "keysight-dsox1102g",
                     "pymeasure.instruments.keysight.KeysightDSOX1102G", scpi_error, PYMEASURE_DSOX1102G),
        of_pymeasure("PyMeasure SDS1000XHD", "meter", "siglent-sds1000xhd",
                     "pymeasure.instruments.siglenttechnologies.siglent_sds1000xhd.SDS1000XHD", scpi_error,
                     PYMEASURE_SDS1000XHD),
        of_pymeasure("PyMeasure ThorlabsPM100USB", "power", "thorlabs-pm100usb",
                     "pymeasure.instruments.thorlabs.ThorlabsPM100USB", scpi_error, PYMEASURE_PM100USB),
        of_pymeasure("PyMeasure LakeShore3xx", "temperature", "lakeshore-336",
                     "pymeasure.instruments.lakeshore.LakeShore3xx", event_register, PYMEASURE_336),
    ]  # fmt: skip
    if HAS_QCODES:
        found += [
            of_qcodes("QCoDeS Keithley2400", "meter", "keithley-2400", "Keithley2400", "Keithley", QCODES_2400),
            of_qcodes("QCoDeS Keithley2450", "meter", "keithley-2450", "Keithley2450", "Keithley", QCODES_2450),
            of_qcodes("QCoDeS Keithley2600 (2601B)", "meter", "keithley-2601b", "Keithley2601B", "Keithley",
                      QCODES_2601),
            of_qcodes("QCoDeS Keithley2600 (2636B)", "meter", "keithley-2636b", "Keithley2636B", "Keithley",
                      QCODES_2600),
            of_qcodes("QCoDeS Keithley6500", "meter", "keithley-dmm6500", "Keithley6500", "Keithley", QCODES_6500),
            of_qcodes("QCoDeS Keysight33522B", "light", "agilent-33500", "Keysight33522B", "Keysight", QCODES_33522,
                      identity="Agilent Technologies,33522B,VIRTUAL,2.03-1.19-2.00-52-00"),
            of_qcodes("QCoDeS LakeshoreModel336", "temperature", "lakeshore-336", "LakeshoreModel336", "Lakeshore",
                      QCODES_336),
            of_qcodes("QCoDeS LakeshoreModel335", "temperature", "lakeshore-336", "LakeshoreModel335", "Lakeshore",
                      QCODES_335, identity="LSCI,MODEL335,VIRTUAL/#######,2.0"),
        ]  # fmt: skip
    return found


_NOT_MODELLED = "the twin does not model it: -113"
_NO_FUNCTION = "the twin has no such function: -224"
_NOT_A_CHOICE = "a range taken for a list of choices: ValueError for all but 0.001 and 25"
# HTRSET, and off and on for outputs 3 and 4: as Lake Shore's own Python driver for the 336 has them.
_VOLTAGE_RANGE = "a voltage output of the 336 is off or on, and has no other range"
_NAME_LENGTH = "fifteen characters at least are asked for, where they are the most"
_TABLE: dict[str, dict[tuple[str, str], tuple[str, str]]] = {
    "PyMeasure Keithley2400": {
        ("buffer_points", "2000"): ("upstream", "cut to 1024 without a word; the 2400 has 2500 (manual p. 18-115)"),
        ("line_frequency_auto_enabled", "True"): ("ours", _NOT_MODELLED),
        ("resistance_mode_auto_enabled", "False"): ("ours", _NOT_MODELLED),
        ("means", "read"): ("ours", _NOT_MODELLED),
    },
    "PyMeasure Keithley2600": {
        ("ChA.compliance_current", "2e-07"): ("upstream", "written with %f, six decimals: 0.000000"),
        ("ChA.measure_nplc", "0.1"): ("upstream", _NOT_A_CHOICE),
        ("ChA.measure_nplc", "1.0"): ("upstream", _NOT_A_CHOICE),
        ("ChA.measure_nplc", "read"): ("upstream", "the reply 1.0 is taken for an index into [0.001, 25]: 25"),
    },
    "PyMeasure KeithleyDMM6500": {
        ("mode", "'frequency'"): ("ours", _NO_FUNCTION),
        ("mode", "'period'"): ("ours", _NO_FUNCTION),
        ("mode", "'capacitance'"): ("ours", _NO_FUNCTION),
        ("diode_bias", "0.001"): ("ours", _NOT_MODELLED),
        ("scan_id", "read"): ("ours", _NOT_MODELLED),
    },
    "PyMeasure Keithley6517B": {
        ("buffer_points", "60000"): ("upstream", "taken up to 6 875 000 and sent; the 6517B has 50 000 (p. 8-4)"),
        ("source_voltage_range", "1000.0"): (
            "upstream", "begins with SOUR:VOLT:RANG:AUTO, which the 6517A's table 3-11 does not have: nothing is set"
        ),
        ("source_current_resistance_limit", "False"): (
            "upstream", "SOUR:CURR:RLIM without the :STATe of the 6517A's table 3-11"
        ),
        ("voltage_range", "20.0"): ("ours", _NOT_MODELLED),
        ("voltage_nplc", "1.0"): ("ours", _NOT_MODELLED),
        ("resistance_nplc", "1.0"): ("ours", _NOT_MODELLED),
    },
    "PyMeasure Agilent33500": {
        ("amplitude", "1.0"): ("ours", _NOT_MODELLED),
        ("offset", "0.1"): ("ours", _NOT_MODELLED),
        ("pulse_dutycycle", "20.0"): ("ours", _NOT_MODELLED),
        ("pulse_hold", "'WIDT'"): ("ours", _NOT_MODELLED),
        ("burst_period", "1.0"): ("ours", _NOT_MODELLED),
        ("arb_srate", "100000.0"): ("ours", _NOT_MODELLED),
    },
    "PyMeasure KeysightDSOX1102G": {
        ("ch1.label", "'TIA'"): ("upstream", "the quotes of the reply are kept: get_process_list sees lists alone"),
        ("timebase_offset", "2.5e-07"): ("upstream", "written with %f, six decimals: 0.000000"),
        ("timebase_scale", "5e-07"): ("upstream", "written with %f, six decimals: 0.000000"),
        ("timebase", "read"): ("ours", _NOT_MODELLED),
        ("ch1.current_configuration", "read"): ("ours", _NOT_MODELLED),
    },
    "PyMeasure SDS1000XHD": {
        ("channel_1.probe", "10"): ("upstream", "sends PROBe 10, the guide has PROBe VALue,10"),
        ("channel_1.bandwidth_limit_enabled", "True"): ("upstream", "sends BWLimit ON, the guide has FULL, 20M, 200M"),
        ("acquisition.sequence_count", "2"): ("ours", _NOT_MODELLED),
    },
    "PyMeasure LakeShore3xx": {
        ("input_D5.kelvin", "read"): ("ours", "the twin has no option card 3062"),
        ("output_4.range", "'high'"): ("upstream", _VOLTAGE_RANGE),
        ("output_3.output", "read"): ("upstream", "asks HTR? of a voltage output, which has AOUT?"),
    },
    "QCoDeS LakeshoreModel336": {
        ("A.sensor_name", "'chip'"): ("upstream", _NAME_LENGTH),
        ("output_1.output_heater_resistance", "'50ohm'"): ("upstream", "five fields of HTRSET, the 336 has four"),
        ("output_1.output_max_current", "read"): ("upstream", "five fields of HTRSET, the 336 has four"),
        ("output_3.output_range", "'medium'"): ("upstream", _VOLTAGE_RANGE),
    },
    "QCoDeS LakeshoreModel335": {
        ("A.sensor_name", "'chip'"): ("upstream", _NAME_LENGTH),
        ("output_1.output_heater_resistance", "'50ohm'"): ("ours", "the twin is a 336: four fields of HTRSET"),
        ("output_1.output_max_current", "read"): ("ours", "the twin is a 336: four fields of HTRSET"),
    },
    "QCoDeS Keithley2400": {
        ("rangev", "2.0"): ("upstream", "sets SOUR:VOLT:RANG, asks SENS:VOLT:RANG?"),
        ("rangei", "0.0001"): ("upstream", "sets SOUR:CURR:RANG, asks SENS:CURR:RANG?"),
        ("compliancei", "2e-07"): ("upstream", "written with {:f}, six decimals: 0.000000"),
        ("sense", "'CURR'"): ("upstream", "the reply's quotes and :DC are kept, so it never reads back what was set"),
    },
    "QCoDeS Keithley2450": {
        ("terminals", "'rear'"): ("upstream", "the reply REAR is not mapped to rear"),
        ("terminals", "'front'"): ("upstream", "the reply FRON is not mapped to front"),
        ("source.range", "2.0"): ("ours", _NOT_MODELLED),
        ("source.auto_range", "True"): ("ours", _NOT_MODELLED),
        ("source.delay", "0.01"): ("ours", _NOT_MODELLED),
        ("source.auto_delay", "False"): ("ours", _NOT_MODELLED),
        ("source.limit_tripped", "read"): ("ours", _NOT_MODELLED),
        ("sense.current", "read"): ("ours", _NOT_MODELLED),
    },
    "QCoDeS Keithley2600 (2601B)": {
        ("smub.mode", "read"): ("upstream", "gives a one-channel model a second channel"),
    },
    "QCoDeS Keithley2600 (2636B)": {
        ("smua.measurerange_i", "0.01"): ("upstream", "its table of ranges has 10 uA twice and no 10 mA"),
    },
    "QCoDeS Keithley6500": {
        ("auto_range_enabled", "False"): ("upstream", "the truth of the reply's text is taken: 0 reads as True"),
        ("averaging_enabled", "False"): ("upstream", "the truth of the reply's text is taken: 0 reads as True"),
        ("digits", "5"): ("upstream", "set by a query, DISP:VOLT:DC:DIG? 5"),
        ("display_backlight", "'Blackout'"): ("upstream", "waits for BLACkout, in mixed case, in the reply"),
        ("mode", "'frequency'"): ("ours", _NO_FUNCTION),
    },
    "QCoDeS Keysight33522B": {
        ("ch1.amplitude", "1.0"): ("ours", _NOT_MODELLED),
        ("ch1.offset", "0.1"): ("ours", _NOT_MODELLED),
        ("ch1.phase", "0.0"): ("ours", _NOT_MODELLED),
        ("ch1.output_polarity", "'NORM'"): ("ours", _NOT_MODELLED),
        ("ch1.frequency_mode", "'CW'"): ("ours", _NOT_MODELLED),
    },
}  # fmt: skip
FAULTS = {(driver, *what): fault for driver, table in _TABLE.items() for what, fault in table.items()}


def versions() -> dict[str, str]:
    """Of what was tried, and with what."""
    names = ["pymeasure", "pyvisa", "pyvisa-py", *(["qcodes"] if HAS_QCODES else [])]
    return {name: importlib.metadata.version(name) for name in names}


def summary(rows: list[Row]) -> list[dict[str, Any]]:
    """Counts by driver."""
    counts = []
    for name in dict.fromkeys(row.driver for row in rows):
        mine = [row for row in rows if row.driver == name]
        wrong = [row for row in mine if not row.right]
        counts.append(
            {
                "driver": name,
                "tried": len(mine),
                "right": len(mine) - len(wrong),
                "upstream at fault": sum(row.fault == "upstream" for row in wrong),
                "twin at fault": sum(row.fault == "ours" for row in wrong),
                "unexplained": sum(row.fault == "unknown" for row in wrong),
            }
        )
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--route", action="append", choices=list(ROUTES))
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    routes = given.route or [route for route in ROUTES if route_exists(route)]
    result: dict[str, Any] = {
        "command": "python tests/benchmarks/upstream_drivers.py " + " ".join(sys.argv[1:]),
        "python": sys.version.split()[0],
        "versions": versions(),
        "routes": {},
    }
    for route in routes:
        rows = [row for driver in drivers() for row in try_driver(driver, route)]
        result["routes"][route] = {"summary": summary(rows), "rows": [asdict(row) for row in rows]}
        for count in summary(rows):
            print(route, count)
        for row in rows:
            if not row.right:
                print(f"  {row.fault}: {row.driver}.{row.property} = {row.asked}: {row.found} ({row.why})")
    if given.output:
        given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
