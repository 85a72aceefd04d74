"""A light calibration swept with a power meter: what is read, when, by whom, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import otters_lab.instruments.session as session_module
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.lights import LIGHTS
from otters_lab.instruments.lightcal import LightCalibration, write_light_calibration
from otters_lab.instruments.lightsweep import OFF_ORDER, LightSweep, check_sweep, measure, parse_drives, sweep_light
from otters_lab.instruments.session import open_session
from otters_lab.instruments.survey import survey
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.server import serving, tcp_text
from tests.instruments.conftest import LIGHT, POWER

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
SWEEP = LightSweep((0.5, 1.0, 2.0, 5.0), 0.2, 3, 455e-9, 5e-8)


def closed_form_W(drive_V: float) -> float:
    return 5e-6 * (drive_V - 0.1)


@pytest.fixture
def bench_with(tmp_path: Path, shipped: BenchFile) -> Callable[..., BenchFile]:
    """The shipped bench with a power meter and optical power by drive, and replacements."""

    def make(*changes: tuple[str, str]) -> BenchFile:
        text = shipped.text.replace("\n[sync]\n", POWER, 1) + LIGHT
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = tmp_path / "bench.toml"
        path.write_text(text)
        return load_bench(path)

    return make


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[VirtualBench], None]], list[VirtualBench]]:
    """Does something to each virtual bench before it is opened; gives the list of them."""

    def when_built(act: Callable[[VirtualBench], None]) -> list[VirtualBench]:
        made: list[VirtualBench] = []

        def build(*arguments: Any, **options: Any) -> VirtualBench:
            made.append(build_virtual(*arguments, **options))
            act(made[-1])
            return made[-1]

        monkeypatch.setattr(session_module, "build_virtual", build)
        return made

    return when_built


def on_reading(act: Callable[[VirtualBench, bool], bytes | None]) -> Callable[[VirtualBench], None]:
    """Something that happens at every power reading, told whether the light shines; may give another reply."""

    def install(virtual: VirtualBench) -> None:
        twin = virtual.twins["power"]
        handle = twin.handle

        def handle_too(message: bytes) -> bytes | None:
            reply = handle(message)
            if message.startswith(b"MEAS"):
                return act(virtual, virtual.world.optical_power_W() > 1e-7) or reply
            return reply

        twin.handle = handle_too

    return install


def assert_dark(virtual: VirtualBench) -> None:
    assert not virtual.light.output_on
    assert virtual.world.optical_power_W() == pytest.approx(40e-9)


# --- what is read ---------------------------------------------------------------------------------------------------


def test_a_sweep_gives_the_closed_form_with_the_dark_taken_off_and_kept(bench_with: Callable[..., BenchFile]) -> None:
    calibration, notes = sweep_light(SWEEP, bench_with())
    assert notes == []
    np.testing.assert_allclose(calibration.power_W, [closed_form_W(drive) for drive in SWEEP.drives_V], rtol=1e-6)
    assert calibration.power_sd_W == pytest.approx([0.0] * 4, abs=1e-18)
    assert calibration.readings is not None
    assert len(calibration.readings) == 12
    for one in calibration.readings:
        assert one.dark_W == pytest.approx(40e-9)
        assert one.lit_W == pytest.approx(40e-9 + closed_form_W(one.drive), rel=1e-6)
        assert 0.010002 <= one.asked_s <= one.answered_s <= 0.2
    assert calibration.power_meter == "Thorlabs,PM100USB,VIRTUAL,1.7.0; sensor S130VC, VIRTUAL"
    assert calibration.header.origin == "synthetic"
    assert [ref.role for ref in calibration.header.inputs] == ["bench"]
    assert set(calibration.header.instruments) == {"light", "power"}
    # three repeats of four pulses, each 0.2 s and as long a dark
    assert calibration.measured_utc[0].startswith("2026-01-01T08:00:00")
    assert calibration.measured_utc[2].startswith("2026-01-01T08:00:03")


def test_only_light_and_power_meter_are_talked_to_and_every_pulse_is_started_by_software(
    bench_with: Callable[..., BenchFile], change: Callable[..., list[VirtualBench]]
) -> None:
    built = change(lambda virtual: None)
    bench = bench_with()
    assert bench.light.known.sync == "trigger"  # what its sweeps use
    sweep_light(SWEEP, bench)
    (virtual,) = built
    assert not virtual.meter.received
    assert not virtual.switch.received
    sent = [message.decode() for message in virtual.light.received]
    assert sent.count("*TRG") == 12
    assert any("TRIG" in message and message.endswith("BUS") for message in sent)
    assert not any(message.endswith("EXT") for message in sent)
    assert_dark(virtual)


def test_the_light_is_off_at_every_dark_reading_and_on_at_every_other(
    bench_with: Callable[..., BenchFile], change: Callable[..., list[VirtualBench]]
) -> None:
    seen: list[tuple[bool, bool]] = []
    change(on_reading(lambda virtual, lit: seen.append((lit, virtual.light.output_on))))
    sweep_light(SWEEP, bench_with())
    pairs = seen[1:-1]  # the first and the last are those that show that the meter is there
    assert pairs == [(False, False), (True, True)] * 12


def test_spread_is_null_for_a_single_repeat(bench_with: Callable[..., BenchFile]) -> None:
    calibration, _ = sweep_light(replace(SWEEP, repeats=1), bench_with())
    assert calibration.power_sd_W == [None] * 4


def test_drives_without_light_are_left_out_and_said(bench_with: Callable[..., BenchFile]) -> None:
    calibration, notes = sweep_light(replace(SWEEP, drives_V=(0.02, 0.05, 0.09, 1.0, 5.0)), bench_with())
    assert calibration.drive == [0.09, 1.0, 5.0]
    assert notes == ["drives below 90 mV left out: the power there does not rise"]


def test_a_meter_that_was_left_in_dBm_is_read_in_watts(
    bench_with: Callable[..., BenchFile], change: Callable[..., list[VirtualBench]]
) -> None:
    built = change(lambda virtual: virtual.twins["power"].handle(b"SENS:POW:UNIT DBM"))
    calibration, _ = sweep_light(SWEEP, bench_with())
    assert calibration.power_W[-1] == pytest.approx(24.5e-6)
    assert built[0].twins["power"].handle(b"SENS:POW:UNIT?") == b"W"


def test_a_current_driver_is_calibrated_in_the_volts_that_recipes_use(
    bench_with: Callable[..., BenchFile],
) -> None:
    light = 'driver = "thorlabs-dc2200"\nled = { full_scale = "100 mA", terminal = 1 }'
    bench = bench_with(('driver = "agilent-33500"', light), ('"33522A"', '"DC2200"'), ('load = "high impedance"', "#"))
    calibration, _ = sweep_light(SWEEP, bench)
    np.testing.assert_allclose(calibration.power_W, [closed_form_W(drive) for drive in SWEEP.drives_V], rtol=1e-5)


def test_the_bench_command_shows_the_power_meter(bench_with: Callable[..., BenchFile]) -> None:
    (power,) = [one for one in survey(bench_with()) if one.role == "power"]
    assert (power.identity, power.output, power.problems) == ("Thorlabs,PM100USB,VIRTUAL,1.7.0", "none", [])


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sweep", "changes", "words"),
    [
        ({"drives_V": (1.0, 6.0)}, [], "drive is 6 V, over the bench's limit of 5 V"),
        ({"width_s": 2.0}, [], "pulse width is 2 s, over the bench's limit of 1 s"),
        ({"rest_s": 0.2}, [("[limits]", '[limits]\nduty = "20 %"')], "duty is 0.5, over the bench's limit of 0.2"),
        ({"width_s": 0.015}, [], "pulse width is 15 ms, and the power is read in its middle"),
        ({"repeats": 0}, [], "0 repeats"),
        ({}, [(POWER, "\n[sync]\n")], "needs a power meter"),
        ({"drives_V": (0.001, 1.0)}, [], "the light source takes 2 mV to 10 V"),
    ],
)
def test_what_the_bench_forbids_is_refused_before_the_first_byte(
    bench_with: Callable[..., BenchFile],
    change: Callable[..., list[VirtualBench]],
    sweep: Any,
    changes: Any,
    words: str,
) -> None:
    built = change(lambda virtual: None)
    with pytest.raises(InputError) as refused:
        sweep_light(replace(SWEEP, **sweep), bench_with(*changes))
    assert words in str(refused.value)
    assert built == []


def test_the_dark_between_pulses_keeps_the_duty(bench_with: Callable[..., BenchFile]) -> None:
    bench = bench_with(("[limits]", '[limits]\nduty = "20 %"'))
    assert SWEEP.dark_s(bench) == pytest.approx(0.8)
    assert SWEEP.duration_s(bench) == pytest.approx(12.0)
    check_sweep(SWEEP, bench)


def test_a_light_that_can_only_be_triggered_is_refused(
    bench_with: Callable[..., BenchFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {**LIGHTS, "agilent-33500": replace(LIGHTS["agilent-33500"], sync_uncertainty_s=0.0)}
    monkeypatch.setattr("otters_lab.instruments.benchtables.LIGHTS", known)
    with pytest.raises(InputError, match=r"agilent-33500 can be started by a trigger alone"):
        check_sweep(SWEEP, bench_with())


def test_a_lab_s_own_light_that_turns_out_to_need_a_trigger_is_refused_before_it_is_armed(
    bench_with: Callable[..., BenchFile],
) -> None:
    with open_session(bench_with(), OFF_ORDER) as session:  # opened as its file says: on the trigger
        with pytest.raises(InputError, match=r"can be started by a trigger alone"):
            measure(SWEEP, session, lambda n: None)
        assert session.virtual is not None
        assert not any(b"VOLT:HIGH" in message.upper() for message in session.virtual.light.received)


def test_an_old_calibration_bounds_the_power_of_a_new_sweep_and_so_does_the_reading(
    bench_with: Callable[..., BenchFile], change: Callable[..., list[VirtualBench]], tmp_path: Path
) -> None:
    old, _ = sweep_light(SWEEP, bench_with())
    half = LightCalibration.model_validate({**old.model_dump(), "power_W": [power / 2 for power in old.power_W]})
    limit = ('drive = "5 V"', 'drive = "5 V"\noptical_power = "10 uW"')
    named = ('load = "high impedance"', 'load = "high impedance"\ncalibration = "old.json"')
    write_light_calibration(tmp_path / "old.json", old)
    with pytest.raises(InputError, match=r"optical power is 24\.5 uW, over the bench's limit of 10 uW"):
        sweep_light(SWEEP, bench_with(limit, named))
    (tmp_path / "old.json").unlink()
    write_light_calibration(tmp_path / "old.json", half)  # the light has twice the power that this one says
    built = change(lambda virtual: None)
    with pytest.raises(InstrumentError, match=r"at 3 V optical power is 14\.5 uW, over the bench's limit of 10 uW"):
        sweep_light(replace(SWEEP, drives_V=(1.0, 3.0)), bench_with(limit, named))
    assert_dark(built[0])


# --- how it ends ----------------------------------------------------------------------------------------------------


def slow(virtual: VirtualBench, lit: bool) -> None:
    if lit:
        virtual.world.clock.sleep(0.15)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (slow, r"the reading at 500 mV was there 250 ms after the pulse of 200 ms began.*the pulse must be longer"),
        (lambda virtual, lit: b"9.9E+37" if lit else None, r"power: power: replied '9\.9e\+37', expected a finite"),
        (lambda virtual, lit: b"NAN" if lit else None, r"power: power: replied 'nan', expected a finite number"),
        (lambda virtual, lit: b"1.0E-6" if lit else b"0", r"the power does not rise with the drive"),
    ],
)
def test_a_reading_that_is_none_ends_in_one_clear_line_and_the_dark(
    bench_with: Callable[..., BenchFile], change: Callable[..., list[VirtualBench]], act: Any, words: str
) -> None:
    built = change(on_reading(act))
    with pytest.raises(InstrumentError, match=words) as failed:
        sweep_light(SWEEP, bench_with())
    assert "\n" not in str(failed.value)
    assert_dark(built[0])


def test_after_a_time_out_while_it_is_opened_the_links_are_opened_and_identified_anew(
    bench_with: Callable[..., BenchFile], change: Callable[..., list[VirtualBench]]
) -> None:
    def silent_once(virtual: VirtualBench) -> None:
        handle, silent = virtual.light.handle, [b"SYST:ERR?"]

        def handle_too(message: bytes) -> bytes | None:
            reply = handle(message)
            if message in silent:
                silent.remove(message)
                return None
            return reply

        virtual.light.handle = handle_too

    built = change(silent_once)
    with pytest.raises(InstrumentError, match="VI_ERROR_TMO"):
        sweep_light(SWEEP, bench_with())
    for role in ("light", "power"):
        assert list(built[0].twins[role].received).count(b"*IDN?") == 2
    assert_dark(built[0])


def test_a_light_that_does_not_reach_the_sensor_does_not_rise(bench_with: Callable[..., BenchFile]) -> None:
    with pytest.raises(InstrumentError, match=r"does not rise with the drive.*does the light fall on the sensor"):
        sweep_light(SWEEP, bench_with(('threshold = "100 mV"\ndrive = "5 V"', 'threshold = "8 V"\ndrive = "9 V"')))


def test_a_signal_in_a_pulse_leaves_the_light_off(
    bench_with: Callable[..., BenchFile], change: Callable[..., list[VirtualBench]]
) -> None:
    def interrupt(virtual: VirtualBench, lit: bool) -> None:
        if lit:
            signal.raise_signal(signal.SIGINT)

    built = change(on_reading(interrupt))
    with pytest.raises(KeyboardInterrupt):
        sweep_light(SWEEP, bench_with())
    assert_dark(built[0])
    assert sum(message == b"*TRG" for message in built[0].light.received) == 1


def lit_states(record: Path) -> list[bool]:
    lines = [json.loads(line) for line in record.read_text().splitlines() if line.endswith("}")]
    return [line["state"]["light"] for line in lines if "state" in line]


def wait_for(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_sweep_over_tcp_is_made_dark_by_its_supervisor_which_touches_nothing_else(
    bench_with: Callable[..., BenchFile], tmp_path: Path
) -> None:
    bench, record = bench_with(), tmp_path / "record.jsonl"
    with record.open("w") as file, serving(bench, file) as served:
        real = tmp_path / "real.toml"
        real.write_text(tcp_text(bench, served))
        words = ["--drives", "1 V,2 V", "--width", "800 ms", "--wavelength", "455 nm", "--area", "1 mm^2"]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "otters_lab",
                "lightcal",
                "--bench",
                str(real),
                *words,
                "-o",
                str(tmp_path / "c.json"),
            ]
        )
        try:
            wait_for(lambda: sum(lit_states(record)) >= 1)
            process.kill()
            assert process.wait(timeout=10) == -signal.SIGKILL
            wait_for(lambda: not lit_states(record)[-1])
            log = tmp_path / "real.supervisor.jsonl"
            wait_for(lambda: log.exists() and '"safe"' in log.read_text())
        finally:
            process.kill()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["role"] for event in events if event["event"] == "off"] == ["light", "power"]
    roles = {line["role"] for line in map(json.loads, record.read_text().splitlines()) if "role" in line}
    assert roles == {"light", "power"}
    assert not (tmp_path / "c.json").exists()


def test_over_tcp_in_real_time_the_readings_fall_into_their_pulses_and_are_called_synthetic(
    bench_with: Callable[..., BenchFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serving(bench_with()) as served:
        calibration, _ = sweep_light(replace(SWEEP, drives_V=(1.0, 4.0), repeats=2), served)
    assert calibration.header.origin == "synthetic"
    assert calibration.power_W == pytest.approx([closed_form_W(1.0), closed_form_W(4.0)], rel=1e-5)
    assert calibration.readings is not None
    assert all(0.1 <= one.asked_s <= one.answered_s <= 0.2 for one in calibration.readings)


# --- drives ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 900), st.integers(1, 900), st.integers(2, 40))
def test_an_even_range_has_its_ends_and_its_number(low_cV: int, span_cV: int, count: int) -> None:
    low, high = low_cV / 100, (low_cV + span_cV) / 100
    drives = parse_drives(f"{low} V:{high} V:{count}")
    assert (len(drives), drives[0], drives[-1]) == (count, low, high)
    np.testing.assert_allclose(np.diff(drives), (high - low) / (count - 1), rtol=1e-6)


def test_a_list_of_drives_is_taken_as_it_is() -> None:
    assert parse_drives("500 mV, 1 V,2 V") == (0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    "text", ["", "1 V", "2 V,1 V", "1 V,1 V", "1 V:2 V", "1 V:2 V:1", "1 V:2 V:x", "1:2:3", "1 A,2 A"]
)
def test_what_is_no_drives_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="found"):
        parse_drives(text)
