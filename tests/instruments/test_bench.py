"""The open bench: the very drivers on the twins; time axis, safety, identity, faults."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import otters_lab.instruments.bench as bench_module
import otters_lab.instruments.session as session_module
from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.protocols import Array, Pulse
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.virtual.agilent33500 import Agilent33500Twin
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.law import Decay, Kww
from otters_lab.instruments.virtual.world import History

PUBLISHED = Kww(I0=110.989, tau=1.3425, beta=0.495, I_offset=-109.989)
START = datetime(2026, 1, 1, 8, tzinfo=UTC)


def assert_dark_and_unbiased(virtual: VirtualBench) -> None:
    assert not virtual.world.lit
    assert not virtual.light.output_on
    assert not virtual.meter.output_on
    assert virtual.world.connected is None


# --- the trace ------------------------------------------------------------------------------------------------------


def test_without_noise_every_sample_is_the_closed_form_on_the_lights_time_axis(
    quiet: BenchFile, take: TraceRequest
) -> None:
    with open_bench(quiet) as bench:
        trace = bench.acquire(take)
    assert trace.status == "ok"
    assert trace.time_s.size == trace.current_A.size == 650
    begin, end = trace.time_s - 0.5e-3, trace.time_s + 0.5e-3
    swing, dark = 8e-9, 20e-9
    decay = Decay(1.0, 1.0, PUBLISHED.beta, PUBLISHED.c, 1.0)
    after = begin >= 0
    mean_O = np.diff(decay.integral(np.stack([begin, end])[:, after]), axis=0)[0] / 1e-3
    expected = dark + swing * (mean_O - PUBLISHED.I_offset)
    np.testing.assert_allclose(trace.current_A[after], expected, rtol=0, atol=1e-6 * swing)
    lit = (begin >= -0.2) & (end <= 0)
    np.testing.assert_allclose(trace.current_A[lit], dark + 110.989 * swing, rtol=1e-9)
    np.testing.assert_allclose(trace.current_A[end <= -0.2], dark, rtol=1e-9)
    # dark, lit and decaying apertures are all there but for the one across the rising edge
    assert (after.sum(), lit.sum(), (end <= -0.2).sum()) == (500, 100, 50)


def test_the_edge_lies_at_zero_within_the_stated_uncertainty(quiet: BenchFile, take: TraceRequest) -> None:
    """A wrong latency in [sync] moves the axis by as much; the shipped one is right to a nanosecond."""
    assert quiet.virtual is not None
    late = quiet.virtual.model_copy(update={"light_latency": 52e-6})
    with open_bench(quiet) as bench, open_bench(quiet.model_copy(update={"virtual": late})) as other:
        trace, shifted = bench.acquire(take), other.acquire(take)
    assert trace.edge_uncertainty_s == 1e-6
    across = np.argmax(trace.time_s > 0)
    decay = Decay(1.0, 1.0, PUBLISHED.beta, PUBLISHED.c, 1.0)

    def first_sample(error_s: float) -> float:
        bounds = np.array([trace.time_s[across] - 0.5e-3, trace.time_s[across] + 0.5e-3]) - error_s
        plateau = max(0.0, -bounds[0])
        mean = (plateau + float(np.diff(decay.integral(np.maximum(bounds, 0)))[0])) / 1e-3
        return 20e-9 + 8e-9 * (109.989 + mean)

    assert trace.current_A[across] == pytest.approx(first_sample(0.0), abs=1e-15)
    assert shifted.current_A[across] == pytest.approx(first_sample(50e-6), abs=1e-15)
    assert first_sample(50e-6) - first_sample(0.0) > 1e-11  # fifty microseconds would show


def test_a_trace_says_how_it_was_taken(shipped: BenchFile, take: TraceRequest) -> None:
    with open_bench(shipped) as bench:
        trace = bench.acquire(take)
        assert bench.origin == "synthetic"
        assert bench.devices == tuple(range(1, 9))
        assert set(bench.identities) == {"meter", "light", "switch"}
        assert "2450" in bench.identities["meter"]
    assert trace.aperture_s == pytest.approx(1e-3)
    assert trace.pulse_width_s == 0.2
    assert trace.range_A == 1e-6
    assert trace.start_utc == "2026-01-01T08:00:00.110000Z"  # ten ms for the switch, a hundred for the bias


def test_a_virtual_bench_tells_the_truth_about_itself(shipped: BenchFile) -> None:
    with open_bench(shipped) as bench:
        truth = bench.truth
    assert truth is not None
    json.dumps(truth, allow_nan=False)  # it goes into a file's attributes
    assert truth["white_noise_A_per_rtHz"] == pytest.approx(1.78885e-12)
    assert truth["decays"]["law"]["I0"] == 110.989
    assert len(truth["decays"]["device_D"]) == 8


def test_read_noise_has_the_stated_size(shipped: BenchFile, take: TraceRequest) -> None:
    with open_bench(shipped) as bench:
        dark = np.concatenate([(t := bench.acquire(take)).current_A[t.time_s < -0.21] for _ in range(30)])
    white, flicker = 0.005 * 8e-9, 0.001 * 8e-9
    assert dark.std() == pytest.approx(np.hypot(white, flicker), rel=0.1)


def test_the_same_take_on_a_new_bench_is_the_same_to_the_last_bit(shipped: BenchFile, take: TraceRequest) -> None:
    with open_bench(shipped) as bench:
        one = [bench.acquire(replace(take, device=device)) for device in (1, 2, 1)]
    with open_bench(shipped) as bench:
        two = [bench.acquire(replace(take, device=device)) for device in (1, 2, 1)]
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.current_A, second.current_A)
        assert first.start_utc == second.start_utc
    assert not np.array_equal(one[0].current_A, one[2].current_A)


def test_a_bench_that_goes_on_from_a_history_equals_one_that_never_stopped(
    shipped: BenchFile, take: TraceRequest
) -> None:
    def takes(bench: bench_module.Bench, devices: tuple[int, ...]) -> list[Array]:
        got = []
        for device in devices:
            got.append(bench.acquire(replace(take, device=device)).current_A)
            bench.wait(5.0)
        return got

    with open_bench(shipped) as bench:
        undisturbed = takes(bench, (1, 2, 1, 3, 2))
    with open_bench(shipped) as bench:
        resumed = takes(bench, (1, 2))
        history = bench.history
    with open_bench(shipped, history=History(dict(history.pulses), history.elapsed_s)) as bench:
        resumed += takes(bench, (1, 3, 2))
    for first, second in zip(undisturbed, resumed, strict=True):
        np.testing.assert_array_equal(first, second)


class Steps:
    """A replayed source: the current is the number of the device, in nanoamperes, after the light."""

    origin = "replayed"
    devices = (2, 3)

    def dark_current_A(self, device: int) -> float:
        return 0.0

    def mean_current_A(self, pulse: Pulse, start_s: Array, stop_s: Array) -> Array:
        return np.where(start_s >= 0, pulse.device * 1e-9, 0.0)


def test_decays_handed_in_take_the_place_of_the_chip_and_of_its_noise(shipped: BenchFile, take: TraceRequest) -> None:
    with open_bench(shipped, decays=Steps()) as bench:
        assert bench.origin == "replayed"
        assert bench.devices == (2, 3)
        trace = bench.acquire(replace(take, device=3))
        with pytest.raises(InputError, match="the chip has no device 1"):
            bench.acquire(take)
    assert set(trace.current_A[trace.time_s > 0]) == {3e-9}


class Listens(Steps):
    """Keeps the apertures it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Array] = []

    def mean_current_A(self, pulse: Pulse, start_s: Array, stop_s: Array) -> Array:
        self.asked.append(np.concatenate([start_s, stop_s, [pulse.width_s]]))
        return super().mean_current_A(pulse, start_s, stop_s)


