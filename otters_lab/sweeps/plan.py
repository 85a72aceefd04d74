"""Plans: a recipe unrolled into frozen traces, in the order they will be taken. Nothing here touches a bench."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from otters_lab.core.files import canonical_json, sha256_bytes
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.sweeps.recipe import Recipe, RecipeModel

PARAMETER_UNITS = {"drive": "V", "width": "s", "bias": "V"}

# What a trace costs beyond its own length: switching, settings and their read-back. An estimate, for the ETA alone.
OVERHEAD_S = 0.1


@dataclass(frozen=True)
class PlannedTrace:
    """One trace to take: where it belongs and what is asked of the bench."""

    device: int
    point: int
    repeat: int
    request: TraceRequest

    @property
    def parameters(self) -> dict[str, float]:
        """The point's settings by name, SI (units in `PARAMETER_UNITS`)."""
        return {"drive": self.request.drive_V, "width": self.request.width_s, "bias": self.request.bias_V}

    @property
    def place(self) -> tuple[int, int, int]:
        """(point, device, repeat): unique in a plan."""
        return self.point, self.device, self.repeat


@dataclass(frozen=True)
class Plan:
    """All traces of a recipe, generated in order each time they are asked for."""

    recipe: Recipe

    def __len__(self) -> int:
        model = self.recipe.model
        return model.repeats * len(model.devices) * len(self.points())

    def points(self) -> list[tuple[float, float, float]]:
        """(drive V, width s, bias V) of each point."""
        model = self.recipe.model
        return list(itertools.product(model.light.drive, model.light.width, model.bias.voltage))

    def traces(self) -> Iterator[PlannedTrace]:
        """Every trace, repeats outermost, devices in an order of their own in each repeat and point."""
        model = self.recipe.model
        for repeat in range(model.repeats):
            for point, (drive, width, bias) in enumerate(self.points()):
                for device in _device_order(model, repeat, point):
                    yield PlannedTrace(device, point, repeat, _request(model, device, drive, width, bias))

    def requests(self) -> Iterator[TraceRequest]:
        """One request for each distinct setting and device, for checking limits."""
        model = self.recipe.model
        for drive, width, bias in self.points():
            for device in model.devices:
                yield _request(model, device, drive, width, bias)

    @property
    def samples(self) -> int:
        """Samples of the longest trace."""
        sampling = self.recipe.model.sampling
        return round((sampling.dark + max(self.recipe.model.light.width) + sampling.decay) / sampling.interval)

    @property
    def duration_s(self) -> float:
        """Estimated duration of the sweep."""
        model = self.recipe.model
        fixed = model.sampling.dark + model.sampling.decay + model.recovery.dark_time + OVERHEAD_S
        per_point = [fixed + width for _, width, _ in self.points()]
        return sum(per_point) * model.repeats * len(model.devices)

    @property
    def bytes(self) -> int:
        """Estimated size of the traces before compression: time and current as float64."""
        return len(self) * self.samples * 16

    @property
    def digest(self) -> str:
        """Hash of what the plan sets, for --resume: comments and title of the recipe do not count."""
        return sha256_bytes(canonical_json(self.recipe.model.model_dump(exclude={"title"})))


def _device_order(model: RecipeModel, repeat: int, point: int) -> list[int]:
    if not model.order.shuffle_devices:
        return model.devices
    shuffled = np.random.default_rng((model.order.seed, repeat, point)).permutation(model.devices)
    return [int(device) for device in shuffled]


def _request(model: RecipeModel, device: int, drive: float, width: float, bias: float) -> TraceRequest:
    sampling = model.sampling
    return TraceRequest(
        device=device,
        drive_V=drive,
        width_s=width,
        bias_V=bias,
        dark_s=sampling.dark,
        decay_s=sampling.decay,
        interval_s=sampling.interval,
        aperture_s=sampling.aperture,
        range_A=sampling.range,
    )
