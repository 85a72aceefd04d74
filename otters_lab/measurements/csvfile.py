"""Reads columns of numbers from CSV as PyMeasure and others write it.

PyMeasure (docs: "Results"): lines that begin with ``#`` hold the procedure, ``#\\tname: value unit`` its parameters and
metadata; then a row of names with units in brackets, then numbers. Plain CSV is the same without the ``#`` lines.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from otters_lab.core.errors import InputError
from otters_lab.core.files import read_bytes
from otters_lab.core.protocols import Array
from otters_lab.core.quantity import SI_UNIT, UNITS, parse_quantity

_NAME = re.compile(r"^(?P<name>.*?)\s*(?:\((?P<round>[^()]*)\)|\[(?P<square>[^\[\]]*)\])?$")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_CELL = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?|nan|inf)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column by its heading: ``I (uA)`` has the name "I", the unit "uA", the dimension "current"."""

    index: int
    heading: str
    name: str
    unit: str | None
    dimension: str | None  # None for a unit that is not ours, or none

    @property
    def si_factor(self) -> float:
        """What a number of this column is multiplied with to be in `si_unit`; 1 without a known unit."""
        return 1.0 if self.dimension is None else float(UNITS[self.unit or ""][1])

    @property
    def si_unit(self) -> str:
        """The SI unit of its dimension, "1" without a known unit."""
        return "1" if self.dimension is None else SI_UNIT[self.dimension]


@dataclass(frozen=True)
class CsvForm:
    """How a file is laid out, where it is not as PyMeasure writes it.

    `delimiter` None: the most frequent of comma, semicolon and tab in the first row. `skip_lines` stand before all
    else and are not read. Without `headings` the columns are named by their numbers, from "1".
    """

    delimiter: str | None = None
    decimal: str = "."
    skip_lines: int = 0
    comment: str = "#"
    headings: bool = True
    encoding: str = "utf-8"


@dataclass(frozen=True)
class CsvFile:
    """`values` [row, chosen column] in SI, NaN where the file says so; `lines` [row] is where each row stands."""

    path: Path
    entries: dict[str, dict[str, str]]  # section ("Parameters", "Metadata", "" before any) -> name -> text
    columns: tuple[Column, ...]
    chosen: tuple[Column, ...]
    values: Array
    lines: npt.NDArray[np.int64]


def read_csv(path: Path, choose: Callable[[tuple[Column, ...]], list[Column]], form: CsvForm | None = None) -> CsvFile:
    """Reads the columns that `choose` picks of those in the heading; other columns may hold anything.

    Raises
    ------
    InputError
        with the line, for text of another encoding, a missing heading, a row of another length, or a cell that is
        no number.
    """
    form = form or CsvForm()
    entries: dict[str, dict[str, str]] = {}
    rows = _text(path, form.encoding).splitlines()
    body = (index for index, row in enumerate(rows) if index >= form.skip_lines and not _is_remark(row, form))
    first = next(body, None)
    if first is None:
        raise InputError("holds no row of column names", file=path)
    section = ""
    for row in rows[form.skip_lines : first]:
        section = _read_entry(row.removeprefix(form.comment), section, entries)
    delimiter = form.delimiter or max(";\t" if form.decimal == "," else ",;\t", key=rows[first].count)
    cells = next(csv.reader([rows[first]], delimiter=delimiter))
    headings = cells if form.headings else [str(number) for number in range(1, len(cells) + 1)]
    columns = _columns(path, headings, first + 1)
    chosen = choose(columns)
    above = first + form.headings  # rows that hold no numbers
    values, lines = [], []
    reader = csv.reader(rows[above:], delimiter=delimiter)
    for cells in reader:
        line = above + reader.line_num
        if not cells or _is_remark(cells[0], form):
            continue
        if len(cells) != len(columns):
            found, expected = f"{len(cells)} cells", f"{len(columns)}, one a column (was the file cut short?)"
            raise InputError(file=path, line=line, found=found, expected=expected)
        values.append([_number(path, line, column, cells[column.index], form.decimal) for column in chosen])
        lines.append(line)
    table = np.array(values, dtype=np.float64).reshape(-1, len(chosen))
    table *= np.array([column.si_factor for column in chosen])
    return CsvFile(path, entries, columns, tuple(chosen), table, np.array(lines, dtype=np.int64))


def _is_remark(text: str, form: CsvForm) -> bool:
    return not text.strip() or bool(form.comment and text.startswith(form.comment))


def parse_setting(text: str) -> tuple[float, str] | None:
    """A number, or a number with a unit of ours, as (value in SI, SI unit); None for any other text."""
    number, _, unit = text.strip().partition(" ")
    if not _NUMBER.fullmatch(number) or (unit and unit not in UNITS):
        return None
    if not unit:
        return float(number), "1"
    dimension = UNITS[unit][0]
    return parse_quantity(f"{number} {unit}", dimension), SI_UNIT[dimension]


def _text(path: Path, encoding: str) -> str:
    raw = read_bytes(path)
    try:
        return raw.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        found = raw[error.start : error.start + 4]
        raise InputError(f"is not {encoding.upper()} text", file=path, line=line, found=found) from None


def _read_entry(row: str, section: str, entries: dict[str, dict[str, str]]) -> str:
    """Files a remark under its section; returns the section that holds from here on."""
    name, colon, value = row.strip().partition(":")
    if not colon:
        return section
    if not value.strip():
        return name
    entries.setdefault(section, {})[name.strip()] = value.strip()
    return section


def _columns(path: Path, headings: list[str], line: int) -> tuple[Column, ...]:
    columns = []
    for index, heading in enumerate(text.strip() for text in headings):
        found = _NAME.match(heading)
        name = found["name"] if found else heading
        unit = (found["round"] or found["square"]) if found else None
        known = unit in UNITS and UNITS[unit][0] != "temperature"  # an offset is no factor, and no column of ours
        columns.append(Column(index, heading, name, unit, UNITS[unit][0] if unit and known else None))
    if len({column.heading for column in columns}) < len(columns):
        raise InputError("two columns have the same name", file=path, line=line, found=", ".join(headings))
    return tuple(columns)


def _number(path: Path, line: int, column: Column, cell: str, decimal: str) -> float:
    text = cell.strip()
    if not text:
        return float("nan")
    plain = text if decimal == "." else text.replace(".", "?").replace(decimal, ".")
    if not _CELL.fullmatch(plain):
        other = "," if decimal == "." else "."
        names = {".": "point", ",": "comma"}
        hint = f" with a decimal {names[decimal]}, not a {names[other]}" if other in text else ""
        raise InputError(file=path, line=line, key=column.heading, found=cell, expected=f"a number{hint}")
    return float(plain)
