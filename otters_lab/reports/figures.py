"""What every figure shares: its style, its size, how it is saved, and how few points draw a curve."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from otters_lab.core.protocols import AnyArray, Array
from otters_lab.core.quantity import format_quantity

# Pages show this colour as that of their text, and the others as what light and dark paper want: see `html`.
INK = "#010203"
PALETTE = ("#0067a5", "#c8500a", "#00805e", "#9a4d8e", "#a67c00", "#3c91c9", "#6b6f76", "#c2185b")
GOOD, BAD = PALETTE[2], PALETTE[7]

# Text stays text, and no time or random id goes in: the same data give the same bytes.
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "otters-lab",
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}

# Inches. A panel shows two abreast on a desk's screen and fills a phone's, its text legible on either.
SIZES = {"panel": (4.8, 3.2), "small": (2.7, 2.0)}


@dataclass(frozen=True)
class Drawing:
    """A figure with what a reader needs: `name`, a slug, for its file and ids, and a caption that says what should be
    seen, and what would be wrong.
    """

    name: str
    figure: Figure
    caption: str
    size: Literal["panel", "small"] = "panel"


def slug(text: str) -> str:
    """Text as a name for files and anchors: small letters and digits, joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@contextmanager
def panel(size: tuple[float, float] = SIZES["panel"]) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one pair of axes, in our style; laid out when it is left, once and for all.

    Laid out at each saving, a figure would move a little each time.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure, figure.subplots()
        engine = figure.get_layout_engine()
        assert engine is not None  # it was given above
        engine.execute(figure)
        figure.set_layout_engine("none")


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure in the format of the path's suffix, an SVG without its date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


class Unit(NamedTuple):
    """A unit for an axis: values in SI are to be multiplied by `scale`."""

    name: str
    scale: float


_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k"}


def unit_for(values: Array, unit: str) -> Unit:
    """The unit in which the largest finite value is between 1 and 1000; plain SI where there is none."""
    largest = float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
    power = 0 if largest == 0 else int(np.clip(3 * np.floor(np.log10(largest) / 3), -15, 3))
    return Unit(f"{_PREFIXES[power]}{unit}", 10.0**-power)


def spread_out(x: Array, most: int) -> AnyArray:
    """Numbers of at most `most` of the points x [n, rising], about evenly spread on the axis they are drawn on."""
    if len(x) <= most:
        return np.arange(len(x))
    return np.unique(np.clip(np.searchsorted(x, np.linspace(x[0], x[-1], most)), 0, len(x) - 1))


def every_so(count: int, most: int) -> AnyArray:
    """At most `most` of the numbers 0..count - 1, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(most, count)).round().astype(int))


@dataclass(frozen=True)
class Blocks:
    """Names along an axis of squares; where they are too many, neighbours share a square."""

    parts: list[list[Any]]

    @classmethod
    def of(cls, names: Sequence[Any], most: int) -> Blocks:
        """At most `most` squares."""
        edges = np.linspace(0, len(names), min(len(names), most) + 1).round().astype(int)
        return cls([list(names[a:b]) for a, b in pairwise(edges)])

    def places(self, names: Sequence[Any]) -> AnyArray:
        """The square of each name."""
        known = {name: place for place, part in enumerate(self.parts) for name in part}
        return np.array([known[name] for name in names], dtype=int)

    def ticks(self, most: int = 12) -> tuple[AnyArray, list[str]]:
        """Places and the first name of a readable number of squares."""
        shown = every_so(len(self.parts), most)
        return shown, [str(self.parts[place][0]) for place in shown]


def cells(axes: Axes, places: Sequence[tuple[float, float]], colour: str, alpha: float) -> None:
    """Fills unit squares around places (x, y), all in one path."""
    if not places:
        return
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    vertices = np.concatenate([corners + place for place in places])
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY] * len(places)
    axes.add_patch(PathPatch(Outline(vertices, codes), facecolor=colour, alpha=alpha, lw=0))


def shaded_cells(axes: Axes, values: Array, most: float) -> None:
    """Fills unit squares at (column, row) of values [row, column]: up in one colour, down in another, the stronger
    the further from 0; `most` is full strength. NaN stays empty.
    """
    steps = 8
    strength = np.ceil(np.clip(np.abs(np.nan_to_num(values)) / most, 0, 1) * steps).astype(int)
    for sign, colour in ((1, PALETTE[1]), (-1, PALETTE[0])):
        for step in range(1, steps + 1):
            rows, columns = np.nonzero((strength == step) & (np.sign(values) == sign))
            cells(axes, list(zip(columns.tolist(), rows.tolist(), strict=True)), colour, 0.08 + 0.82 * step / steps)


def sqrt_seconds_axis(axes: Axes, longest_s: float, *, narrow: bool = False) -> None:
    """A square-root scale of time from 0 on, on which a stretched exponential of exponent 1/2 begins straight."""
    axes.set_xscale("function", functions=(lambda t: np.sqrt(np.maximum(t, 0.0)), np.square))
    top = 10.0 ** np.floor(np.log10(longest_s * 1.02))
    top *= max(step for step in (1, 2, 5) if step * top <= longest_s * 1.02)
    axes.set_xticks([0.0, *(top * share for share in ((0.1, 0.5, 1.0) if narrow else (0.01, 0.1, 0.2, 0.5, 1.0)))])
    axes.set_xlim(0.0, longest_s * 1.03)
    axes.xaxis.set_major_formatter(_in_units("s"))
    axes.xaxis.set_minor_locator(NullLocator())


def plain_log_axis(axis: Axis) -> None:
    """Plain numbers at 1, 2 and 5 of each decade of a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def joules_axis(axis: Axis) -> None:
    """Joules with their prefixes at the decades of a logarithmic axis."""
    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_major_formatter(_in_units("J"))
    axis.set_minor_locator(NullLocator())


def seconds_axis(axes: Axes) -> None:
    """A logarithmic x axis in seconds with their prefixes: 1 ms, 10 ms."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_in_units("s"))


def _in_units(unit: str) -> FuncFormatter:
    return FuncFormatter(lambda value, _: format_quantity(value, unit, 3))
