"""What every virtual source-meter does to the world's current: limits it, and overflows beyond its range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from otters_lab.core.protocols import Array
from otters_lab.instruments.virtual.world import World

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """Current (A) as limited by the source, where it was limited, and where it is beyond the measuring range."""

    current_A: Array
    limited: Bools
    over: Bools


def measured(world: World, start_s: Array, stop_s: Array, limit_A: float, full_scale_A: float) -> Measured:
    """Readings of a biased device over apertures [start, stop] in seconds of the clock."""
    current: Any = world.currents_A(start_s, stop_s)
    limited = np.abs(current) > limit_A
    current = np.clip(current, -limit_A, limit_A)
    return Measured(current, limited, np.abs(current) > full_scale_A)
