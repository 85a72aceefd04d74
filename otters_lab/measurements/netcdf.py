"""A capture, or what a spool holds so far, as a plain netCDF4 file for other programs."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5netcdf
import xarray as xr

from otters_lab.core.errors import RefusedError
from otters_lab.measurements.layout import SAMPLED, TEXTS
from otters_lab.measurements.writer import Extent, characters, create_variable, rows_of_a_chunk

FORMAT = "otters-lab export"  # in place of a capture's: this file has no seal, and is not to be taken for one
_SPARE_BYTES = 1 << 20
_BLOCK = 4096  # traces whose texts are in memory at a time


def write_netcdf(dataset: xr.Dataset, path: Path) -> int:
    """Every variable and attribute of an open capture, a block of traces at a time; returns the number of traces.

    Unlike a capture the file is written for old readers too (HDF5 1.8).

    Raises
    ------
    RefusedError
        if the disk may not hold it: HDF5 does not survive a full one.
    """
    extent = _extent(dataset)
    needed = 2 * 8 * extent.n_traces * extent.n_samples + _SPARE_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise RefusedError(f"{path}: may take {needed / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free")
    coordinates = " ".join(str(name) for name in dataset.coords)
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"trace": extent.n_traces, "sample": extent.n_samples}
        for name, variable in dataset.variables.items():
            written = create_variable(file, str(name), extent)
            written.attrs.update(variable.attrs)
            if name in SAMPLED:
                written.attrs["coordinates"] = coordinates
            if name in TEXTS:
                written.attrs["_Encoding"] = "utf-8"
        rows = rows_of_a_chunk(extent)
        for start in range(0, extent.n_traces, rows):
            part = dataset.isel(trace=slice(start, start + rows))
            for name in dataset.variables:
                values = part[name].to_numpy()
                stored = characters(values, extent.text_bytes[str(name)]) if name in TEXTS else values
                file[name][start : start + rows] = stored
        for name, value in {**dataset.attrs, "format": FORMAT}.items():
            file.attrs[name] = value
    return extent.n_traces


def _extent(dataset: xr.Dataset) -> Extent:
    n_traces, widths = dataset.sizes["trace"], dict.fromkeys(TEXTS, 1)
    for start in range(0, n_traces, _BLOCK):
        for name in TEXTS:
            texts = dataset[name][start : start + _BLOCK].to_numpy()
            widths[name] = max(widths[name], *(len(str(text).encode()) for text in texts))
    return Extent(n_traces, dataset.sizes["sample"], widths)
