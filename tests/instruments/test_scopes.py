"""Oscilloscopes behind the amplifier: the records they can make, the bench's rules, and whole takes on their twins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.protocols import Array, Trace
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.drivers.agilent33500 import Agilent33500SoftwareLight
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.drivers.timebase import Timebase
from otters_lab.instruments.refusals import violations
from otters_lab.instruments.survey import survey
from otters_lab.instruments.timing import timing
from otters_lab.instruments.virtual.assemble import VirtualBench
from otters_lab.instruments.virtual.faults import FaultPlan
from otters_lab.instruments.virtual.law import Kww
from otters_lab.instruments.virtual.scpi import ScpiInstrument
from otters_lab.instruments.virtual.server import serving

PUBLISHED = Kww(I0=110.989, tau=1.3425, beta=0.495, I_offset=-109.989)
DARK_A, SWING_A = 20e-9, 8e-9  # of the shipped chip
SOURCE_METER = """driver = "keithley-2450"
address = "GPIB0::18::INSTR"
identity = "MODEL 2450"
settle = "100 ms"               # from bias on to the trigger
"""
AMPLIFIER = """[meter.amplifier]
gain = "1e6 V/A"
bandwidth = "1 MHz"
output_limit = "10 V"
inverting = true
"""
SCOPES = {
    "keysight-dsox1102g": f"""driver = "keysight-dsox1102g"
address = "USB0::0x2A8D::0x1797::CN00000001::INSTR"
identity = "DSO-X 1102G"
{AMPLIFIER}""",
    "siglent-sds1000xhd": f"""driver = "siglent-sds1000xhd"
