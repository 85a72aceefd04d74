"""otters-lab: from decaying optoelectronic synapses to time-to-first-spike transformers.

Importing this package loads nothing heavy: each room is imported by the command or the call that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otters_lab.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

__all__ = ["__version__", "open_capture"]


def open_capture(path: Path | str, *, verify: bool = True) -> xr.Dataset:
    """Opens a sealed capture, or the spool of a sweep that is still running, as an xarray Dataset.

    Dimensions `trace`, `sample`; `time` (s, 0 at the light's falling edge) and `current` (A) are read when they are
    used, everything else is there at once, with `units` on each. Close it, or use it in a `with`. With `verify` every
    byte of a sealed file is first checked against the hash that it was sealed with.

    ``open_capture(path).drop_dims("sample").to_dataframe()`` is one row a trace, ``.isel(trace=slice(10))
    .to_dataframe()`` the samples of ten traces.

    Raises
    ------
    otters_lab.core.errors.InputError
        for a missing file, and for one that is no capture.
    otters_lab.core.errors.DamagedFileError
        for a file that is damaged or altered.
    """
    from otters_lab.measurements.capture import open_capture as open_any

    return open_any(path, verify=verify)
