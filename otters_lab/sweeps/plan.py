"""Plans: a recipe unrolled into frozen traces, in the order they will be taken. Nothing here touches a bench."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from otters_lab.core.errors import InputError
from otters_lab.core.files import canonical_json, sha256_bytes
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.lightcal import LightCalibration
from otters_lab.instruments.timing import Timing, timing
from otters_lab.sweeps.recipe import Recipe, RecipeModel

_UNITS = {"drive": "V", "width": "s", "bias": "V"}

# What a trace costs beyond its own length: switching, settings and their read-back. An estimate, for the ETA alone.
OVERHEAD_S = 0.1


class Point(NamedTuple):
    """One setting of all swept parameters; `irradiance_W_m2` is None where the recipe names the drive."""

    drive_V: float
    width_s: float
    bias_V: float
    irradiance_W_m2: float | None = None


@dataclass(frozen=True)
class PlannedTrace:
    """One trace to take: where it belongs and what is asked of the bench."""

    device: int
    point: int
    repeat: int
    request: TraceRequest
    irradiance_W_m2: float | None = None

    @property
    def parameters(self) -> dict[str, float]:
        """The point's settings by name, SI (units in `Plan.parameter_units`)."""
        found = {"drive": self.request.drive_V, "width": self.request.width_s, "bias": self.request.bias_V}
        return found if self.irradiance_W_m2 is None else {**found, "irradiance": self.irradiance_W_m2}

    @property
    def place(self) -> tuple[int, int, int]:
        """(point, device, repeat): unique in a plan."""
        return self.point, self.device, self.repeat


@dataclass(frozen=True)
class Plan:
    """All traces of a recipe, generated in order each time they are asked for.

    A recipe in irradiance needs `light`, the light calibration of the bench it is for; `on` puts it there.
    """

    recipe: Recipe
    light: LightCalibration | None = None

    def __len__(self) -> int:
        model = self.recipe.model
        return model.repeats * len(model.devices) * len(self._settings())

    def on(self, bench: BenchFile) -> Plan:
        """The same plan for a bench."""
        return replace(self, light=bench.light_calibration)

    @property
    def parameter_units(self) -> dict[str, str]:
        """SI units of what a trace's parameters are."""
        return _UNITS if self.recipe.model.light.irradiance is None else {**_UNITS, "irradiance": "W/m^2"}

    def points(self) -> list[Point]:
        """The settings of each point.

        Raises
        ------
        InputError
            for an irradiance without a light calibration, or outside of it.
        """
        if self.recipe.model.light.irradiance is None:
            return [Point(*setting) for setting in self._settings()]
        if self.light is None:
            raise InputError(
                "the recipe is in irradiance, and the bench has no light calibration",
                file=self.recipe.path,
                key="light.irradiance",
                expected="calibration in the bench's [light]",
            )
        try:
            return [
                Point(self.light.drive_for_irradiance(irradiance), width, bias, irradiance)
                for irradiance, width, bias in self._settings()
            ]
        except InputError as error:
            raise InputError(str(error), file=self.recipe.path, key="light.irradiance") from None

    def _settings(self) -> list[tuple[float, float, float]]:
        """(drive V or irradiance W/m^2, width s, bias V) of each point."""
        model = self.recipe.model
        strengths = model.light.drive or model.light.irradiance or []
        return list(itertools.product(strengths, model.light.width, model.bias.voltage))

    def traces(self) -> Iterator[PlannedTrace]:
        """Every trace, repeats outermost, devices in an order of their own in each repeat and point."""
        model, points = self.recipe.model, self.points()
        for repeat in range(model.repeats):
            for number, point in enumerate(points):
                for device in _device_order(model, repeat, number):
                    request = _request(model, device, point)
                    yield PlannedTrace(device, number, repeat, request, point.irradiance_W_m2)

    def requests(self) -> Iterator[TraceRequest]:
        """One request for each distinct setting and device, for checking limits."""
        model = self.recipe.model
        for point in self.points():
            for device in model.devices:
                yield _request(model, device, point)

    def timings(self, bench: BenchFile) -> list[Timing]:
        """What the times of each point are worth on a bench, in the order of `points`.

        Raises
        ------
        InputError
            as `points`.
        """
        model = self.recipe.model
        return [timing(_request(model, model.devices[0], point), bench, model.window) for point in self.points()]

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
        per_point = [fixed + width for _, width, _ in self._settings()]
        return sum(per_point) * model.repeats * len(model.devices)

    @property
    def bytes(self) -> int:
        """Estimated size of the traces before compression: time and current as float64."""
        return len(self) * self.samples * 16

    @property
    def digest(self) -> str:
        """Hash of what the plan sets, for --resume: comments and title of the recipe do not count."""
        model = self.recipe.model
        if model.light.irradiance is None:
            return sha256_bytes(canonical_json(model.model_dump(exclude={"title": True, "light": {"irradiance"}})))
        drives = self.light.header.payload_digest if self.light else None
        return sha256_bytes(canonical_json([model.model_dump(exclude={"title"}), drives]))


def _device_order(model: RecipeModel, repeat: int, point: int) -> list[int]:
    if not model.order.shuffle_devices:
        return model.devices
    shuffled = np.random.default_rng((model.order.seed, repeat, point)).permutation(model.devices)
    return [int(device) for device in shuffled]


def _request(model: RecipeModel, device: int, point: Point) -> TraceRequest:
    sampling = model.sampling
    return TraceRequest(
        device=device,
        drive_V=point.drive_V,
        width_s=point.width_s,
        bias_V=point.bias_V,
        dark_s=sampling.dark,
        decay_s=sampling.decay,
        interval_s=sampling.interval,
        aperture_s=sampling.aperture,
        range_A=sampling.range,
    )
