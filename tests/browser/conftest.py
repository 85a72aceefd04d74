"""Headless Chromium, driven by Playwright; where one of them is missing the tests say so and are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser of the system's own."""
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        pytest.skip("no Chromium here: `make test-browser` installs it")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no Playwright here: `make test-browser` installs it"
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found[0], args=FLAGS)
        yield browser
        browser.close()
