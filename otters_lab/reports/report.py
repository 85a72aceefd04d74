"""A report: what a page says first, its parts, its figures; and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from otters_lab.core.errors import InputError
from otters_lab.core.files import pretty_json, write_atomically
from otters_lab.core.provenance import Header, Origin
from otters_lab.reports.figures import Drawing, save
from otters_lab.reports.html import (
    Verdict,
    contents,
    figures,
    folded,
    heading,
    page,
    paragraph,
    table,
    verdict_list,
)

_LOUD = {
    "synthetic": "SYNTHETIC: this comes from a simulated chip, or from data that hold some of one. "
    "It is no evidence about any device.",
    "replayed": "REPLAYED: recorded decays, measured again by emulated instruments. No device was on a bench.",
    "imported": "IMPORTED: recorded by another program; what that did not write down is not known here.",
}


@dataclass(frozen=True)
class Part:
    """A titled part of a page: HTML and figures in the order they are read."""

    title: str
    content: Sequence[str | Drawing]


@dataclass(frozen=True)
class Report:
    """A page before it is one. `verdicts` stand at its head, `origin` (None: has none) right above them."""

    title: str
    about: str
    origin: Origin | None
    verdicts: Sequence[Verdict]
    parts: Sequence[Part]

    @property
    def drawings(self) -> list[Drawing]:
        """Every figure, in order."""
        return [item for part in self.parts for item in part.content if isinstance(item, Drawing)]

    def html(self) -> str:
        """The page."""
        head = [f"<header><h1>{escape(self.title)}</h1>", f'<p class="soft">{escape(self.about)}</p>']
        if self.origin in _LOUD:
            head.append(f'<p class="loud">{escape(_LOUD[self.origin])}</p>')
        head += [verdict_list(self.verdicts), contents(part.title for part in self.parts), "</header>"]
        return page(self.title, [*head, "<main>", *(_part(part) for part in self.parts), "</main>"])


def _part(part: Part) -> str:
    """Figures that follow each other stand side by side."""
    shown, waiting = [heading(part.title)], list[Drawing]()
    for item in [*part.content, ""]:
        if isinstance(item, Drawing):
            waiting.append(item)
            continue
        shown += [figures(waiting), item]
        waiting = []
    return "\n".join(filter(None, shown))


@dataclass(frozen=True)
class Written:
    """What was written: the page, its size, and files of its figures if they were asked for."""

    page: Path
    size: int
    figures: list[Path]


def check_page_path(path: Path) -> None:
    """Refuses to write a page over what is none.

    Raises
    ------
    InputError
        for a path whose suffix is not that of a page, or that is a folder.
    """
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise InputError("a report is a page", found=str(path), expected="a file .html")


def write_report(report: Report, path: Path, folder: Path | None = None) -> Written:
    """Writes the page, and with `folder` every figure of it there, as SVG and as PNG.

    Raises
    ------
    InputError
        as `check_page_path`.
    """
    check_page_path(path)
    text = report.html().encode()
    write_atomically(path, text)
    files = [] if folder is None else [
        save(drawing.figure, folder / f"{drawing.name}{suffix}")
        for drawing in report.drawings
        for suffix in (".svg", ".png")
    ]  # fmt: skip
    return Written(path, len(text), files)


def provenance_part(header: Header, sha256: str | None, texts: dict[str, str] | None = None) -> Part:
    """What an artefact says of how it came about; `texts` are further files that it carries, by name."""
    made = header.software
    revision = "none" if made.revision is None else made.revision
    facts = {
        "kind": header.kind,
        "uid": header.uid,
        "made (UTC)": header.created_utc,
        "origin": header.origin or "unknown",
        "SHA-256 of the file": sha256 or "",
        "payload digest": header.payload_digest,
        "command": " ".join(header.command),
        "seeds": ", ".join(f"{name} {seed}" for name, seed in header.seeds.items()),
        "otters-lab": f"{made.otters_lab}, git revision {revision}",
        "uncommitted changes": made.dirty or "",
        "Python and packages": ", ".join([f"Python {made.python}", *(f"{n} {v}" for n, v in made.packages.items())]),
    }
    parts = [table(("", ""), [(name, value) for name, value in facts.items() if value])]
    if header.inputs:
        rows = [(ref.role, ref.name, ref.uid or "", ref.sha256) for ref in header.inputs]
        parts.append(table(("made from", "file", "uid", "SHA-256"), rows))
    if header.instruments:
        parts.append(table(("instrument", "identity"), list(header.instruments.items())))
    said = {"configuration": pretty_json(header.config).decode(), **(texts or {})}
    parts += [folded(name, f"<pre>{escape(text)}</pre>") for name, text in said.items() if text]
    trace = "otters-lab trace FILE walks this back to the bench, and checks every hash on the way."
    return Part("Provenance", [*parts, paragraph(trace)])
