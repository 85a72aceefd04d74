"""Whatever is wrong with a notifier, the run that it tells of does not notice."""

import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from otters_lab.core.consent import trust
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.notify import Notifier, NotifyTable


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A file that names a command which writes what it is told to `told.json`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "schedule.toml"
    path.write_text("[notify]\n")
    return path


def table(tmp_path):
    code = f"import sys; open({str(tmp_path / 'told.json')!r}, 'a').write(sys.stdin.read() + chr(10))"
    return NotifyTable(command=[sys.executable, "-c", code])


def test_errors_and_interruptions_are_told_apart_and_facts_need_be_no_json(told, tmp_path):
    with pytest.raises(RefusedError, match=f"otters-lab trust {told}"):
        Notifier(table(tmp_path), told)
    trust(told)
    notifier = Notifier(table(tmp_path), told)
    notifier.tell_of(RuntimeError("out of memory"), {"where": Path("net")})
    notifier.tell_of(KeyboardInterrupt(), {})
    first, second = (json.loads(line) for line in (tmp_path / "told.json").read_text().splitlines())
    assert first == {"outcome": "failed", "where": "net", "detail": "out of memory"}
    assert second["outcome"] == "interrupted"


def test_a_web_hook_that_answers_nonsense_is_a_line_in_the_log_without_its_address(tmp_path, monkeypatch, caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"nonsense\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("LAB_HOOK", f"http://127.0.0.1:{server.getsockname()[1]}/secret")
        monkeypatch.setattr("otters_lab.core.log.logger.propagate", True)
        Notifier(NotifyTable(webhook_env="LAB_HOOK"), tmp_path / "a.toml").tell("finished", {})
        thread.join()
    (line,) = caplog.messages
    assert line.startswith("notify.webhook_env: ")
    assert "secret" not in line


def test_who_cannot_be_told_is_known_before_the_run(tmp_path, monkeypatch):
    monkeypatch.delenv("LAB_HOOK", raising=False)
    with pytest.raises(InputError, match=r"a\.toml: notify\.webhook_env \(LAB_HOOK\): is not set"):
        Notifier(NotifyTable(webhook_env="LAB_HOOK"), tmp_path / "a.toml")
    Notifier(None, tmp_path / "a.toml").tell("finished", {})
