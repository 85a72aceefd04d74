"""A spool as an xarray Dataset, of the same form as a sealed capture; samples are read when they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from otters_lab.core.errors import DamagedFileError
from otters_lab.core.protocols import Array
from otters_lab.measurements.columns import all_columns, attributes_of, units_of, variable_attributes
from otters_lab.measurements.layout import COORDINATES, SAMPLED, padded
from otters_lab.measurements.spool import Spool


class _Samples(BackendArray):
    """Times or currents [trace, sample] of the traces that were there when the spool was opened."""

    def __init__(self, path: Path, uid: str, name: str, shape: tuple[int, int]) -> None:
        self.path, self.uid, self.name = path, uid, name
        self.shape = shape
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Array:
        chosen = np.arange(self.shape[0])[key[0]]
        # Opened for each reading: the spool may be sealed and dropped while a notebook still holds the dataset.
        with Spool.open(self.path, read_only=True) as spool:
            if spool.uid != self.uid:
                raise DamagedFileError(self.path, "another spool has taken the place of the one that was opened")
            rows = [self._row(spool, int(index)) for index in np.atleast_1d(chosen)]
        samples = np.array(rows).reshape(-1, self.shape[1])
        return samples[:, key[1]] if chosen.ndim else samples[0, key[1]]

    def _row(self, spool: Spool, index: int) -> Array:
        _, trace = spool.trace(index)
        return padded(trace.time_s if self.name == "time" else trace.current_A, self.shape[1])


def open_spool(path: Path) -> xr.Dataset:
    """The traces acknowledged so far; the process that measures is not disturbed.

    Raises
    ------
    InputError
        if there is no such spool.
    DamagedFileError
        if it is damaged (the samples are checked as they are read).
    """
    with Spool.open(path, read_only=True) as spool:
        arrays, meta, uid = all_columns(spool), spool.meta, spool.uid
    shape = (len(arrays["n_samples"]), max([1, *arrays["n_samples"]]))
    variables = {}
    for name, units in SAMPLED.items():
        lazy = indexing.LazilyIndexedArray(_Samples(path, uid, name, shape))
        said = variable_attributes(name, units, meta)
        said.pop("coordinates")  # a Dataset knows its coordinates; only a file must name them
        variables[name] = xr.Variable(("trace", "sample"), lazy, said)
    for name, values in arrays.items():
        variables[name] = xr.Variable(("trace",), values, variable_attributes(name, units_of(meta)[name], meta))
    coordinates = [*COORDINATES, *meta.parameter_units]
    return xr.Dataset(variables, attrs=attributes_of(meta, uid)).set_coords(coordinates)
