"""A take that gave nothing is kept like any other: spooled, sealed, read back, and left out of what is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from otters_lab.core.protocols import Trace
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.measurements.spool_view import open_spool


@pytest.mark.parametrize("failed", [{0}, {1}, {0, 1, 2}])
def test_a_failed_take_has_its_row_and_no_samples(
    tmp_path: Path, meta: CaptureMeta, trace: Callable[..., Trace], key: Callable, failed: set[int]
) -> None:
    path = tmp_path / "run.h5"
    with Spool.create(spool_path(path), meta) as spool:
        for index in range(3):
            taken = trace(index, 20)
            if index in failed:
                taken = replace(taken, time_s=np.empty(0), current_A=np.empty(0), status="failed")
            spool.append(key(index), taken)
        assert open_spool(spool_path(path)).sizes["trace"] == 3
    seal(spool_path(path), path)
    capture = load_capture(path)
    assert {int(i) for i in np.flatnonzero(capture.table["status"] == "failed")} == failed
    for index in range(3):
        assert np.count_nonzero(np.isfinite(capture.current_A[index])) == (0 if index in failed else 20)
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert [int(n) for n in dataset["n_samples"]] == [0 if index in failed else 20 for index in range(3)]