def test_a_decay_is_asked_for_at_the_same_times_at_any_hour(shipped: BenchFile, take: TraceRequest) -> None:
    """Clock readings late in a long sweep are coarser than early ones; a decay must not feel it."""
    listens = Listens()
    for elapsed_s in (0.0, 12345.678901234, 98765.4321):
        with open_bench(shipped, decays=listens, history=History({}, elapsed_s)) as bench:
            bench.acquire(replace(take, device=2))
    for later in listens.asked[1:]:
        np.testing.assert_array_equal(later, listens.asked[0])


# --- status ---------------------------------------------------------------------------------------------------------


def test_an_overflowed_take_is_kept_flagged_and_without_the_readings_that_are_none(
    shipped: BenchFile, take: TraceRequest
) -> None:
    with open_bench(shipped) as bench:
        trace = bench.acquire(replace(take, range_A=1e-7))  # the plateau is 0.9 uA
        assert bench.acquire(take).status == "ok"
    assert trace.status == "overflow"
    assert np.all(np.isfinite(trace.current_A))
    assert np.all(trace.time_s < -0.2)  # the dark readings remain
    assert trace.current_A.size == 50


def test_a_take_in_compliance_is_kept_and_flagged(shipped: BenchFile, take: TraceRequest) -> None:
    tight = shipped.model_copy(update={"limits": shipped.limits.model_copy(update={"compliance": 0.5e-6})})
    with open_bench(tight) as bench:
        trace = bench.acquire(take)
    assert trace.status == "compliance"
    assert trace.current_A.max() == pytest.approx(0.5e-6)
    assert trace.current_A.size == 650


