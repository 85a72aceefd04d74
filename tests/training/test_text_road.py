"""A text task from end to end on a tiny encoder: files in, a checkpoint with its tokenizer out, packed and back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertModel,
)

import otters_lab.ttfs.hub  # noqa: F401  # what from_pretrained of a converted model needs
from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.training.checkpoint import load_checkpoint
from otters_lab.training.config import StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.evaluate import evaluate
from otters_lab.training.measure import logits
from otters_lab.training.packed import pack, unpack
from otters_lab.training.train import train
from otters_lab.ttfs.config import CodeConfig
from otters_lab.ttfs.plain_noise import PlainNoise


@pytest.fixture(scope="module")
def folder(base: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage = StageConfig(name="all", steps=150, lr=3e-3, weights=True, states=True, noise=0.5)
    config = TrainingConfig(
        batch=16,
        data=str(texts),
        max_tokens=16,
        precision="auto",
        code=CodeConfig(feed_forward="relu", dead_zone=2),
        teacher=TeacherConfig(base=str(base), steps=300, lr=1e-3),
        stages=[stage],
    )
    return train("sst2", PlainNoise("curve", 0.05, 16), tmp_path_factory.mktemp("net") / "sst2", config).folder


def test_it_learns_and_is_scored_on_each_part(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    assert checkpoint.training.precision in ("float32", "bfloat16"), "what was used, whatever was asked for"
    found = evaluate(checkpoint, {"curve:0.05": PlainNoise("curve", 0.05, 16)}, runs=2, part="dev")
    assert (found.metric, found.part, found.examples) == ("accuracy", "dev", 60)
    assert found.teacher["accuracy"] > 0.9
    assert found.ttfs_ideal["accuracy"] > 0.8
    assert found.ideal_equals_quantised
    assert found.under["curve:0.05"].mean > 0.7
    assert found.under["curve:0.05"].interval is not None


def test_transformers_own_call_loads_it_with_its_tokenizer(folder: Path) -> None:
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(["w1 good w2", "bad w3"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, load_checkpoint(folder).student(**inputs).logits)


def test_words_are_left_as_the_base_has_them(folder: Path, base: Path, tmp_path: Path) -> None:
    words = BertModel.from_pretrained(base).get_input_embeddings().weight
    assert torch.equal(load_checkpoint(folder).student.get_input_embeddings().weight, words)
    stage = StageConfig(name="on", steps=3, lr=1e-2, weights=True, states=True)
    training = load_checkpoint(folder).training
    for earlier in (
        {"student": str(folder)},
        {"teacher": training.teacher.model_copy(update={"trained": str(folder)})},
    ):
        config = training.model_copy(update={"stages": [stage], **earlier})
        made = train("sst2", PlainNoise("curve", 0.1, 16), tmp_path / next(iter(earlier)), config)
        on = load_checkpoint(made.folder)
        assert torch.equal(on.student.get_input_embeddings().weight, words), "nor where a run goes on from another"


def test_a_packed_student_scores_as_the_original_and_is_small(folder: Path, texts: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(folder)
    pack(checkpoint, tmp_path / "student.safetensors")
    kept, whole = load_file(tmp_path / "student.safetensors"), load_file(folder / "model.safetensors")
    bits = {name.removesuffix(".bits"): tensor for name, tensor in kept.items() if name.endswith(".bits")}
    assert len(bits) == 12
    for name, tensor in bits.items():
        assert tensor.nbytes == whole[name].nbytes / 32, "float32 before"
    assert not any("word_embeddings" in name for name in kept)
    packed = unpack(tmp_path / "student.safetensors")
    assert (packed.section, packed.sites) == (checkpoint.section, checkpoint.sites)
    assert packed.header.uid == checkpoint.header.uid
    assert str(texts).encode() not in (tmp_path / "student.safetensors").read_bytes(), "a path of this machine"
    packed = packed.with_data(texts)
    examples = checkpoint.splits().dev
    torch.testing.assert_close(
        logits(packed.student, examples), logits(checkpoint.student, examples), rtol=1e-4, atol=1e-4
    )
    reader = {"noise": PlainNoise("curve", 0.1, 16)}
    found, wanted = (evaluate(one, reader, runs=2) for one in (packed, checkpoint))
    assert found == wanted, "with the teacher's answers instead of the teacher"
    assert evaluate(packed, {}, part="dev").teacher == {}, "which did not answer there"
    with pytest.raises(InputError, match="is a packed student, without its teacher"):
        assert packed.model_teacher


def test_a_student_starts_with_the_layers_of_a_packed_one_whatever_its_code(
    folder: Path, texts: Path, tmp_path: Path
) -> None:
    path = tmp_path / "student.safetensors"
    earlier = load_checkpoint(folder)
    pack(earlier, path)
    training = earlier.training
    still = StageConfig(name="still", steps=1, lr=1e-30, scale_lr=1e-30, weights=True, states=True)
    changes = {"layers": str(path), "stages": [still], "code": CodeConfig(feed_forward="relu", dead_zone=0)}
    teacher = training.teacher.model_copy(update={"steps": 20})
    made = train("sst2", PlainNoise("curve", 0.1, 16), tmp_path / "net",
                 training.model_copy(update={**changes, "teacher": teacher}))  # fmt: skip
    found = load_checkpoint(made.folder)
    kept = dict(earlier.student.named_parameters())
    for name, own in found.student.named_parameters():
        if name.endswith("dense.weight") and ".layer." in name:
            assert torch.equal(own.sign(), kept[name].sign()), name
    head = found.student.get_submodule("classifier").weight
    assert torch.equal(head, found.model_teacher.get_submodule("classifier").weight), "its own teacher's"
    assert [(ref.role, ref.uid) for ref in found.header.inputs] == [("layers", earlier.header.uid)]
    plain = training.model_copy(update={**changes, "code": CodeConfig(dead_zone=0)})
    with pytest.raises(InputError, match="its layers have another activation; found 'relu', expected gelu"):
        train("sst2", PlainNoise("curve", 0.1, 16), tmp_path / "other", plain)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("by", ["student", "layers", "teacher"])
def test_what_learnt_from_other_examples_of_the_task_is_not_gone_on_with(
    by: str, folder: Path, texts: Path, tmp_path: Path
) -> None:
    shutil.copytree(texts, tmp_path / "texts")
    table = tmp_path / "texts" / "SST-2" / "train.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    training = load_checkpoint(folder).training
    trained = training.teacher.model_copy(update={"trained": str(folder)})
    changes = {"teacher": trained} if by == "teacher" else {by: str(folder)}
    config = training.model_copy(update={"data": str(tmp_path / "texts"), **changes})
    with pytest.raises(InputError, match=r"the data of sst2 are not those that the network learnt from"):
        train("sst2", PlainNoise("curve", 0.1, 16), tmp_path / "net", config)
    assert not (tmp_path / "net").exists()


def test_a_packed_student_is_refused_with_another_base_and_when_it_is_none(
    folder: Path, base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "student.safetensors"
    pack(load_checkpoint(folder), path)
    weights = base / "model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(InputError, match="the base is another one"):
            unpack(path)
    finally:
        weights.write_bytes(whole)
    (tmp_path / "other").write_bytes(whole)
    with pytest.raises(DamagedFileError, match="not a packed student"):
        unpack(tmp_path / "other")
