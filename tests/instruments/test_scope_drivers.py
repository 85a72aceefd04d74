"""The scopes' drivers byte by byte, and what their twins forbid."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.blocks import read_block
from otters_lab.instruments.drivers.dsox1102g import DSOX1102G
from otters_lab.instruments.drivers.dsox1102g_meter import DSOX1102GMeter
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.drivers.sds1000xhd import SiglentSDS1000XHD
from otters_lab.instruments.drivers.sds1000xhd_meter import SDS1000XHDMeter
from otters_lab.instruments.roles import Meter, MeterSettings, ReadingFlag
from otters_lab.instruments.setups import AmplifierTable
from otters_lab.instruments.virtual.assemble import build_virtual

AMPLIFIER = AmplifierTable.model_validate(
    {"gain": "1e6 V/A", "bandwidth": "1 MHz", "output_limit": "10 V", "inverting": True}
)
NO_ERROR = '+0,"No error"'
# 100 samples of 10 us, ten of them before the trigger, on +-2 V.
SETTINGS = MeterSettings(0.0, 2e-5, 2e-6, 1e-8, 1e-5, 100, 1e-4)


def keysight(scope: DSOX1102G) -> DSOX1102GMeter:
    timebase = METERS["keysight-dsox1102g"].timebase
    assert timebase is not None
    return DSOX1102GMeter(scope, AMPLIFIER, timebase, VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)))


def siglent(scope: SiglentSDS1000XHD) -> SDS1000XHDMeter:
    timebase = METERS["siglent-sds1000xhd"].timebase
    assert timebase is not None
    return SDS1000XHDMeter(scope, AMPLIFIER, timebase, VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)))


# --- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb\n\n", bytes(range(256))])
@pytest.mark.parametrize("digits", [3, 8, 9])
def test_a_block_is_read_by_its_number_of_bytes(data: bytes, digits: int) -> None:
    reply = f"#{digits}{len(data):0{digits}d}".encode() + data + b"\n"
    with expected_protocol(DSOX1102G, [(b":WAV:DATA?", reply), (b"*IDN?", b"x")]) as scope:
        scope.write(":WAV:DATA?")
        assert read_block(scope, "scope", len(data)) == data
        assert scope.ask("*IDN?") == "x"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"1.0,2.0\n", "expected a block of definite length"),
        (b"#0abc\n", "expected a block of definite length"),
        (b"#2x5abc\n", "expected 3 bytes"),
        (b"#14abcd\n", "expected 3 bytes"),
        (b"#13abcd\n", "does not end after its 3 bytes"),
    ],
)
def test_what_is_no_block_of_the_expected_size_raises(reply: bytes, message: str) -> None:
    with expected_protocol(DSOX1102G, [(b"Q?", reply)]) as scope:
        scope.write("Q?")
        with pytest.raises(InstrumentError, match=message):
            read_block(scope, "scope", 3)
        scope.read_bytes(-1)


# --- Keysight ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "set_", "get", "reply"),
    [
        ("timebase_scale", 1e-7, ":TIM:SCAL 1e-07", ":TIM:SCAL?", "+1.00000000E-07"),
        ("timebase_position", -4e-7, ":TIM:POS -4e-07", ":TIM:POS?", "-4.00000000E-07"),
        ("trigger_source", "CHAN2", ":TRIG:EDGE:SOUR CHAN2", ":TRIG:EDGE:SOUR?", "CHAN2"),
        ("trigger_level", 1.0, ":TRIG:EDGE:LEV 1", ":TRIG:EDGE:LEV?", "+1.00000E+00"),
        ("trigger_slope", "POS", ":TRIG:EDGE:SLOP POS", ":TRIG:EDGE:SLOP?", "POS"),
        ("trigger_sweep", "NORM", ":TRIG:SWE NORM", ":TRIG:SWE?", "NORM"),
    ],
)
def test_each_setting_is_one_command_and_reads_back(name: str, value: object, set_: str, get: str, reply: str) -> None:
    with expected_protocol(DSOX1102G, [(set_, None), (get, reply)]) as scope:
        setattr(scope, name, value)
        assert getattr(scope, name) == value


@pytest.mark.parametrize(("reply", "running"), [("+0", False), ("+8", True), ("+40", True), ("+32", False)])
def test_running_is_bit_three(reply: str, running: bool) -> None:
    with expected_protocol(DSOX1102G, [(":OPER:COND?", reply)]) as scope:
        assert scope.running is running


CONFIGURING: list[Any] = [
    (":channel1:RANGe 4.000000", None), (":TIM:SCAL 0.0001", None), (":TIM:POS 0.0004", None),
    (":waveform:points 100", None), (":SYST:ERR?", NO_ERROR), (":TIM:POS?", "+4.0E-04"),
    (":TRIG:EDGE:LEV?", "+1.0E+00"),
    (":TRIG:EDGE:SOUR?", "CHAN2"), (":TRIG:EDGE:SLOP?", "POS"), (":TRIG:SWE?", "NORM"), (":channel1:COUPling?", "DC"),
    (":channel1:INVert?", "0"), (":ACQuire:TYPE?", "NORM"), (":channel1:PROBe?", "+1.0E+00"),
    (":channel1:OFFSet?", "+0.0E+00"), (":channel1:RANGe?", "+4.0E+00"), (":TIM:SCAL?", "+1.0E-04"),
]  # fmt: skip
STARTING: list[Any] = [(":AER?", "+1"), (":single", None), (":AER?", "+0"), (":AER?", "+1")]
PREAMBLE = "+0,+0,{points},+1,{interval},{origin},+0,+1.5625E-02,+0.0E+00,+128"


def fetching(codes: bytes, points: str = "+100", interval: str = "+1.0E-05", origin: str = "-1.0E-04") -> list[Any]:
    preamble = PREAMBLE.format(points=points, interval=interval, origin=origin)
    return [
        (":OPER:COND?", "+8"), (":OPER:COND?", "+0"), (":WAV:PRE?", preamble),
        (b":WAV:DATA?", b"#800000100" + codes + b"\n"), (":SYST:ERR?", NO_ERROR),
    ]  # fmt: skip


def test_configuring_reads_every_setting_back_in_amperes() -> None:
    with expected_protocol(DSOX1102G, CONFIGURING) as scope:
        assert keysight(scope).configure(SETTINGS) == SETTINGS


def test_codes_become_amperes_at_times_from_the_trigger_and_clipped_ones_overflow() -> None:
    codes = bytes([1, 255, 10, 254, 128, *[192] * 95])
    with expected_protocol(DSOX1102G, CONFIGURING + STARTING + fetching(codes)) as scope:
        meter = keysight(scope)
        meter.configure(SETTINGS)
        meter.start()
        readings = meter.fetch()
    step_A = -4 / 256 / 1e6  # inverting
    np.testing.assert_allclose(
        readings.current_A[2:], step_A * (np.frombuffer(codes[2:], np.uint8) - 128.0), rtol=1e-12
    )
    assert np.all(np.isnan(readings.current_A[:2]))
    assert list(readings.flags[:3]) == [ReadingFlag.OVERFLOW, ReadingFlag.OVERFLOW, ReadingFlag.OK]
    np.testing.assert_allclose(readings.start_s + 5e-9, -1e-4 + 1e-5 * np.arange(100), atol=1e-12)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (fetching(bytes([128] * 100), interval="+2.0E-05")[:3], "sample interval"),
        (fetching(bytes([128] * 100), points="+99")[:3], "points: asked for 100"),
        (fetching(bytes([128] * 100), origin="-5.0E-04")[:3], "the record begins -0.0005 s"),
        (fetching(bytes([128] * 99 + [0]))[:4], "1 points were not acquired"),
    ],
)
def test_another_record_than_was_asked_for_is_no_record(pairs: list[Any], message: str) -> None:
    with expected_protocol(DSOX1102G, CONFIGURING + STARTING + pairs) as scope:
        meter = keysight(scope)
        meter.configure(SETTINGS)
        meter.start()
        with pytest.raises(InstrumentError, match=message):
            meter.fetch()


def test_a_bias_or_an_impossible_interval_is_no_request_for_a_scope() -> None:
    with expected_protocol(DSOX1102G, []) as scope:
        with pytest.raises(InstrumentError, match="there is no source"):
            keysight(scope).configure(replace(SETTINGS, bias_V=0.1))
        with pytest.raises(InstrumentError, match="no time base of the scope gives 100 samples every 3e-05 s"):
            keysight(scope).configure(replace(SETTINGS, interval_s=3e-5))
        assert isinstance(keysight(scope), Meter)


# --- Siglent ----------------------------------------------------------------------------------------------------------


def descriptor(**changes: Any) -> bytes:
    values = {
        "word": 1, "order": 0, "points": 10_000, "scale": 0.5, "offset": 0.0, "per_division": 7680.0, "bits": 12,
        "interval": 1e-5, "delay": 0.0, "probe": 1.0,
    } | changes  # fmt: skip
    found = bytearray(346)
    found[:8] = b"WAVEDESC"
    places = {
        "word": "20h", "order": "22h", "points": "74i", "scale": "9cf", "offset": "a0f", "per_division": "a4f",
        "bits": "ach", "interval": "b0f", "delay": "b4d", "probe": "148f",
    }  # fmt: skip
    for name, place in places.items():
        struct.pack_into("<" + place[-1], found, int(place[:-1], 16), values[name])
    return b"#9000000346" + bytes(found) + b"\n"


SDS_CONFIGURING: list[Any] = [
    (":CHANnel1:SCALe 5.000e-01", None), (":TRIGger:MODE AUTO", None), (":ACQuire:MMANagement FMDepth", None),
    (":ACQuire:MDEPth 10K", None), (":TIMebase:SCALe 1.000000e-02", None), (":TIMebase:DELay 0.000000e+00", None),
    (":ACQuire:MDEPth?", "10k"), (":TIMebase:SCALe?", "1.00E-02"), (":TIMebase:DELay?", "0.00E+00"),
    (":TRIGger:EDGE:LEVel?", "9.83E-01"), (":TRIGger:EDGE:SOURce?", "C2"), (":TRIGger:EDGE:SLOPe?", "RISing"),
    (":CHANnel1:COUPling?", "DC"), (":CHANnel1:INVert?", "OFF"), (":ACQuire:TYPE?", "NORMal"),
    (":CHANnel1:OFFSet?", "0.00E+00"), (":CHANnel1:SCALe?", "5.00E-01"), (":ACQuire:SRATe?", "1.00E+05"),
]  # fmt: skip
SDS_STARTING: list[Any] = [
    (":TRIGger:STOP", None), (":TRIGger:MODE SINGle", None), (":TRIGger:STATus?", "Arm"), (":TRIGger:STATus?", "Ready"),
]  # fmt: skip


def sds_fetching(codes: list[int], **changes: Any) -> list[Any]:
    return [
        (":TRIGger:STATus?", "Trig'd"), (":TRIGger:STATus?", "Stop"), (":WAVeform:MAXPoint?", "5000000"),
        (b":WAV:PRE?", descriptor(**changes)), (b":WAV:STAR 4990", None), (b":WAV:INT 1", None),
        (b":WAV:POIN 100", None),
        (b":WAV:DATA?", b"#9000000200" + np.array(codes, "<i2").tobytes() + b"\n"),
    ]  # fmt: skip


def test_words_become_amperes_and_beyond_four_divisions_there_is_no_value() -> None:
    codes = [4 * 7680, -4 * 7680, 2560, *[-7680] * 97]  # 2560 is 0x0A00
    with expected_protocol(SiglentSDS1000XHD, SDS_CONFIGURING + SDS_STARTING + sds_fetching(codes)) as scope:
        meter = siglent(scope)
        assert meter.configure(SETTINGS) == SETTINGS
        meter.start()
        readings = meter.fetch()
    assert np.all(np.isnan(readings.current_A[:2]))
    np.testing.assert_allclose(readings.current_A[2:4], [-0.5e-6 / 3, 0.5e-6], rtol=1e-6)
    np.testing.assert_allclose(readings.start_s + 5e-9, -1e-4 + 1e-5 * np.arange(100), atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 2e-5}, "sample interval"),
        ({"points": 9999}, "points: asked for 10000"),
        ({"probe": 10.0}, "probe attenuation"),
        ({"scale": 1.0}, "range"),
        ({"word": 0}, "not in little-endian words of 12 bits"),
        ({"delay": 1e-3}, "off the middle of the record"),
        ({"per_division": float("nan")}, "expected a finite number"),
    ],
)
def test_another_descriptor_than_was_asked_for_is_no_record(change: dict[str, Any], message: str) -> None:
    pairs = SDS_CONFIGURING + SDS_STARTING + sds_fetching([0] * 100, **change)[:4]
    with expected_protocol(SiglentSDS1000XHD, pairs) as scope:
        meter = siglent(scope)
        meter.configure(SETTINGS)
        meter.start()
        with pytest.raises(InstrumentError, match=message):
            meter.fetch()


@pytest.mark.parametrize(
    ("place", "reply", "message"),
    [
        (6, "100k", "memory depth: asked for 10K"),
        (7, "2.00E-02", "time base"),
        (9, "2.00E-01", "trigger level"),
        (10, "LINE", "expected a rising edge on channel 2"),
        (14, "AVERage,16", "acquisition"),
    ],
)
def test_a_setting_that_was_dropped_without_a_word_is_found_out(place: int, reply: str, message: str) -> None:
    pairs = [*SDS_CONFIGURING[:place], (SDS_CONFIGURING[place][0], reply)]
    tail = {10: SDS_CONFIGURING[11:12], 14: []}.get(place, [])
    with expected_protocol(SiglentSDS1000XHD, pairs + tail) as scope, pytest.raises(InstrumentError, match=message):
        siglent(scope).configure(SETTINGS)


# --- twins ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def twin_of(shipped: BenchFile) -> Callable[[str], Any]:
    def build(name: str) -> Any:
        entry = shipped.meter.model_copy(update={"driver": name, "amplifier": AMPLIFIER})
        return build_virtual(shipped.model_copy(update={"meter": entry})).meter

    return build


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("keysight-dsox1102g", b":WAV:POIN 1234", b"-222"),
        ("keysight-dsox1102g", b":WAV:DATA?", b"-230"),
        ("keysight-dsox1102g", b":CHAN3:RANG 1", b"-113"),
        ("keysight-dsox1102g", b":CHAN1:COUP GND", b"-224"),
        ("keysight-dsox1102g", b":TIM:SCAL 1E-9", b"-222"),
        ("keysight-dsox1102g", b":TRIG:EDGE:LEV 31", b"-222"),
        ("siglent-sds1000xhd", b":WAVeform:PREamble?", b"-230"),
        ("siglent-sds1000xhd", b":CHANnel1:PROBe 1", b"-224"),
        ("siglent-sds1000xhd", b":CHANnel1:PROBe VALue", b"-109"),
        ("siglent-sds1000xhd", b":CHANnel1:BWLimit ON", b"-224"),
        ("siglent-sds1000xhd", b":ACQuire:MDEPth 12k", b"-224"),
    ],
)
def test_a_twin_refuses_what_its_guide_does_not_have(
    twin_of: Callable[[str], Any], name: str, message: bytes, code: bytes
) -> None:
    twin = twin_of(name)
    assert twin.handle(message) is None
    assert twin.handle(b"SYST:ERR?").startswith(code)


def test_the_siglent_drops_what_comes_at_the_wrong_time(twin_of: Callable[[str], Any]) -> None:
    twin = twin_of("siglent-sds1000xhd")
    twin.handle(b":TRIG:STOP")
    for command in (b":TIM:SCAL 1E-3", b":ACQ:MMAN FMD", b":ACQ:MDEP 1M", b":CHAN2:SCAL 2"):
        twin.handle(command)
    assert (twin.handle(b":TIM:SCAL?"), twin.handle(b":ACQ:MDEP?")) == (b"+1.000000000E-06", b"10k")
    assert twin.handle(b":CHAN2:SCAL?") == b"+1.000000000E+00"
    for command in (b":TRIG:MODE AUTO", b":TIM:SCAL 1E-3", b":ACQ:MDEP 1M", b":CHAN2:SWIT ON;SCAL 2"):
        twin.handle(command)
    assert (twin.handle(b":TIM:SCAL?"), twin.handle(b":ACQ:MDEP?")) == (b"+1.000000000E-03", b"1m")
    assert twin.handle(b":CHAN2:SCAL?") == b"+2.000000000E+00"


def test_an_edge_before_the_part_before_the_trigger_is_full_triggers_nothing(twin_of: Callable[[str], Any]) -> None:
    twin = twin_of("keysight-dsox1102g")
    for command in (
        b":CHAN2:DISP 1", b":CHAN2:RANG 8", b":TRIG:EDGE:SOUR CHAN2", b":TRIG:EDGE:LEV 1", b":TIM:SCAL 1E-3", b":SING",
    ):  # fmt: skip
        twin.handle(command)
    world = twin._world
    assert twin.handle(b":AER?") == b"+0"
    world.sync_edge(world.now_s)
    world.clock.sleep(4.9e-3)
    assert (twin.handle(b":AER?"), twin.handle(b":OPER:COND?")) == (b"+0", b"+8")
    world.clock.sleep(0.2e-3)
    assert [twin.handle(b":AER?"), twin.handle(b":AER?")] == [b"+1", b"+0"]
    assert twin.handle(b":OPER:COND?") == b"+40"
    world.sync_edge(world.now_s)
    assert twin.handle(b":OPER:COND?") == b"+8"
    world.clock.sleep(5.1e-3)
    assert twin.handle(b":OPER:COND?") == b"+0"
