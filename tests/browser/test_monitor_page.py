"""The monitor as a browser shows it, beside a real sweep on the virtual bench that stands still, goes on, is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from otters_lab.reports.figures import PALETTE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(os.name == "nt", reason="SIGSTOP and SIGKILL are POSIX"),
]

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
devices = "1-8"
repeats = 5000
window = "200 ms"
light = { drive = ["3 V", "5 V"], width = "50 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "20 ms", decay = "200 ms", interval = "1 ms", aperture = "1 ms", range = "1 uA" }
recovery = { dark_time = "1 s" }
"""
PATIENCE_MS = 30_000


def start(*words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "otters_lab", *(str(word) for word in words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("lab")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def sweep(folder: Path, chromium: Any) -> Iterator[subprocess.Popen[str]]:
    """A sweep that takes longer than all of these tests."""
    bench = ROOT / "instruments" / "virtual.toml"
    process = start("sweep", folder / "recipe.toml", "--bench", bench, "--chip", "A1", "-o", folder / "live.h5")
    os.setpriority(os.PRIO_PROCESS, process.pid, 15)  # on a virtual clock it takes all it gets; these tests wait for it
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def monitor(folder: Path, sweep: subprocess.Popen[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A monitor of the sweep's folder, and its address."""
    process = start("monitor", folder)
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


@pytest.fixture
def opened(chromium: Any, monitor: tuple[Any, str]) -> Iterator[Callable[..., Any]]:
    """Opens the monitor's page; nobody else may be asked for anything, and the browser may have nothing to complain of.

    But of the monitor's own end, which one test brings about.
    """
    contexts, asked, complaints = [], [], []

    def open_page(**settings: Any) -> Any:
        contexts.append(chromium.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(monitor[1], wait_until="commit")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(monitor[1]).netloc}
    ended = ("net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_CONNECTION_REFUSED")
    assert [text for text in complaints if not text.endswith(ended)] == []


def done(page: Any) -> int:
    """Traces done, as the page says."""
    found = re.search(r"(\d+) of 80000 traces", page.locator("#run").inner_text())
    return int(found[1]) if found else 0


def more_than(page: Any, traces: int) -> None:
    page.wait_for_function(
        "n => Number((document.getElementById('run').innerText.match(/(\\d+) of 80000/) || [0, 0])[1]) > n", arg=traces
    )


def says(page: Any, word: str, within_ms: float = PATIENCE_MS) -> None:
    page.locator("#run .badge", has_text=re.compile(f"^{word}$")).wait_for(timeout=within_ms)


def test_the_page_fills_and_grows_as_the_sweep_runs(opened: Callable[..., Any]) -> None:
    page = opened()
    says(page, "running")
    for part in ("first", "second", "third"):
        page.locator(f"#{part} svg").wait_for()
    page.locator("#table td", has_text="3 V").wait_for()
    assert page.locator("#more").inner_text().count("MODEL 2450") == 1
    before = done(page)
    assert before > 0
    more_than(page, before)
    drawn = page.locator("#third svg").bounding_box()
    assert drawn["width"] > 200
    # The figures have their colours though inline styles are refused.
    first = page.locator('#first svg [stroke="var(--c0)"]').first
    wanted = "rgb({}, {}, {})".format(*bytes.fromhex(PALETTE[0][1:]))
    assert first.evaluate("element => getComputedStyle(element).stroke") == wanted
    page.locator("#runs a").click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f]{12}/$"))
    says(page, "running")
    page.get_by_text("all runs").click()
    page.locator("#runs a").wait_for()


def test_a_phone_and_the_dark_are_served(opened: Callable[..., Any]) -> None:
    page = opened(viewport={"width": 400, "height": 800}, color_scheme="dark")
    for part in ("first", "table", "more"):
        page.locator(f"#{part} h3").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert brightness[0] > 600 > 100 > brightness[1]


def test_without_scripts_the_page_shows_and_asks_again(opened: Callable[..., Any]) -> None:
    page = opened(java_script_enabled=False)
    page.wait_for_url(re.compile("/$"))
    text = page.locator("#run").inner_text()
    assert "running" in text
    with page.expect_navigation():  # by itself
        pass
    assert page.locator("#run").inner_text() != text


def test_silence_death_and_the_monitors_own_end_are_said(
    opened: Callable[..., Any], sweep: subprocess.Popen[str], monitor: tuple[subprocess.Popen[str], str]
) -> None:
    page = opened()
    says(page, "running")
    sweep.send_signal(signal.SIGSTOP)
    says(page, "stale")
    assert "stale since 20" in page.locator("#run").inner_text()
    taken = done(page)
    sweep.send_signal(signal.SIGCONT)
    says(page, "running")
    more_than(page, taken)
    sweep.send_signal(signal.SIGKILL)
    says(page, "gone", within_ms=5000)
    assert f"process is gone (pid {sweep.pid})" in page.locator("#run").inner_text()
    assert page.locator("#first svg").count() == 1  # what was there is still shown
    monitor[0].kill()
    page.locator("#link", has_text="no news from the monitor").wait_for()
    says(page, "gone")
