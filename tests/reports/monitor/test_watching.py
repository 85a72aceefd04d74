"""What a monitor shows of sweeps, captures and trainings, live ones and damaged ones; and that it leaves no trace."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otters_lab
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.core.quantity import format_quantity
from otters_lab.measurements.layout import phases
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool
from otters_lab.reports.monitor.details import Details
from otters_lab.reports.monitor.growth import Growth
from otters_lab.reports.monitor.runs import Look, Runs
from otters_lab.reports.monitor.server import Monitor
from otters_lab.reports.monitor.trainings import Stage, planned_steps, read_training
from otters_lab.training.loop import rate_share

Begin = Callable[[Runs], Any]


def bare(html: str) -> str:
    """Cells without their classes."""
    return re.sub(r'<td class="[^"]*">', "<td>", html)


def grown(runs: Runs) -> Growth:
    look = runs.look()
    found = Details(runs.trainings).read(look.runs[0], look)
    assert found.growth is not None, found.problem
    return found.growth


# --- sweeps -----------------------------------------------------------------------------------------------------------


def test_the_statistics_of_a_point_are_those_of_its_good_traces(lab: Any) -> None:
    with lab.begin() as spool:
        lab.take(spool, 10)
        lab.take(spool, 2, "overflow")
        lab.take(spool, 2)
        stored = list(spool.traces())
        growth = grown(lab.runs())
    assert (growth.total, growth.seen, dict(growth.statuses)) == (14, 14, {"ok": 12, "overflow": 2})
    for number in (0, 1):
        good = [trace for key, trace in stored if key.point == number and trace.status == "ok"]
        plateaus = [trace.current_A[phases(trace).lit].mean() for trace in good]
        mean, sd = growth.points[number].plateau_A
        assert math.isclose(mean, np.mean(plateaus), rel_tol=1e-12)
        assert math.isclose(sd, np.std(plateaus, ddof=1), rel_tol=1e-9)
        means, sds = growth.points[number].decay_A
        readings = [np.interp(growth.probes_s, t.time_s[t.time_s > 0], t.current_A[t.time_s > 0]) for t in good]
        within = growth.probes_s >= 2.5e-3  # the first sample's middle
        assert np.allclose(means[within], np.mean(readings, axis=0)[within], rtol=1e-12)
        assert np.allclose(sds[within], np.std(readings, axis=0, ddof=1)[within], rtol=1e-9)
        assert np.isnan(means[~within]).all()  # before it nothing is known


def test_traces_that_come_while_it_reads_are_counted(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with lab.begin() as spool:
        lab.take(spool, 4)
        traces = Spool.traces

        def overtaken(reader: Spool, first: int = 0) -> Iterator[tuple[TraceKey, Trace]]:
            lab.take(spool, 1)
            yield from traces(reader, first)

        monkeypatch.setattr(Spool, "traces", overtaken)
        growth = grown(lab.runs())
    assert (growth.seen, growth.total, growth.last[-1].number) == (5, 5, 4)


def test_one_trace_has_a_mean_and_no_spread(lab: Any, monitor: Begin) -> None:
    with lab.begin() as spool:
        lab.take(spool, 1)
        growth = grown(lab.runs())
        parts = monitor(lab.runs()).shows(lambda parts: parts["table"])
    assert math.isnan(growth.points[0].plateau_A[1])
    assert "<td>unknown</td>" in bare(parts["table"])


def test_a_page_follows_a_sweep_trace_by_trace(lab: Any, monitor: Begin) -> None:
    lab.tell(done=6)
    with lab.begin() as spool:
        lab.take(spool, 6)
        browser = monitor(lab.runs())
        run = lab.runs().look().runs[0]
        with browser.listening(f"runs/{run.id}/events") as events:
            first = next(parts for parts in events if "6 traces" in parts["table"])
            assert "6 of 24 traces (25%)" in first["run"]
            assert ">running<" in first["run"]
            lab.take(spool, 8)
            later = next(parts for parts in events if "14 traces" in parts["table"])
            assert "14 of 24 traces (58%)" in later["run"]
        mean, sd = grown(lab.runs()).points[1].plateau_A
        assert f"<td>{format_quantity(mean, 'A')}</td><td>{format_quantity(sd, 'A')}</td>" in bare(later["table"])
        assert "trace 14 of 14: device 1, point 1, repeat 2, ok" in later["first"]
        for fact in ("OTTERS,VIRTUAL-2450,0,1", "300 K", "10 uA", "14 ok", "200 ms", "synthetic"):
            assert fact in later["more"], fact


def test_a_sweep_that_ends_goes_on_under_its_address_as_a_capture(lab: Any, monitor: Begin) -> None:
    with lab.begin() as spool:
        lab.take(spool, 24)
    lab.tell(state="sealing")
    browser, run = monitor(lab.runs()), lab.runs().look().runs[0]
    assert ">sealing<" in browser.ask(f"runs/{run.id}/")[1]
    alive = grown(lab.runs())
    seal(spool.path, run.path)
    parts = browser.shows(lambda parts: "finished" in parts["run"] and "24 traces" in parts["table"],
                          f"runs/{run.id}/events")  # fmt: skip
    assert "24 of 24 traces (100%)" in parts["run"]
    sealed = grown(lab.runs())
    assert [point.plateau_A for point in sealed.points.values()] == [point.plateau_A for point in alive.points.values()]


@pytest.mark.parametrize(
    ("there", "said", "shown"),
    [
        (False, {}, "the sweep&#x27;s process is gone (pid 4242)"),
        (True, {"utc": "2026-01-31T11:59:00+00:00"}, "stale since 2026-01-31 11:59:00 UTC"),
        (True, {"state": "paused"}, "light and bias are off"),
        (False, {"state": "failed", "detail": "meter: on fire"}, "it failed: meter: on fire"),
    ],
)
def test_death_silence_and_pauses_are_shown(lab: Any, monitor: Begin, there: bool, said: Any, shown: str) -> None:
    with lab.begin() as spool:
        lab.take(spool, 14)
    lab.tell(**said)
    page = monitor(lab.runs(there)).ask()[1]
    assert shown in page
    assert ("14 traces are safe in the spool" in page) is not there


def test_what_the_supervisor_did_after_a_death_is_shown(lab: Any, monitor: Begin) -> None:
    (lab.folder / "instruments").mkdir()
    notes = [("2026-01-31T11:00:00.000000Z", "an earlier one"), ("2026-01-31T12:00:01.000000Z", "output state unknown")]
    log = "".join(json.dumps({"utc": utc, "event": event, "roles": ["light"]}) + "\n" for utc, event in notes)
    (lab.folder / "instruments" / "real.supervisor.jsonl").write_text(log + "torn")
    with lab.begin() as spool:
        lab.take(spool, 2)
    lab.tell()
    parts = monitor(lab.runs(there=False)).shows(lambda parts: parts["more"])
    assert "output state unknown" in parts["more"]
    assert "an earlier one" not in parts["more"]


def test_live_runs_come_first_and_the_newest_next(lab: Any) -> None:
    for age, name in enumerate(("a.h5", "b.h5", "c.h5")):
        with lab.begin(name) as spool:
            lab.take(spool, 1)
        os.utime(spool.path, (1e9 - age, 1e9 - age))
    lab.tell("c.h5")
    assert [run.name for run in lab.runs().look().runs] == ["c.h5", "a.h5", "b.h5"]


def test_runs_come_and_go_while_the_page_is_open(lab: Any, monitor: Begin) -> None:
    browser = monitor(lab.runs())
    assert "No run here yet" in browser.ask()[1]
    with lab.begin("a.h5") as spool:
        lab.take(spool, 1)
    assert ">a.h5<" in browser.shows(lambda parts: "a.h5" in parts["runs"])["run"]
    with browser.listening(f"runs/{lab.runs().look().runs[0].id}/events") as events:
        assert "a.h5" in next(events)["run"]
        spool.path.unlink()
        assert next(parts for parts in events if "a.h5" not in parts["run"])["run"].count("not here any more") == 1
        with lab.begin("a.h5") as again:
            lab.take(again, 3)
        assert ">unfinished<" in next(parts for parts in events if "3 of 24 traces" in parts["run"])["run"]
    assert browser.ask("runs/0123456789ab/")[0] == 404


# --- nothing is believed ----------------------------------------------------------------------------------------------

EVIL = '<script>alert("1")</script>'


def test_what_files_hold_is_text_on_the_page(lab: Any, monitor: Begin) -> None:
    name = "<img src=x onerror=alert(1)>.h5"
    with lab.begin(name, chip=EVIL, note=f"note {EVIL}", instruments={EVIL: f"idn {EVIL}"}) as spool:
        lab.take(spool, 2)
        spool.mark_seam("2026", f"seam {EVIL}")
    lab.tell(name, state="failed", detail=f"detail {EVIL}")
    folder = lab.folder / "net$\\frac{"
    folder.mkdir()
    entry = {"stage": f"stage {EVIL}", "step": 0, "loss": 1.0, f"<b>$\\frac{EVIL}": 2.0}
    (folder / "training.jsonl").write_text(json.dumps(entry) + "\n")
    browser = monitor(lab.runs(there=False))
    for run in lab.runs().look().runs:
        parts = browser.shows(lambda parts: parts["table"], f"runs/{run.id}/events")
        html = "".join(parts.values()) + browser.ask()[1] + browser.ask(f"runs/{run.id}/")[1]
        for raw in ("<script>alert", "<img", "<b>$"):
            assert raw not in html, raw
        expected = ("note", "idn", "seam", "detail") if run.kind == "sweep" else ("stage",)
        for word in expected:
            assert escape(f"{word} {EVIL}") in html, word


def test_damaged_files_are_told_and_the_others_shown(lab: Any, monitor: Begin) -> None:
    with lab.begin("good.h5") as spool:
        lab.take(spool, 2)
    with lab.begin("cut.h5") as spool:
        lab.take(spool, 4)
    spool.path.write_bytes(spool.path.read_bytes()[:9000])
    with lab.begin("fed.h5") as spool:
        lab.take(spool, 2)
    (lab.folder / "fed.h5.feed.json").write_text('{"pid": "none"')
    (lab.folder / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 4000)
    (lab.folder / "text.spool").write_text("no database, but long enough to be taken for one\n" * 100)
    (lab.folder / "training.jsonl").write_bytes(b"\xff\xfe not json\n[1]\n{}\n")
    browser = monitor(lab.runs())
    states = {run.name: run.beat.word for run in lab.runs().look().runs}
    assert states["good.h5"] == "unfinished"
    assert states["fed.h5"] == "unreadable"
    assert states["bad.h5"] == states["text"] == "damaged"
    assert browser.ask()[0] == 200
    for run in lab.runs().look().runs:
        if run.name == "good.h5":
            assert "2 traces" in browser.shows(lambda parts: parts["table"], f"runs/{run.id}/events")["table"]
        if run.name in ("cut.h5", "bad.h5", "text"):
            assert browser.shows(lambda parts: parts["problem"], f"runs/{run.id}/events")["problem"], run.name
        if run.kind == "training":
            assert "3 lines of the log" in browser.shows(lambda parts: parts["table"], f"runs/{run.id}/events")["table"]


def test_an_altered_trace_is_told_and_those_before_it_are_shown(lab: Any) -> None:
    import sqlite3

    with lab.begin() as spool:
        lab.take(spool, 8)
    with sqlite3.connect(spool.path) as connection:
        connection.execute("UPDATE traces SET current = zeroblob(length(current)) WHERE seq = 6")
    connection.close()
    runs = lab.runs()
    look, details = runs.look(), Details(runs.trainings)
    for _ in range(2):  # and again at the next look
        found = details.read(look.runs[0], look)
        assert found.growth is not None
        assert (found.growth.seen, found.growth.total) == (5, 8)
        assert "trace 6 do not match" in found.problem


# --- it leaves no trace, and holds nobody up --------------------------------------------------------------------------


def traces_left(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder, what it holds and when it was written (its owner aside, which SQLite sets as root)."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


WRITER = """
import sys
from pathlib import Path
import numpy as np
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.spool import Spool

