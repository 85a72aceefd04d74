"""What stands between an instrument and the device: the tables `[light.led]` and `[meter.amplifier]`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

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


# An SR570's sensitivities, 1 pA/V to 1 mA/V in steps of 1, 2 and 5, and its filters' corner frequencies.
SENSITIVITIES_A_PER_V = (*(float(f"{m}e{power}") for power in range(-12, -3) for m in (1, 2, 5)), 1e-3)
CORNERS_HZ = (0.03, *(float(f"{m}e{power}") for power in range(-1, 6) for m in (1, 3)), 1e6)
BIAS_LIMIT_V = 5.0


class AmplifierTable(StrictModel):
    """A transimpedance amplifier between the device and a voltmeter. Without a `driver` it is set by hand.

    `gain`: output voltage per input current; `bandwidth`: where its gain has fallen by 3 dB at this gain; `inverting`:
    whether a positive current gives a negative voltage; `output_limit`: the output voltage where it clips.

    With `driver` and `address` the settings are sent to it. It only listens: nothing here can ask it. `gain` is then
    one of its steps, `gain_mode` its gain allocation, `bandwidth` that of its low-pass `filter`, or, with "none", what
    its data sheet gives for gain and mode. `bias`: of its input, from the opening of the bench to its end.
    """

    gain: Annotated[VoltsPerAmpere, Positive]
    bandwidth: Annotated[Hertz, Positive]
    output_limit: Annotated[Volts, Positive]
    inverting: bool
    driver: Literal["srs-sr570"] | None = None
    address: str | None = Field(default=None, min_length=1)
    gain_mode: Literal["low noise", "high bandwidth", "low drift"] | None = None
    filter: Literal["none", "6 dB", "12 dB"] = "none"
    bias: Volts | None = None

    @model_validator(mode="after")
    def _settings_are_those_of_the_driver(self) -> AmplifierTable:
        if self.driver is None:
            for name in ("address", "gain_mode", "filter", "bias"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name} is given, but no driver: the amplifier is set by hand")
            return self
        for name in ("address", "gain_mode"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is missing, {self.driver} needs one")
        if self.step_A_per_V is None:
            near = min(SENSITIVITIES_A_PER_V, key=lambda step: abs(math.log(step * self.gain)))
            raise ValueError(f"gain is {self.gain:g} V/A, no step of the SR570; the nearest is {1 / near:g} V/A")
        if self.filter != "none" and not any(math.isclose(self.bandwidth, corner) for corner in CORNERS_HZ):
            near = min(CORNERS_HZ, key=lambda corner: abs(math.log(corner / self.bandwidth)))
            raise ValueError(f"bandwidth is {self.bandwidth:g} Hz, no filter of the SR570; the nearest is {near:g} Hz")
        if self.bandwidth > CORNERS_HZ[-1]:
            raise ValueError(f"bandwidth is {self.bandwidth:g} Hz, the SR570 has 1 MHz at the most")
        if self.bias is not None and abs(self.bias) > BIAS_LIMIT_V:
            raise ValueError(f"bias is {self.bias:g} V, the SR570 takes -5 V to 5 V")
        if self.bias is not None and not math.isclose(1000 * self.bias, round(1000 * self.bias), abs_tol=1e-6):
            raise ValueError(f"bias is {self.bias:g} V, the SR570 sets whole millivolts")
        return self

    @property
    def step_A_per_V(self) -> float | None:
        """The SR570's sensitivity of this gain; None if it is no step of it."""
        return next((step for step in SENSITIVITIES_A_PER_V if math.isclose(step * self.gain, 1.0)), None)

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
        if self.driver is None:
            return f"set by hand, not asked: {numbers}"
        bias = "no bias" if self.bias is None else f"bias {self.bias:g} V"
        return f"SR570 at {self.address}, set, not confirmed: listens only: {numbers}, filter {self.filter}, " + (
            f"{self.gain_mode}, {bias}"
        )
