"""A small lab to watch: spools and captures of a synthetic chip, and a monitor that really listens."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.reports.monitor.runs import Runs
from otters_lab.reports.monitor.server import make_server

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def make_trace(index: int, status: str = "ok") -> Trace:
    """Dark for 0.1 s, lit for 0.1 s, then a decay of 0.2 s; 5 ms a sample, mid-aperture."""
    rng = np.random.default_rng([20260131, index])
    time_s = (np.arange(80) - 40 + 0.5) * 5e-3
    light = np.where(time_s < -0.1, 0.0, np.where(time_s < 0, 1.0, np.exp(-np.sqrt(np.abs(time_s) / 0.1))))
    return Trace(
        time_s=time_s,
        current_A=1e-9 + (1 + 0.02 * rng.normal()) * 1e-6 * light + rng.normal(0, 5e-9, 80),
        aperture_s=5e-3,
        edge_uncertainty_s=1e-6,
        pulse_width_s=0.1,
        range_A=1e-5,
        start_utc=f"2026-01-31T12:00:{index:02d}.000000Z",
        status=status,
        readings={"stage_temperature": 300.0},
    )


def make_key(index: int, chip: str = "X1") -> TraceKey:
    point = index % 2
    return TraceKey(chip, index // 2 % 3 + 1, point, index // 6, {"drive": 3.0 + 2.0 * point})


class Lab:
    """A folder with sweeps in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, name: str = "run.h5", *, chip: str = "X1", **changes: Any) -> Spool:
        """A spool of 24 planned traces, none of them taken."""
        meta = CaptureMeta(
            origin="synthetic",
            chip=chip,
            instruments={"meter": "OTTERS,VIRTUAL-2450,0,1"},
            parameter_units={"drive": "V"},
            reading_units={"stage_temperature": "K"},
            attributes={"window_s": 0.2},
            planned_traces=24,
        )
        return Spool.create(spool_path(self.folder / name), meta.model_copy(update=changes))

    def take(self, spool: Spool, count: int, status: str = "ok") -> None:
        """The next traces."""
        for index in range(len(spool), len(spool) + count):
            spool.append(make_key(index, spool.meta.chip), make_trace(index, status))

    def tell(self, name: str = "run.h5", **changes: Any) -> None:
        """A feed, of a sweep that runs at `NOW` and takes 0.1 s a trace."""
        said = {"feed": 1, "capture": name, "pid": 4242, "utc": NOW.isoformat(), "state": "running", "detail": "",
                "done": 14, "planned": 24, "eta_s": 1.0, "last": None}  # fmt: skip
        (self.folder / f"{name}.feed.json").write_text(json.dumps({**said, **changes}))

    def runs(self, there: bool | None = True) -> Runs:
        """The folder at `NOW`, on a machine where processes are there or are not."""
        return Runs(self.folder, now=lambda: NOW, is_there=lambda pid, since: there)


class Browser:
    """Asks a monitor over HTTP as a browser does, with what it pleases to send."""

    def __init__(self, address: str) -> None:
        self.address = urlsplit(address)

    def ask(self, path: str = "", *, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
        """Status, body and headers. A path that begins with "/" is taken as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=30)
        place = path if path.startswith("/") else self.address.path + path
        connection.request(method, place, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body, answer.headers

    @contextmanager
    def listening(self, path: str = "events") -> Iterator[Iterator[dict[str, str]]]:
        """The parts as they come, each event over what was there before."""
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=30)
        connection.request("GET", self.address.path + path)
        answer = connection.getresponse()

        def shown() -> Iterator[dict[str, str]]:
            parts: dict[str, str] = {}
            while line := answer.readline():
                if line.startswith(b"data: "):
                    parts = parts | json.loads(line[6:])
                    yield parts

        try:
            yield shown()
        finally:
            answer.close()
            connection.close()

    def shows(self, fits: Callable[[dict[str, str]], object], path: str = "events") -> dict[str, str]:
        """The first parts that fit; of a thousand events that do not, the last is told."""
        with self.listening(path) as events:
            for parts, _ in zip(events, range(1000), strict=False):
                if fits(parts):
                    return parts
        raise AssertionError(f"never shown; last: {parts}")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def monitor() -> Iterator[Callable[[Runs], Browser]]:
    """Serves a folder as the command does; every monitor is ended."""
    ended: list[Callable[[], None]] = []

    def begin(runs: Runs) -> Browser:
        server, listening, address = make_server(runs, 0, look_s=0.05)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()

        def end() -> None:
            server.should_exit = True
            thread.join(timeout=30)
            listening.close()
            assert not thread.is_alive()  # an open stream of events must not keep it

        ended.append(end)
        return Browser(address)

    yield begin
    for end in ended:
        end()
