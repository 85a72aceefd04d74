"""The nine GLUE tasks from the benchmark's own TSV folders, and any table of text with named columns.

Lines are split on tabs alone: quotes are part of the sentences. Labels are the benchmark's, in its order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from otters_lab.core.errors import InputError, closest
from otters_lab.core.log import logger
from otters_lab.training.base_models import find_base, quietly
from otters_lab.training.config import StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.examples import Examples, Splits
from otters_lab.training.phrases import maximal, within
from otters_lab.training.tables import Table, read_dataset, read_table
from otters_lab.training.taskfile import TaskFile
from otters_lab.ttfs.config import CodeConfig

Rows = list[tuple[tuple[str, ...], float]]  # (sentences), target


@dataclass(frozen=True)
class TextTask:
    """One or two sentences a row, in classes or with a score (`classes` empty).

    columns : of the sentences and, last, the target, by name, or by number from 0 where the file has no header line.
    classes : labels in the order of their numbers, as the file writes them.
    phrases : rows are phrases of each other's sentences, so that parts are split by whole sentences (SST-2).
    validation, test : files of these parts, where they are not split off train.
    own, home : the task file it was made of, if any, and the folder of its data. Such tables are read strictly: CSV
        with its quotes, every row as wide as the first, no text empty.
    """

    name: str
    folder: str
    columns: tuple[str | int, ...]
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    dev: tuple[str, ...] = ("dev.tsv",)
    phrases: bool = False
    separator: str | None = "\t"
    train: str = "train.tsv"
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    own: TaskFile | None = None
    home: str | None = None

    @property
    def labels(self) -> int:
        """Outputs of the network: classes, or 1 for a score."""
        return len(self.classes) or 1

    @property
    def recorded(self) -> str | TaskFile:
        """What a checkpoint says of it."""
        return self.own or self.name

    def splits(self, config: TrainingConfig) -> Splits:
        """The parts, cut the same way each time: `config.data` is the folder of all tasks.

        Raises
        ------
        InputError
            for a folder, file, column or label that is not there, or too few rows to split a part off.
        """
        named = {"train": (self.train,), "validation": self.validation, "test": self.test, "dev": self.dev}
        rows = {part: [row for name in names for row in self._part(config, name)] for part, names in named.items()}
        # A part that is given needs no share of train.
        given = {part: 0 for part in ("validation", "test") if rows[part]}
        train, validation, test = (_by_sentence if self.phrases else _at_random)(rows["train"], **given)
        test = rows["test"] or test
        parts = {"train": train, "validation": rows["validation"] or validation, "test": test}
        parts["dev"] = rows["dev"] or test
        for part, own in parts.items():
            if not own:
                raise InputError(f"{self.name}: too few different texts to split off the part {part}",
                                 found=f"{len(rows['train'])} rows", expected="at least ten")  # fmt: skip
        if self.own:
            self._warn_of_known(parts)
        tokenizer = AutoTokenizer.from_pretrained(find_base(config.teacher.base))
        return Splits(*(self._examples(part, tokenizer, config.max_tokens) for part in parts.values()))

    def _warn_of_known(self, parts: Mapping[str, Rows]) -> None:
        learned = {texts for texts, _ in parts["train"]}
        for part in ("validation", "test", "dev"):
            known = sum(texts in learned for texts, _ in parts[part])
            if known:
                logger.warning("%s: %d of the %d rows of %s are in train too", self.name, known, len(parts[part]), part)

    def _part(self, config: TrainingConfig, name: str) -> Rows:
        if self.own and self.own.dataset:
            folder = Path(config.data or "") / self.own.dataset
            dataset = str(folder) if folder.is_dir() else self.own.dataset
            how = {"configuration": self.own.configuration, "revision": self.own.revision}
            return self._rows(read_dataset(dataset, name, [str(column) for column in self.columns], **how))
        if config.data is None:
            first = Path(self.folder) / self.train
            raise InputError(f"{self.name} needs its data", expected=f"--data DIR, with {first.as_posix()} in it")
        return self.read(Path(config.data) / self.folder / name)

    def read(self, path: Path) -> Rows:
        """Sentences and target of each line.

        Raises
        ------
        InputError
            naming file and line.
        """
        heading = not all(isinstance(column, int) for column in self.columns)
        quoted = self.own is not None and self.own.quotes
        return self._rows(read_table(path, self.separator, quoted=quoted, heading=heading))

    def _rows(self, table: Table) -> Rows:
        places = [table.find(column) for column in self.columns]
        rows: Rows = []
        for number, cells in table.rows:
            self._check_width(table, number, len(cells), max(places) + 1)
            *sentences, target = (cells[place] for place in places)
            for column, text in zip(self.columns, sentences, strict=False):
                if self.own and not text.strip():
                    raise InputError("a text is empty", file=table.place, line=number, key=str(column))
            rows.append((tuple(sentences), self._target(table.place, number, target)))
        if not rows:
            raise InputError("holds no rows", file=table.place)
        return rows

    def _check_width(self, table: Table, line: int, found: int, needed: int) -> None:
        if found < needed:
            raise InputError("a line is too short", file=table.place, line=line, found=f"{found} columns",
                             expected=f"{needed} or more")  # fmt: skip
        # A separator that nobody quoted moves what stands behind it: what is read then is some other column.
        if self.own and found != len(table.head):
            raise InputError("a line is not as wide as the first; are separators in its texts quoted?",
                             file=table.place, line=line, found=f"{found} columns",
                             expected=str(len(table.head)))  # fmt: skip

    def _target(self, path: Path | str, line: int, text: str) -> float:
        if self.classes:
            if text not in self.classes:
                raise InputError("no such label", file=path, line=line, found=text[:60],
                                 expected=", ".join(self.classes), suggestion=closest(text, self.classes))  # fmt: skip
            return float(self.classes.index(text))
        try:
            value = float(text)
        except ValueError:
            raise InputError("a score is no number", file=path, line=line, found=text[:60]) from None
        if not np.isfinite(value):
            raise InputError("a score is not finite", file=path, line=line, found=text)
        return value

    def _examples(self, rows: Rows, tokenizer: Any, max_tokens: int) -> Examples:
        sentences = [list(part) for part in zip(*(row[0] for row in rows), strict=True)]
        found = tokenizer(*sentences, truncation=True, max_length=max_tokens, padding=True, return_tensors="pt")
        y = torch.tensor([row[1] for row in rows])
        return Examples(dict(found), y.long() if self.classes else y)

    def new_teacher(self, config: TrainingConfig) -> PreTrainedModel:
        """The pre-trained encoder with a fresh head."""
        with torch.random.fork_rng(devices=[]), quietly():
            torch.manual_seed(config.seed)
            model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
                find_base(config.teacher.base), num_labels=self.labels, attn_implementation="eager"
            )
        self.freeze(model)
        return model

    def freeze(self, model: PreTrainedModel) -> None:
        """Most of a small encoder is its table of words: left as it is, a student is stored without it."""
        for parameter in model.get_input_embeddings().parameters():
            parameter.requires_grad_(False)

    def defaults(self) -> TrainingConfig:
        """A schedule for a small encoder on a CPU: about an hour and a half on one core for SST-2.

        What most users want where nothing else is said: a student that fires little and bears devices it has not met.
        """
        teacher = TeacherConfig(steps=2500, lr=8e-5, weight_decay=0.01, label_smoothing=0.0, check_every=500)
        whole: dict[str, Any] = {"weights": True, "states": True, "rail_rate": 0.3, "swapped": 0.2}
        stages = [
            StageConfig(name="activations", steps=200, lr=2e-4),
            StageConfig(name="weights", steps=3000, lr=5e-4, scale_lr=2e-3, **whole),
            StageConfig(name="hybrid", steps=600, lr=2e-4, noise=1.0, ramp=0.3, **whole),
        ]
        return TrainingConfig(
            data=self.home,
            batch=32,
            precision="auto",
            max_tokens=128,
            learn_devices=True,
            code=CodeConfig(feed_forward="relu", dead_zone=1),
            teacher=teacher,
            stages=stages,
        )

    def save_tokenizer(self, folder: Path, config: TrainingConfig) -> None:
        """Writes what turns text into numbers into a checkpoint."""
        AutoTokenizer.from_pretrained(find_base(config.teacher.base)).save_pretrained(folder)

    def augment(self, inputs: dict[str, Tensor], config: TrainingConfig, step: int) -> dict[str, Tensor]:
        """Text is taken as it is."""
        return inputs


def _at_random(rows: Rows, validation: float = 0.1, test: float = 0.1) -> tuple[Rows, Rows, Rows]:
    """Train, validation and private test; rows that share their first sentence stand in one part."""
    names = sorted({sentence for sentences, _ in rows for sentence in sentences[:1]})
    order = np.random.default_rng(2026).permutation(len(names))
    ends = (validation * len(names), (validation + test) * len(names))
    part_of = {names[i]: sum(place >= end for end in ends) for place, i in enumerate(order)}
    parts: tuple[Rows, Rows, Rows] = ([], [], [])
    for row in rows:
        parts[part_of[row[0][0]]].append(row)
    return parts[2], parts[0], parts[1]


def _by_sentence(rows: Rows, validation: int = 1000, test: int = 1500) -> tuple[Rows, Rows, Rows]:
    """Train, validation and private test of phrases: whole sentences for the latter two (so many, or half of all in
    these shares), and no phrase of one of those left to learn from.
    """
    phrases = [row[0][0] for row in rows]
    roots, both = maximal(phrases), validation + test
    held = np.random.default_rng(2026).permutation(len(roots))[: min(both, len(roots) // 2)]
    cut = len(held) * validation // max(both, 1)
    told = within(phrases, [phrases[roots[i]] for i in held])
    train = [row for row, inside in zip(rows, told, strict=True) if not inside]
    return train, [rows[roots[i]] for i in held[:cut]], [rows[roots[i]] for i in held[cut:]]


def own_task(definition: TaskFile, home: Path | None = None) -> TextTask:
    """The task of a task file; `home` is the folder that its paths start from where a run names none."""
    parts = {part: tuple(filter(None, [getattr(definition, part)])) for part in ("validation", "test", "dev")}
    return TextTask(
        definition.name,
        "",
        definition.columns,
        tuple(definition.classes),
        tuple(definition.metrics),
        train=definition.train,
        phrases=definition.phrases,
        separator=definition.separator,
        own=definition,
        home=None if home is None else str(home),
        **parts,
    )


_TWO = ("not_entailment", "entailment")
GLUE: Mapping[str, TextTask] = {
    task.name: task
    for task in (
        TextTask("sst2", "SST-2", ("sentence", "label"), ("0", "1"), ("accuracy",), phrases=True),
        TextTask("mrpc", "MRPC", ("#1 String", "#2 String", "Quality"), ("0", "1"), ("accuracy", "F1")),
        TextTask("stsb", "STS-B", ("sentence1", "sentence2", "score"), (), ("Pearson", "Spearman")),
        TextTask("cola", "CoLA", (3, 1), ("0", "1"), ("Matthews",)),
        TextTask("rte", "RTE", ("sentence1", "sentence2", "label"), _TWO[::-1], ("accuracy",)),
        TextTask("qnli", "QNLI", ("question", "sentence", "label"), _TWO[::-1], ("accuracy",)),
        TextTask("qqp", "QQP", ("question1", "question2", "is_duplicate"), ("0", "1"), ("accuracy", "F1")),
        TextTask(
            "mnli",
            "MNLI",
            ("sentence1", "sentence2", "gold_label"),
            ("entailment", "neutral", "contradiction"),
            ("accuracy",),
            dev=("dev_matched.tsv",),
        ),
        TextTask("wnli", "WNLI", ("sentence1", "sentence2", "label"), ("0", "1"), ("accuracy",)),
    )
}
