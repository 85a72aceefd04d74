"""Drivers that nobody here wrote, unmodified, on the twins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import pyvisa
from pymeasure.adapters import VISAAdapter
from pymeasure.instruments.agilent import Agilent33500
from pymeasure.instruments.keithley import Keithley2700, Keithley6517B
from pymeasure.instruments.keysight import KeysightDSOX1102G
from pymeasure.instruments.siglenttechnologies.siglent_sds1000xhd import SDS1000XHD

from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.benchtables import InstrumentEntry
from otters_lab.instruments.drivers.registry import build
from otters_lab.instruments.setups import AmplifierTable
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual

ENDS = {"read_termination": "\n", "write_termination": "\n"}


@pytest.fixture
def generator(twins: VirtualBench) -> Iterator[Agilent33500]:
    adapter = VISAAdapter("GPIB0::10::INSTR", visa_library=twins.library, **ENDS)
    yield Agilent33500(adapter)
    adapter.connection.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", "PULS"), ("voltage_high", 3.0), ("voltage_low", -1.0), ("pulse_period", 2.0), ("pulse_width", 2e-4),
        ("burst_state", True), ("burst_mode", "GAT"), ("burst_ncycles", 3), ("trigger_source", "EXT"), ("output", True),
        ("output_load", 50.0), ("frequency", 2e3),
    ],
)  # fmt: skip
def test_pymeasures_generator_sets_and_reads_back(generator: Agilent33500, name: str, value: Any) -> None:
    setattr(generator, name, value)
    expected = pytest.approx(value) if isinstance(value, float) else value
    assert getattr(generator, name) == expected
    assert generator.check_errors() == []


def test_pymeasures_matrix_closes_reads_back_and_opens(twins: VirtualBench) -> None:
    adapter = VISAAdapter("GPIB0::16::INSTR", visa_library=twins.library, **ENDS)
    matrix = Keithley2700(adapter)
    assert matrix.cards[1] == "7709"
    matrix.closed_channels = [101, 108]
    assert matrix.closed_channels == [101, 108]
    matrix.open_channels = [101]
    assert matrix.closed_channels == [108]
    matrix.open_all_channels()
    assert matrix.closed_channels == []
    assert matrix.check_errors() == []
    adapter.connection.close()


@pytest.fixture
def electrometer(quiet: BenchFile) -> Iterator[tuple[VirtualBench, Keithley6517B]]:
    """PyMeasure's electrometer on the first device of the quiet bench, set up for amps with the source on.

    PyMeasure has no command for zero check nor for joining source and ammeter.
    """
    bench = quiet.model_copy(update={"meter": quiet.meter.model_copy(update={"driver": "keithley-6517b"})})
    virtual = build_virtual(bench)
    virtual.world.closed_channels.add(bench.switch.channels[1])
    adapter = VISAAdapter(bench.meter.address, visa_library=virtual.library, **ENDS)
    instrument = Keithley6517B(adapter)
    instrument.measure_current(nplc=1, current=2e-7, auto_range=False)
    instrument.source_voltage = 0.5
    instrument.write(":SYST:ZCH 0;:SOUR:VOLT:MCON 1")
    instrument.enable_source()
    yield virtual, instrument
    adapter.connection.close()


def test_pymeasures_electrometer_reads_what_the_chip_gives(electrometer: tuple[VirtualBench, Keithley6517B]) -> None:
    _, instrument = electrometer
    assert instrument.source_enabled
    assert instrument.current == pytest.approx(20e-9, rel=1e-4)
    instrument.current_range = 2e-9
    assert instrument.current == 9.9e37  # an overflow, for PyMeasure a current
    instrument.write(":SYST:ZCH 1")
    assert instrument.current == 9.91e37  # and so is a reading under zero check
    instrument.disable_source()
    assert not instrument.source_enabled
    assert instrument.check_errors() == []


def test_pymeasures_buffer_fills_and_says_so(electrometer: tuple[VirtualBench, Keithley6517B]) -> None:
    """What PyMeasure lacks is written by hand: the trigger count, the elements, and what *STB? is to tell."""
    virtual, instrument = electrometer
    instrument.buffer_points = 5
    instrument.reset_buffer()
    instrument.write(":TRIG:COUN 5;:FORM:ELEM READ;:TRAC:ELEM NONE;:STAT:MEAS:ENAB 512;*SRE 1")
    instrument.start_buffer()
    assert not instrument.is_buffer_full()
    virtual.world.clock.sleep(0.2)
    assert instrument.is_buffer_full()
    assert list(instrument.buffer_data) == pytest.approx([20e-9] * 5, rel=1e-4)
    assert instrument.check_errors() == []


@pytest.mark.parametrize(
    ("name", "value"), [("source_voltage_range", 1000.0), ("source_current_resistance_limit", False)]
)
def test_pymeasures_electrometer_sends_two_headers_that_the_manual_lacks(
    electrometer: tuple[VirtualBench, Keithley6517B], name: str, value: Any
) -> None:
    """Why our own driver sends others."""
    _, instrument = electrometer
    setattr(instrument, name, value)
    assert [error[0] for error in instrument.check_errors()] == [-113]


def test_our_roles_pass_the_identity_on(twins: VirtualBench, shipped: BenchFile) -> None:
    def link(entry: InstrumentEntry) -> VISAAdapter:
        return VISAAdapter(entry.address, visa_library=twins.library, **ENDS)

    assert build("meter", link(shipped.meter), shipped, twins.world.clock).identify() == twins.meter.identity
    assert build("light", link(shipped.light), shipped, twins.world.clock).identify() == twins.light.identity
    assert build("switch", link(shipped.switch), shipped, twins.world.clock).identify() == twins.switch.identity


def test_a_read_without_a_query_times_out_and_costs_the_time_out(twins: VirtualBench) -> None:
    link = pyvisa.ResourceManager(twins.library).open_resource("GPIB0::18::INSTR", timeout=1500, **ENDS)
    before_s = twins.world.now_s
    with pytest.raises(pyvisa.VisaIOError, match="VI_ERROR_TMO"):
        link.read()  # type: ignore[attr-defined]
    assert twins.world.now_s - before_s == pytest.approx(1.5)
    link.close()


def test_a_command_over_an_unread_reply_loses_the_reply_and_queues_410(twins: VirtualBench) -> None:
    link: Any = pyvisa.ResourceManager(twins.library).open_resource("GPIB0::18::INSTR", **ENDS)
    link.write("*IDN?")
    assert link.query(":SYST:ERR?") == '-410,"Query INTERRUPTED"'
    link.write("*IDN?")
    link.clear()
    assert link.query(":SYST:ERR?") == '0,"No error"'
    link.close()


def test_a_long_reply_comes_in_chunks_and_whole(twins: VirtualBench) -> None:
    link: Any = pyvisa.ResourceManager(twins.library).open_resource("GPIB0::18::INSTR", chunk_size=16, **ENDS)
    assert link.query("*IDN?") == twins.meter.identity
    link.close()


# --- oscilloscopes: a whole record through PyMeasure's own classes ----------------------------------------------------

EDGE_ON_2 = {
    "keysight-dsox1102g": (
        ":CHAN2:DISP 1",
        ":CHAN2:RANG 8",
        ":TRIG:EDGE:SOUR CHAN2",
        ":TRIG:EDGE:LEV 1",
        ":TRIG:SWE NORM",
    ),
    "siglent-sds1000xhd": (":CHAN2:SWIT ON", ":TRIG:EDGE:SOUR C2", ":TRIG:EDGE:LEV 1"),
}


@pytest.fixture
def lit(quiet: BenchFile) -> Any:
    """A bench with that scope on an amplifier, device 1 connected; and what gives it a pulse of 2 ms with its sync."""

    def build(driver: str, gain: str) -> tuple[VirtualBench, Any]:
        said = {"gain": gain, "bandwidth": "1 MHz", "output_limit": "10 V", "inverting": False}
        entry = quiet.meter.model_copy(update={"driver": driver, "amplifier": AmplifierTable.model_validate(said)})
        virtual = build_virtual(quiet.model_copy(update={"meter": entry}))
        virtual.world.closed_channels.add(quiet.switch.channels[1])
        for command in EDGE_ON_2[driver]:
            virtual.meter.handle(command.encode())

        def pulse() -> None:
            world = virtual.world
            world.clock.sleep(0.1)
            at_s = world.now_s
            world.light_on(at_s + world.light_latency_s, at_s + world.light_latency_s + 2e-3, 3.0)
            world.sync_edge(at_s)
            world.clock.sleep(0.1)

        return virtual, pulse

    return build


@pytest.mark.filterwarnings("ignore:It is not known whether:FutureWarning")
def test_pymeasures_keysight_downloads_the_record_that_its_preamble_describes(lit: Any, quiet: BenchFile) -> None:
    virtual, pulse = lit("keysight-dsox1102g", "1e6 V/A")
    adapter = VISAAdapter(quiet.meter.address, visa_library=virtual.library, **ENDS)
    scope = KeysightDSOX1102G(adapter)
    scope.ch1.setup(coupling="dc", probe_attenuation=1, offset=0, vertical_range=4)
    scope.timebase_setup(mode="main", offset=0, horizontal_range=1e-2)
    scope.waveform_points_mode = "normal"
    scope.waveform_points = 1000
    scope.single()
    pulse()
    voltage_V, preamble = scope.download_data("channel1", points=1000)
    assert (preamble["points"], preamble["xincrement"], preamble["xorigin"]) == (1000, 1e-5, -5e-3)
    time_s = preamble["xorigin"] + np.arange(1000) * preamble["xincrement"]
    np.testing.assert_allclose(voltage_V[time_s < -4e-6], 0.02, atol=4 / 256 / 2)
    np.testing.assert_allclose(voltage_V[(time_s > 0) & (time_s < 1.99e-3)], 0.9079, atol=4 / 256 / 2 + 1e-4)
    assert scope.ask("SYST:ERR?").startswith("+0")
    adapter.connection.close()


def siglent_record(lit: Any, quiet: BenchFile, gain: str) -> tuple[SDS1000XHD, int]:
    """PyMeasure's Siglent with a record of 10 000 points, and how many line feeds that has."""
    virtual, pulse = lit("siglent-sds1000xhd", gain)
    scope = SDS1000XHD(VISAAdapter(quiet.meter.address, visa_library=virtual.library, **ENDS))
    scope.channel_1.scale = 0.5
    scope.acquisition.memory_management = "FMDepth"
    scope.acquisition.memory_depth = "10K"
    scope.timebase.scale = 1e-3
    scope.trigger.stop()
    scope.trigger.mode = "SINGle"
    pulse()
    assert scope.trigger.status == "Stop"
    scope.wf_C1.source = "C1"
    scope.wf_C1.width = "WORD"
    return scope, virtual.meter.handle(b":WAV:DATA?").count(b"\n")


