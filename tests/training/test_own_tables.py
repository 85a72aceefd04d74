"""Tables of one's own and data sets as tasks: what is read, what is refused in one line, and the road to a score."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from otters_lab.core.errors import InputError
from otters_lab.core.tomlfile import TomlText, load_model
from otters_lab.training.checkpoint import load_checkpoint
from otters_lab.training.checkpoint_files import PROVENANCE
from otters_lab.training.config import TeacherConfig, TrainingConfig
from otters_lab.training.examples import Examples
from otters_lab.training.glue import TextTask, own_task
from otters_lab.training.packed import pack, unpack
from otters_lab.training.taskfile import TaskFile
from otters_lab.training.tasks import find_task

ONE = {
    "name": "x",
    "train": "t.csv",
    "texts": ["text"],
    "label": "label",
    "classes": ["a", "b"],
    "metrics": ["accuracy"],
}
SCORE = {"classes": [], "metrics": ["Pearson"]}


def task(**changes: Any) -> TextTask:
    return own_task(load_model(TaskFile, TomlText(Path("x.toml"), "", {**ONE, **changes})))


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def texts_of(examples: Examples, base: Path) -> list[str]:
    """The words of each example, without the tokenizer's own marks."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = [tokenizer.decode(ids).split() for ids in examples.inputs["input_ids"]]
    return [" ".join(word for word in words if not word.startswith("[")) for words in found]


CELLS = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text.strip() != "")


