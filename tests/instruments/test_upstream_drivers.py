"""Drivers that nobody here wrote, unmodified, on the twins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pyvisa
from pymeasure.adapters import VISAAdapter
from pymeasure.instruments.agilent import Agilent33500
from pymeasure.instruments.keithley import Keithley2700, Keithley6517B

from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.benchtables import InstrumentEntry
from otters_lab.instruments.drivers.registry import build
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
