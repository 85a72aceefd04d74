"""Plans: a recipe unrolled into frozen traces, in the order they will be taken. Nothing here touches a bench.

Traces are generated as they are asked for, so that a plan of a million costs no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from otters_lab.core.errors import InputError
from otters_lab.core.files import canonical_json, sha256_bytes
from otters_lab.core.protocols import Kind, TraceKey
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.lightcal import LightCalibration
from otters_lab.instruments.timing import Timing, timing
from otters_lab.sweeps.axes import Grid, grid_of
from otters_lab.sweeps.recipe import Recipe, RecipeModel
from otters_lab.sweeps.values import resolve_devices

# What a trace costs beyond its own length: switching, settings and their read-back. An estimate, for the ETA alone.
OVERHEAD_S = 0.1


class Point(NamedTuple):
    """One setting of all swept parameters; None is what the recipe does not set."""

    drive_V: float
    width_s: float
    bias_V: float
    range_A: float
    irradiance_W_m2: float | None = None
    gate_V: float | None = None
    temperature_K: float | None = None


@dataclass(frozen=True)
class PlannedTrace:
    """One trace to take: where it belongs and what is asked of the bench."""

    kind: Kind
    device: int
    point: int
    repeat: int
    request: TraceRequest
    irradiance_W_m2: float | None
    point_id: str

    @property
    def parameters(self) -> dict[str, float]:
        """The point's settings by name, SI (units in `Plan.parameter_units`)."""
        given = {
            "drive": self.request.drive_V,
            "width": self.request.width_s,
            "bias": self.request.bias_V,
            "irradiance": self.irradiance_W_m2,
            "gate": self.request.gate_V,
            "temperature": self.request.temperature_K,
        }
        return {name: value for name, value in given.items() if value is not None}

    def key(self, chip: str) -> TraceKey:
        """The place of the trace in a capture; unique in a plan."""
        return TraceKey(chip, self.device, self.point, self.repeat, self.parameters, self.kind, self.point_id)


