"""Rows of text tables: lines split at a separator, CSV with its quotes, and data sets of the Hugging Face hub."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from otters_lab.core.errors import InputError, closest
from otters_lab.core.files import read_bytes

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


class Table(NamedTuple):
    """Cells of a table, read as they are used.

    place : what a complaint names: a file, or a split of a data set.
    head : names of the columns; of a file without a heading, the cells of its first row.
    rows : number from 1 (of the line, in a file) and cells.
    """

    place: Path | str
    head: list[str]
    rows: Iterator[tuple[int, list[str]]]

    def find(self, column: str | int) -> int:
        """Where a column stands, from 0; a number stands for itself.

        Raises
        ------
        InputError
            if it is not there, or more than once.
        """
        if isinstance(column, int):
            if column >= len(self.head):
                raise InputError("no such column", file=self.place, line=1, found=f"{len(self.head)} columns",
                                 expected=f"a column {column + 1}")  # fmt: skip
            return column
        if self.head.count(column) != 1:
            raise InputError(
                "the column stands there more than once" if column in self.head else "no such column",
                file=self.place,
                line=1,
                found=", ".join(self.head[:12]),
                expected=column,
                suggestion=None if column in self.head else closest(column, self.head),
            )
        return self.head.index(column)


def read_table(path: Path, separator: str | None = None, *, quoted: bool = False, heading: bool = True) -> Table:
    """A UTF-8 file; a byte order mark is left out, and so are empty lines.

    separator : by default that of the file's ending.
    quoted : cells may stand in quotes, and hold separators, line ends and doubled quotes then; else quotes are text.
    heading : whether the first row names the columns.

    Raises
    ------
    InputError
        for a file that cannot be read, is not UTF-8, or has a quote that is not closed.
    """
    if separator is None:
        separator = SEPARATORS[path.suffix.lower()]
    raw = read_bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError("is not UTF-8 text", file=path, line=line, found=raw[error.start : error.start + 4]) from None
    rows = _quoted(path, text, separator) if quoted else _plain(text, separator)
    first = next(rows, None)
    if first is None:
        raise InputError("holds no rows", file=path)
    return Table(path, first[1], rows if heading else _after(first, rows))


def _plain(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        cells = line.rstrip("\r").split(separator)
        if cells != [""]:
            yield number, cells


def _quoted(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    # Strict, since a quote left open would take the rest of the file into one cell without a word.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"not valid CSV: {error}", file=path, line=number) from None
        if cells is None:
            return
        if cells:
            yield number, cells


def _after(first: tuple[int, list[str]], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rows


def read_dataset(
    name: str, split: str, columns: Sequence[str], *, configuration: str | None = None, revision: str | None = None
) -> Table:
    """Some columns of one split of a data set, by the package `datasets`.

    name : an id of the hub, a folder of CSV, JSON or Parquet files, or one that `save_to_disk` wrote.
    Labels that the data set numbers and names are read by name; what is missing is "".

    Raises
    ------
    InputError
        if the package is not installed, the hub not reached, or the data set, split or column not there.
    """
    try:
        import datasets
    except ImportError:
        raise InputError("reading a data set needs a package", file=name, found="datasets is not installed",
                         expected="pip install 'otters-lab[hub]'") from None  # fmt: skip
    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        found = _split(datasets, name, split, configuration, revision)
    except ConnectionError:
        raise InputError("the hub is not reached, and no copy of the data set is here", file=name,
                         expected="a network, or a folder as `dataset`") from None  # fmt: skip
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        first = str(error).split("\n")[0]
        raise InputError(f"cannot be read: {first}", file=name) from None
    finally:
        if not hidden:
            datasets.enable_progress_bars()
    table = Table(f"{name}[{split}]", list(found.column_names), iter(()))
    for column in columns:
        table.find(column)
    return table._replace(head=list(columns), rows=_cells(table.place, found, columns))


def _split(datasets: Any, name: str, split: str, configuration: str | None, revision: str | None) -> Any:
    if not any((Path(name) / file).is_file() for file in ("dataset_dict.json", "state.json")):
        return datasets.load_dataset(name, configuration, split=split, revision=revision)
    saved = datasets.load_from_disk(name)
    parts = saved if isinstance(saved, dict) else {"train": saved}
    if split not in parts:
        raise ValueError(f'Unknown split "{split}". Should be one of {list(parts)}.')
    return parts[split]


def _cells(place: Path | str, found: Any, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    names = [getattr(found.features[column], "names", None) for column in columns]
    for number, values in enumerate(zip(*(found[column] for column in columns), strict=True), 1):
        cells = []
        for column, value, known in zip(columns, values, names, strict=True):
            if value is not None and not isinstance(value, str | int | float):
                raise InputError("is neither text nor a number", file=place, line=number, key=column,
                                 found=type(value).__name__)  # fmt: skip
            if known is not None and isinstance(value, int):
                value = known[value] if value >= 0 else None  # -1 is the hub's word for a label that is kept back
            cells.append("" if value is None else str(value))
        yield number, cells
