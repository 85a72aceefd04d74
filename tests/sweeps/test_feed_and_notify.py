"""Who hears of a sweep: the feed while it runs, a command or a web hook when it has ended."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.core.consent import trust
from otters_lab.core.errors import DamagedFileError, InputError, InstrumentError, RefusedError
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.instruments.bench import Bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.sweeps.feed import SHOWN_SAMPLES, Feed, feed_path, read_feed
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.sweep import run_sweep

MakePlan = Callable[..., Plan]
MakeBench = Callable[..., BenchFile]


def trace_of(samples: int) -> Trace:
    return Trace(np.arange(samples) * 1e-3, np.ones(samples), 1e-3, 0.0, 1.0, 1e-6, "2026-01-31T12:00:00.000000Z")


# --- feed -------------------------------------------------------------------------------------------------------------


def test_the_feed_says_how_far_it_is_and_shows_few_samples(tmp_path: Path) -> None:
    capture = tmp_path / "a.h5"
    feed = Feed(capture, done=3, total=10)
    feed(TraceKey("A1", 2, 1, 0), trace_of(5000))
    said = json.loads(feed_path(capture).read_bytes())
    assert (said["state"], said["done"], said["planned"]) == ("running", 4, 10)
    assert said["last"]["device"] == 2
    assert len(said["last"]["time_s"]) == len(said["last"]["current_A"]) <= SHOWN_SAMPLES
    assert said["eta_s"] >= 0
    feed(TraceKey("A1", 3, 1, 0), trace_of(10))  # within the same second: not written again
    assert json.loads(feed_path(capture).read_bytes()) == said
    feed.write("paused")
    assert json.loads(feed_path(capture).read_bytes())["done"] == 5


def test_a_feed_that_cannot_be_written_does_not_disturb_the_sweep(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "missing" / "a.h5", done=0, total=10)
    for repeat in range(3):
        feed(TraceKey("A1", 2, 1, repeat), trace_of(10))
    feed.close()


def test_a_sealed_sweep_leaves_no_feed_and_a_failed_one_says_why(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sweep(plan(), bench_of(), chip="A1", capture=tmp_path / "a.h5")
    assert not feed_path(tmp_path / "a.h5").exists()

    def fail(self: Bench, request: Any) -> Trace:
        raise InstrumentError("meter: on fire")

    monkeypatch.setattr(Bench, "acquire", fail)
    with pytest.raises(InstrumentError):
        run_sweep(plan(), bench_of(), chip="A1", capture=tmp_path / "b.h5")
    said = json.loads(feed_path(tmp_path / "b.h5").read_bytes())
    assert (said["state"], said["detail"]) == ("failed", "meter: on fire")


def test_a_feed_is_read_back_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    capture = tmp_path / "a.h5"
    assert read_feed(capture) is None
    feed = Feed(capture, done=3, total=10)
    feed.write("running")
    told = read_feed(capture)
    assert told is not None
    assert (told.pid, told.state, told.done, told.planned) == (os.getpid(), "running", 3, 10)
    assert told.eta_s is told.a_trace_s is None  # before the first trace nobody knows
    feed(TraceKey("A1", 2, 1, 0), trace_of(10))
    feed.write("failed", "meter: on fire")
    told = read_feed(capture)
    assert told is not None
    assert (told.state, told.detail, told.done) == ("failed", "meter: on fire", 4)
    assert told.eta_s == pytest.approx(6 * (told.a_trace_s or 0))
    for text in ("{", "[]", '{"pid": 1}', '{"pid": "x"}'):
        feed_path(capture).write_text(text)
        with pytest.raises(DamagedFileError, match=r"a\.h5\.feed\.json"):
            read_feed(capture)


def test_a_sweep_tells_of_itself_before_its_first_trace(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = Bench.acquire
    heard: list[Any] = []

    def listen(self: Bench, request: Any) -> Trace:
        heard.append(read_feed(tmp_path / "a.h5"))
        return acquire(self, request)

    monkeypatch.setattr(Bench, "acquire", listen)
    run_sweep(plan(), bench_of(), chip="A1", capture=tmp_path / "a.h5")
    assert (heard[0].state, heard[0].done, heard[0].planned) == ("running", 0, 12)


# --- notify -----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def consents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def notifying(bench_of: MakeBench, tmp_path: Path) -> BenchFile:
    code = f"import sys; open({str(tmp_path / 'told.json')!r}, 'a').write(sys.stdin.read() + chr(10))"
    return bench_of(f"[notify]\ncommand = {json.dumps([sys.executable, '-c', code])}")


def told(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "told.json").read_text().splitlines()]


def test_a_command_runs_only_after_consent_to_the_bench_file(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    bench = notifying(bench_of, tmp_path)
    with pytest.raises(RefusedError, match="otters-lab trust"):
        run_sweep(plan(), bench, chip="A1", capture=tmp_path / "a.h5")
    assert not (tmp_path / "a.h5.spool").exists()
    trust(bench.path)
    run_sweep(plan(), bench, chip="A1", capture=tmp_path / "a.h5")
    (message,) = told(tmp_path)
    assert (message["outcome"], message["chip"], message["statuses"]) == ("finished", "A1", {"ok": 12})


def test_a_failure_and_a_budget_are_told_too(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = notifying(bench_of, tmp_path)
    trust(bench.path)
    with pytest.raises(RefusedError):
        run_sweep(plan('budget = "3 s"'), bench, chip="A1", capture=tmp_path / "a.h5")

    def fail(self: Bench, request: Any) -> Trace:
        raise InstrumentError("meter: on fire")

    monkeypatch.setattr(Bench, "acquire", fail)
    with pytest.raises(InstrumentError):
        run_sweep(plan(), bench, chip="A1", capture=tmp_path / "b.h5")
    assert [message["outcome"] for message in told(tmp_path)] == ["budget", "failed"]
    assert "on fire" in told(tmp_path)[1]["detail"]


def test_a_notifier_that_fails_changes_nothing(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = bench_of('[notify]\ncommand = ["/no/such/program"]')
    trust(bench.path)
    result = run_sweep(plan(), bench, chip="A1", capture=tmp_path / "a.h5")
    assert result.statuses == {"ok": 12}


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web server on loopback that remembers what is posted to it."""
    posted: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook?token=secret", posted
        server.shutdown()


def test_a_web_hook_is_posted_to_and_its_address_stands_in_no_file(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, posted = hook
    bench = bench_of('[notify]\nwebhook_env = "LAB_HOOK"')
    with pytest.raises(InputError, match="LAB_HOOK"):
        run_sweep(plan(), bench, chip="A1", capture=tmp_path / "a.h5")
    monkeypatch.setenv("LAB_HOOK", address)
    run_sweep(plan(), bench, chip="A1", capture=tmp_path / "a.h5")
    assert [message["outcome"] for message in posted] == ["finished"]
    for path in tmp_path.iterdir():
        assert not path.is_file() or b"secret" not in path.read_bytes()
