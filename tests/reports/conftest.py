"""Reports of the shipped reference, made once; a parser for pages; a small capture with flagged and missing traces."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from otters_lab.calibration.file import Calibration, read_calibration
from otters_lab.core.files import sha256_file
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.capture import Capture, load_capture
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool
from otters_lab.reports.calibration_page import calibration_report
from otters_lab.reports.capture_page import capture_report
from otters_lab.reports.report import Report


@dataclass
class Page(HTMLParser):
    """What a browser would find in a page: tags, addresses it would ask for, ids, rows of tables, all text."""

    source: str
    tags: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = {name.split(":")[-1]: value or "" for name, value in attrs}
        self.asked += [named[name] for name in ("src", "href", "srcset", "action", "data") if name in named]
        self.ids += [named["id"]] if "id" in named else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data + " "
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        """The one row that begins so."""
        (found,) = [row for row in self.rows if row and row[0] == first]
        return found


@pytest.fixture(scope="session")
def parsed() -> type[Page]:
    """parsed(html) -> what is in it."""
    return Page


@pytest.fixture(scope="session")
def reference(root: Path) -> tuple[Capture, Calibration]:
    return load_capture(root / "measurements" / "reference.h5"), read_calibration(
        root / "calibration" / "reference.json"
    )


@pytest.fixture(scope="session")
def capture_page(reference: tuple[Capture, Calibration]) -> Report:
    return capture_report(reference[0])


@pytest.fixture(scope="session")
def calibration_page(root: Path, reference: tuple[Capture, Calibration]) -> Report:
    path = root / "calibration" / "reference.json"
    return calibration_report(reference[1], path, sha256_file(path), [reference[0]])


@pytest.fixture(scope="session")
def capture_html(capture_page: Report) -> str:
    return capture_page.html()


@pytest.fixture(scope="session")
def calibration_html(calibration_page: Report) -> str:
    return calibration_page.html()


def small_trace(index: int, status: str) -> Trace:
    """Dark for 0.1 s, lit for 0.1 s, then a decay of 0.3 s; 5 ms a sample."""
    time_s = (np.arange(100) - 40 + 0.5) * 5e-3
    light = np.where(time_s < -0.1, 0.0, np.where(time_s < 0, 1.0, np.exp(-np.sqrt(np.abs(time_s) / 0.1))))
    current_A = 1e-9 + 1e-6 * light + np.random.default_rng(index).normal(0, 5e-9, 100)
    stamp = f"2026-01-31T12:{index:02d}:00.000000Z"
    return Trace(time_s, current_A, 5e-3, 1e-6, 0.1, 1e-5, stamp, status)


@pytest.fixture(scope="session")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Two devices at two points, four repeats planned: 16 traces, of which 14 were taken and three are flagged."""
    folder = tmp_path_factory.mktemp("spoilt")
    meta = CaptureMeta(
        origin="measured", chip="<X1>", note="cut short", parameter_units={"drive": "V", "width": "s"},
        planned_traces=16, config={"repeats": 4}, recipe_text='title = "spoilt"\n',
    )  # fmt: skip
    statuses = {3: "late", 7: "overflow", 11: "late"}
    with Spool.create(folder / "x1.spool", meta) as spool:
        for index in range(14):
            repeat, place = divmod(index, 4)
            device, point = place % 2 + 1, place // 2
            key = TraceKey("<X1>", device, point, repeat, {"drive": 1.0 + point, "width": 0.1})
            spool.append(key, small_trace(index, statuses.get(index, "ok")))
        spool.mark_seam("2026-01-31T12:10:00.000000Z", "paused")
    seal(folder / "x1.spool", folder / "x1.h5")
    return load_capture(folder / "x1.h5")
