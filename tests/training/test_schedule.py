from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from otters_lab.core.errors import InputError
from otters_lab.training.config import StageConfig, TrainingConfig, read_config
from otters_lab.training.distill import hidden_error, noise_at, soft_cross_entropy
from otters_lab.training.examples import swapped
from otters_lab.training.glue import GLUE
from otters_lab.training.loop import batch_ids, rate_share
from otters_lab.ttfs.device import generator


def test_an_epoch_shows_every_example_once_and_the_next_in_another_order() -> None:
    epochs = [torch.cat([batch_ids(12, 4, step, seed=5) for step in range(3 * e, 3 * e + 3)]) for e in (0, 1)]
    assert sorted(epochs[0].tolist()) == sorted(epochs[1].tolist()) == list(range(12))
    assert epochs[0].tolist() != epochs[1].tolist()
    assert torch.equal(batch_ids(12, 4, 4, seed=5), epochs[1][4:8])


def test_examples_are_drawn_in_proportion_to_a_power_of_their_length():
    lengths = torch.tensor([1, 2, 4, 8] * 5)
    drawn = torch.cat([batch_ids(20, 16, step, 3, lengths, length_power=2.0) for step in range(500)])
    shares = torch.bincount(lengths[drawn], minlength=9)[[1, 2, 4, 8]] / len(drawn)
    wanted = torch.tensor([1.0, 4.0, 16.0, 64.0]) / 85
    assert torch.allclose(shares, wanted, atol=4 * 0.5 / len(drawn) ** 0.5)  # four standard errors of a share of 1/2
    batches = [lengths[batch_ids(20, 16, step, 3, lengths, length_power=0.5)] for step in range(50)]
    assert sum(len(batch.unique()) == 1 for batch in batches) >= 50 - 3  # at most one seam between neighbours


def test_random_numbers_are_decided_by_their_key_alone() -> None:
    first, again, other = (torch.rand(3, generator=generator(*key)) for key in ((1, 2, 3), (1, 2, 3), (1, 2, 4)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_learning_rate_rises_once_and_ends_at_zero() -> None:
    shares = [rate_share(step, 400) for step in range(400)]
    peak = shares.index(max(shares))
    assert 0.99 < shares[peak] <= 1.0
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert shares[-1] < 1e-5


def test_noise_ramps_from_the_last_stage_s_to_this_one_s() -> None:
    stage = StageConfig(name="s", steps=100, lr=1e-3, noise=2.0, ramp=0.5)
    assert [noise_at(step, stage, 1.0) for step in (0, 25, 50, 99)] == [1.0, 1.5, 2.0, 2.0]
    assert noise_at(0, stage.model_copy(update={"ramp": 0.0}), 1.0) == 2.0


def test_hidden_error_is_relative_to_the_teacher_s_size() -> None:
    wanted = [torch.full((2, 3), 2.0), torch.full((2, 3), 10.0)]
    assert hidden_error(wanted, wanted, [4.0, 100.0]) == 0
    assert hidden_error([0 * h for h in wanted], wanted, [4.0, 100.0]) == 1


def test_soft_cross_entropy_is_least_at_the_teacher_s_logits_where_it_is_their_entropy() -> None:
    wanted = torch.tensor([[0.0, math.log(3.0)]])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert float(soft_cross_entropy(wanted + 5, wanted, 1.0)) == pytest.approx(entropy, rel=1e-6)
    found = torch.tensor([[0.3, 0.1]], requires_grad=True)
    soft_cross_entropy(found, wanted, 1.0).backward()
    assert found.grad is not None
    torch.testing.assert_close(found.grad, torch.softmax(found.detach(), -1) - torch.tensor([[0.25, 0.75]]))


def test_a_configuration_file_changes_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(
        'seed = 3\n[shape]\nhidden = 32\n[[stages]]\nname = "one"\nsteps = 5\nlr = 1.0\nweights = true\nstates = true\n'
    )
    config = read_config(path)
    assert (config.seed, config.shape.hidden, config.shape.heads, config.batch) == (3, 32, 4, TrainingConfig().batch)
    assert [(s.name, s.weights, s.states) for s in config.stages] == [("one", True, True)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sed = 1", r'sed: unknown key.*\(did you mean "seed"\?\)'),
        ("[shape]\nhidden = 30\n", "shape: hidden = 30 is not a multiple of heads = 4"),
        ('[[stages]]\nname = "x"\nsteps = 0\nlr = 1e-3', r"train.toml:3: stages.0.steps: found 0"),
        ("[code]\nbits = 7", "train.toml:2: code.bits: found 7"),
        ("[code]\ndead_zone = 15", "code: dead_zone = 15 leaves no level of bits = 4 to fire"),
        ('[code]\ncoding = "shift"\ndead_zone = 1', "code: a dead_zone is of rails"),
        ("stages = []", "stages: found"),
        (
            '[[stages]]\nname = "x"\nsteps = 1\nlr = 1e-3',
            'the last stage, "x", must have activations, weights and states on',
        ),
    ],
)
def test_a_bad_configuration_is_refused_by_line_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_config(path)


def test_the_page_s_schedule_is_what_a_text_task_learns_by(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    block = text.split("# schedule.toml\n")[1].split("```")[0]
    path = tmp_path / "schedule.toml"
    path.write_text(block)
    defaults = GLUE["sst2"].defaults()
    found = read_config(path, defaults)
    shown = ("name", "steps", "lr", "weights", "states", "rail_rate", "swapped", "noise")
    for stage, default in zip(found.stages, defaults.stages, strict=True):
        assert stage.model_dump(include=set(shown)) == default.model_dump(include=set(shown))
    assert found.model_dump(exclude={"stages"}) == defaults.model_dump(exclude={"stages"})


def test_words_are_swapped_for_words_of_the_batch_and_special_tokens_and_padding_stay():
    rng = torch.Generator().manual_seed(0)
    lengths = torch.tensor([40, 30, 20, 10] * 50)
    mask = (torch.arange(40) < lengths[:, None]).long()
    ids = torch.randint(100, 1000, mask.shape, generator=rng)
    ids[:, 0] = 2
    ids[torch.arange(200), lengths - 1] = 3
    ids[::2, 5] = 3  # between two sentences
    ids = ids * mask
    found = swapped({"input_ids": ids, "attention_mask": mask}, 0.3, torch.Generator().manual_seed(1))
    words = (ids >= 100) & mask.bool()
    assert torch.equal(found["attention_mask"], mask)
    assert torch.equal(found["input_ids"][~words], ids[~words])
    assert torch.isin(found["input_ids"][words], ids[words]).all()
    share = (found["input_ids"] != ids)[words].double().mean()
    n = int(words.sum())
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5 + 1 / 900  # four standard errors; a word may meet itself
    with pytest.raises(InputError, match="only words"):
        swapped({"pixel_values": torch.zeros(2, 1, 8, 8)}, 0.3, rng)
