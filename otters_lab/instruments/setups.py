"""What stands between an instrument and the device: the tables `[light.led]` and `[meter.amplifier]`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from otters_lab.core.quantity import Amperes
from otters_lab.core.tomlfile import StrictModel

Positive = Field(gt=0)

# Recipes and limits state the drive of the light in volts. An LED driver whose pulse is set as a share of a current
# takes 10 V for all of it.
FULL_DRIVE_V = 10.0


class LedTable(StrictModel):
    """The LED on a current driver. A drive of 10 V is `full_scale` through the LED, 5 V is half of it.

    `full_scale` (A) is set as the driver's current limit; `terminal` is the socket that the LED is plugged into.
    """

    full_scale: Annotated[Amperes, Positive]
    terminal: Literal[1, 2]
