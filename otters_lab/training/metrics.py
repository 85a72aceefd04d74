"""Scores of predictions, each as its benchmark defines it; a higher one is a better one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor  # names of metrics are looked up without it

Numbers = npt.NDArray[np.float64]


def _accuracy(predicted: Numbers, wanted: Numbers) -> float:
    return float(np.mean(predicted == wanted))


def _f1(predicted: Numbers, wanted: Numbers) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(wanted, predicted, zero_division=0.0))


def _matthews(predicted: Numbers, wanted: Numbers) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(wanted, predicted))


def _correlation(name: str) -> Callable[[Numbers, Numbers], float]:
    def score(predicted: Numbers, wanted: Numbers) -> float:
        from scipy import stats

        if np.ptp(predicted) == 0 or np.ptp(wanted) == 0:
            return 0.0  # a constant says nothing of the other
        return float(getattr(stats, name)(predicted, wanted).statistic)

    return score


METRICS: Mapping[str, Callable[[Numbers, Numbers], float]] = {
    "accuracy": _accuracy,
    "F1": _f1,
    "Matthews": _matthews,
    "Pearson": _correlation("pearsonr"),
    "Spearman": _correlation("spearmanr"),
}


def predictions(logits: Tensor) -> Numbers:
    """Class numbers of logits [n, classes], or the values themselves of [n, 1]: float64 [n]."""
    found = logits[:, 0] if logits.shape[1] == 1 else logits.argmax(dim=-1)
    return np.asarray(found.double().cpu().numpy(), dtype=np.float64)


def scores(names: tuple[str, ...], logits: Tensor, y: Tensor) -> dict[str, float]:
    """Each metric of a task's logits against its targets y [n]."""
    wanted = np.asarray(y.double().cpu().numpy(), dtype=np.float64)
    return {name: METRICS[name](predictions(logits), wanted) for name in names}
