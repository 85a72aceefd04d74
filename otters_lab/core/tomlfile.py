"""TOML that people write: read strictly, and every complaint names file, line and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from otters_lab.core.errors import InputError, closest
from otters_lab.core.files import read_bytes, sha256_bytes


class StrictModel(BaseModel):
    """Base of every file model: unknown keys are errors, values are not coerced, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=BaseModel)


class TomlText(NamedTuple):
    """A parsed TOML file together with the text it came from (kept for provenance and for line numbers).

    `parts`: where the text of several files stands one after the other, each file and its first line in the text.
    `files`: the files that were read, each with the SHA-256 of its bytes; none for text that came from no file.
    """

    path: Path
    text: str
    data: dict[str, Any]
    parts: tuple[tuple[Path, int], ...] = ()
    files: tuple[tuple[Path, str], ...] = ()

    def place(self, line: int | None) -> tuple[Path, int | None]:
        """File and line of a line of the text."""
        if line is None:
            return self.path, None
        for path, first in reversed(self.parts):
            if line >= first:
                return path, line - first + 1
        return self.path, line


def read_toml(path: Path) -> TomlText:
    """Reads a UTF-8 TOML file; a byte order mark is accepted, since Notepad writes one.

    Raises
    ------
    InputError
        for a missing file, text that is not UTF-8, or TOML that is not valid (duplicate keys included).
    """
    raw = read_bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", file=path, found=raw[error.start : error.start + 4]) from None
    try:
        return TomlText(path, text, tomllib.loads(text), files=((path, sha256_bytes(raw)),))
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column \d+\)", str(error))
        message = re.sub(r"\s*\(at .*\)$", "", str(error))
        raise InputError(f"not valid TOML: {message}", file=path, line=int(at[1]) if at else None) from None


def load_model(model: type[Model], source: TomlText) -> Model:
    """Validates a TOML file against a pydantic model.

    Raises
    ------
    InputError
        for the first thing wrong, with file, line, key, what was found and what was expected.
    """
    try:
        return model.model_validate(source.data)
    except ValidationError as failure:
        # An unknown key is usually a misspelt required one: it is the more telling of the two complaints.
        errors = sorted(failure.errors(), key=lambda error: error["type"] != "extra_forbidden")
        raise _input_error(model, source, errors[0]) from None


def _input_error(model: type[BaseModel], source: TomlText, error: Any) -> InputError:
    place = tuple(part for part in error["loc"] if not (isinstance(part, str) and "[" in part))
    key = ".".join(str(part) for part in place)
    file, line = source.place(line_of(source.text, place))
    if error["type"] == "extra_forbidden":
        known = _fields_at(model, place[:-1])
        return InputError(
            "unknown key",
            file=file,
            line=line,
            key=key,
            expected=f"one of {', '.join(sorted(known))}" if known else None,
            suggestion=closest(str(place[-1]), known),
        )
    if error["type"] == "missing":
        file, line = source.place(line_of(source.text, place[:-1]))
        return InputError("missing", file=file, line=line, key=key)
    if error["type"] == "value_error":
        return InputError(str(error["ctx"]["error"]), file=file, line=line, key=key)
    message = error["msg"]
    return InputError(
        file=file,
        line=line,
        key=key,
        found=error["input"],
        expected=message.removeprefix("Input should be ").removeprefix("Value error, "),
    )


def _fields_at(model: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    """Names of the fields that the table at `place` may hold."""
    here: Any = model
    for part in place:
        if isinstance(part, int):
            continue
        annotation = here.model_fields[part].annotation if part in getattr(here, "model_fields", {}) else None
        here = _model_in(annotation) or here
    return list(here.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


_HEADER = re.compile(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def line_of(text: str, place: tuple[Any, ...]) -> int | None:
    """The 1-based line where the key at `place` stands, or of its nearest enclosing table; None if nowhere."""
    wanted = tuple(str(part) for part in place)
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    best, best_depth = None, 0
    for number, row in enumerate(text.splitlines(), start=1):
        header, key = _HEADER.match(row), _KEY.match(row)
        if header:
            table = _dotted(header[1])
            if row.lstrip().startswith("[["):
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            here = table
        elif key:
            here = table + _dotted(key[1])
        else:
            continue
        depth = len(here) if wanted[: len(here)] == here else 0
        if depth > best_depth:
            best, best_depth = number, depth
    return best


def _dotted(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))