@dataclass(frozen=True)
class Plan:
    """All traces of a recipe, generated in order each time they are asked for.

    `on` puts it on a bench: a recipe in irradiance needs its light calibration, devices by channel its switch.
    """

    recipe: Recipe
    light: LightCalibration | None = None
    bench: BenchFile | None = None

    @cached_property
    def grid(self) -> Grid:
        """The loops over the swept parameters."""
        return grid_of(self.recipe.model)

    @cached_property
    def devices(self) -> tuple[int, ...]:
        """The devices, by number.

        Raises
        ------
        InputError
            for a channel pattern that fits no channel of the bench.
        """
        channels = self.bench.channels if self.bench else {}
        try:
            return resolve_devices(self.recipe.model.devices, channels)
        except ValueError as error:
            raise InputError(str(error), file=self.recipe.path, key="devices") from None

    @property
    def decays(self) -> int:
        """How many traces follow the recipe's points; adaptive repeats may leave some out."""
        return self.recipe.model.repeats * len(self.devices) * len(self.grid)

    def __len__(self) -> int:
        model, extra = self.recipe.model, 0
        if model.order.reference:
            extra += self.decays // model.order.reference.every
        if model.noise:
            extra += self.decays // model.noise.every * (model.noise.dark + model.noise.lit)
        return self.decays + extra

    def on(self, bench: BenchFile) -> Plan:
        """The same plan for a bench."""
        return replace(self, light=bench.light_calibration, bench=bench)

    @property
    def parameter_units(self) -> dict[str, str]:
        """SI units of what a trace's parameters are."""
        model = self.recipe.model
        units = {"drive": "V", "width": "s", "bias": "V"}
        if model.light.irradiance is not None:
            units["irradiance"] = "W/m^2"
        if model.gate is not None:
            units["gate"] = "V"
        if model.temperature is not None:
            units["temperature"] = "K"
        return units

    def point(self, number: int) -> Point:
        """The settings of one point.

        Raises
        ------
        InputError
            for an irradiance without a light calibration, or outside of it.
        """
        found = self.grid.setting(number)
        irradiance = found.get("light.irradiance")
        return Point(
            drive_V=found["light.drive"] if irradiance is None else self._drive_V(irradiance),
            width_s=found["light.width"],
            bias_V=found["bias.voltage"],
            range_A=found["sampling.range"],
            irradiance_W_m2=irradiance,
            gate_V=found.get("gate.voltage"),
            temperature_K=found.get("temperature.setpoint"),
        )

    def points(self) -> Iterator[Point]:
        """The settings of every point, in order; raises as `point`."""
        return (self.point(number) for number in range(len(self.grid)))

    def _drive_V(self, irradiance_W_m2: float) -> float:
        if self.light is None:
            raise InputError(
                "the recipe is in irradiance, and the bench has no light calibration",
                file=self.recipe.path,
                key="light.irradiance",
                expected="calibration in the bench's [light]",
            )
        try:
            return self.light.drive_for_irradiance(irradiance_W_m2)
        except InputError as error:
            raise InputError(str(error), file=self.recipe.path, key="light.irradiance") from None

    def traces(self) -> Iterator[PlannedTrace]:
        """Every trace; between the decays, as often as the recipe says, references and records of the noise."""
        model = self.recipe.model
        reference, noise = model.order.reference, model.noise
        fixed = None if reference is None else self.point(reference.point)
        for count, decay in enumerate(self._decays(), 1):
            yield decay
            if reference and fixed and count % reference.every == 0:
                repeat = count // reference.every - 1
                yield self._planned("reference", reference.device, reference.point, repeat, fixed)
            if noise and count % noise.every == 0:
                repeat, point = count // noise.every - 1, self.point(decay.point)
                if noise.dark:
                    yield self._planned("dark", decay.device, decay.point, repeat, point)
                if noise.lit:
                    yield self._planned("lit", decay.device, decay.point, repeat, point)

    def _decays(self) -> Iterator[PlannedTrace]:
        """Slow loops, then repeats, then points, then devices; or each device's repeats one after the other."""
        model = self.recipe.model
        in_block = len(self.grid) // self.grid.blocks
        outermost = model.order.repeats == "outermost"
        for block in range(self.grid.blocks):
            for repeat in range(model.repeats if outermost else 1):
                for number in range(block * in_block, (block + 1) * in_block):
                    point = self.point(number)
                    for device in self._device_order(repeat, number):
                        for again in (repeat,) if outermost else range(model.repeats):
                            yield self._planned("decay", device, number, again, point)

    def _planned(self, kind: Kind, device: int, number: int, repeat: int, point: Point) -> PlannedTrace:
        request = request_of(self.recipe.model, kind, device, point)
        return PlannedTrace(kind, device, number, repeat, request, point.irradiance_W_m2, point_id(request))

    def _device_order(self, repeat: int, point: int) -> tuple[int, ...]:
        order = self.recipe.model.order
        if not order.shuffle_devices or len(self.devices) == 1:
            return self.devices
        shuffled = np.random.default_rng((order.seed, repeat, point)).permutation(self.devices)
        return tuple(int(device) for device in shuffled)

    def requests(self) -> Iterator[TraceRequest]:
        """A request for each setting, and one for each device: what must be held against a bench's limits."""
        model, first = self.recipe.model, self.devices[0]
        kinds: list[Kind] = ["decay"]
        if model.noise:
            kinds += [kind for kind, wanted in (("dark", model.noise.dark), ("lit", model.noise.lit)) if wanted]  # type: ignore[misc]
        for point in self.points():
            for kind in kinds:
                yield request_of(model, kind, first, point)
        reference = model.order.reference
        if reference and reference.point >= len(self.grid):
            found = f"point {reference.point}"
            raise InputError(
                file=self.recipe.path, key="order.reference.point", found=found, expected="one of the plan"
            )
        others = [*self.devices[1:], *([reference.device] if reference else [])]
        for device in others:
            yield request_of(model, "decay", device, self.point(0))

    def timings(self, bench: BenchFile) -> list[Timing]:
        """What the times of a decay are worth on a bench, for each pulse width of the plan.

        Raises
        ------
        InputError
            as `point`.
        """
        model, point = self.recipe.model, self.point(0)
        widths = dict.fromkeys(self.grid.column("light.width"))
        requests = (request_of(model, "decay", self.devices[0], point._replace(width_s=width)) for width in widths)
        return [timing(request, bench, model.window) for request in requests]

    @property
    def samples(self) -> int:
        """Readings of the longest trace; a grid keeps fewer."""
        sampling = self.recipe.model.sampling
        return round((sampling.dark + max(self.grid.column("light.width")) + sampling.decay) / sampling.interval)

    @property
    def kept_samples(self) -> int:
        """About how many samples of the longest trace are kept."""
        points = self.recipe.model.sampling.points
        return self.samples if points is None else min(self.samples, round(1.5 * points))

    @property
    def duration_s(self) -> float:
        """Estimated duration of the sweep; waiting for a recovery or a temperature is not in it."""
        model = self.recipe.model
        widths = self.grid.column("light.width")
        a_trace = model.sampling.dark + model.sampling.decay + sum(widths) / len(widths)
        a_trace += model.recovery.dark_time + OVERHEAD_S
        before = model.precondition.dark_time + (model.precondition.gate_width or 0.0)
        times = self.decays if model.precondition.when == "trace" else len(self.devices)
        return a_trace * len(self) + before * times

    @property
    def bytes(self) -> int:
        """Estimated size of the traces before compression: time and current as float64."""
        return len(self) * self.kept_samples * 16

    @property
    def digest(self) -> str:
        """Hash of what the plan sets, for --resume: comments and title of the recipe do not count."""
        model = self.recipe.model.model_dump(exclude={"title", "devices", "budget"}, exclude_defaults=True)
        drives = (
            self.light.header.payload_digest if self.light and "light.irradiance" in self.recipe.model.swept else ""
        )
        return sha256_bytes(canonical_json([model, self.devices, drives]))


def request_of(model: RecipeModel, kind: Kind, device: int, point: Point) -> TraceRequest:
    """What is asked of the bench. In steady light the pulse lasts to the end; in the dark there is none."""
    sampling = model.sampling
    width_s, decay_s = point.width_s, sampling.decay
    if kind == "lit":
        width_s, decay_s = width_s + decay_s - sampling.interval, sampling.interval
    return TraceRequest(
        device=device,
        drive_V=point.drive_V,
        width_s=width_s,
        bias_V=point.bias_V,
        dark_s=sampling.dark,
        decay_s=decay_s,
        interval_s=sampling.interval,
        aperture_s=sampling.aperture,
        range_A=point.range_A,
        gate_V=point.gate_V,
        temperature_K=point.temperature_K,
        rest_s=model.recovery.dark_time,
        grid=sampling.grid if kind in ("decay", "reference") else "linear",
        grid_points=sampling.points if kind in ("decay", "reference") else None,
        light=kind != "dark",
    )


def point_id(request: TraceRequest) -> str:
    """The first twelve digits of the hash of all that a request sets but the device: the same in every plan."""
    settings = {name: value for name, value in asdict(request).items() if name != "device"}
    return sha256_bytes(canonical_json(settings))[:12]
