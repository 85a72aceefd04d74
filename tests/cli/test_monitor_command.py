"""`otters-lab monitor`: the address it prints, what it refuses, and that Ctrl-C ends it though somebody watches."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import otters_lab


def test_a_folder_that_is_not_there_and_a_port_that_is_taken_are_bad_usage(cli: Any, tmp_path: Path) -> None:
    code, _, err = cli("monitor", tmp_path / "none")
    assert (code, err.count("\n")) == (2, 1)
    assert "no such folder" in err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = cli("monitor", tmp_path, "--port", port)
    assert (code, err.count("\n")) == (2, 1)
    assert f"--port: Address already in use; found {port}" in err
    assert cli("monitor", tmp_path, "--port", 70000)[0] == 2


@pytest.mark.skipif(os.name == "nt", reason="SIGINT to one process is POSIX")
def test_it_tells_its_address_and_ctrl_c_ends_it_though_somebody_watches(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(otters_lab.__file__).parents[1])}
    command = [sys.executable, "-m", "otters_lab", "monitor", str(tmp_path), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        told = json.loads("".join(lines))
        assert told["folder"] == str(tmp_path)
        with urllib.request.urlopen(told["address"] + "events", timeout=30) as events:
            assert events.readline().startswith(b"data: ")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()
