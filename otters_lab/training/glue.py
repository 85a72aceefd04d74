"""The nine GLUE tasks from the benchmark's own TSV folders, and any table of text with named columns.

Lines are split on tabs alone: quotes are part of the sentences. Labels are the benchmark's, in its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from otters_lab.core.errors import InputError
from otters_lab.training.base_models import find_base, quietly
from otters_lab.training.config import StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.examples import Examples, Splits
from otters_lab.training.phrases import maximal, within

Rows = list[tuple[tuple[str, ...], float]]  # (sentences), target


@dataclass(frozen=True)
class TextTask:
    """One or two sentences a row, in classes or with a score (`classes` empty).

    columns : of the sentences and, last, the target, by name or by number where the file has no header line.
    classes : labels in the order of their numbers, as the file writes them.
    phrases : rows are phrases of each other's sentences, so that parts are split by whole sentences (SST-2).
    """

    name: str
    folder: str
    columns: tuple[str | int, ...]
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    dev: tuple[str, ...] = ("dev.tsv",)
    phrases: bool = False
    separator: str = "\t"

    @property
    def labels(self) -> int:
        """Outputs of the network: classes, or 1 for a score."""
        return len(self.classes) or 1

    def splits(self, config: TrainingConfig) -> Splits:
        """The parts, cut the same way each time: `config.data` is the folder of all tasks.

        Raises
        ------
        InputError
            for a folder, file, column or label that is not there.
        """
        if config.data is None:
            raise InputError(f"{self.name} needs its data", expected=f"--data DIR, with {self.folder}/train.tsv in it")
        folder = Path(config.data) / self.folder
        rows = self.read(folder / "train.tsv")
        dev = [row for name in self.dev for row in self.read(folder / name)]
        train, validation, test = _by_sentence(rows) if self.phrases else _at_random(rows)
        tokenizer = AutoTokenizer.from_pretrained(find_base(config.teacher.base))
        parts = (train, validation, test, dev)
        return Splits(*(self._examples(part, tokenizer, config.max_tokens) for part in parts))

    def read(self, path: Path) -> Rows:
        """Sentences and target of each line.

        Raises
        ------
        InputError
            naming file and line.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", file=path) from None
        head = lines[0].rstrip("\r").split(self.separator)
        numbered = all(isinstance(column, int) for column in self.columns)
        places = [_place(path, head, column) for column in self.columns]
        rows: Rows = []
        for number, line in enumerate(lines[0 if numbered else 1 :], 1 if numbered else 2):
            cells = line.rstrip("\r").split(self.separator)
            if cells == [""]:
                continue
            if len(cells) <= max(places):
                raise InputError("a line is too short", file=path, line=number, found=f"{len(cells)} columns",
                                 expected=f"{max(places) + 1} or more")  # fmt: skip
            *sentences, target = (cells[place] for place in places)
            rows.append((tuple(sentences), self._target(path, number, target)))
        if not rows:
            raise InputError("holds no rows", file=path)
        return rows

    def _target(self, path: Path, line: int, text: str) -> float:
        if self.classes:
            if text not in self.classes:
                raise InputError("no such label", file=path, line=line, found=text, expected=", ".join(self.classes))
            return float(self.classes.index(text))
        try:
            value = float(text)
        except ValueError:
            raise InputError("a score is no number", file=path, line=line, found=text) from None
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
        # Most of a small encoder is its table of words: as it is, a student is stored without it.
        for parameter in model.get_input_embeddings().parameters():
            parameter.requires_grad_(False)
        return model

    def defaults(self) -> TrainingConfig:
        """A schedule for a small encoder on a CPU: about an hour on one core for SST-2."""
        teacher = TeacherConfig(steps=2500, lr=8e-5, weight_decay=0.01, label_smoothing=0.0)
        stages = [
            StageConfig(name="activations", steps=300, lr=2e-4),
            StageConfig(name="weights", steps=3000, lr=5e-4, scale_lr=2e-3, weights=True, states=True),
            StageConfig(name="hybrid", steps=1200, lr=2e-4, weights=True, states=True, noise=1.0),
        ]
        return TrainingConfig(batch=32, precision="bfloat16", max_tokens=128, teacher=teacher, stages=stages)

    def save_tokenizer(self, folder: Path, config: TrainingConfig) -> None:
        """Writes what turns text into numbers into a checkpoint."""
        AutoTokenizer.from_pretrained(find_base(config.teacher.base)).save_pretrained(folder)

    def augment(self, inputs: dict[str, Tensor], config: TrainingConfig, step: int) -> dict[str, Tensor]:
        """Text is taken as it is."""
        return inputs


def _place(path: Path, head: Sequence[str], column: str | int) -> int:
    if isinstance(column, int):
        return column
    if column not in head:
        raise InputError("no such column", file=path, line=1, found=", ".join(head[:12]), expected=column)
    return head.index(column)


def _at_random(rows: Rows, share: float = 0.1) -> tuple[Rows, Rows, Rows]:
    """Train, validation and private test, `share` each for the latter two.

    Rows that share their first sentence stand in one part.
    """
    names = sorted({sentence for sentences, _ in rows for sentence in sentences[:1]})
    order = np.random.default_rng(2026).permutation(len(names))
    part_of = {names[i]: min(int(place / (share * len(names))), 2) for place, i in enumerate(order)}
    parts: tuple[Rows, Rows, Rows] = ([], [], [])
    for row in rows:
        parts[part_of[row[0][0]]].append(row)
    return parts[2], parts[0], parts[1]


def _by_sentence(rows: Rows, validation: int = 1000, test: int = 1500) -> tuple[Rows, Rows, Rows]:
    """Train, validation and private test of phrases: whole sentences for the latter two, and no phrase of one of those
    left to learn from.
    """
    phrases = [row[0][0] for row in rows]
    roots = maximal(phrases)
    held = np.random.default_rng(2026).permutation(len(roots))[: min(validation + test, len(roots) // 2)]
    cut = len(held) * validation // (validation + test)
    told = within(phrases, [phrases[roots[i]] for i in held])
    train = [row for row, inside in zip(rows, told, strict=True) if not inside]
    return train, [rows[roots[i]] for i in held[:cut]], [rows[roots[i]] for i in held[cut:]]


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
