"""Meter, light and switch by attribute maps of PyMeasure's own classes, on our twins."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.core.clock import SystemClock
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.protocols import Pulse
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.mapped_switch import channel_names
from otters_lab.instruments.drivers.registry import build
from otters_lab.instruments.links import SYSTEM_LIBRARY, open_link
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.roles import LightSource, Meter, SoftwarePaced, SoftwareStarted, Switch
from otters_lab.instruments.supervisor import make_safe as supervisor_makes_safe
from otters_lab.instruments.virtual.assemble import build_virtual
from otters_lab.instruments.virtual.chip import SyntheticChip
from otters_lab.instruments.virtual.server import serving, tcp_text

# The twins to map onto: a source-meter of the 2600B series beside the shipped generator and matrix, a chip that
# remembers (each reading is an acquisition of its own), and neither noise nor variation.
TWINS = [
    ('driver = "keithley-2450"', 'driver = "keithley-2601b"'),
    ('identity = "MODEL 2450"', 'identity = "Model 2601B"'),
    ('meter_latency = "5 us"          # to the start', 'meter_latency = "0 s"  # to the start'),
    ('dark_current = "20 nA"', 'dark_current = "20 nA"\nmemory = true'),
    ('D = "5 %"\nlogit_beta = 0.05', 'D = "0 %"\nlogit_beta = 0.0'),
    ('D = "2 %"\nO0 = "0.5 %"\nlogit_beta = 0.02', 'D = "0 %"\nO0 = "0 %"\nlogit_beta = 0.0'),
    ('drift = "1.4 %/h"', 'drift = "0 %/h"'),
    ('white = "1.78885 pA/sqrt(Hz)"\nflicker_1Hz = "3.17177 pA/sqrt(Hz)"',
     'white = "0 pA/sqrt(Hz)"\nflicker_1Hz = "0 pA/sqrt(Hz)"'),
]  # fmt: skip
METER = (
    'driver = "keithley-2601b"\n',
    """driver = "pymeasure.instruments.keithley:Keithley2600"
attributes = { current = "ChA.current", range = "ChA.current_range", bias = "ChA.source_voltage", \
compliance = "ChA.compliance_current", output = "ChA.source_output" }
preset = { "ChA.source_mode" = "voltage" }
on = "ON"
off = "OFF"
reset = ["reset()", "errorqueue.clear()", "smua.measure.nplc = 0.1"]  # PyMeasure's measure_nplc maps 1.0 to 25
error_query = "print(errorqueue.next())"
abilities = { ranges = ["1 uA", "10 uA"], aperture = "2 ms", interval = ["4 ms", "10 s"], samples = [1, 10000], \
bias = "40 V" }
""",
)
LIGHT = (
    'driver = "agilent-33500"\n',
    """driver = "pymeasure.instruments.agilent:Agilent33500"
attributes = { drive = "voltage_high", width = "pulse_width", output = "output", fire = "trigger" }
preset = { shape = "PULS", pulse_period = 2.0, voltage_low = 0.0, burst_mode = "TRIG", burst_ncycles = 1, \
trigger_source = "BUS", burst_state = true }
error_query = "SYST:ERR?"
abilities = { width = ["1 ms", "1 s"], drive = ["10 mV", "5 V"], start_uncertainty = "10 ms" }
""",
)
SWITCH = (
    'driver = "keithley-2700"\n',
    """driver = "pymeasure.instruments.keithley:Keithley2700"
attributes = { close = "closed_channels", open_all = "open_all_channels", closed = "closed_channels" }
reset = ["*CLS"]
error_query = "SYST:ERR?"
""",
)
REAL = ('backend = "virtual"', 'backend = "visa"')

TAKE = TraceRequest(device=2, drive_V=3.0, width_s=0.1, bias_V=0.5, dark_s=0.1, decay_s=0.4, interval_s=10e-3,
                    aperture_s=2e-3, range_A=1e-6)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # locks of its own: another run may hold these addresses


@pytest.fixture
def write(tmp_path: Path, shipped: BenchFile) -> Callable[..., Path]:
    def written(*edits: tuple[str, str]) -> Path:
        text = shipped.text
        for old, new in [*TWINS, *edits]:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = tmp_path / "bench.toml"
        path.write_text(text)
        return path

    return written


@pytest.fixture
def mapped(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A bench whose roles are mapped, in place of a system's VISA the twins on a virtual clock."""

    def made(*edits: tuple[str, str], twins: tuple[tuple[str, str], ...] = ()) -> tuple[BenchFile, Any]:
        virtual = build_virtual(load_bench(write(*twins)))
        monkeypatch.setattr("otters_lab.instruments.session.SYSTEM_LIBRARY", virtual.library)
        return load_bench(write(*edits, REAL)), virtual

    return made


