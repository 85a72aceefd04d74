"""Pages ask for nothing, ids do not meet, and what is text stays text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.reports.figures import INK, PALETTE, Blocks, Drawing, every_so, panel, spread_out, unit_for
from otters_lab.reports.html import Verdict, figures, svg, table
from otters_lab.reports.report import Part, Report, write_report


def drawing(name: str) -> Drawing:
    with panel() as (figure, axes):
        axes.plot([0, 1, 2, 3], [1.23456789, 2, 1, 2], "o-", label="<b>")
        axes.legend()
    return Drawing(name, figure, "a < b")


@pytest.mark.parametrize("which", ["capture", "calibration"])
def test_a_page_runs_nothing_and_asks_for_nothing(which: str, request: pytest.FixtureRequest, parsed: Any) -> None:
    report: Report = request.getfixturevalue(f"{which}_page")
    text: str = request.getfixturevalue(f"{which}_html")
    page = parsed(text)
    assert len(text.encode()) < 500_000
    assert not {"script", "link", "iframe", "object", "embed", "form", "img", "image"} & set(page.tags)
    assert all(target.startswith("#") for target in page.asked)
    assert {target[1:] for target in page.asked} <= set(page.ids)
    assert not re.search(r"url\((?!#)|@import|http", text)
    assert not re.search(r"\son\w+=", text)
    assert len(page.ids) == len(set(page.ids))
    assert "prefers-color-scheme:dark" in text
    assert page.tags.count("svg") == page.tags.count("figcaption") == len(report.drawings)


def test_a_report_is_written_whole_with_every_figure_as_a_file(tmp_path: Path) -> None:
    report = Report(
        "t", "about", "replayed", [Verdict("good", "fine")], [Part("One", [drawing("one"), drawing("two")])]
    )
    written = write_report(report, tmp_path / "deep" / "page.html", tmp_path / "figures")
    assert written.page.read_bytes() == report.html().encode()
    assert written.size == len(written.page.read_bytes())
    assert [path.name for path in written.figures] == ["one.svg", "one.png", "two.svg", "two.png"]
    assert "currentColor" not in (tmp_path / "figures" / "one.svg").read_text()
    assert (tmp_path / "figures" / "two.png").read_bytes().startswith(b"\x89PNG")
    assert "REPLAYED" in report.html()
    with pytest.raises(InputError, match=r"expected a file \.html"):
        write_report(report, tmp_path / "capture.h5")
    assert not (tmp_path / "capture.h5").exists()


def test_every_reference_in_a_figure_leads_to_something_in_it_and_two_figures_share_no_id(parsed: Any) -> None:
    both = figures([drawing("one"), drawing("two")])
    page = parsed(both)
    assert len(page.ids) == len(set(page.ids)) > 2
    wanted = set(re.findall(r'(?:url\(|href=")#([^)"]+)', both))
    assert wanted == set(page.ids)


def test_a_figure_is_the_same_bytes_each_time_and_takes_the_pages_colours() -> None:
    first, second = (svg(drawing("one").figure, "one") for _ in range(2))
    assert first == second
    assert INK not in first
    assert not any(colour in first for colour in PALETTE)
    assert "currentColor" in first
    assert "var(--c0)" in first
    assert "<metadata" not in first
    assert not re.search(r"\d\.\d{3,}", first)


def test_what_a_file_says_cannot_become_markup(parsed: Any) -> None:
    cells = [("<script>alert(1)</script>", Verdict("bad", "<i>no</i>"))]
    page = parsed(table(("<b>", "verdict"), cells) + figures([drawing("one")]))
    assert not {"script", "i", "b"} & set(page.tags)
    assert "<script>alert(1)</script>" in page.text


def test_columns_of_numbers_stand_to_the_right() -> None:
    rows = [("a", "1.5 nA", "x", "9085b1"), ("b", "unknown", "1 of a kind", "7fe01a"), ("c", "-2e-13", "y", "12345e")]
    html = table(("name", "value", "about", "hash"), rows)
    assert html.count('<td class="n">') == 3
    assert html.count('<th class="n">') == 1
    assert '<th class="n">value' in html


def test_few_points_stand_for_many_with_their_ends() -> None:
    t = np.linspace(0, 1, 1001)
    assert list(spread_out(t[:5], 10)) == [0, 1, 2, 3, 4]
    kept = spread_out(np.sqrt(t), 50)
    assert len(kept) <= 50
    assert (kept[0], kept[-1]) == (0, 1000)
    assert np.diff(np.sqrt(t)[kept]).max() < 2 / 49 + 0.04
    assert list(every_so(3, 10)) == [0, 1, 2]
    assert list(every_so(100, 3)) == [0, 50, 99]
    assert list(every_so(1, 3)) == [0]


def test_names_that_are_too_many_share_a_square_and_none_is_lost() -> None:
    blocks = Blocks.of(list(range(103)), 10)
    assert len(blocks.parts) == 10
    assert [name for part in blocks.parts for name in part] == list(range(103))
    places = blocks.places([0, 102, 50])
    assert list(places[:2]) == [0, 9]
    assert 50 in blocks.parts[places[2]]


@pytest.mark.parametrize(
    ("largest", "unit", "scale"), [(9.1e-7, "nA", 1e9), (3e-3, "mA", 1e3), (0.0, "A", 1.0), (2e-17, "fA", 1e15)]
)
def test_an_axis_has_the_unit_in_which_its_largest_value_is_short(largest: float, unit: str, scale: float) -> None:
    found = unit_for(np.array([np.nan, -largest]), "A")
    assert found.name == unit
    assert found.scale == pytest.approx(scale)
