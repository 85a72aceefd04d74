"""The monitor's server: a page, and its parts as server-sent events while somebody watches."""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Hashable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from otters_lab.core.errors import InputError
from otters_lab.core.log import logger
from otters_lab.reports.html import CSS
from otters_lab.reports.monitor.aside import aside
from otters_lab.reports.monitor.details import KEPT, Details
from otters_lab.reports.monitor.guard import Guard
from otters_lab.reports.monitor.pages import BODIES, body_parts, head_parts
from otters_lab.reports.monitor.recent import Recent
from otters_lab.reports.monitor.runs import Look, Run, Runs
from otters_lab.reports.monitor.shell import SCRIPT, SHEET, shell

LOOK_S = 1.0  # between looks, while somebody watches
DRAW_LOOKS = 5  # between drawings of one figure: they cost the most
MAX_WATCHERS = 16
_GONE = '<p class="bad">This run is not here any more.</p>'
_FIGURES = 12  # that are kept
_NICE = 10  # a sweep on the same machine goes first


class Monitor:
    """The parts of a folder's pages, made when they are asked for, every `look_s` (s) however many ask.

    A look is quick, and tells how the runs are. Reading one and drawing it takes longer, the more so where a sweep
    keeps the machine busy; it goes on beside, for one run at a time, and what it made before is shown meanwhile.
    """

    def __init__(self, runs: Runs, look_s: float = LOOK_S) -> None:
        self._runs, self._look_s = runs, look_s
        self._details = Details(runs.trainings)
        self._figures = Recent[tuple[float, str]](_FIGURES)
        self._bodies = Recent[tuple[float, dict[str, str]]](KEPT)
        self._lock = asyncio.Lock()
        self._look: Look | None = None
        self._looked_s = 0.0
        self._reading: asyncio.Task[None] | None = None
        self.watchers = 0

    @property
    def title(self) -> str:
        """The folder's name."""
        return self._runs.folder.resolve().name or "/"

    async def parts(self, id_: str) -> dict[str, str] | None:
        """The parts of a run's page; without an id, of the folder's, which shows its first run. None: no such run."""
        async with self._lock:
            if self._look is None or time.monotonic() - self._looked_s >= self._look_s:
                self._look, self._looked_s = await aside(self._runs.look), time.monotonic()
            look = self._look
        run = next((run for run in look.runs if not id_ or run.id == id_), None)
        if id_ and run is None:
            return None
        parts = head_parts(look, run, self.title)
        if id_:
            del parts["runs"]
        return parts | (dict.fromkeys(BODIES, "") if run is None else self._body(run, look))

    def _body(self, run: Run, look: Look) -> dict[str, str]:
        """What was made of a run last, which is made anew if a look has passed and nothing else is being made."""
        made_s, body = self._bodies.last(run.id) or (-math.inf, dict.fromkeys(BODIES, ""))
        idle = self._reading is None or self._reading.done()
        if idle and time.monotonic() - made_s >= self._look_s:
            self._reading = asyncio.create_task(self._read(run, look))
        return body

    async def _read(self, run: Run, look: Look) -> None:
        def make() -> dict[str, str]:
            return body_parts(self._details.read(run, look), self._drawn)

        try:
            body = await aside(make)
        except Exception as error:  # whatever a file holds, the page goes on telling how the runs are
            logger.warning("%s: cannot be shown: %r", run.path, error)
            body = dict.fromkeys(BODIES, "") | {"problem": '<p class="bad">What it holds cannot be shown.</p>'}
        self._bodies.put(run.id, (time.monotonic(), body))

    def _drawn(self, name: str, version: Hashable, draw: Callable[[], str]) -> str:
        before, now_s = self._figures.last(name), time.monotonic()
        if before is not None and now_s - before[0] < DRAW_LOOKS * self._look_s:
            return before[1]
        return self._figures.get(name, version, lambda: (now_s, draw()))[1]

    async def changes(self, id_: str) -> AsyncIterator[str]:
        """Server-sent events, each the parts that have changed, while they are listened to."""
        sent: dict[str, str] = {}
        self.watchers += 1
        try:
            while True:
                parts = await self.parts(id_) or {"run": _GONE}
                yield _event({name: part for name, part in parts.items() if sent.get(name) != part})
                sent |= parts
                await asyncio.sleep(self._look_s)
        finally:
            self.watchers -= 1


def _event(parts: dict[str, str]) -> str:
    return f"data: {json.dumps(parts)}\n\n"


def make_app(runs: Runs, *, token: str, hosts: list[str], look_s: float = LOOK_S) -> ASGIApp:
    """The monitor of a folder as an application."""
    monitor = Monitor(runs, look_s)

    async def show(request: Request) -> Response:
        parts = await monitor.parts(request.path_params.get("id", ""))
        if parts is None:
            return PlainTextResponse("no such run\n", 404)
        return HTMLResponse(shell(monitor.title, parts).encode(errors="replace"))

    async def events(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if monitor.watchers >= MAX_WATCHERS:
            return PlainTextResponse("too many are watching\n", 503)
        return StreamingResponse(monitor.changes(request.path_params.get("id", "")), media_type="text/event-stream")

    routes = [
        Route("/", show),
        Route("/events", events),
        Route("/runs/{id}/", show),
        Route("/runs/{id}/events", events),
    ]
    return Guard(Starlette(routes=routes), token=token, hosts=hosts, styles=[CSS, SHEET], scripts=[SCRIPT])


def make_server(runs: Runs, port: int, look_s: float = LOOK_S) -> tuple[uvicorn.Server, socket.socket, str]:
    """A server of a folder, the socket it is to serve, and the address with its token.

    Raises
    ------
    InputError
        if the port is taken.
    """
    listening = socket.socket()
    try:
        if os.name != "nt":  # there it would let two programs have one port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise InputError(error.strerror or str(error), key="--port", found=port, expected="a free port, or 0") from None
    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    app = make_app(runs, token=token, hosts=[f"{name}:{port}" for name in ("127.0.0.1", "localhost")], look_s=look_s)
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_level="critical",  # the access log would hold the token
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=4 * MAX_WATCHERS,
        timeout_graceful_shutdown=0,  # a stream of events has no end to wait for
    )
    return uvicorn.Server(config), listening, f"http://127.0.0.1:{port}/{token}/"


def serve(folder: Path, port: int, tell: Callable[[str], None]) -> None:
    """Serves a folder's pages until Ctrl-C; `tell` is given the address first.

    Raises
    ------
    InputError
        if there is no such folder, or the port is taken.
    KeyboardInterrupt
        at its end.
    """
    if not folder.is_dir():
        raise InputError("no such folder", file=folder)
    server, listening, address = make_server(Runs(folder), port)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    with listening:
        tell(address)
        server.run(sockets=[listening])
