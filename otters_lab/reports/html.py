"""Pages of one file: inline styles and SVG, no script, nothing fetched, light and dark by the reader's system."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

from otters_lab.reports.figures import INK, PALETTE, STYLE, Drawing, slug

# On dark paper the palette is lighter; its order is that of `PALETTE`.
_ON_DARK = ("#58a6ff", "#ff9a57", "#3fcf9b", "#d99ae0", "#e3b341", "#8fd0ff", "#a5adb8", "#ff7aa8")
_FONT = "'DejaVu Sans',Verdana,sans-serif"


def _variables(**colours: str) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


CSS = (
    ":root{color-scheme:light dark;"
    + _variables(ink="#1b1f24", paper="#fff", line="#d0d7de", soft="#57606a", wash="#f6f8fa")
    + _variables(good="#1a7f37", bad="#c62828", open="#8a6100")
    + _variables(**{f"c{i}": colour for i, colour in enumerate(PALETTE)})
    # Paper that is printed on is light.
    + "}\n@media screen and (prefers-color-scheme:dark){:root{"
    + _variables(ink="#e6edf3", paper="#0d1117", line="#30363d", soft="#9198a1", wash="#161b22")
    + _variables(good="#3fb950", bad="#ff7b72", open="#e3b341")
    + _variables(**{f"c{i}": colour for i, colour in enumerate(_ON_DARK)})
    + "}}\n"
    + """*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:72rem;
padding:1.5rem 1rem 3rem}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.2rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--line)}
p{max-width:48rem}
ul{padding-left:1.2rem}li{max-width:58rem}
nav{margin:1rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1rem}
a{color:var(--c0)}
.soft,figcaption{color:var(--soft)}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{vertical-align:bottom}
th.n,td.n{text-align:right}td.n{white-space:nowrap}
td:not(.n){min-width:7.5rem;max-width:30rem}td.long{overflow-wrap:anywhere}td.long,td.text{min-width:17rem}
th.n{min-width:5.5rem}
.good{color:var(--good)}.bad{color:var(--bad)}.open{color:var(--open)}
.good,.bad,.open{font-weight:600}
ul.verdicts{list-style:none;margin:1rem 0;padding:.6rem 1rem;border:1px solid var(--line);border-radius:.4rem;
background:var(--wash)}
.loud{border:2px solid var(--open);border-radius:.4rem;padding:.5rem 1rem;font-weight:600;max-width:none}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.2rem 1.6rem;
margin:1rem 0}
.figures.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr))}
@media(max-width:30rem){.figures.small{grid-template-columns:1fr 1fr;gap:1rem .6rem}}
figure{margin:0;min-width:0}
figcaption{font-size:.85rem;line-height:1.4;max-width:34rem}
"""
    + f"svg{{display:block;width:100%;max-width:36rem;height:auto;font-family:{_FONT}}}\n"
    + """.small svg{max-width:26rem}
svg *{stroke-linejoin:round;stroke-linecap:butt}
pre{background:var(--wash);border:1px solid var(--line);padding:.6rem;overflow-x:auto;font-size:.8rem;line-height:1.35}
details{margin:.6rem 0}
summary{cursor:pointer}
@media print{body{max-width:none;padding:0;font-size:10pt}nav{display:none}
figure,tr,ul.verdicts{break-inside:avoid}h2,summary,figcaption{break-after:avoid}
h2+.figures{break-before:avoid}
.figures{grid-template-columns:1fr 1fr}.figures.small{grid-template-columns:repeat(3,1fr)}
pre{overflow:visible;white-space:pre-wrap}table{display:table;font-size:8.5pt}th,td{padding:.15rem .4rem}
details::details-content{content-visibility:visible;display:block}}
"""
)

_LONG = 32  # letters of a word that may be broken, such as a hash

State = Literal["good", "bad", "open"]
_SIGNS = {"good": "\u2713", "bad": "\u2717", "open": "?"}


@dataclass(frozen=True)
class Verdict:
    """A judgement in words: good, bad, or open where the data do not tell or a person has to decide."""

    state: State
    text: str

    @property
    def line(self) -> str:
        """Its sign and its words."""
        return f"{_SIGNS[self.state]} {self.text}"

    def html(self) -> str:
        """The same in its colour, which says nothing that they do not."""
        return f'<span class="{self.state}">{escape(self.line)}</span>'


Cell = str | Verdict


def page(title: str, parts: Iterable[str], head: str = "") -> str:
    """A whole page of its parts, each HTML; `title` is plain text, `head` HTML that belongs into the head."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{CSS}</style>{head}</head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def heading(title: str) -> str:
    """The heading of a part of the page, which `contents` leads to."""
    return f'<h2 id="{slug(title)}">{escape(title)}</h2>'