def expected_A(file: BenchFile, time_s: Any, aperture_s: float, width_s: float) -> Any:
    """What the chip's law says of the readings."""
    assert file.virtual is not None
    assert file.virtual.chip is not None
    chip = SyntheticChip(file.virtual.chip, file.virtual.seed)
    pulse = Pulse(device=2, index=0, drive_V=3.0, width_s=width_s, elapsed_s=0.0, repeat=0)
    begin, end = time_s - aperture_s / 2, time_s + aperture_s / 2
    return chip.dark_current_A(2) + chip.excess_A(pulse, begin, end)


# --- a whole take ---------------------------------------------------------------------------------------------------


def test_pymeasure_s_classes_in_all_three_roles_take_the_curve_that_the_chip_gives(mapped: Callable[..., Any]) -> None:
    file, virtual = mapped(METER, LIGHT, SWITCH)
    with open_bench(file, clock=virtual.world.clock) as bench:
        roles = [bench._session.roles[role] for role in ("meter", "light", "switch")]
        for role, kinds in zip(roles, ((Meter, SoftwarePaced), (LightSource, SoftwareStarted), (Switch,)), strict=True):
            assert all(isinstance(role, kind) for kind in kinds)
        traces = [bench.acquire(TAKE) for _ in range(2)]
        assert not virtual.light.output_on
        assert not virtual.meter.output_on
    for trace in traces[:1]:
        assert trace.status == "ok"
        assert trace.time_s.size == TAKE.n_samples
        # On a virtual clock nothing but the apertures takes time: light comes between two readings, on the dot.
        np.testing.assert_allclose(np.diff(trace.time_s), 10e-3, rtol=1e-9)
        assert trace.time_s[0] == pytest.approx(-(0.1 + 0.1) + 1e-3, abs=1e-5)
        np.testing.assert_allclose(trace.current_A, expected_A(file, trace.time_s, 2e-3, 0.1), rtol=2e-4)
    assert traces[1].current_A[0] > traces[0].current_A[0]  # the first pulse is remembered
    assert trace.edge_uncertainty_s == pytest.approx(10e-3, rel=1e-3)


def test_the_same_over_tcp_in_real_time(write: Callable[..., Path]) -> None:
    virtual = load_bench(write())
    with serving(virtual) as served:
        text = tcp_text(virtual, served)
        for old, new in (METER, LIGHT, SWITCH):
            text = text.replace(old, new, 1)
        path = virtual.path
        path.write_text(text)
        file = load_bench(path)
        with open_bench(file) as bench:
            trace = bench.acquire(TAKE)
    assert trace.status in ("ok", "late")  # a busy machine may be late, and says so
    decaying, three_sd_s = trace.time_s > 60e-3, 3 * trace.edge_uncertainty_s
    early, late = (expected_A(virtual, trace.time_s + shift, 2e-3, 0.1) for shift in (-three_sd_s, three_sd_s))
    assert np.all((late < trace.current_A)[decaying])
    assert np.all((trace.current_A < early)[decaying])
    assert np.all(np.diff(trace.current_A[decaying]) < 0)
    dark = trace.time_s < -0.12
    np.testing.assert_allclose(trace.current_A[dark], 20e-9, rtol=1e-3)


def test_the_supervisor_makes_mapped_instruments_safe(write: Callable[..., Path]) -> None:
    virtual, record = load_bench(write()), io.StringIO()
    with serving(virtual, record) as served:
        text = tcp_text(virtual, served)
        for old, new in (METER, LIGHT, SWITCH):
            text = text.replace(old, new, 1)
        virtual.path.write_text(text)
        file = load_bench(virtual.path)
        links = {role: open_link(role, entry, SYSTEM_LIBRARY) for role, entry in file.instruments.items()}
        roles = {role: build(role, link, file, SystemClock()) for role, link in links.items()}
        for role in roles.values():
            role.reset()
        roles["switch"].close(3)
        roles["light"].arm_pulse(3.0, 0.0, 0.1)
        roles["meter"].bias_on()
        for link in links.values():
            link.hang_up()
        assert supervisor_makes_safe(file, file.off_order, lambda event, **facts: None)
    states = [json.loads(line)["state"] for line in record.getvalue().splitlines() if "state" in line]
    assert (True, True, [103]) in [(state["light"], state["bias"], state["closed"]) for state in states]
    assert (states[-1]["light"], states[-1]["bias"], states[-1]["closed"]) == (False, False, [])


