"""How a network codes and which noise its devices have: what a schedule or a checkpoint says of it. Loads no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from otters_lab.core.tomlfile import StrictModel

Coding = Literal["two rails", "one rail", "shift"]
WeightScale = Literal["row", "tensor"]
Place = Literal["network", "layer", "line", "synapse"]
Time = Literal["run", "sentence", "token"]


class NoiseConfig(StrictModel):
    """Place and time of the two kinds of noise; and what else is not ideal, off by default.

    threshold_offset : sd of a neuron's threshold, in steps of the staircase; both its rails alike, drawn once a run.
    stuck_low, stuck_high : shares of devices (of `device_place`) that always read 0, or 1.
    """

    run_place: Place = "layer"
    run_time: Time = "sentence"
    device_place: Place = "layer"
    threshold_offset: float = Field(0.0, ge=0)
    stuck_low: float = Field(0.0, ge=0, le=1)
    stuck_high: float = Field(0.0, ge=0, le=1)


class CodeConfig(StrictModel):
    """How a converted network codes; stored in the checkpoint's config.json.

    `coding` is that of linear inputs and queries; attention probabilities, and what follows a ReLU, are never negative
    and take one rail. With a `dead_zone`, levels 1 to so many of linear inputs and queries never fire, and their window
    ends so many ticks early: few spikes at a fine step, none of them late, where a device's deviations are largest
    against what it reads. `feed_forward` "relu" puts ReLUs in place of what the model has there: half the rails, and
    fewer spikes, for a network that is trained on.
    """

    bits: int = Field(4, ge=2, le=6)
    coding: Coding = "two rails"
    feed_forward: Literal["as it is", "relu"] = "as it is"
    dead_zone: int = Field(0, ge=0)
    weight_scale: WeightScale = "row"
    weight_gradient: Literal["read", "nominal"] = "read"  # the levels in the weights' gradient
    noise: NoiseConfig = NoiseConfig()

    @model_validator(mode="after")
    def _levels_are_left(self) -> Self:
        if self.dead_zone > 2**self.bits - 2:
            raise ValueError(f"dead_zone = {self.dead_zone} leaves no level of bits = {self.bits} to fire")
        if self.dead_zone and self.coding == "shift":
            raise ValueError('a dead_zone is of rails: with coding = "shift", silence is the lowest value, not zero')
        return self
