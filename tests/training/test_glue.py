"""GLUE's own files: quotes, byte order marks, label order, and parts that share no sentence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otters_lab.core.errors import InputError
from otters_lab.training.config import TrainingConfig
from otters_lab.training.glue import GLUE, TextTask, _at_random, _by_sentence
from otters_lab.training.phrases import maximal, within

DATA = Path(os.environ.get("OTTERS_LAB_DATA", Path(__file__).parents[3] / "shared" / "data")) / "glue"


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_quotes_are_text_a_byte_order_mark_and_crlf_are_not(tmp_path: Path) -> None:
    head = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    path = write(tmp_path / "train.tsv", head + '1\t1\t2\tHe said : " yes\tYes , he said .\r\n0\t3\t4\ta "b" c\td\r\n')
    assert GLUE["mrpc"].read(path) == [(('He said : " yes', "Yes , he said ."), 1.0), (('a "b" c', "d"), 0.0)]


def test_cola_has_no_header_and_its_columns_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "gj04\t1\t\tOur friends won't buy it.\ngj04\t0\t*\tThey drank pub.\n")
    assert GLUE["cola"].read(path) == [(("Our friends won't buy it.",), 1.0), (("They drank pub.",), 0.0)]


def test_labels_have_the_benchmarks_order(tmp_path: Path) -> None:
    head = "index\tsentence1\tsentence2\tlabel\n"
    path = write(tmp_path / "x.tsv", head + "0\ta\tb\tnot_entailment\n1\tc\td\tentailment\n")
    assert [target for _, target in GLUE["rte"].read(path)] == [1.0, 0.0]
    assert GLUE["mnli"].classes == ("entailment", "neutral", "contradiction")
    head = "index\tquestion\tsentence\tlabel\n"
    path = write(tmp_path / "y.tsv", head + "0\ta\tb\tnot_entailment\n")
    assert GLUE["qnli"].read(path)[0][1] == 1.0


def test_every_task_of_the_benchmark_is_there_with_its_own_metrics() -> None:
    assert {name: task.metrics for name, task in GLUE.items()} == {
        "sst2": ("accuracy",),
        "mrpc": ("accuracy", "F1"),
        "stsb": ("Pearson", "Spearman"),
        "cola": ("Matthews",),
        "rte": ("accuracy",),
        "qnli": ("accuracy",),
        "qqp": ("accuracy", "F1"),
        "mnli": ("accuracy",),
        "wnli": ("accuracy",),
    }
    assert GLUE["stsb"].labels == 1
    assert GLUE["mnli"].labels == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sentence\tlabel\na b\t2\n", r"train.tsv:2.*no such label; found '?2'?, expected 0, 1"),
        ("sentence\tlabel\na\t1\nb\n", r"train.tsv:3.*too short; found '1 columns', expected 2"),
        ("text\tlabel\na\t1\n", r"train.tsv:1.*no such column; found 'text, label', expected sentence"),
        ("sentence\tlabel\n", r"holds no rows"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        GLUE["sst2"].read(write(tmp_path / "train.tsv", text))


def test_a_score_must_be_a_finite_number(tmp_path: Path) -> None:
    task = TextTask("x", "X", ("a", "y"), (), ("Pearson",), separator=",")
    assert task.read(write(tmp_path / "ok.csv", "a,y\nhello,2.5\n")) == [(("hello",), 2.5)]
    for bad in ("nan", "two"):
        with pytest.raises(InputError, match=r"bad.csv:2"):
            task.read(write(tmp_path / "bad.csv", f"a,y\nhello,{bad}\n"))


def test_a_task_without_data_says_what_it_needs() -> None:
    with pytest.raises(InputError, match=r"sst2 needs its data.*--data DIR, with SST-2/train.tsv"):
        GLUE["sst2"].splits(TrainingConfig())


WORDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(" ".join)


def inside(phrase: str, sentence: str) -> bool:
    """By words, the slow way."""
    return f" {phrase} " in f" {sentence} "


@given(st.lists(WORDS, min_size=1, max_size=30))
def test_maximal_phrases_stand_in_no_other_and_every_phrase_stands_in_one(phrases: list[str]) -> None:
    roots = maximal(phrases)
    for i in roots:
        assert not any(inside(phrases[i], phrases[j]) for j in roots if j != i)
    for phrase in phrases:
        assert any(inside(phrase, phrases[j]) for j in roots)
    held = [phrases[j] for j in roots[::2]]
    assert within(phrases, held) == [any(inside(phrase, sentence) for sentence in held) for phrase in phrases]


@given(st.lists(WORDS, min_size=8, max_size=40))
def test_nothing_that_is_learned_stands_inside_a_held_sentence(phrases: list[str]) -> None:
    train, validation, test = _by_sentence([((phrase,), 0.0) for phrase in phrases], validation=2, test=3)
    held = [row[0][0] for row in validation + test]
    assert not any(inside(row[0][0], sentence) for row in train for sentence in held)
    assert not {row[0][0] for row in validation} & {row[0][0] for row in test}


def test_pairs_that_share_a_sentence_stand_in_one_part() -> None:
    rows = [((f"s{i % 50}", f"t{i}"), 0.0) for i in range(200)]
    parts = _at_random(rows)
    assert [len(part) for part in parts] == [160, 20, 20]
    names = [{row[0][0] for row in part} for part in parts]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]
    assert _at_random(rows) == parts, "the same cut each time"


@pytest.mark.skipif(not DATA.exists(), reason=f"GLUE's files are not in {DATA}")
def test_the_benchmarks_own_files_have_their_published_sizes_and_sst2_6885_sentences() -> None:
    sizes = {"sst2": (67349, 872), "mrpc": (3668, 408), "stsb": (5749, 1500)}
    for name, (train, dev) in sizes.items():
        folder = DATA / GLUE[name].folder
        assert (len(GLUE[name].read(folder / "train.tsv")), len(GLUE[name].read(folder / "dev.tsv"))) == (train, dev)
    rows = GLUE["sst2"].read(DATA / "SST-2" / "train.tsv")
    assert len(maximal([row[0][0] for row in rows])) == 6885
    learned, validation, test = _by_sentence(rows)
    assert (len(validation), len(test)) == (1000, 1500)
    assert len(learned) > 40_000
    assert 0.4 < np.mean([row[1] for row in test]) < 0.6