address = "USB0::0xF4EC::0x1017::SDS00000001::INSTR"
identity = "X HD"
{AMPLIFIER}""",
}
# Codes from the middle of the screen to full scale: 8 bits over eight divisions; 480 codes a division of 12 bits.
CODES = {"keysight-dsox1102g": 128, "siglent-sds1000xhd": 1920}
LIGHT = 'identity = "33522A"\n'
both = pytest.mark.parametrize("scope", SCOPES)


@pytest.fixture
def bench_with(write_bench: Callable[[str, str], Path], quiet: BenchFile) -> Callable[..., BenchFile]:
    """The quiet bench with a scope for a meter and a light that software starts; pieces of the file replaced."""

    def build(scope: str, *replaced: tuple[str, str]) -> BenchFile:
        path = write_bench(SOURCE_METER, SCOPES[scope])
        text = path.read_text().replace(LIGHT, LIGHT + 'start = "software"\n')
        for old, new in replaced:
            assert old in text, old
            text = text.replace(old, new, 1)
        path.write_text(text)
        return load_bench(path).model_copy(update={"virtual": quiet.virtual})

    return build


@pytest.fixture
def shot(take: TraceRequest) -> TraceRequest:
    """A take that both scopes can do."""
    return replace(take, bias_V=0.0, interval_s=1e-3, aperture_s=1e-8, range_A=2e-6)


def ideal_A(time_s: Array) -> Array:
    """The published law on the window of 1 s, 0 at the edge; closed form."""
    tau_s = PUBLISHED.tau_for_window(1.0)
    return DARK_A + SWING_A * PUBLISHED.I0 * np.exp(-((time_s / tau_s) ** PUBLISHED.beta))


# --- records ----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("before", [0, 7, 1000])
@pytest.mark.parametrize("samples", [1, 100, 1300, 5000])
@pytest.mark.parametrize("interval_s", [1e-7, 2e-6, 5e-5, 1e-3])
def test_a_record_has_the_interval_that_was_asked_for_and_room_for_its_samples(
    scope: str, interval_s: float, samples: int, before: int
) -> None:
    timebase = METERS[scope].timebase
    assert timebase is not None
    record = timebase.record(interval_s, samples, before * interval_s)
    assert record is not None
    assert record.scale_s * 10 / record.points == pytest.approx(interval_s, rel=1e-12)
    assert float(f"{record.scale_s:e}"[:3]) in (1, 2, 5)
    first = record.n_before - before
    assert first >= 0
    assert first + samples <= record.points
    if timebase.centred:
        assert record.n_before == record.points / 2


def test_an_interval_that_no_step_of_the_time_base_gives_has_no_record() -> None:
    timebase = Timebase((1000, 2000), (1e-6, 1.0), centred=False)
    assert timebase.record(1e-6, 2000, 0.0) is not None
    assert timebase.record(3e-6, 1000, 0.0) is None
    assert timebase.record(1e-6, 2001, 0.0) is None
    assert timebase.record(1e-8, 100, 0.0) is not None
    assert timebase.record(1e-9, 100, 0.0) is None  # 100 ns a division
    assert Timebase((1000,), (1e-6, 1.0), centred=True).record(1e-6, 502, 1e-6) is None  # 501 after the trigger


# --- the bench file ---------------------------------------------------------------------------------------------------


@both
def test_a_scope_without_the_lights_sync_is_refused_when_the_file_is_read(
    bench_with: Callable[..., BenchFile], scope: str
) -> None:
    assert not bench_with(scope).meter.known.trigger_out
    with pytest.raises(InputError, match="gives no trigger at the start of an acquisition, which agilent-33500 waits"):
        bench_with(scope, ('start = "software"\n', ""))
    led = '[light.led]\nfull_scale = "1 A"\nterminal = 1\n'
    dc2200 = (
        'driver = "agilent-33500"\naddress = "GPIB0::10::INSTR"\nidentity = "33522A"\nstart = "software"\n',
        f'driver = "thorlabs-dc2200"\naddress = "USB0::1::2::3::INSTR"\nidentity = "DC2200"\n{led}',
    )
    load = 'load = "high impedance"         # what the generator drives: "high impedance" or "50 ohm"\n'
    with pytest.raises(InputError, match="is triggered by the light's sync output, and thorlabs-dc2200 has none"):
        bench_with(scope, dc2200, (load, ""))
    with pytest.raises(InputError, match=rf"\[meter.amplifier\] table is missing, {scope} needs one"):
        bench_with(scope, (AMPLIFIER, ""))


@both
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval_s": 3e-3}, "gives 434 samples every 3 ms"),
        ({"aperture_s": 1e-3}, "aperture is 1 ms, the meter takes 10 ns to 10 ns"),
        ({"bias_V": 0.5}, "has no source: the bias must be 0 V"),
        ({"range_A": 1e-6}, "range is 1 uA, the meter has 40 nA, 80 nA, 200 nA, 400 nA, 800 nA, 2 uA"),
        ({"interval_s": 1e-9}, "interval is 1 ns, the meter takes 10 ns to 10 ms"),
        ({"interval_s": 1e-5, "decay_s": 9.0}, "samples"),
    ],
)
def test_what_a_scope_cannot_do_is_refused(
    bench_with: Callable[..., BenchFile], shot: TraceRequest, scope: str, change: dict[str, Any], message: str
) -> None:
    bench = bench_with(scope)
    assert violations(shot, bench) == []
    assert any(message in problem for problem in violations(replace(shot, **change), bench))


@both
def test_a_start_by_software_adds_nothing_to_the_edges_uncertainty(
    bench_with: Callable[..., BenchFile], shot: TraceRequest, scope: str
) -> None:
    """A decay shorter than the 10 ms of the start by software is measured all the same."""
    bench = bench_with(scope)
    brief = replace(shot, dark_s=1e-3, width_s=1e-3, decay_s=2e-3, interval_s=2e-6)
    assert violations(brief, bench) == []
    assert timing(brief, bench).edge_uncertainty_s == bench.sync.edge_uncertainty == 1e-6


# --- takes ------------------------------------------------------------------------------------------------------------


def taken(file: BenchFile, request: TraceRequest) -> Trace:
    with open_bench(file) as bench:
        return bench.acquire(request)


@both
@pytest.mark.parametrize("sign", ["true", "false"])
@pytest.mark.parametrize("interval_s", [1e-3, 2e-4])
def test_a_decay_is_the_ideal_one_within_a_step_of_the_converter(
    bench_with: Callable[..., BenchFile],
    shot: TraceRequest,
    scope: str,
    sign: str,
    interval_s: float,
    built: list[VirtualBench],
) -> None:
    request = replace(shot, interval_s=interval_s)
    trace = taken(bench_with(scope, ("inverting = true", f"inverting = {sign}")), request)
    step_A = request.range_A / CODES[scope]
    assert trace.status == "ok"
    assert trace.time_s.size == request.n_samples
    assert trace.edge_uncertainty_s == 1e-6
    assert trace.aperture_s == 1e-8
    assert not built[-1].world.lit
    # from -dark - width on, on the grid of the trigger; the latencies of the bench are 5 us and 2 us
    grid_s = -0.3 + np.arange(request.n_samples) * interval_s + 3e-6
    np.testing.assert_allclose(trace.time_s, grid_s, atol=1e-9)
    after, dark = trace.time_s > 1e-7, trace.time_s < -0.2 - 1e-7
    assert np.count_nonzero(dark) == round(request.dark_s / interval_s)
    assert np.max(np.abs(trace.current_A[after] - ideal_A(trace.time_s[after]))) <= step_A / 2 * (1 + 1e-3)
    assert np.max(np.abs(trace.current_A[dark] - DARK_A)) <= step_A / 2 * (1 + 1e-3)
    first_s = timing(request, bench_with(scope)).first_sample_s
    assert first_s == pytest.approx(trace.time_s[trace.time_s > 0][0], abs=1e-9)


@both
def test_when_the_light_is_started_does_not_matter(
    bench_with: Callable[..., BenchFile], shot: TraceRequest, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = taken(bench_with(scope), shot)
    fire = Agilent33500SoftwareLight.fire

    def late(light: Agilent33500SoftwareLight) -> float:
        light._clock.sleep(0.0734)
        return fire(light)

    monkeypatch.setattr(Agilent33500SoftwareLight, "fire", late)
    found = taken(bench_with(scope), shot)
    np.testing.assert_allclose(found.time_s, expected.time_s, atol=1e-9)
    np.testing.assert_allclose(found.current_A, expected.current_A, rtol=1e-12)


@both
def test_beyond_full_scale_and_where_the_amplifier_clips_there_is_no_value(
    bench_with: Callable[..., BenchFile], shot: TraceRequest, scope: str
) -> None:
    over = taken(bench_with(scope), replace(shot, range_A=8e-7))
    assert over.status == "overflow"
    assert np.all(np.abs(over.current_A) < 8e-7)
    assert over.time_s.size == 100  # the dark baseline
    clipped = taken(bench_with(scope, ('"10 V"', '"0.903 V"')), shot)
    assert clipped.status == "overflow"
    assert np.all(np.abs(clipped.current_A) < 0.903e-6)


@both
def test_a_light_without_its_sync_triggers_nothing_and_everything_is_off(
    bench_with: Callable[..., BenchFile], shot: TraceRequest, scope: str, built: list[VirtualBench]
) -> None:
    with open_bench(bench_with(scope)) as bench:
        built[-1].world.sync_inputs.clear()
        with pytest.raises(InstrumentError, match="no trigger came"):
            bench.acquire(shot)
    assert not built[-1].world.lit
    assert not built[-1].light.output_on
    assert not built[-1].meter._running


@both
def test_another_instrument_than_the_file_names_gets_nothing_but_its_question(
    bench_with: Callable[..., BenchFile], scope: str, built: list[VirtualBench]
) -> None:
    file = bench_with(scope)
    other = file.model_copy(update={"meter": file.meter.model_copy(update={"identity": "DS1054Z"})})
    with pytest.raises(InstrumentError, match="expected 'DS1054Z' in it"), open_bench(other):
        pass
    assert list(built[-1].meter.received) == [b"*IDN?"]


@both
def test_looking_the_bench_over_finds_nothing_wrong(bench_with: Callable[..., BenchFile], scope: str) -> None:
    assert [one.problems for one in survey(bench_with(scope))] == [[], [], []]


# --- blocks with line feeds in them -----------------------------------------------------------------------------------

# Gains at which codes of the lit device hold a byte 0x0A: 128 - 118, and 0x0A?0.
FED = {
    "keysight-dsox1102g": ("2.03e6 V/A", "true", 2e-6 / 2.03),
    "siglent-sds1000xhd": ("1.94e5 V/A", "false", 2e-5 / 1.94),
}


@pytest.fixture
def fed(bench_with: Callable[..., BenchFile], shot: TraceRequest) -> Callable[[str], tuple[BenchFile, TraceRequest]]:
    def build(scope: str) -> tuple[BenchFile, TraceRequest]:
        gain, sign, range_A = FED[scope]
        file = bench_with(
            scope, ("1e6 V/A", gain), ("inverting = true", f"inverting = {sign}"),
            ('current = "10 uA"', 'current = "20 uA"'), ('compliance = "20 uA"', 'compliance = "30 uA"'),
        )  # fmt: skip
        return file, replace(shot, range_A=range_A, dark_s=0.05, width_s=0.1, decay_s=0.2, interval_s=2e-4)

    return build


@both
def test_a_block_passes_the_library_the_socket_and_a_transcript_whatever_bytes_it_holds(
    fed: Callable[[str], tuple[BenchFile, TraceRequest]],
    scope: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, request = fed(scope)
    replies: list[bytes] = []
    handle = ScpiInstrument.handle

    def heard(twin: ScpiInstrument, message: bytes) -> bytes | None:
        reply = handle(twin, message)
        replies.append(reply or b"")
        return reply

    monkeypatch.setattr(ScpiInstrument, "handle", heard)
    record = tmp_path / "transcript.jsonl"
    with open_bench(file, record=record) as bench:
        expected = bench.acquire(request)
    assert expected.status == "ok"
    assert max(replies, key=len).count(b"\n") > 100

    replayed = file.model_copy(update={"backend": "transcript", "transcript": "transcript.jsonl"})
    replayed._source = file._source
    with open_bench(replayed) as bench:
        again = bench.acquire(request)
    np.testing.assert_array_equal(again.time_s, expected.time_s)
    np.testing.assert_array_equal(again.current_A, expected.current_A)

    replies.clear()
    with serving(file) as served:
        served._source = file._source
        with open_bench(served) as bench:
            live = bench.acquire(request)
    assert max(replies, key=len).count(b"\n") > 100
    assert live.status == "ok"
    np.testing.assert_allclose(live.time_s, expected.time_s, atol=1e-9)
    step_A = request.range_A / CODES[scope]
    # The clock of the machine gives readings with fractions of a nanosecond: a code may fall to its neighbour.
    np.testing.assert_allclose(live.current_A[50:], expected.current_A[50:], atol=1.01 * step_A)


@both
def test_half_a_block_is_a_failed_take_and_the_next_one_is_right(
    fed: Callable[[str], tuple[BenchFile, TraceRequest]], scope: str
) -> None:
    file, request = fed(scope)
    file = file.model_copy(update={"meter": file.meter.model_copy(update={"timeout": 0.5})})
    faults = FaultPlan.of_json('[{"role": "meter", "match": "WAV:DATA?", "do": "half"}]')
    with serving(file, faults=faults) as served:
        served._source = file._source
        with open_bench(served) as bench:
            assert bench.acquire(request).status == "failed"
            again = bench.acquire(request)
    assert again.status == "ok"
    assert again.time_s.size == request.n_samples
