from __future__ import annotations

import pytest
import torch

from otters_lab.core.errors import InputError
from otters_lab.training.config import TrainingConfig
from otters_lab.training.digits import jitter
from otters_lab.training.tasks import DIGITS, find_task

CONFIG = TrainingConfig()


def test_digits_are_split_the_same_way_every_time_and_no_image_is_in_two_parts() -> None:
    data, again = DIGITS.splits(CONFIG), DIGITS.splits(CONFIG)
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [1068, 189, 540]
    assert torch.equal(data.test.inputs["pixel_values"], again.test.inputs["pixel_values"])
    assert torch.equal(data.validation.y, again.validation.y)
    images = torch.cat([part.inputs["pixel_values"] for part in parts]).flatten(1)
    assert len(torch.unique(images, dim=0)) == len(images) == 1797


def test_every_class_has_its_share_of_every_part() -> None:
    data = DIGITS.splits(CONFIG)
    for part in (data.train, data.validation, data.test):
        share = torch.bincount(part.y, minlength=10) / len(part)
        assert share.min() > 0.08
        assert share.max() < 0.12


def test_pixels_span_minus_one_to_one() -> None:
    x = DIGITS.splits(CONFIG).train.inputs["pixel_values"]
    assert (x.min(), x.max(), x.shape[1:]) == (-1, 1, (1, 8, 8))


def test_an_unknown_task_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r'found .digit., expected one of .*digits.* \(did you mean "digits"\?\)'):
        find_task("digit")


def test_no_jitter_leaves_images_as_they_are() -> None:
    x = DIGITS.splits(CONFIG).train.inputs["pixel_values"][:20]
    torch.testing.assert_close(jitter(x, 0.0, 0.0, 0.0, torch.Generator()), x, rtol=0, atol=1e-5)


def test_jitter_moves_by_at_most_the_given_pixels() -> None:
    column = torch.zeros(400, 1, 8, 8)
    column[:, :, :, 4] = 1.0
    moved = jitter(column, 1.0, 0.0, 0.0, torch.Generator().manual_seed(0))
    centre = (moved * torch.arange(8.0)).sum(dim=(1, 2, 3)) / moved.sum(dim=(1, 2, 3))
    assert float((centre - 4).abs().max()) <= 1.0
    assert float((centre - 4).std()) == pytest.approx(1 / 3**0.5, rel=0.1)
