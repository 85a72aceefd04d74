"""The page around the monitor's parts: its sheet, its script, and where each part stands.

The script swaps parts that the server has made, and says when it hears nothing. Without a script the page is asked for
anew every few seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from otters_lab.reports.html import page

SHEET = """
body{margin:1rem auto}
h1{font-size:1.2rem;margin:0}
h2{margin:1.5rem 0 .5rem;padding:0;border:0;overflow-wrap:anywhere}
h3{margin:1rem 0 0;font-size:1rem}
p{margin:.3rem 0}
a{color:inherit}
header{display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:baseline}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:0 1.5rem}
.figures>:empty{display:none}
.figures svg{display:block;width:100%}
progress{width:min(100%,24rem);height:.6rem;vertical-align:middle;appearance:none;border:0;border-radius:.3rem;
overflow:hidden;background:var(--line)}
progress::-webkit-progress-bar{background:var(--line)}
progress::-webkit-progress-value{background:#2f81f7}
progress::-moz-progress-bar{background:#2f81f7}
.badge{padding:.05rem .5rem;border-radius:.6rem;border:1px solid;white-space:nowrap;font-weight:600}
.good{color:#1a7f37}.warn{color:#9a6700}.bad{color:#cf222e}
th,td{white-space:nowrap}
td:not(.n){min-width:0}
td.long,td.name{white-space:normal;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){.good{color:#3fb950}.warn{color:#d29922}.bad{color:#f85149}}
@media(max-width:40rem){body{padding:0 .6rem}th,td{padding:.2rem .4rem}}
"""
SCRIPT = """
"use strict";
const link = document.getElementById("link");
let heard = Date.now();
new EventSource("events").onmessage = (event) => {
  heard = Date.now();
  for (const [name, html] of Object.entries(JSON.parse(event.data))) {
    const part = document.getElementById(name);
    const scrolled = [...part.querySelectorAll("table")].map((table) => table.scrollLeft);
    part.innerHTML = html;
    part.querySelectorAll("table").forEach((table, number) => { table.scrollLeft = scrolled[number] || 0; });
  }
};
setInterval(() => {
  const silent = Math.round((Date.now() - heard) / 1000);
  link.textContent = silent < 5 ? "" : `no news from the monitor for ${silent} s: what stands here is as old`;
}, 1000);
"""
_HEAD = (
    f'<style>{SHEET}</style><link rel="icon" href="data:,"><noscript><meta http-equiv="refresh" content="5"></noscript>'
)


def shell(title: str, parts: Mapping[str, str]) -> str:
    """The whole page, with its parts as they are now; those of one run know the way back."""
    back = "" if "runs" in parts else '<a href="../../">all runs</a>'
    figures = "".join(_section(name, parts) for name in ("first", "second", "third"))
    body = [
        f'<header><h1>otters-lab monitor</h1><span id="now">{parts["now"]}</span>{back}</header>',
        '<p id="link" class="bad" role="status"></p>',
        *(_section(name, parts) for name in ("runs", "run", "problem")),
        f'<div class="figures">{figures}</div>',
        *(_section(name, parts) for name in ("table", "more")),
        f"<script>{SCRIPT}</script>",
    ]
    return page(f"{title}: monitor", body, _HEAD)


def _section(name: str, parts: Mapping[str, str]) -> str:
    return f'<section id="{escape(name)}">{parts[name]}</section>' if name in parts else ""
