from __future__ import annotations

import numpy as np
import pytest

from otters_lab.core.protocols import LevelReader
from otters_lab.ttfs.code import IdealReader, ideal_table, top_level


@pytest.mark.parametrize("bits", range(2, 7))
def test_the_ideal_table_times_T_is_the_integers_exactly(bits: int) -> None:
    top = top_level(bits)
    assert (top * ideal_table(top) == np.arange(top, -1, -1)).all()


@pytest.mark.parametrize("bits", [1, 7, 0])
def test_bits_outside_two_to_six_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="expected 2 to 6"):
        top_level(bits)


def test_the_ideal_reader_reads_the_ideal_table_whatever_the_seed() -> None:
    reader = IdealReader(4)
    assert isinstance(reader, LevelReader)
    assert reader.read(3, (1, 2)).shape == (3, reader.n_levels)
    assert (reader.read(3, (1, 2)) == ideal_table(15)).all()