@given(
    rows=st.lists(st.tuples(CELLS, st.sampled_from("ab")), min_size=1, max_size=8), separator=st.sampled_from(",;\t")
)
def test_what_a_csv_writer_wrote_is_what_is_read(
    rows: list[tuple[str, str]], separator: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([("text", "label"), *rows])
    assert task(separator=separator).read(path) == [((text,), float(label == "b")) for text, label in rows]


def test_quoted_commas_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", '\ufefflabel,text\r\nb,"one, two\r\nand ""three"""\r\n\r\na,say "no"\r\n')
    assert task().read(path) == [(('one, two\r\nand "three"',), 1.0), (('say "no"',), 0.0)]


def test_tabs_by_the_ending_and_quotes_as_text_where_the_file_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", 'text\tlabel\n"x, y\ta\n')
    assert task(train="t.tsv", quotes=False).read(path) == [(('"x, y',), 0.0)]
    with pytest.raises(InputError, match=r"t.tsv:2: not valid CSV"):
        task(train="t.tsv").read(path)


def test_classes_have_the_order_of_the_file_and_may_be_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "text,label\nx,1\ny,0\nz,-1\n")
    assert [target for _, target in task(classes=[-1, 0, 1]).read(path)] == [2.0, 1.0, 0.0]
    assert [target for _, target in task(classes=["0", "1", "-1"]).read(path)] == [1.0, 0.0, 2.0]


def test_two_texts_keep_their_order_and_a_file_without_heading_has_numbered_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,first,second\nb,third,fourth\n")
    found = task(heading=False, texts=["3", "2"], label="1").read(path)
    assert found == [(("second", "first"), 0.0), (("fourth", "third"), 1.0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,label\nx,c\n", r"t.csv:2: no such label; found 'c', expected a, b"),
        ("text,label\nx, a\n", r't.csv:2: no such label; found .* \(did you mean "a"\?\)'),
        ("texts,label\nx,a\n", r't.csv:1: no such column; .*expected text \(did you mean "texts"\?\)'),
        ("text,label,text\nx,a,y\n", r"t.csv:1: the column stands there more than once"),
        ('text,label\n"x\ny",a\n" ",b\n', r"t.csv:4: text: a text is empty"),
        ("text,label\nx, y,a\n", r"t.csv:2: a line is not as wide .*found '3 columns', expected 2"),
        ('text,label\nx,a\n"y,b\nz,a\n', r"t.csv:3: not valid CSV"),
        ("text,label\n", r"t.csv: holds no rows"),
        ("", r"t.csv: holds no rows"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        task().read(write(tmp_path / "t.csv", text))


def test_a_table_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("text,label\nx,a\ncafé,b\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"t.csv:3: is not UTF-8 text"):
        task().read(tmp_path / "t.csv")


GOOD = """name = "x"
train = "t.csv"
texts = ["text"]
label = "label"
classes = ["a", "b"]
metrics = ["accuracy"]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("label = ", "lable = ", ":4: lable: unknown key.*did you mean .label."),
        ('"a", "b"', '"a", "a"', ":5: classes: found 'a' twice"),
        ('"a", "b"', '"a"', ":5: classes: found 'a' alone"),
        ("accuracy", "acuracy", ":6: metrics: no such metric; found 'acuracy'.*did you mean .accuracy."),
        ("accuracy", "Pearson", ":6: metrics: found 'Pearson', which is of scores"),
        ('classes = ["a", "b"]\n', "", ":5: metrics: found 'accuracy', which needs `classes`"),
        ('"a", "b"]\nmetrics = ["accuracy', '"a", "b", "c"]\nmetrics = ["F1', ":6: metrics: found 'F1'"),
        ('["text"]', '["label"]', ":4: label: found 'label' twice"),
        ('["text"]', '["a", "b", "c"]', ":3: texts"),
        ("t.csv", "t.txt", ":2: train: found 't.txt', expected a name that ends with .csv"),
        ('"x"', '"sst2"', ":1: name: a task of ours has this name"),
        ("label = ", 'configuration = "c"\nlabel = ', ":4: configuration: goes with `dataset`"),
        ('"x"', '"x"\ndataset = "d"\nseparator = ","', ":3: separator: goes with files"),
        ('"x"', '"x"\nheading = false', ":4: texts: found 'text', expected a number"),
    ],
)
def test_a_bad_task_file_is_refused_with_its_line(cli: Any, tmp_path: Path, old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    path = write(tmp_path / "x.toml", GOOD.replace(old, new))
    code, out, err = cli("check", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(re.escape(f"otters-lab: {path}") + said, err), err
    with pytest.raises(InputError, match=re.escape(str(path)) + said):
        find_task(str(path))


def test_check_says_what_a_task_file_is(cli: Any, tmp_path: Path) -> None:
    code, out, _ = cli("check", write(tmp_path / "x.toml", GOOD), "--json")
    assert code == 0
    assert "x: 2 classes, by accuracy" in out


def sentences(count: int, vocabulary: list[str]) -> list[tuple[str, str]]:
    """Different sentences of base's words, and their class: b where it says "good"."""
    rng, found = np.random.default_rng(1), {}
    while len(found) < count:
        good = bool(rng.integers(2))
        words = [*rng.choice(vocabulary[2:], 5), "good" if good else "bad"]
        found[" ".join(rng.permutation(words))] = "b" if good else "a"
    return list(found.items())


def save(path: Path, rows: list[tuple[str, ...]], head: tuple[str, ...] = ("text", "label")) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def configured(base: Path, folder: Path) -> TrainingConfig:
    return TrainingConfig(data=str(folder), max_tokens=16, teacher=TeacherConfig(base=str(base)))


def test_parts_share_no_text_and_only_what_is_not_given_is_split_off(
    base: Path, vocabulary: list[str], tmp_path: Path
) -> None:
    rows = sentences(240, vocabulary)
    save(tmp_path / "t.csv", [*rows[:200], *rows[:40]])  # forty stand there twice
    save(tmp_path / "other.csv", rows[200:])
    config = configured(base, tmp_path)
    data = task().splits(config)
    parts = [texts_of(part, base) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, parts)) == 240
    assert [len(set(part)) for part in parts] == [160, 20, 20]
    assert len(set().union(*parts)) == 200
    assert data.dev.digest() == data.test.digest()
    own = task(test="other.csv", dev="other.csv").splits(config)
    assert texts_of(own.test, base) == [text for text, _ in rows[200:]]
    assert texts_of(own.validation, base) == parts[1], "the same validation part, whatever else is given"
    assert len(set(texts_of(own.train, base))) == 180


def test_a_given_part_that_stands_in_train_is_told(
    base: Path, vocabulary: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from otters_lab.core.log import logger

    monkeypatch.setattr(logger, "propagate", True)
    rows = sentences(60, vocabulary)
    save(tmp_path / "t.csv", rows[:50])
    save(tmp_path / "v.csv", rows[45:])
    task(validation="v.csv", test="v.csv").splits(configured(base, tmp_path))
    assert "5 of the 15 rows of validation are in train too" in caplog.text


def test_too_small_a_table_is_refused_and_so_is_one_that_is_not_there(
    base: Path, vocabulary: list[str], tmp_path: Path
) -> None:
    config = configured(base, tmp_path)
    with pytest.raises(InputError, match=r"t.csv: no such file"):
        task().splits(config)
    save(tmp_path / "t.csv", sentences(4, vocabulary))
    with pytest.raises(InputError, match=r"too few different texts to split off the part test; found '4 rows'"):
        task().splits(config)


def test_two_texts_and_a_score_become_pairs_and_numbers(base: Path, vocabulary: list[str], tmp_path: Path) -> None:
    rows = [(text, "w1 w2", str(i / 4)) for i, (text, _) in enumerate(sentences(40, vocabulary))]
    save(tmp_path / "t.csv", rows, ("text", "other", "label"))
    made = task(texts=["text", "other"], **SCORE)
    data = made.splits(configured(base, tmp_path))
    assert made.labels == 1
    wanted = {f"{text} {other}": float(score) for text, other, score in rows}
    for part in (data.train, data.validation, data.test):
        assert [wanted[text] for text in texts_of(part, base)] == part.y.tolist()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package `datasets`, with its cache in a folder of the test and no network."""
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return datasets


def folder_of_files(datasets: Any, folder: Path, rows: list[tuple[str, str]]) -> None:
    folder.mkdir()
    save(folder / "train.csv", rows[:60])
    save(folder / "validation.csv", rows[60:])


def folder_of_parquet(datasets: Any, folder: Path, rows: list[tuple[str, str]]) -> None:
    folder.mkdir()
    for split, part in (("train", rows[:60]), ("validation", rows[60:])):
        named(datasets, part).to_parquet(folder / f"{split}.parquet")


def folder_saved(datasets: Any, folder: Path, rows: list[tuple[str, str]]) -> None:
    parts = {"train": named(datasets, rows[:60]), "validation": named(datasets, rows[60:])}
    datasets.DatasetDict(parts).save_to_disk(folder)


def named(datasets: Any, rows: list[tuple[str, str]]) -> Any:
    """With numbered labels that have names, in another order than the task's."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["b", "a"])})
    columns = {"text": [text for text, _ in rows], "label": [int(label == "a") for _, label in rows]}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("make", [folder_of_files, folder_of_parquet, folder_saved])
def test_a_data_set_is_read_by_its_splits_and_its_labels_by_name(
    hub: Any, base: Path, vocabulary: list[str], tmp_path: Path, make: Callable[..., None]
) -> None:
    rows = sentences(80, vocabulary)
    make(hub, tmp_path / "set", rows)
    data = task(dataset="set", train="train", validation="validation").splits(configured(base, tmp_path))
    assert texts_of(data.validation, base) == [text for text, _ in rows[60:]]
    assert data.validation.y.tolist() == [int(label == "b") for _, label in rows[60:]]
    assert (len(data.train), len(data.test)) == (54, 6)
    with pytest.raises(InputError, match=r'set: cannot be read: Unknown split "nowhere"'):
        task(dataset="set", train="nowhere").splits(configured(base, tmp_path))
    with pytest.raises(InputError, match=r'set\[train\]:1: no such column; .*did you mean "text"'):
        task(dataset="set", train="train", texts=["txt"]).splits(configured(base, tmp_path))


def test_a_kept_back_label_and_a_missing_text_are_refused(hub: Any, base: Path, tmp_path: Path) -> None:
    features = hub.Features({"text": hub.Value("string"), "label": hub.ClassLabel(names=["a", "b"])})
    for texts, labels, said in (
        (["x"], [-1], ":1: no such label; found ''"),
        ([None], [0], ":1: text: a text is empty"),
    ):
        folder = tmp_path / f"set{labels[0]}"
        hub.Dataset.from_dict({"text": texts, "label": labels}, features=features).save_to_disk(folder)
        with pytest.raises(InputError, match=said):
            task(dataset=folder.name, train="train").splits(configured(base, tmp_path))


def test_a_hub_out_of_reach_and_a_package_that_is_not_there_are_said(
    hub: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task(dataset="owner/name", train="train")
    with pytest.raises(InputError, match=r"owner/name: the hub is not reached"):
        made.splits(configured(base, tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"owner/name: .*not installed', expected pip install 'otters-lab\[hub\]'"):
        made.splits(configured(base, tmp_path))


def shown(root: Path, language: str, word: str) -> str:
    """The one block of the page on training that holds a word."""
    page = (root / "docs" / "training.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.M | re.S) if word in block]
    return block


SMALL = """
batch = 16
max_tokens = 20
teacher = { steps = 200, lr = 1e-3 }
[[stages]]
name = "all"
steps = 150
lr = 3e-3
weights = true
states = true
noise = 0.5
"""


def test_the_page_s_example_from_its_table_to_a_score(
    cli: Any, root: Path, base: Path, vocabulary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    (home / "calibration").symlink_to(root / "calibration")
    write(home / "tickets.toml", shown(root, "toml", "tickets"))
    rows = [(f"w{i % 30}, w3", text, "delivery" if label == "b" else "billing")
            for i, (text, label) in enumerate(sentences(300, vocabulary))]  # fmt: skip
    rows = [(f"{subject} w{i // 30}", *rest) for i, (subject, *rest) in enumerate(rows)]
    save(home / "tickets.csv", rows, ("subject", "body", "queue"))
    write(home / "small.toml", SMALL)
    check, train, evaluate = [line.split()[1:] for line in shown(root, "sh", "tickets").splitlines()]
    assert cli(*check)[0] == 0
    code, _, err = cli(*train, "--teacher", base, "--config", "small.toml")
    assert code == 0, err
    code, out, err = cli(*evaluate, "--runs", 2, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["task"], found["metric"], found["examples"]) == ("tickets", "accuracy", 30)
    assert set(found["teacher"]) == {"accuracy", "F1"}
    assert found["teacher"]["accuracy"] > 0.8
    assert found["ttfs_ideal"]["accuracy"] > 0.65

    # A row gone bad is named before anything is written over.
    sealed, table = (home / "networks" / "tickets" / PROVENANCE).read_bytes(), (home / "tickets.csv").read_text()
    write(home / "tickets.csv", table + "w1,w2,shipping\n")
    code, _, err = cli(*train, "--teacher", base, "--config", "small.toml")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{home / 'tickets.csv'}:302: no such label; found 'shipping', expected billing, delivery" in err
    assert (home / "networks" / "tickets" / PROVENANCE).read_bytes() == sealed
    write(home / "tickets.csv", table)

    checkpoint = load_checkpoint(home / "networks" / "tickets")
    assert checkpoint.section.task == find_task("tickets.toml").recorded, "as --config's teacher.trained compares them"
    pack(checkpoint, home / "student.safetensors")
    assert unpack(home / "student.safetensors").section == checkpoint.section

    # The task file is not needed any more, and the table may move, but not change.
    moved = tmp_path / "moved"
    home.rename(moved)
    monkeypatch.chdir(moved)
    (moved / "tickets.toml").unlink()
    code, _, err = cli(*evaluate, "--runs", 2, "--json")
    assert (code, err.count("\n")) == (2, 1)
    assert "tickets.csv: no such file" in err
    code, out, err = cli(*evaluate, "--runs", 2, "--json", "--data", moved)
    assert code == 0, err
    assert json.loads(out) == found
    save(moved / "tickets.csv", rows[:-1], ("subject", "body", "queue"))
    code, _, err = cli(*evaluate, "--runs", 2, "--json", "--data", moved)
    assert (code, err.count("\n")) == (2, 1)
    assert "the data of tickets are not those that the network learnt from" in err
