from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from otters_lab.core.files import pretty_json
from otters_lab.core.provenance import new_header
from otters_lab.training.config import ShapeConfig, StageConfig, TeacherConfig, TrainingConfig
from otters_lab.training.train import TrainResult, train


@pytest.fixture(scope="session")
def tiny_config() -> TrainingConfig:
    return TrainingConfig(
        shape=ShapeConfig(hidden=32, layers=1, heads=2, feed_forward=48),
        teacher=TeacherConfig(steps=250, lr=3e-3),
        stages=[
            StageConfig(name="activations", steps=20, lr=2e-3),
            StageConfig(name="all", steps=60, lr=4e-3, weights=True, states=True),
            StageConfig(name="hybrid", steps=40, lr=2e-3, weights=True, states=True, noise=1.0),
        ],
    )


@pytest.fixture(scope="session")
def calibration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the header of a calibration; its contents are the trainer's to carry, not to read."""
    path = tmp_path_factory.mktemp("calibration") / "chip.json"
    path.write_bytes(
        pretty_json({"header": new_header("calibration", origin="synthetic").model_dump(), "levels": [1, 0]})
    )
    return path


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig, calibration_file: Path, curve_reader: Any
) -> TrainResult:
    return train("digits", curve_reader(), tmp_path_factory.mktemp("trained") / "net", tiny_config, calibration_file)


@pytest.fixture(scope="session")
def vocabulary() -> list[str]:
    """The words that `base` knows."""
    return ["good", "bad", *(f"w{i}" for i in range(30))]


@pytest.fixture(scope="session")
def base(vocabulary: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder with a tokenizer, as a folder."""
    folder = tmp_path_factory.mktemp("base")
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary]
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    BertModel(
        BertConfig(vocab_size=len(known), max_position_embeddings=32, initializer_range=0.3, **shape)
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def texts(vocabulary: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences that are good or bad, or their phrases."""
    folder, rng = tmp_path_factory.mktemp("glue"), np.random.default_rng(0)
    (folder / "SST-2").mkdir()
    for name, count in (("train", 600), ("dev", 60)):
        lines = ["sentence\tlabel"]
        for _ in range(count):
            label = int(rng.integers(2))
            words = [*rng.choice(vocabulary[2:], rng.integers(3, 9)), vocabulary[1 - label]]
            lines.append(f"{' '.join(rng.permutation(words))} \t{label}")
        (folder / "SST-2" / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder
