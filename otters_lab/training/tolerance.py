"""How much noisier than its calibration a device may be: the multiple of the covariance at which a score falls."""

from __future__ import annotations

from collections.abc import Callable

from otters_lab.core.tomlfile import StrictModel

# Neighbours are 19 % apart in covariance, 9 % in sd.
MULTIPLES = tuple(2 ** (k / 4) for k in range(-24, 25))


class Tolerated(StrictModel):
    """The bracket of the multiple of a covariance (of the sd: its root) at which a score is `share` of the ideal's.

    At `above` it is still reached, at `below` no longer. below is null where it is reached at the largest multiple
    tried, above where it is not at the smallest; both are where the ideal score is not positive. `tried` has multiple
    and score, in the order of trying.
    """

    share: float
    above: float | None
    below: float | None
    tried: list[tuple[float, float]]

    def __str__(self) -> str:
        if self.above is None:
            return "unknown" if self.below is None else f"< {self.below:.2g}"
        return f"> {self.above:.2g}" if self.below is None else f"between {self.above:.3g} and {self.below:.3g}"


def tolerated(score_at: Callable[[float], float], ideal: float, share: float = 0.95) -> Tolerated:
    """Looks for where `score_at(multiple)` falls below share*ideal, by bisection of `MULTIPLES` (1/64 to 64).

    At most seven scores are asked for, the largest multiple's first. The score is taken to fall with the multiple,
    which the same draws at each multiple, scaled alone, come nearest to.
    """
    tried: list[tuple[float, float]] = []

    def reached(k: int) -> bool:
        tried.append((MULTIPLES[k], score_at(MULTIPLES[k])))
        return tried[-1][1] >= share * ideal

    if ideal <= 0:
        return Tolerated(share=share, above=None, below=None, tried=tried)
    low, high = -1, len(MULTIPLES) - 1  # -1: no noise at all, where it is the ideal's
    if reached(high):
        return Tolerated(share=share, above=MULTIPLES[high], below=None, tried=tried)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) else (low, middle)
    return Tolerated(share=share, above=MULTIPLES[low] if low >= 0 else None, below=MULTIPLES[high], tried=tried)
