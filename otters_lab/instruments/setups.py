"""What stands between an instrument and the device: the tables `[light.led]` and `[meter.amplifier]`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from otters_lab.core.quantity import Amperes, Hertz, Volts, VoltsPerAmpere
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


class AmplifierTable(StrictModel):
    """A transimpedance amplifier between the device and a voltmeter. It is set by hand: nothing here can ask it.

    `gain`: output voltage per input current; `bandwidth`: where its gain has fallen by 3 dB at this gain; `inverting`:
    whether a positive current gives a negative voltage; `output_limit`: the output voltage where it clips.
    """

    gain: Annotated[VoltsPerAmpere, Positive]
    bandwidth: Annotated[Hertz, Positive]
    output_limit: Annotated[Volts, Positive]
    inverting: bool

    @property
    def signed_gain_V_per_A(self) -> float:
        """The gain with its sign."""
        return -self.gain if self.inverting else self.gain

    @property
    def rise_time_s(self) -> float:
        """From 10 % to 90 % of a step, for one pole: ln(9)/(2 pi bandwidth)."""
        return math.log(9) / (2 * math.pi * self.bandwidth)

    def describe(self) -> str:
        """What stands in the file in place of an identity."""
        sign = "inverting" if self.inverting else "not inverting"
        numbers = f"{self.gain:g} V/A, {sign}, {self.bandwidth:g} Hz, clips at {self.output_limit:g} V"
        return f"set by hand, not asked: {numbers}"
