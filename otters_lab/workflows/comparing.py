"""An old calibration against a new one, or against a new capture."""

from __future__ import annotations

from pathlib import Path

from otters_lab.calibration.again import measured_again
from otters_lab.calibration.compare import Measured, compare
from otters_lab.calibration.comparison import Comparison
from otters_lab.calibration.file import read_calibration
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.measurements.capture import is_capture, load_capture


def compare_files(old: Path, new: Path, tolerance_levels: float = 0.0) -> Comparison:
    """Compares two files; NEW may be a capture, which is then fitted in OLD's constants.

    Raises
    ------
    InputError
        for files that are not there, of another kind, or that cannot be compared.
    DamagedFileError
        for damaged or altered ones.
    """
    before = _side(old)
    after = measured_again([load_capture(new)], before.device) if is_capture(new) else _side(new)
    try:
        return compare(before, after, tolerance_levels)
    except InputError as error:
        raise InputError(str(error), file=new) from None


def _side(path: Path) -> Measured:
    try:
        return Measured.of(read_calibration(path))
    except RefusedError as error:
        raise InputError(str(error), file=path) from None
