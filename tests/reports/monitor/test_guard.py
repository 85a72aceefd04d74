"""Nobody but a browser that was given the address sees anything, and the page can load and send nothing."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from otters_lab.reports.monitor.runs import Runs

Begin = Callable[[Runs], Any]


@pytest.fixture
def browser(lab: Any, monitor: Begin) -> Any:
    """Of a monitor of a sweep with a few traces."""
    with lab.begin() as spool:
        lab.take(spool, 6)
    lab.tell()
    return monitor(lab.runs())


def test_only_the_printed_address_shows_anything(browser: Any) -> None:
    token = browser.address.path.strip("/")
    assert len(token) >= 32
    assert browser.ask()[0] == 200
    for path in ("/", "/events", "/runs/x/", f"/{token[:-1]}/", f"/{token}x/", "/../", f"//{token}/", "/%00/",
                 f"/x/../{token}/", f"/?{token}", f"/{token[::-1]}/events"):  # fmt: skip
        status, body, _ = browser.ask(path)
        assert (status, "X1" in body) == (403, False), path


def test_no_path_leads_out_of_the_list_of_runs(browser: Any) -> None:
    for path in ("runs/../../etc/passwd/", "runs/..%2f..%2fetc%2fpasswd/", "run.h5.spool", "runs/run.h5/", "runs//",
                 "runs/%2e%2e/", "static/../run.h5.spool"):  # fmt: skip
        status, body, _ = browser.ask(path)
        assert (status, body.strip()) in ((404, "no such run"), (404, "Not Found")), path


def test_a_name_that_resolves_to_loopback_is_refused(browser: Any) -> None:
    port = browser.address.port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"127.0.0.1:{port}.x",
        "",
    ):
        assert browser.ask(Host=host)[0] in (400, 421), host  # the server itself refuses an empty one
    assert browser.ask(Host=f"localhost:{port}")[0] == 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of the machine's own")
def test_it_listens_on_one_loopback_address_alone(browser: Any) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", browser.address.port), timeout=5)


def test_it_only_shows(browser: Any) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        assert browser.ask(method=method)[0] == 405, method
    for path in ("", "events"):
        status, body, _ = browser.ask(path, method="HEAD")
        assert (status, body) == (200, "")


def test_the_browser_is_told_to_obey_the_page_alone_and_to_tell_nobody(browser: Any) -> None:
    _, page, headers = browser.ask()
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert all("unsafe" not in rule and "http" not in rule and "*" not in rule for rule in policy.values())

    def hashes(tag: str) -> set[str]:
        texts = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page, flags=re.DOTALL)
        return {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts}

    assert hashes("style") == set(policy["style-src"].split())
    assert hashes("script") == set(policy["script-src"].split())
    for path in ("", "events", "/", "runs/none/"):  # refusals too
        headers = browser.ask(path, method="HEAD")[2]
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_the_page_holds_no_inline_style_no_handler_and_no_address_of_elsewhere(browser: Any) -> None:
    parts = browser.shows(lambda parts: "</svg>" in parts["second"] and "</svg>" in parts["third"])
    page = browser.ask()[1] + "".join(parts.values())
    assert not re.search(r"\sstyle=|\son\w+=|javascript:", page)
    sources = re.findall(r'(?:src|href|action|srcset|data|poster)="([^"]*)"', page)
    assert sources
    assert all(re.fullmatch(r"#[\w-]+|data:,|runs/[0-9a-f]{12}/", source) for source in sources), set(sources)
    assert browser.address.path.strip("/") not in page  # a saved page gives no token away
