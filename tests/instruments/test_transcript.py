"""Transcripts: a sweep's messages recorded, replayed to the same traces, and any deviation refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otters_lab.core.errors import DamagedFileError, InputError, InstrumentError
from otters_lab.core.protocols import Trace
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.virtual.assemble import VirtualBench


def takes(bench: BenchFile, take: TraceRequest, record: Path | None = None) -> list[Trace]:
    with open_bench(bench, record=record) as open_:
        return [open_.acquire(replace(take, device=device)) for device in (1, 2)]


@pytest.fixture
def replaying(
    tmp_path: Path, shipped: BenchFile, take: TraceRequest, write_bench: Callable[[str, str], Path]
) -> tuple[BenchFile, Path, list[Trace]]:
    """A bench that replays a transcript, the transcript, and the traces of the sweep it is of."""
    path = tmp_path / "session.jsonl"
    recorded = takes(shipped, take, path)
    return load_bench(write_bench('"virtual"', '"transcript"\ntranscript = "session.jsonl"')), path, recorded


def entries(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_replayed_transcript_gives_the_very_traces(
    replaying: tuple[BenchFile, Path, list[Trace]], take: TraceRequest
) -> None:
    bench, _, recorded = replaying
    for first, second in zip(recorded, takes(bench, take), strict=True):
        np.testing.assert_array_equal(first.time_s, second.time_s)
        np.testing.assert_array_equal(first.current_A, second.current_A)
        assert (first.status, first.range_A, first.start_utc) == (second.status, second.range_A, second.start_utc)


def test_a_transcript_of_twins_is_synthetic_and_one_of_instruments_is_replayed(
    replaying: tuple[BenchFile, Path, list[Trace]],
) -> None:
    bench, path, _ = replaying

    def origin() -> str:
        origins = []

        def out_of_turn() -> None:
            with open_bench(bench) as open_:
                origins.append(open_.origin)
                open_.wait(1.0)
                open_.make_safe()
                open_.make_safe()

        with pytest.raises(InstrumentError, match=r"^[^ ]*session\.jsonl:\d+: the sweep deviates"):
            out_of_turn()
        return origins[0]

    assert origin() == "synthetic"
    path.write_text(path.read_text().replace(",VIRTUAL,", ",04321,"))
    assert origin() == "replayed"


def test_every_message_to_the_twins_is_in_the_transcript_in_order(
    tmp_path: Path, shipped: BenchFile, take: TraceRequest, built: list[VirtualBench]
) -> None:
    path = tmp_path / "session.jsonl"
    takes(shipped, take, path)
    header, *messages = entries(path)
    assert header["transcript"] == 1
    for role in ("meter", "light", "switch"):
        sent = [str(entry["text"]).encode() for entry in messages if (entry["role"], entry["dir"]) == (role, "out")]
        assert sent == list(getattr(built[0], role).received)
    times = [float(str(entry["t"])) for entry in messages]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(2 * (0.11 + 1.3), abs=0.05)


def test_a_deviation_is_refused_with_what_was_expected_and_what_came(
    replaying: tuple[BenchFile, Path, list[Trace]], take: TraceRequest
) -> None:
    bench, _, _ = replaying
    with pytest.raises(
        InstrumentError,
        match=r"session\.jsonl:\d+: the sweep deviates: got ':SOUR:VOLT 0\.6' to the meter, "
        r"expected ':SOUR:VOLT 0\.5' to the meter",
    ):
        takes(bench, replace(take, bias_V=0.6))


def test_more_takes_than_were_recorded_are_a_deviation(
    replaying: tuple[BenchFile, Path, list[Trace]], take: TraceRequest
) -> None:
    bench, _, _ = replaying

    def one_more() -> None:
        with open_bench(bench) as open_:
            for device in (1, 2, 3):
                open_.acquire(replace(take, device=device))

    with pytest.raises(InstrumentError, match="the sweep deviates: got"):
        one_more()


def test_a_time_out_is_replayed_as_a_time_out(
    replaying: tuple[BenchFile, Path, list[Trace]], take: TraceRequest, tmp_path: Path, shipped: BenchFile,
    built: list[VirtualBench], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    bench, path, _ = replaying
    path.unlink()
    once = []

    def silent_once(message: bytes) -> bytes | None:
        reply = answer(message)
        if b"TRAC:DATA" in message and not once:
            once.append(message)
            return None
        return reply

    with open_bench(shipped, record=path) as open_:
        answer = built[-1].meter.handle
        monkeypatch.setattr(built[-1].meter, "handle", silent_once)
        recorded = [open_.acquire(take), open_.acquire(take)]
    assert [entry["dir"] for entry in entries(path)[1:]].count("error") == 1
    with open_bench(bench) as open_:
        replayed = [open_.acquire(take), open_.acquire(take)]
    assert [trace.status for trace in replayed] == [trace.status for trace in recorded] == ["failed", "ok"]
    np.testing.assert_array_equal(recorded[1].current_A, replayed[1].current_A)


def test_a_transcript_is_never_overwritten(tmp_path: Path, shipped: BenchFile, take: TraceRequest) -> None:
    path = tmp_path / "session.jsonl"
    path.write_text("mine")
    with pytest.raises(InputError, match="never overwritten"):
        takes(shipped, take, path)
    assert path.read_text() == "mine"


def test_a_damaged_transcript_is_told_and_one_cut_short_by_a_kill_is_read(
    replaying: tuple[BenchFile, Path, list[Trace]], take: TraceRequest
) -> None:
    bench, path, recorded = replaying
    text = path.read_text()
    path.write_text(text + '{"t": 9.0, "ro')
    assert takes(bench, take)[1].start_utc == recorded[1].start_utc
    path.write_text(text.replace('"dir"', '"dor"', 1))
    with pytest.raises(DamagedFileError, match="line 2 is no entry"):
        takes(bench, take)
    path.unlink()
    with pytest.raises(InputError, match=r"session\.jsonl: cannot be read"):
        takes(bench, take)
