"""The spool of an import: unlike a sweep's it may be begun anew, since what it holds also stands elsewhere."""

from __future__ import annotations

from pathlib import Path

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InputError
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.spool import Spool

MERGED = "merged"  # attribute of a capture made of captures: what each of them said of itself


def fresh_spool(path: Path, meta: CaptureMeta, clock: Clock | None) -> Spool:
    """A new spool, in place of what an import that was cut short has left.

    Raises
    ------
    InputError
        if the spool of a sweep stands there.
    """
    if path.exists():
        with Spool.open(path) as left:
            if left.meta.origin != "imported" and MERGED not in left.meta.attributes:
                raise InputError("the spool of an unfinished sweep stands here", file=path)
            left.drop()
    return Spool.create(path, meta, clock=clock)
