"""The bracket of a tolerated multiple holds the true one, in few scores, and says so where there is none."""

from __future__ import annotations

import pytest

from otters_lab.training.tolerance import MULTIPLES, tolerated


@pytest.mark.parametrize("truth", [0.0157, 0.1, 1.0, 3.3, 16.7, 63.9])
def test_the_bracket_holds_the_multiple_at_which_the_score_falls(truth: float) -> None:
    # A score that falls by 5 % of the ideal's at the true multiple.
    found = tolerated(lambda multiple: 0.8 * (1 - 0.05 * multiple / truth), 0.8 * (1 + 1e-9))
    assert found.above is not None
    assert found.below is not None
    assert found.above < truth * 1.0001 < found.below * 1.0002
    assert found.below / found.above == pytest.approx(2**0.25)
    assert len(found.tried) <= 7
    assert all((score >= 0.95 * 0.8 * (1 + 1e-9)) == (multiple <= found.above) for multiple, score in found.tried)


def test_a_network_that_bears_all_or_nothing_is_said_to() -> None:
    all_of_it = tolerated(lambda _: 0.79, 0.8)
    assert (str(all_of_it), all_of_it.below, len(all_of_it.tried)) == ("> 64", None, 1)
    nothing = tolerated(lambda _: 0.5, 0.8)
    assert (str(nothing), nothing.above, nothing.below) == ("< 0.016", None, MULTIPLES[0])
    assert len(nothing.tried) <= 7
    assert str(tolerated(lambda multiple: 1 - multiple, 1.0, share=0.5)) == "between 0.5 and 0.595"


def test_of_a_network_that_is_no_better_than_chance_it_is_unknown() -> None:
    found = tolerated(lambda _: 0.0, 0.0)
    assert (found.above, found.below, found.tried, str(found)) == (None, None, [], "unknown")
