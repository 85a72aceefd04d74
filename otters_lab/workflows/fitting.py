"""Captures in, calibration out, with the words of the command line turned into numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otters_lab.calibration.file import Calibration, write_calibration
from otters_lab.calibration.fit import fit_captures
from otters_lab.core.errors import InputError
from otters_lab.core.quantity import parse_quantity
from otters_lab.measurements.capture import load_capture


def fit_files(
    captures: Sequence[Path], out: Path, *, window: str | None = None, law: str = "auto", point: int | None = None
) -> Calibration:
    """Loads and checks captures, fits them, writes the calibration and its sidecar.

    Raises
    ------
    InputError
        for a window that is no time, or captures that cannot be fitted.
    DamagedFileError
        for a damaged capture.
    """
    try:
        window_s = None if window is None else parse_quantity(window, "time")
    except ValueError as error:
        raise InputError(f"--window: {error}") from None
    if window_s is not None and window_s <= 0:
        raise InputError("--window is not positive", found=window)
    loaded = [load_capture(path) for path in captures]
    return write_calibration(out, fit_captures(loaded, window_s=window_s, law=law, point=point))
