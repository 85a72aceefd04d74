"""Ctrl-C on a real terminal: the program pauses, asks, and does what it is told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal is POSIX")

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
devices = "1-8"
repeats = REPEATS
window = "200 ms"
light = { drive = "5 V", width = "50 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "20 ms", decay = "200 ms", interval = "1 ms", aperture = "1 ms", range = "1 uA" }
recovery = { dark_time = "1 s" }
"""


class Terminal:
    """The program on a pseudo-terminal: what it says on stderr, and what is typed."""

    def __init__(self, folder: Path, repeats: int) -> None:
        import pty

        (folder / "recipe.toml").write_text(RECIPE.replace("REPEATS", str(repeats)))
        self.capture = folder / "run.h5"
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "otters_lab", "sweep", str(folder / "recipe.toml"), "--bench",
                   str(ROOT / "instruments" / "virtual.toml"), "--chip", "A1", "-o", str(self.capture)]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=subprocess.PIPE, stderr=slave, text=True, env=environment
        )
        os.close(slave)
        self.said = ""

    def hears(self, words: str, within_s: float = 30.0) -> None:
        self.hears_like(re.escape(words), within_s)

    def hears_like(self, pattern: str, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        os.set_blocking(self._master, False)
        while not re.search(pattern, self.said):
            assert time.monotonic() < deadline, f"expected {pattern!r}, heard {self.said[-500:]!r}"
            try:
                self.said += os.read(self._master, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # the program has ended
                assert re.search(pattern, self.said), self.said[-500:]

    def types(self, text: str) -> None:
        self.said = ""
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def ends(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out

    def close(self) -> None:
        self.process.kill()
        os.close(self._master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Any]:
    opened: list[Terminal] = []

    def begin(repeats: int) -> Terminal:
        opened.append(Terminal(tmp_path, repeats))
        opened[-1].hears_like(rf"[1-9]\d*/{8 * repeats}\b")  # traces there are
        return opened[-1]

    yield begin
    for one in opened:
        one.close()


def test_ctrl_c_pauses_asks_again_after_nonsense_and_goes_on(terminal: Any) -> None:
    sweep = terminal(30)
    sweep.interrupt()
    sweep.hears("pausing after this trace")
    sweep.hears("[c]ontinue, [s]kip this point, [a]bort?")
    assert "light and bias are off" in sweep.said
    sweep.types("what?\n")
    sweep.hears("[c]ontinue")
    sweep.types("c\n")
    code, out = sweep.ends()
    assert code == 0
    assert "240 traces (240 ok)" in out


def test_abort_ends_with_130_and_says_how_to_go_on(terminal: Any) -> None:
    sweep = terminal(2000)
    sweep.interrupt()
    sweep.hears("[a]bort?")
    sweep.types("a\n")
    sweep.hears("go on with --resume")
    assert sweep.ends()[0] == 130


def test_a_second_ctrl_c_stops_now(terminal: Any) -> None:
    sweep = terminal(2000)
    sweep.interrupt()
    sweep.hears("[a]bort?")
    sweep.interrupt()
    sweep.hears("interrupted")
    assert sweep.ends()[0] == 130
