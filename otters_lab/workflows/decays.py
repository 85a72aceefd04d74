"""Where a bench file's `[virtual] decays` come from: the rooms that hold them do not know each other."""

from __future__ import annotations

from dataclasses import dataclass

from otters_lab.core.errors import InputError
from otters_lab.core.protocols import DecaySource
from otters_lab.core.provenance import InputRef, reference
from otters_lab.instruments.benchfile import BenchFile


@dataclass(frozen=True)
class Decays:
    """A source of decays for `open_bench`, and the file it was read from, for a capture's provenance."""

    source: DecaySource
    inputs: list[InputRef]


def load_decays(bench: BenchFile) -> Decays | None:
    """The decays that a bench file takes from a file; None for a real bench, and for a synthetic chip.

    Raises
    ------
    InputError
        if the file is not there, or nothing can be replayed or sampled from it.
    DamagedFileError
        if it is damaged or altered.
    """
    table = bench.virtual
    if bench.backend != "virtual" or table is None or table.decays == "chip" or table.file is None:
        return None
    path = bench.path.parent / table.file
    if not path.exists():
        raise InputError(
            f"no such file: {table.file}", file=bench.path, key="virtual.file", expected="a file relative to this one"
        )
    if table.decays == "replay":
        from otters_lab.measurements.capture import load_capture
        from otters_lab.measurements.replay import ReplayedDecays

        capture = load_capture(path)
        source = ReplayedDecays(capture, at_end=table.at_end, seed=table.seed)
        return Decays(source, [reference(path, "replayed capture", capture.header.uid)])
    from otters_lab.calibration.file import read_calibration
    from otters_lab.calibration.source import SampledDecays

    calibration = read_calibration(path)
    sampled = SampledDecays(calibration, bench.devices, table.seed)
    return Decays(sampled, [reference(path, "sampled calibration", calibration.header.uid)])


def load_source(bench: BenchFile) -> DecaySource | None:
    """The source of `load_decays` alone, for what makes no capture."""
    decays = load_decays(bench)
    return None if decays is None else decays.source
