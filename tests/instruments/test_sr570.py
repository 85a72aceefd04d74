"""An SR570 in front of the digitiser: what is sent to it, what cannot be known of it, and what it does to a trace."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymeasure.adapters import ProtocolAdapter
from pymeasure.instruments.srs import SR570

from otters_lab.core.clock import SystemClock, VirtualClock
from otters_lab.core.errors import InputError
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.amplifier import open_amplifier
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.sr570 import ListeningAmplifier
from otters_lab.instruments.links import SYSTEM_LIBRARY
from otters_lab.instruments.setups import CORNERS_HZ, SENSITIVITIES_A_PER_V, AmplifierTable
from otters_lab.instruments.supervisor import make_safe
from otters_lab.instruments.survey import survey
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.server import serving, tcp_text
from otters_lab.instruments.virtual.sr570 import SR570Twin
from tests.instruments.conftest import SOURCE_METER

pytestmark = pytest.mark.filterwarnings("ignore:It is not known whether this device support SCPI:FutureWarning")

TABLE: dict[str, Any] = {
    "gain": "1e6 V/A", "bandwidth": "100 kHz", "output_limit": "5 V", "inverting": True, "driver": "srs-sr570",
    "address": "ASRL3::INSTR", "gain_mode": "high bandwidth", "filter": "6 dB", "bias": "250 mV",
}  # fmt: skip
DIGITIZER = """driver = "keithley-dmm6500"
address = "USB0::0x05E6::0x6500::04500000::INSTR"
identity = "MODEL DMM6500"
[meter.amplifier]
gain = "1e6 V/A"
bandwidth = "100 kHz"
output_limit = "5 V"
inverting = true
driver = "srs-sr570"
address = "ASRL3::INSTR"
gain_mode = "high bandwidth"
filter = "6 dB"
bias = "250 mV"
"""
SENT = [b"*RST", b"SENS 18", b"FLTT 3", b"LFRQ 13", b"GNMD 1", b"INVT 1", b"BSLV 250", b"BSON 1"]


def table(**changes: Any) -> AmplifierTable:
    settings = {key: value for key, value in {**TABLE, **changes}.items() if value is not None}
    return AmplifierTable.model_validate(settings)


@pytest.fixture
def bench_file(write_bench: Callable[[str, str], Path]) -> BenchFile:
    return load_bench(write_bench(SOURCE_METER, DIGITIZER))


@pytest.fixture
def slow(take: TraceRequest) -> TraceRequest:
    return replace(take, bias_V=0.0, interval_s=1e-3, aperture_s=1e-3)


# --- what the file may say ------------------------------------------------------------------------------------------


def test_the_steps_are_those_of_pymeasure_s_driver() -> None:
    np.testing.assert_allclose(SENSITIVITIES_A_PER_V, SR570.SENSITIVITIES, rtol=1e-12)
    np.testing.assert_allclose(CORNERS_HZ, SR570.FREQUENCIES, rtol=1e-12)
    assert (len(SENSITIVITIES_A_PER_V), len(CORNERS_HZ)) == (28, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gain": "3e6 V/A"}, "gain is 3e.06 V/A, no step of the SR570; the nearest is 2e.06 V/A"),
        ({"gain": "1e13 V/A"}, "no step of the SR570; the nearest is 1e.12 V/A"),
        ({"bandwidth": "20 kHz"}, "bandwidth is 20000 Hz, no filter of the SR570; the nearest is 30000 Hz"),
        ({"bandwidth": "2 MHz", "filter": "none"}, "bandwidth is 2e.06 Hz, the SR570 has 1 MHz at the most"),
        ({"bias": "5.1 V"}, "bias is 5.1 V, the SR570 takes -5 V to 5 V"),
        ({"bias": "1.5 mV"}, "bias is 0.0015 V, the SR570 sets whole millivolts"),
        ({"address": None}, "address is missing, srs-sr570 needs one"),
        ({"gain_mode": None}, "gain_mode is missing, srs-sr570 needs one"),
        ({"driver": None}, "address is given, but no driver: the amplifier is set by hand"),
        ({"gain_mode": "fast"}, "gain_mode"),
    ],
)
def test_what_cannot_be_set_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(**changes)


def test_any_bandwidth_may_be_stated_without_a_filter() -> None:
    assert table(filter="none", bandwidth="200 kHz").bandwidth == 200e3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('bias = "250 mV"', 'bias = "2.5 V"', "meter.amplifier.bias is 2.5 V, over limits.bias"),
        ("ASRL3::INSTR", "GPIB0::10::INSTR", "two instruments have the same address"),
        ('gain = "1e6 V/A"', 'gain = "3e6 V/A"', r"bench\.toml:\d+: meter\.amplifier: gain is 3e\+06 V/A"),
    ],
)
def test_a_mistake_is_named_when_the_file_is_read(
    write_bench: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_bench(write_bench(SOURCE_METER, DIGITIZER.replace(old, new)))


def test_the_header_says_that_nothing_is_confirmed_and_a_hand_set_one_stays_what_it_was() -> None:
    assert table().describe() == (
        "SR570 at ASRL3::INSTR, set, not confirmed: listens only: 1e+06 V/A, inverting, 100000 Hz, clips at 5 V, "
        "filter 6 dB, high bandwidth, bias 0.25 V"
    )
    by_hand = table(driver=None, address=None, gain_mode=None, filter=None, bias=None)
    assert by_hand.describe().startswith("set by hand, not asked: 1e+06 V/A")


# --- what is sent ---------------------------------------------------------------------------------------------------


def sending(settings: AmplifierTable, *messages: str) -> ListeningAmplifier:
    """An amplifier that must send these messages and no others."""
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    return ListeningAmplifier(ProtocolAdapter([(message, None) for message in messages]), settings, clock)


def test_settings_are_sent_one_by_one_and_nothing_is_asked() -> None:
    sending(table(), *(message.decode() for message in SENT)).set()
    plain = table(filter="none", bandwidth="1 MHz", inverting=False, gain_mode="low noise", bias=None)
    sending(plain, "*RST", "SENS 18", "FLTT 5", "GNMD 0", "INVT 0").set()
    sending(table(), "BSON 0").make_safe()


@pytest.mark.parametrize("step", range(28))
def test_every_step_of_the_gain_is_hit(step: int) -> None:
    """PyMeasure takes the next larger step for a value that is one bit too large."""
    mantissa, power = divmod(step, 3)[1], divmod(step, 3)[0] - 12
    gain = f"{1 / float(f'{(1, 2, 5)[mantissa]}e{power}'):.6g} V/A"
    amplifier = sending(
        table(gain=gain, bias=None, filter="none"), "*RST", f"SENS {step}", "FLTT 5", "GNMD 1", "INVT 1"
    )
    amplifier.set()


@pytest.mark.parametrize("millivolts", [1, -1, 29, 57, 290, 1001, 1005, -4001, 5000])
def test_a_bias_is_rounded_to_its_millivolt_and_not_cut_off(millivolts: int) -> None:
    text = f"{millivolts} mV"
    messages = ["*RST", "SENS 18", "FLTT 5", "GNMD 1", "INVT 1", f"BSLV {millivolts}", "BSON 1"]
    sending(table(bias=text, filter="none"), *messages).set()


# --- PyMeasure's driver on the twin ---------------------------------------------------------------------------------


@pytest.fixture
def listener(bench_file: BenchFile) -> tuple[SR570, SR570Twin]:
    virtual = build_virtual(bench_file)
    link, _ = open_amplifier(bench_file, virtual.library, virtual.world.clock)
    return SR570(link), virtual.twins["amplifier"]


@pytest.mark.parametrize(
    ("attribute", "value", "setting"),
    [
        ("sensitivity", 1e-12, ("SENS", 0)), ("sensitivity", 1e-3, ("SENS", 27)), ("filter_type", "none", ("FLTT", 5)),
        ("filter_type", "12dB Lowpass", ("FLTT", 4)), ("low_freq", 0.03, ("LFRQ", 0)), ("low_freq", 1e6, ("LFRQ", 15)),
        ("high_freq", 300.0, ("HFRQ", 8)), ("gain_mode", "Low Drift", ("GNMD", 2)), ("bias_level", -5, ("BSLV", -5000)),
        ("invert_signal_sign", True, ("INVT", 1)), ("bias_enabled", True, ("BSON", 1)),
        ("front_blanked", True, ("BLNK", 1)),
        ("offset_current_enabled", True, ("IOON", 1)), ("offset_current_sign", "negative", ("IOSN", 0)),
    ],
)  # fmt: skip
def test_pymeasure_s_driver_sets_the_twin(
    listener: tuple[SR570, SR570Twin], attribute: str, value: Any, setting: tuple[str, int]
) -> None:
    amplifier, twin = listener
    setattr(amplifier, attribute, value)
    assert (twin.settings[setting[0]], twin.parse_errors) == (setting[1], 0)


def test_what_upstream_gets_wrong_is_still_wrong(listener: tuple[SR570, SR570Twin]) -> None:
    """None of it is used by our driver; should upstream mend it, the docstring of our driver is out of date."""
    amplifier, twin = listener
    amplifier.offset_current = 1e-9
    assert twin.received[-1] == b"BSLV 9.000000"  # IOLV 9 was meant
    assert (twin.settings["IOLV"], twin.parse_errors) == (0, 1)
    amplifier.bias_level = 1.001
    assert twin.settings["BSLV"] == 1000  # 1001 mV was asked for
    amplifier.gain_mode = "High Speed"
    assert twin.received[-1] == b"GNMD 2"  # what does not exist becomes the next name of the alphabet, "Low Drift"


@pytest.mark.parametrize(
    "message", [b"*IDN?", b"SENS?", b"SENS", b"SENS 28", b"SENS 1.5", b"GAIN 3", b"BSLV 5001", b""]
)
def test_the_twin_never_answers_and_counts_what_it_did_not_understand(
    listener: tuple[SR570, SR570Twin], message: bytes
) -> None:
    _, twin = listener
    before = dict(twin.settings)
    assert twin.handle(message) is None
    assert (twin.parse_errors, twin.settings) == (1, before)


# --- the bench ------------------------------------------------------------------------------------------------------


def test_it_is_set_after_every_other_instrument_was_identified_and_biased_off_at_the_end(
    bench_file: BenchFile, slow: TraceRequest, tmp_path: Path
) -> None:
    with open_bench(bench_file, record=tmp_path / "record.jsonl") as bench:
        twin = bench.virtual.twins["amplifier"]
        assert list(twin.received) == [b"BSON 0", *SENT]
        assert twin.bias_V == 0.25
        assert "set, not confirmed: listens only" in bench.identities["amplifier"]
        bench.acquire(slow)
        assert list(twin.received) == [b"BSON 0", *SENT]  # sent once
    assert twin.bias_V == 0.0
    assert twin.parse_errors == 0
    lines = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()[1:]]
    first = next(n for n, line in enumerate(lines) if line["role"] == "amplifier")
    assert {line["role"] for line in lines[:first] if line["text"] == "*IDN?"} == {"meter", "light", "switch"}
    assert not any(line["dir"] == "in" and line["role"] == "amplifier" for line in lines)


def test_the_trace_is_that_of_an_amplifier_set_by_hand_and_of_none_that_did_not_hear(
    write_bench: Callable[[str, str], Path], bench_file: BenchFile, slow: TraceRequest, built: list[VirtualBench]
) -> None:
    driven = DIGITIZER[DIGITIZER.index('driver = "srs') :]
    by_hand = load_bench(write_bench(SOURCE_METER, DIGITIZER.replace(driven, "")))
    traces = []
    for file in (by_hand, bench_file):
        with open_bench(file) as bench:
            traces.append(bench.acquire(slow))
    np.testing.assert_allclose(traces[0].current_A, traces[1].current_A, rtol=1e-6, atol=1e-15)
    with open_bench(bench_file) as bench:
        built[-1].twins["amplifier"].handle(b"SENS 19")  # somebody turns the knob: 2 uA/V
        wrong = bench.acquire(slow)
    np.testing.assert_allclose(wrong.current_A, traces[1].current_A / 2, rtol=1e-4)


def test_after_a_failed_take_it_is_set_anew(bench_file: BenchFile, slow: TraceRequest) -> None:
    with open_bench(bench_file) as bench:
        twin, meter = bench.virtual.twins["amplifier"], bench.virtual.meter
        handle = meter.handle
        state = {"left": 1}

        def once_silent(message: bytes) -> bytes | None:
            reply: bytes | None = handle(message)
            if message.startswith(b":TRAC:DATA") and state["left"]:
                state["left"] = 0
                return None
            return reply

        meter.handle = once_silent
        assert [bench.acquire(slow).status for _ in range(2)] == ["failed", "ok"]
        assert list(twin.received) == [b"BSON 0", *SENT, b"BSON 0", *SENT]


def test_looking_the_bench_over_says_that_it_listens_only(bench_file: BenchFile) -> None:
    found = {one.role: one for one in survey(bench_file)}
    assert (found["amplifier"].output, found["amplifier"].identity) == ("off, not confirmed", None)
    assert all(one.problems == [] for one in found.values())


def test_over_tcp_it_is_set_and_the_supervisor_takes_its_bias_off(write_bench: Callable[[str, str], Path]) -> None:
    path, record = write_bench(SOURCE_METER, DIGITIZER), io.StringIO()
    virtual = load_bench(path)
    with serving(virtual, record) as served:
        path.write_text(tcp_text(virtual, served))
        file = load_bench(path)
        assert set(file.addresses) == {"meter", "light", "switch", "amplifier"}
        link, amplifier = open_amplifier(file, SYSTEM_LIBRARY, SystemClock())
        amplifier.set()
        link.hang_up()
        events: list[str] = []
        assert make_safe(
            file, [*file.off_order, "amplifier"], lambda event, **facts: events.append(f"{event} {facts.get('role')}")
        )
    assert events[:-1] == ["off light", "off meter", "off switch", "off amplifier"]
    states = [json.loads(line)["state"]["amplifier"] for line in record.getvalue().splitlines() if "state" in line]
    assert True in states
    assert states[-1] is False
    sent = [json.loads(line) for line in record.getvalue().splitlines()]
    assert [s["message"].encode() for s in sent if s.get("role") == "amplifier"] == [*SENT, b"BSON 0"]


def test_the_rise_time_is_that_of_the_stated_bandwidth() -> None:
    assert table().rise_time_s == pytest.approx(math.log(9) / (2 * math.pi * 100e3))
