"""Scores against their formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from otters_lab.training.metrics import METRICS, predictions, scores

PREDICTED = np.array([1, 1, 0, 1, 0, 0, 1, 0.0])
WANTED = np.array([1, 0, 0, 1, 1, 0, 1, 0.0])


def test_classification_scores_are_those_of_the_table_of_confusion() -> None:
    tp, fp, fn, tn = 3, 1, 1, 3
    assert METRICS["accuracy"](PREDICTED, WANTED) == 6 / 8
    assert METRICS["F1"](PREDICTED, WANTED) == pytest.approx(2 * tp / (2 * tp + fp + fn))
    matthews = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert METRICS["Matthews"](PREDICTED, WANTED) == pytest.approx(matthews)


def test_correlations_are_of_values_and_of_ranks_and_none_with_a_constant() -> None:
    x, y = np.array([1.0, 2, 3, 4]), np.array([1.0, 4, 9, 16])
    a, b = x - x.mean(), y - y.mean()
    assert METRICS["Pearson"](x, y) == pytest.approx(a @ b / math.sqrt((a @ a) * (b @ b)))
    assert METRICS["Spearman"](x, y) == pytest.approx(1.0)
    assert METRICS["Pearson"](np.ones(4), y) == 0.0


def test_logits_are_classes_or_values() -> None:
    assert predictions(torch.tensor([[0.1, 0.9], [2.0, -1.0]])).tolist() == [1.0, 0.0]
    assert predictions(torch.tensor([[0.5], [2.5]])).tolist() == [0.5, 2.5]
    found = scores(("accuracy", "F1"), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 0]))
    assert found == {"accuracy": 1.0, "F1": 1.0}