with Spool.create(Path(sys.argv[1]), CaptureMeta(origin="synthetic", chip="X1")) as spool:
    for index in range(4):
        trace = Trace(np.arange(40) * 1e-3, np.ones(40), 1e-3, 0.0, 1.0, 1e-6, "2026-01-31T12:00:00.000000Z")
        spool.append(TraceKey("X1", 1, 0, index), trace)
    print("taken", flush=True)
    input()
"""


@pytest.fixture
def writer(lab: Any) -> Iterator[subprocess.Popen[str]]:
    """Another process that has taken four traces into live.h5.spool, and will take more."""
    environment = {**os.environ, "PYTHONPATH": str(Path(otters_lab.__file__).parents[1])}
    command = [sys.executable, "-c", WRITER, str(lab.folder / "live.h5.spool")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def test_looking_changes_no_file_and_makes_none(lab: Any, writer: subprocess.Popen[str]) -> None:
    for suffix in ("", "-wal", "-shm"):  # what a killed process leaves
        shutil.copy(lab.folder / f"live.h5.spool{suffix}", lab.folder / f"dead.h5.spool{suffix}")
    for name in ("done.h5", "closed.h5"):
        with lab.begin(name) as spool:
            lab.take(spool, 4)
    seal(lab.folder / "done.h5.spool", lab.folder / "done.h5")
    (lab.folder / "training.jsonl").write_text('{"stage": "a", "step": 0, "loss": 1.0}\n')
    lab.tell("live.h5")
    before = traces_left(lab.folder)
    runs = lab.runs()
    look, details = runs.look(), Details(runs.trainings)
    for run in look.runs:
        found = details.read(run, look)
        assert found.training or (found.growth and found.growth.seen == 4), found
    assert len(look.runs) == 5
    after = traces_left(lab.folder)
    assert after.keys() == before.keys()
    assert [name for name in before if after[name] != before[name]] == []


def test_a_sweep_goes_on_though_a_reader_stands_still_in_the_midst(lab: Any) -> None:
    with lab.begin() as spool:
        lab.take(spool, 6)
        with Spool.open(spool.path, read_only=True) as reader:
            standing = reader.traces()
            next(standing)
            lab.take(spool, 12)
            assert len(list(standing)) == 5  # what there was when it began to read
            assert len(reader) == 18


class Counted(Runs):
    """Counts how often it looks."""

    looks = 0

    def look(self) -> Look:
        self.looks += 1
        return super().look()


def test_many_who_watch_share_a_look_and_nobody_watching_is_none(lab: Any) -> None:
    with lab.begin() as spool:
        lab.take(spool, 2)
    runs = Counted(lab.folder)

    async def watch() -> None:
        monitor = Monitor(runs)
        watchers = [monitor.changes("") for _ in range(8)]
        assert runs.looks == 0
        await asyncio.gather(*(anext(watcher) for watcher in watchers))
        assert (runs.looks, monitor.watchers) == (1, 8)
        for watcher in watchers:
            await watcher.aclose()
        assert monitor.watchers == 0

    asyncio.run(watch())
    assert runs.looks == 1


# --- trainings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [12, 37, 120, 600, 3000, 100_000])
def test_a_log_tells_how_many_steps_a_stage_is_to_take(steps: int) -> None:
    assert planned_steps(rate_share(0, steps)) == steps


def log_line(stage: str, step: int, steps: int, **values: float) -> str:
    return json.dumps({"stage": stage, "step": step, "lr_share": rate_share(step, steps), **values}) + "\n"


@pytest.fixture
def network(lab: Any) -> Path:
    """A log of a training in its second stage, whose last line is being written."""
    lines = [log_line("teacher", step, 100, loss=2.0 - step / 100) for step in (0, 20, 40, 60, 80, 99)]
    lines += ['{"stage": "teacher", "validation": 0.875}\n', "not json\n"]
    lines += [log_line("hybrid", step, 600, loss=1.0, soft=0.5, noise=step / 600) for step in (0, 20, 40)]
    lines += ['{"stage": "hybrid", "step": 49, "validation": 0.75}\n', '{"stage": "hybrid", "step": 60, "lo']
    folder: Path = lab.folder / "networks" / "digits"
    folder.mkdir(parents=True)
    (folder / "training.jsonl").write_text("".join(lines))
    os.utime(folder / "training.jsonl", (0, datetime(2026, 1, 31, 11, 59, 50, tzinfo=UTC).timestamp()))
    return folder


def test_a_log_is_read_stage_by_stage_though_it_is_being_written(network: Path) -> None:
    training = read_training(network / "training.jsonl")
    teacher, hybrid = training.stages
    assert (teacher.taken, teacher.planned, teacher.curves["validation"]) == (100, 100, ([99], [0.875]))
    assert (hybrid.taken, hybrid.planned, hybrid.curves["validation"]) == (50, 600, ([49], [0.75]))
    assert hybrid.curves["loss"] == ([0, 20, 40], [1.0, 1.0, 1.0])
    assert training.unreadable == 1  # not the one that has no end yet


def test_a_stage_of_few_steps_tells_nothing_of_its_plan() -> None:
    assert Stage("none", taken=1, first_share=rate_share(0, 1)).planned is None


def test_curves_scores_and_stages_of_a_training_are_shown(network: Path, lab: Any, monitor: Begin) -> None:
    browser = monitor(lab.runs())
    parts = browser.shows(lambda parts: parts["table"])
    assert "networks/digits" in parts["runs"]
    assert "50 of 600 steps of the stage (8%)" in parts["run"]
    assert ">running<" in parts["run"]
    assert "1 lines of the log cannot be read" in parts["table"]
    for cell in ("teacher", "hybrid", "0.875", "0.75", "100", "600"):
        assert f"<td>{cell}</td>" in bare(parts["table"]), cell
    assert all(parts[name].count("<svg") == 1 for name in ("first", "second", "third"))
    (network / "otters.prov.json").write_text("{}")
    assert ">finished<" in browser.shows(lambda parts: "finished" in parts["run"])["run"]


def test_a_training_that_writes_no_more_is_stale(network: Path, lab: Any) -> None:
    os.utime(network / "training.jsonl", (0, 1.5e9))
    (run,) = lab.runs().look().runs
    assert (run.beat.word, run.eta_s) == ("stale", None)
    assert "2017-07-14" in run.beat.said
