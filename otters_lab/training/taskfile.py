"""The task file (TOML): a text task of one's own, in tables or in a data set of the Hugging Face hub.

name = "tickets"
train = "train.csv"                      # CSV or TSV, beside this file
dev = "dev.csv"
texts = ["subject", "body"]              # one column or two
label = "queue"
classes = ["billing", "delivery"]        # the order is that of their numbers; none: the label is a score
metrics = ["accuracy", "F1"]             # the first is the main one
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from otters_lab.core.errors import closest
from otters_lab.core.tomlfile import StrictModel
from otters_lab.training.metrics import METRICS
from otters_lab.training.tables import SEPARATORS

_OF_SCORES = ("Pearson", "Spearman")


class TaskFile(StrictModel):
    """A text task. Its parts are files, or with `dataset` splits of that data set.

    train : rows to learn from. `validation` and `test`, where not given, are split off it, the same way each time;
        without `dev`, it is the test part.
    separator : by default by the files' ending. `quotes = false`: quotes are part of the text, as in GLUE's files.
    heading : false where the first row is a row; the columns are then named by their numbers, from "1".
    phrases : rows are phrases of each other's sentences, so that parts are split off by whole sentences (SST-2).
    """

    name: str = Field(min_length=1)
    dataset: str | None = Field(None, min_length=1)  # an id of the hub, or a folder
    configuration: str | None = None
    revision: str | None = None
    separator: str | None = Field(None, min_length=1, max_length=1)
    quotes: bool = True
    heading: bool = True
    train: str = Field(min_length=1)
    validation: str | None = None
    test: str | None = None
    dev: str | None = None
    texts: list[str] = Field(min_length=1, max_length=2)
    label: str
    classes: list[str] = Field(default_factory=list)
    metrics: list[str] = Field(min_length=1)
    phrases: bool = False

    @property
    def columns(self) -> tuple[str | int, ...]:
        """Of texts and label: names, or numbers from 0 where there is no heading."""
        named = (*self.texts, self.label)
        return named if self.heading else tuple(int(column) - 1 for column in named)

    @field_validator("configuration", "revision")
    @classmethod
    def _of_a_dataset(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("dataset") is None:
            raise ValueError("goes with `dataset`")
        return value

    @field_validator("separator", "quotes", "heading")
    @classmethod
    def _of_files(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("dataset") is not None:
            raise ValueError("goes with files, not with `dataset`")
        return value

    @field_validator("train", "validation", "test", "dev")
    @classmethod
    def _can_be_split(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None or info.data.get("dataset") is not None or info.data.get("separator") is not None:
            return value
        if not value.lower().endswith(tuple(SEPARATORS)):
            raise ValueError(f"found {value!r}, expected a name that ends with {', '.join(SEPARATORS)}, or `separator`")
        return value

    @field_validator("texts", "label")
    @classmethod
    def _are_columns(cls, value: Any, info: ValidationInfo) -> Any:
        named = [value] if isinstance(value, str) else value
        for column in named:
            if not info.data.get("heading", True) and not (column.isdecimal() and int(column) > 0):
                raise ValueError(f'found {column!r}, expected a number from "1", since `heading` is false')
        if _twice(named) is not None or set(named) & set(info.data.get("texts", [])):
            raise ValueError(f"found {_twice(named) or named[0]!r} twice, expected another column")
        return value

    @field_validator("classes", mode="before")
    @classmethod
    def _may_be_numbers(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [str(label) if type(label) is int else label for label in value]

    @field_validator("classes")
    @classmethod
    def _are_several(cls, value: list[str]) -> list[str]:
        if _twice(value) is not None:
            raise ValueError(f"found {_twice(value)!r} twice, expected each class once")
        if len(value) == 1:
            raise ValueError(f"found {value[0]!r} alone, expected two classes or more, or none for a score")
        return value

    @field_validator("metrics")
    @classmethod
    def _fit(cls, value: list[str], info: ValidationInfo) -> list[str]:
        classes = info.data.get("classes")
        for metric in value:
            if metric not in METRICS:
                near = closest(metric, METRICS)
                hint = f' (did you mean "{near}"?)' if near else ""
                raise ValueError(f"no such metric; found {metric!r}, expected one of {', '.join(METRICS)}{hint}")
            if classes == [] and metric not in _OF_SCORES:
                raise ValueError(f"found {metric!r}, which needs `classes`; expected {' or '.join(_OF_SCORES)}")
            if classes and metric in _OF_SCORES:
                raise ValueError(f"found {metric!r}, which is of scores; expected accuracy, F1 or Matthews")
            if classes and metric == "F1" and len(classes) != 2:
                raise ValueError("found 'F1', which is of the second of two classes; expected accuracy or Matthews")
        return value


def _twice(words: list[str]) -> str | None:
    return next((word for word in words if words.count(word) > 1), None)
