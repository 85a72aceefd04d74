"""The one call at the package's top: a Dataset, and from it a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import otters_lab
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.spool import Spool

REFERENCE = Path(otters_lab.__file__).parents[1] / "measurements" / "reference.h5"


def test_the_traces_of_the_reference_become_a_data_frame_of_one_row_each() -> None:
    with otters_lab.open_capture(REFERENCE) as data:
        frame = data.drop_dims("sample").to_dataframe()
    known = load_capture(REFERENCE).table
    assert len(frame) == 400
    assert frame["plateau"].to_numpy().tolist() == known["plateau_A"].to_numpy().tolist()
    assert frame.groupby("device")["plateau"].std().notna().all()
    assert set(frame["drive"]) == {5.0}


def test_the_samples_of_a_few_traces_become_a_data_frame_of_one_row_each() -> None:
    with otters_lab.open_capture(REFERENCE) as data:
        frame = data.isel(trace=slice(10, 13)).to_dataframe()
        assert not data.current.variable._in_memory  # only three traces were read
    capture = load_capture(REFERENCE)
    assert len(frame) == 3 * capture.time_s.shape[1]
    assert np.array_equal(frame["current"].to_numpy(), capture.current_A[10:13].ravel())
    assert np.array_equal(frame["time"].to_numpy(), capture.time_s[10:13].ravel())
    assert set(frame["device"]) == set(capture.table["device"][10:13])


def test_an_unfinished_spool_gives_the_same_frames(
    tmp_path: Path, meta: CaptureMeta, key: Callable[[int], TraceKey], trace: Callable[..., Trace]
) -> None:
    with Spool.create(tmp_path / "a.h5.spool", meta) as spool:
        for index in range(5):
            spool.append(key(index), trace(index))
    data = otters_lab.open_capture(str(tmp_path / "a.h5.spool"))
    frame = data.drop_dims("sample").to_dataframe()
    assert isinstance(frame, pd.DataFrame)
    assert frame["drive"].tolist() == [1.0, 2.0, 3.0, 4.0, 1.0]
    samples = data.isel(trace=[4]).to_dataframe()
    assert np.array_equal(samples["current"].to_numpy(), trace(4).current_A)
