"""Captures in, calibration out, with the words of the command line turned into numbers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from otters_lab.calibration.engines import Engine, Runner, Serial
from otters_lab.calibration.file import Calibration, write_calibration
from otters_lab.calibration.fit import fit_captures
from otters_lab.core.errors import InputError
from otters_lab.core.quantity import parse_quantity
from otters_lab.measurements.capture import load_capture


def fit_files(
    captures: Sequence[Path],
    out: Path,
    *,
    window: str | None = None,
    law: str = "auto",
    point: int | None = None,
    engine: Engine | None = None,
) -> Calibration:
    """Loads and checks captures, fits them, writes the calibration and its sidecar.

    `engine` fits the traces, chunk by chunk; what is done lies in OUT.chunks until the calibration is written, and the
    same call after an interruption goes on from there. Without one everything is done here, in one go.

    Raises
    ------
    InputError
        for a window that is no time, or captures that cannot be fitted.
    DamagedFileError
        for a damaged capture.
    RefusedError
        naming the traces that were lost with the engine's workers.
    """
    try:
        window_s = None if window is None else parse_quantity(window, "time")
    except ValueError as error:
        raise InputError(f"--window: {error}") from None
    if window_s is not None and window_s <= 0:
        raise InputError("--window is not positive", found=window)
    loaded = [load_capture(path) for path in captures]
    chunks = None if engine is None else out.with_name(out.name + ".chunks")
    runner = Runner(engine or Serial(), chunks)
    calibration = write_calibration(out, fit_captures(loaded, window_s=window_s, law=law, point=point, runner=runner))
    if chunks is not None:
        shutil.rmtree(chunks, ignore_errors=True)
    return calibration