# --- safety ---------------------------------------------------------------------------------------------------------


def test_light_and_bias_are_off_between_takes_and_at_the_end(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:
    with open_bench(shipped) as bench:
        bench.acquire(take)
        assert not built[0].world.lit
        assert not built[0].light.output_on
        assert not built[0].meter.output_on
    assert_dark_and_unbiased(built[0])


@contextmanager
def orders(built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """All messages to all twins, in order."""
    heard: list[tuple[str, str]] = []
    for name in ("meter", "light", "switch"):
        device = getattr(built[0], name)
        original = device.handle

        def handle(message: bytes, name: str = name, original: object = original) -> bytes | None:
            heard.append((name, message.decode()))
            return original(message)  # type: ignore[operator]

        monkeypatch.setattr(device, "handle", handle)
    yield heard


def test_bias_comes_before_light_and_light_goes_before_bias(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(shipped) as bench, orders(built, monkeypatch) as heard:
        bench.acquire(take)
        bias_on, light_on = heard.index(("meter", ":OUTP 1")), heard.index(("light", "OUTP 1"))
        assert bias_on < light_on < heard.index(("meter", ":INIT"))
        last_off = {name: len(heard) - 1 - heard[::-1].index((name, text)) for name, text in
                    (("light", "OUTP 0"), ("meter", ":OUTP 0"))}  # fmt: skip
        assert light_on < last_off["light"] < last_off["meter"]


class Interrupts(VirtualClock):
    """A clock on which somebody presses Ctrl-C in the middle of a light pulse."""

    world = None

    def sleep(self, seconds: float) -> None:
        if seconds > 1.0:
            super().sleep(0.2)
            assert self.world is not None
            assert self.world.lit
            raise KeyboardInterrupt
        super().sleep(seconds)


def test_an_interruption_while_the_light_is_on_leaves_everything_off(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:
    clock = Interrupts(START)

    def interrupted() -> None:
        with open_bench(shipped, clock=clock) as bench:
            clock.world = built[0].world  # type: ignore[assignment]
            bench.acquire(take)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert_dark_and_unbiased(built[0])


def test_an_exception_in_the_users_own_code_leaves_everything_off(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:

    def careless() -> None:
        with open_bench(shipped) as bench:
            bench.acquire(take)
            built[0].light.handle(b"BURS:STAT 0")
            built[0].light.handle(b"OUTP 1")
            built[0].meter.handle(b"OUTP 1")
            assert built[0].world.lit
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        careless()
    assert_dark_and_unbiased(built[0])


@pytest.mark.parametrize("role", ["meter", "light", "switch"])
def test_another_instrument_is_refused_before_anything_but_idn_was_sent(
    shipped: BenchFile, built: list[VirtualBench], role: str
) -> None:
    entry = getattr(shipped, role).model_copy(update={"identity": "MODEL 9999"})
    with (
        pytest.raises(InstrumentError, match=rf"{role} at GPIB.*expected 'MODEL 9999' in it .*virtual\.toml"),
        open_bench(shipped.model_copy(update={role: entry})),
    ):
        pytest.fail("the bench opened")
    for device in (built[0].meter, built[0].light, built[0].switch):
        assert set(device.received) <= {b"*IDN?"}


def test_the_first_thing_after_identification_is_to_make_safe(shipped: BenchFile, built: list[VirtualBench]) -> None:
    with open_bench(shipped):
        assert list(built[0].light.received)[:2] == [b"*IDN?", b"OUTP 0"]
        assert list(built[0].meter.received)[:3] == [b"*IDN?", b":ABOR", b":OUTP 0"]


# --- faults ---------------------------------------------------------------------------------------------------------


def silence(device: object, word: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a twin swallow the messages that hold a word."""
    original = device.handle  # type: ignore[attr-defined]
    monkeypatch.setattr(device, "handle", lambda message: None if word in message else original(message))


def test_a_time_out_ends_dark_and_without_retries_the_bench_takes_no_more(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(shipped.model_copy(update={"retries": 0})) as bench:
        with monkeypatch.context() as patch:
            silence(built[0].meter, b"TRAC:DATA", patch)
            with pytest.raises(InstrumentError, match="meter: VI_ERROR_TMO"):
                bench.acquire(take)
        assert_dark_and_unbiased(built[0])
        with pytest.raises(InstrumentError, match="must be opened anew: meter: VI_ERROR_TMO"):
            bench.acquire(take)
    assert_dark_and_unbiased(built[0])


def test_after_a_time_out_the_links_are_opened_and_identified_anew_and_the_take_is_kept_as_failed(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(shipped) as bench:
        with monkeypatch.context() as patch:
            silence(built[0].meter, b"TRAC:DATA", patch)
            before = len(built[0].meter.received)
            failed = bench.acquire(take)
        assert (failed.status, failed.time_s.size, failed.current_A.size) == ("failed", 0, 0)
        assert failed.pulse_width_s == take.width_s  # the device had its light all the same
        heard = list(built[0].meter.received)[before:]
        assert heard.count(b"*IDN?") == 1
        assert heard.index(b"*IDN?") < heard.index(b"*RST")
        assert_dark_and_unbiased(built[0])
        trace = bench.acquire(take)
        assert trace.status == "ok"
        assert built[0].world.history.pulses == {1: 2}  # nothing was taken again in silence


def test_more_failed_takes_in_a_row_than_the_file_allows_end_the_run(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(shipped.model_copy(update={"retries": 2})) as bench:
        with monkeypatch.context() as patch:
            silence(built[0].meter, b"TRAC:DATA", patch)
            assert [bench.acquire(take).status for _ in range(2)] == ["failed", "failed"]
        assert bench.acquire(take).status == "ok"  # the count begins anew
        silence(built[0].meter, b"TRAC:DATA", monkeypatch)
        assert [bench.acquire(take).status for _ in range(2)] == ["failed", "failed"]
        with pytest.raises(InstrumentError, match=r"VI_ERROR_TMO.*\(3 failed takes in a row\)"):
            bench.acquire(take)
    assert_dark_and_unbiased(built[0])


def test_the_bench_files_own_order_of_switching_off_is_kept(
    shipped: BenchFile, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ["switch", "meter", "light"]
    file = shipped.model_copy(update={"safety": shipped.safety.model_copy(update={"off": order})})
    with open_bench(file) as bench, orders(built, monkeypatch) as heard:
        bench.make_safe()
    assert list(dict.fromkeys(name for name, _ in heard)) == order


class Signals(VirtualClock):
    """A clock on which the process is told to end in the middle of a light pulse, and twice more on the way out."""

    world = None
    sent = 0

    def sleep(self, seconds: float) -> None:
        super().sleep(0.2 if seconds > 1.0 else seconds)
        if seconds > 1.0:
            assert self.world is not None
            assert self.world.lit
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX")
def test_signals_that_arrive_while_the_bench_is_made_safe_do_not_stop_it(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Signals(START)
    answer = Agilent33500Twin.handle

    def told_again(twin: Agilent33500Twin, message: bytes) -> bytes | None:
        if message == b"OUTP 0" and clock.world is not None and clock.world.lit:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGHUP)
            clock.sent += 2
        return answer(twin, message)

    monkeypatch.setattr(Agilent33500Twin, "handle", told_again)

    def told() -> None:
        with open_bench(shipped, clock=clock) as bench:
            clock.world = built[0].world  # type: ignore[assignment]
            bench.acquire(take)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        told()
    assert clock.sent == 2
    assert_dark_and_unbiased(built[0])
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_off_that_cannot_be_confirmed_is_output_state_unknown_and_the_rest_is_off(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:

    def deaf_at_the_end() -> None:
        with open_bench(shipped) as bench:
            bench.acquire(take)
            silence(built[0].meter, b"OUTP", monkeypatch)

    with pytest.raises(InstrumentError, match="output state unknown: meter: VI_ERROR_TMO"):
        deaf_at_the_end()
    assert not built[0].light.output_on
    assert built[0].world.connected is None


def test_an_instrument_that_sets_something_else_is_caught(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bench(shipped) as bench:
        silence(built[0].meter, b"SENS:CURR:RANG 1e-06", monkeypatch)
        with pytest.raises(InstrumentError, match=r"range_A: asked for 1e-06, the instrument says 1e-08"):
            bench.acquire(take)
    assert_dark_and_unbiased(built[0])


def test_an_entry_in_an_error_queue_stops_the_take(
    shipped: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:
    with open_bench(shipped) as bench:
        built[0].light.handle(b"NONSENSE")
        with pytest.raises(InstrumentError, match="light: error queue after arming: -113 Undefined header"):
            bench.acquire(take)
    assert_dark_and_unbiased(built[0])


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(shipped: BenchFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BenchFile:
    """A bench file with backend = "visa" whose system VISA library happens to hold the twins."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(session_module, "SYSTEM_LIBRARY", build_virtual(shipped).library)
    return shipped.model_copy(update={"backend": "visa"})


def test_two_benches_on_one_address_are_refused_and_the_lock_goes_with_the_bench(real: BenchFile) -> None:
    with open_bench(real) as bench:
        assert bench.origin == "synthetic"  # the *IDN? replies say VIRTUAL
        assert bench.truth is None
        with pytest.raises(InstrumentError, match=r"GPIB0::10::INSTR is in use by another bench"), open_bench(real):
            pytest.fail("the second bench opened")
    with open_bench(real):
        pass


def test_an_address_where_nothing_answers_is_an_instrument_error(real: BenchFile) -> None:
    nowhere = real.light.model_copy(update={"address": "GPIB0::29::INSTR"})
    with (
        pytest.raises(InstrumentError, match="light at GPIB0::29::INSTR: VI_ERROR_RSRC_NFOUND"),
        open_bench(real.model_copy(update={"light": nowhere})),
    ):
        pytest.fail("the bench opened")


def test_virtual_benches_share_nothing_and_need_no_lock(shipped: BenchFile, take: TraceRequest) -> None:
    with open_bench(shipped) as one, open_bench(shipped) as other:
        one.acquire(take)
        assert other.history.pulses == {}


def test_a_virtual_bench_with_nothing_to_measure_is_refused(shipped: BenchFile) -> None:
    assert shipped.virtual is not None
    empty = shipped.model_copy(update={"virtual": shipped.virtual.model_copy(update={"chip": None})})
    with pytest.raises(InputError, match="there is no chip to measure"), open_bench(empty):
        pytest.fail("the bench opened")