def test_pymeasures_siglent_reads_a_record_that_happens_to_hold_no_line_feed(lit: Any, quiet: BenchFile) -> None:
    scope, line_feeds = siglent_record(lit, quiet, "1e6 V/A")
    assert line_feeds == 0
    time_s, voltage_V = (np.array(values) for values in scope.wf_C1.get_data())
    assert time_s.size == 10_000
    np.testing.assert_allclose(time_s, -5e-3 + 1e-6 * np.arange(10_000), atol=1e-9)
    step_V = 0.5 / 480
    np.testing.assert_allclose(voltage_V[time_s < -4e-6], 0.02, atol=step_V / 2 * 1.001)
    np.testing.assert_allclose(voltage_V[(time_s > 0) & (time_s < 1.99e-3)], 0.9079, atol=step_V / 2 + 1e-4)
    scope.adapter.connection.close()


def test_pymeasures_siglent_loses_what_comes_after_a_line_feed_in_the_record(lit: Any, quiet: BenchFile) -> None:
    """Upstream's fault: it reads to the termination character, which a block may hold, and strips white space."""
    scope, line_feeds = siglent_record(lit, quiet, "1.94e5 V/A")
    assert line_feeds > 100
    time_s, _ = scope.wf_C1.get_data()
    assert len(time_s) < 10_000
    scope.adapter.connection.close()