def contents(titles: Iterable[str]) -> str:
    """Links to the page's parts."""
    return "<nav>" + "".join(f'<a href="#{slug(title)}">{escape(title)}</a>' for title in titles) + "</nav>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """A list of plain text."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def verdict_list(verdicts: Iterable[Verdict]) -> str:
    """What a reader should know first."""
    return '<ul class="verdicts">' + "".join(f"<li>{verdict.html()}</li>" for verdict in verdicts) + "</ul>"


def folded(summary: str, body: str) -> str:
    """A part that opens on a click, and is open in print; `summary` is plain text, `body` HTML."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table of plain text and verdicts; columns of numbers to the right, all others to the left."""
    body = [list(row) for row in rows]
    numeric = [all(_is_number(row[place]) for row in body) and bool(body) for place in range(len(columns))]

    def cell(tag: str, place: int, content: Cell) -> str:
        inner = content.html() if isinstance(content, Verdict) else escape(content)
        words = "" if isinstance(content, Verdict) else content
        unbroken = any(len(word) > _LONG for word in words.split())
        kind = "n" if numeric[place] else "long" if unbroken else "text" if len(words) > 2 * _LONG else ""
        return f'<{tag} class="{kind}">{inner}</{tag}>' if kind else f"<{tag}>{inner}</{tag}>"

    head = "".join(cell("th", place, column) for place, column in enumerate(columns))
    lines = "".join(
        "<tr>" + "".join(cell("td", place, content) for place, content in enumerate(row)) + "</tr>" for row in body
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _is_number(cell: Cell) -> bool:
    """Whether a cell begins with a number, which a hash that begins with a digit is not, or has none to give."""
    if isinstance(cell, Verdict):
        return False
    return cell in ("", "-", "unknown") or bool(re.match(r"[<>+\-\u2212]?\d[\d.]*(e[+-]?\d+)?(?![\da-zA-Z])", cell))


def figures(drawings: Iterable[Drawing]) -> str:
    """Figures side by side where there is room, each over its caption."""
    parts = []
    for size, group in itertools.groupby(drawings, key=lambda drawing: drawing.size):
        shown = "".join(
            f"<figure>{svg(drawing.figure, drawing.name)}<figcaption>{escape(drawing.caption)}</figcaption></figure>"
            for drawing in group
        )
        parts.append(f'<div class="figures{" small" if size == "small" else ""}">{shown}</div>')
    return "".join(parts)


def svg(figure: Figure, name: str = "figure") -> str:
    """A figure as an element of the page, in the page's colours, the same bytes each time.

    `name` is the start of every id in it, a `slug` of its own on the page: ids of two figures must not meet.
    """
    with rc_context(STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg role="img" aria-label="{name}" \1>', text, count=1)
    return _in_page_colours(_hoisted(_with_own_ids(_rounded(text), name)))


def _rounded(text: str) -> str:
    """Coordinates to a hundredth of a point, fonts to the page's: half the bytes, and nothing that can be seen."""

    def shorter(match: re.Match[str]) -> str:
        numbers = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), match[2])
        packed = re.sub(r"\s*([MLQCzZ])\s*", r"\1", numbers).strip()
        return f'{match[1]}="{packed}"'

    text = re.sub(r'(?<= )(d|x|y|width|height|transform)="([^"]*)"', shorter, text)
    text = re.sub(r"(; )?font-family: [^;\"]*", "", text)
    text = text.replace("; stroke-linejoin: miter", "").replace("; stroke-linecap: square", "")
    return re.sub(r">\s*\n\s*<", "><", text)


def _with_own_ids(text: str, name: str) -> str:
    """Ids that something refers to begin with the figure's name, the others go."""
    wanted = dict.fromkeys(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    short = {old: f"{name}-{number}" for number, old in enumerate(wanted)}
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{short[found[1]]}"' if found[1] in short else "", text)
    text = re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{short[found[1]]})", text)
    return re.sub(r'xlink:href="#([^"]+)"', lambda found: f'href="#{short[found[1]]}"', text)


def _hoisted(text: str) -> str:
    """Markers of one style side by side state it once."""

    def once(match: re.Match[str]) -> str:
        marks = re.findall(r'<use ([^>]*?) style="([^"]*)"/>', match[0])
        styles = {style for _, style in marks}
        if len(marks) < 3 or len(styles) > 1:
            return match[0]
        return f'<g style="{styles.pop()}">' + "".join(f"<use {place}/>" for place, _ in marks) + "</g>"

    return re.sub(r'(?:<use [^>]*? style="[^"]*"/>){3,}', once, text)


def _in_page_colours(text: str) -> str:
    text = text.replace(INK, "currentColor")
    for number, colour in enumerate(PALETTE):
        text = text.replace(colour, f"var(--c{number})")
    return text
