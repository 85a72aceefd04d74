from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from otters_lab.core.protocols import Array

# A busy machine is no failure; and a run that must be judged alone looks at the same examples each time.
settings.register_profile("otters-lab", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("otters-lab")

# A run begun in the background of a script ignores Ctrl-C, and so would every program that it starts to interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class CurveReader:
    """Bent power laws O = O0 - D*u**beta at the level times of the mean curve; sd in per cent of the full scale."""

    n_levels: int = 16
    run_sd: float = 0.02
    device_sd: float = 0.0

    def read(self, n: int, seed: tuple[int, ...]) -> Array:
        draws = np.random.default_rng(seed).standard_normal((3, n, 1))
        u = self._times()
        beta = 0.495 + 0.005 * draws[2] * (self.run_sd > 0)
        return 1 + self.run_sd / 4 * draws[1] - (1 + self.run_sd * draws[0]) * u**beta

    def mean_levels(self) -> Array:
        return 1 - self._times() ** 0.495

    def run_modes(self) -> Array:
        u = self._times()
        by_beta = 0.005 * (self.run_sd > 0) * u**0.495 * np.log(np.maximum(u, 1e-300))
        return np.stack([self.run_sd * u**0.495, self.run_sd / 4 + 0 * u, by_beta])

    def device_modes(self) -> Array:
        return self.device_sd * self._times()[None] ** 0.495 if self.device_sd else np.zeros((0, self.n_levels))

    def device_deviations(self, n: int, seed: tuple[int, ...]) -> Array:
        return np.random.default_rng(seed).standard_normal((n, 1)) @ self.device_modes()

    def _times(self) -> Array:
        return np.linspace(0.0, 1.0, self.n_levels) ** (1 / 0.495)


@pytest.fixture(scope="session")
def curve_reader() -> type[CurveReader]:
    """A small device model of its own, for rooms that need a `LevelReader` and not a calibration."""
    return CurveReader


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """cli("fit", path, ...) -> (exit code, stdout, stderr), by the program's own entry point."""
    from otters_lab.cli.main import run
    from otters_lab.core.log import logger

    # A command sets up logging and signals for its process; in a test run that process goes on.
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    handlers = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["otters-lab", *(str(word) for word in words)])
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as exit_:
                run()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def few_laws() -> Iterator[None]:
    """The comparison of laws takes most of a fit's time; where it is not what is looked at, two traces do."""
    from otters_lab.calibration import fit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "MAX_JUDGED", 2)
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout: its top folders are a workspace."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def vocabulary() -> list[str]:
    """The words that `base` knows."""
    return ["good", "bad", *(f"w{i}" for i in range(30))]


@pytest.fixture(scope="session")
def base(vocabulary: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder with a tokenizer, as a folder."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

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