def test_the_light_begins_when_it_is_due_also_between_two_readings(mapped: Callable[..., Any]) -> None:
    file, virtual = mapped(METER, LIGHT, SWITCH)
    with open_bench(file, clock=virtual.world.clock) as bench:
        trace = bench.acquire(replace(TAKE, dark_s=0.1045))
    assert trace.status == "ok"
    assert trace.time_s[0] == pytest.approx(-(0.1045 + 0.1) + 1e-3, abs=1e-5)
    np.testing.assert_allclose(trace.current_A, expected_A(file, trace.time_s, 2e-3, 0.1), rtol=2e-4)


def test_readings_longer_than_the_interval_are_late_and_their_times_are_true(
    mapped: Callable[..., Any],
) -> None:
    file, virtual = mapped(METER, LIGHT, SWITCH)
    twin, handle = virtual.meter, virtual.meter.handle

    def slow(message: bytes) -> bytes | None:
        if b"measure.i" in message:
            virtual.world.clock.sleep(6e-3)  # before the aperture, and
        reply: bytes | None = handle(message)
        if b"measure.i" in message:
            virtual.world.clock.sleep(6e-3)  # after it
        return reply

    twin.handle = slow
    with open_bench(file, clock=virtual.world.clock) as bench:
        trace = bench.acquire(TAKE)
    assert trace.status == "late"
    np.testing.assert_allclose(np.diff(trace.time_s), 14e-3, rtol=1e-6)
    # Light was asked for after 100 ms of dark and began once the reading was over.
    np.testing.assert_allclose(trace.current_A, expected_A(file, trace.time_s, 2e-3, 0.1), rtol=2e-4)


def test_overflow_and_compliance_are_flagged(mapped: Callable[..., Any]) -> None:
    limit, more = ('compliance = "20 uA"', 'compliance = "1 uA"'), ('swing = "8 nA"', 'swing = "10 nA"')
    file, virtual = mapped(METER, LIGHT, SWITCH, limit, twins=(more,))
    with open_bench(file, clock=virtual.world.clock) as bench:
        assert bench.acquire(replace(TAKE, range_A=1e-5)).status == "compliance"
    bigger = [('swing = "8 nA"', 'swing = "80 nA"'), ('dark_current = "20 nA"', 'dark_current = "900 nA"')]
    file, virtual = mapped(METER, LIGHT, SWITCH, twins=tuple(bigger))
    with open_bench(file, clock=virtual.world.clock) as bench:
        trace = bench.acquire(TAKE)
    assert trace.status == "overflow"
    assert 0 < trace.time_s.size < TAKE.n_samples
    assert np.all(np.isfinite(trace.current_A))


# --- what PyMeasure's classes cannot --------------------------------------------------------------------------------

MEASURING = (
    'driver = "keithley-2400"\n',
    """driver = "pymeasure.instruments.keithley:Keithley2400"
attributes = { current = "current", range = "current_range", nplc = "current_nplc", bias = "source_voltage", \
compliance = "compliance_current", output = "source_enabled" }
preset = { source_mode = "voltage", auto_output_off_enabled = false }
error_query = "SYST:ERR?"
abilities = { ranges = ["1 uA", "10 uA"], nplc = [0.01, 10.0], interval = ["4 ms", "10 s"], samples = [1, 10000], \
bias = "210 V" }
""",
)


def test_a_reading_that_resets_the_range_is_found_out(mapped: Callable[..., Any]) -> None:
    """Keithley2400.current sends :MEASure, which sets range and NPLC to *RST (2400S-900-01 p. 17-2)."""
    models = (("keithley-2601b", "keithley-2400"), ("Model 2601B", "MODEL 2400"))
    file, virtual = mapped(*models, MEASURING, LIGHT, SWITCH, twins=models)
    with open_bench(file, clock=virtual.world.clock) as bench:
        with pytest.raises(InstrumentError, match=r"meter: range \(A\): asked for 1e-06, the instrument says"):
            bench.acquire(TAKE)
        assert not virtual.meter.output_on
        assert not virtual.light.output_on


def test_a_limit_that_the_class_rounds_away_is_found_out(mapped: Callable[..., Any]) -> None:
    """Keithley2600.compliance_current is sent with six decimals: 500 nA goes out as 0.000000."""
    file, virtual = mapped(METER, LIGHT, SWITCH, ('compliance = "20 uA"', 'compliance = "500 nA"'))
    with (
        pytest.raises(InstrumentError, match=r"meter: compliance \(A\): asked for 5e-07, the instrument says 0\.1"),
        open_bench(file, clock=virtual.world.clock) as bench,
    ):
        bench.acquire(TAKE)
    assert not virtual.meter.output_on


def test_a_triggered_light_without_a_delay_gives_its_pulse_at_once(mapped: Callable[..., Any]) -> None:
    triggered = (LIGHT[0], LIGHT[1].replace(', fire = "trigger"', "").replace('"BUS"', '"EXT"')
                 .replace(', start_uncertainty = "10 ms"', ""))  # fmt: skip
    file, virtual = mapped(triggered)
    assert violations(replace(TAKE, dark_s=0.1), file) == [
        "dark time is 100 ms, the light source's trigger delay takes 0 s to 0 s"
    ]
    with open_bench(file, clock=virtual.world.clock) as bench:
        trace = bench.acquire(replace(TAKE, dark_s=0.0, decay_s=0.3, width_s=0.1))
    assert trace.status == "ok"
    wanted = expected_A(file, trace.time_s, 2e-3, 0.1)
    np.testing.assert_allclose(trace.current_A[1:], wanted[1:], rtol=2e-4)  # the first holds the light's latency


# --- the switch -----------------------------------------------------------------------------------------------------


def test_a_channel_that_did_not_close_is_an_error_where_it_can_be_read(mapped: Callable[..., Any]) -> None:
    file, virtual = mapped(METER, LIGHT, SWITCH)
    handle = virtual.switch.handle
    virtual.switch.handle = lambda message: None if message.startswith(b"ROUTe:MULTiple:CLOSe (") else handle(message)
    with (
        pytest.raises(InstrumentError, match="switch: closed channels: none, expected 102"),
        open_bench(file, clock=virtual.world.clock) as bench,
    ):
        bench.acquire(TAKE)


def test_a_switch_without_closed_works_and_is_said_not_to_be_confirmed(mapped: Callable[..., Any]) -> None:
    blind = (SWITCH[0], SWITCH[1].replace(', closed = "closed_channels"', ""))
    file, virtual = mapped(METER, LIGHT, blind)
    assert "not confirmed" in file.switch.known.evidence  # type: ignore[union-attr]
    with open_bench(file, clock=virtual.world.clock) as bench:
        bench._switch.close(3)  # type: ignore[union-attr]
        assert virtual.world.closed_channels == {103}
    assert virtual.world.closed_channels == set()


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ([101, 102], ["101", "102"]), ("(@101,102)", ["101", "102"]), ("(@)", []), ("nil", []), (None, []), ("", []),
        (101, ["101"]), ("1A01;1A02", ["1A01", "1A02"]),
    ],
)  # fmt: skip
def test_channels_are_read_from_what_classes_give(reply: Any, names: list[str]) -> None:
    assert channel_names(reply) == names


# --- what the file may say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('current = "ChA.current", ', "", "meter: attributes has no current"),
        (', output = "ChA.source_output"', "", "meter: attributes has no output: bias, compliance, output go together"),
        (', aperture = "2 ms"', "", "meter: abilities has both or none of nplc and aperture"),
        ('aperture = "2 ms"', "nplc = [0.1, 1.0]", "meter: abilities has no aperture, attributes has no nplc"),
        ('bias = "40 V" }', 'bias = "0 V" }', "meter: abilities.bias is 0 V, attributes names bias"),
        (', start_uncertainty = "10 ms"', "", "light: abilities has no start_uncertainty, attributes names fire"),
        (', fire = "trigger"', "", "light: abilities has a start_uncertainty, attributes has no fire"),
        ('drive = ["10 mV"', 'delay = ["0 s", "1 s"], drive = ["10 mV"', "light: abilities has a delay, attr"),
        ('open_all = "open_all_channels", ', "", "switch: attributes has no open_all"),
        ('load = "high', 'start = "software"\nload = "high', "light: start is for the drivers that come"),
        ('settle = "100 ms"', 'settle = "100 ms"\nwires = 4', "meter: .*wires"),
    ],
)  # fmt: skip
def test_a_map_and_abilities_that_do_not_fit_are_named(
    write: Callable[..., Path], old: str, new: str, message: str
) -> None:
    path = write(METER, LIGHT, SWITCH, REAL, (old, new))
    with pytest.raises(InputError, match=message) as caught:
        load_bench(path)
    assert re.match(r"\S+bench\.toml:\d+: ", str(caught.value))


def test_a_meter_that_software_paces_needs_a_light_that_software_starts(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"gives no trigger at the start .*, which agilent-33500 waits for"):
        load_bench(write(METER, REAL))
    file = load_bench(write(METER, REAL, ('load = "high', 'start = "software"\nload = "high')))
    assert file.light.known.sync == "software"


def test_an_aperture_that_cannot_be_set_is_the_only_one(write: Callable[..., Path]) -> None:
    file = load_bench(write(METER, LIGHT, SWITCH, REAL))
    assert violations(TAKE, file) == []
    assert violations(replace(TAKE, aperture_s=1e-3), file) == ["aperture is 1 ms, the meter takes 2 ms to 2 ms"]
