"""What a bench needs to know of a driver before it is imported: what its instrument can do, how well it is proved."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from otters_lab.instruments.drivers.timebase import Timebase

# "hardware": has run on the instrument. "independent driver": somebody else's driver agrees with our twin.
# "manual": written from the manual alone, twin and driver by the same hand. "none": not even that.
Validated = Literal["hardware", "independent driver", "manual", "none"]

# What an attribute that is no quantity is set to.
Value = bool | int | float | str


@dataclass(frozen=True)
class AttributeMap:
    """A PyMeasure class in a role: which of its attributes stands for which word of the role.

    `instrument`: "module:Class". `attributes`: word -> path, a unit in brackets where it is not SI
    ("output_1.setpoint", "wavelength [nm]"). `preset`: what is set, and read back, when the instrument is reset, after
    the messages in `reset`. `on` and `off`: what its output, or its heater, is set to. `set_up`: what must have been
    set on the instrument by hand, as query -> (expression of the reply, what it means); looked at at every reset. The
    words of each role stand in `mapped.py`.
    """

    instrument: str
    attributes: Mapping[str, str]
    preset: Mapping[str, Value] = field(default_factory=dict)
    reset: tuple[str, ...] = ("*RST", "*CLS")
    on: Value = True
    off: Value = False
    set_up: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A driver by its short name.

    `build` and `twin` are "module:function" of ours, imported when they are used: build(adapter, bench, clock) gives
    the role, twin(world, bench) the virtual instrument. `evidence` says what stands behind `validated`. `error_query`
    takes the oldest entry off the instrument's error queue; None where it has none, or none that is known. `map`: a
    PyMeasure class and what of it is used, in place of `build`.
    """

    model: str
    validated: Validated
    evidence: str
    build: str
    twin: str
    error_query: str | None = field(default="SYST:ERR?", kw_only=True)
    map: AttributeMap | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class MeterDriver(Entry):
    """A meter. Fixed ranges (A), apertures (power-line cycles), sample intervals (s), samples in one acquisition.

    `bias_V` is the largest bias it can source, 0 for a meter that cannot. The current limit must exceed
    `compliance_over_range` of the measuring range. `options` are settings of the bench file's [meter] table beyond
    the common ones, with the values this model takes. `dead_s`: from the end of an aperture to the earliest start of
    the next (s). `aperture_s` takes the place of `nplc` where apertures are set in seconds. A voltmeter has `ranges_V`
    and no ranges in amperes: these follow from the amplifier in front of it. `compliances_A` lists current limits where
    only some can be set, `compliance_bias_V` the largest bias with each where it is not `bias_V`. `trigger_out` says
    whether it gives one trigger at the start of an acquisition; without, only a light that software starts can follow
    it. `triggered_by_light`: it waits for the light's sync output, so that its times count from the pulse, and the part
    before the trigger is the dark baseline. `timebase`: the records of a scope, whose samples are points in time.
    `timestamp_resolution_s` and `timestamp_jitter_s` are those of its timestamps by its manual or data sheet; None is
    unknown. `settling_s` is the time (s) in which a reading settles on a range (A) after a step of the current, as the
    manual or data sheet states it; a range that is missing is unknown.
    """

    ranges_A: tuple[float, ...]
    nplc: tuple[float, float]
    interval_s: tuple[float, float]
    samples: tuple[int, int]
    bias_V: float
    compliance_over_range: float
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dead_s: float = 0.0
    aperture_s: tuple[float, float] | None = None
    ranges_V: tuple[float, ...] = ()
    compliances_A: tuple[float, ...] = ()
    compliance_bias_V: tuple[float, ...] = ()
    trigger_out: bool = True
    triggered_by_light: bool = False
    timebase: Timebase | None = None
    timestamp_resolution_s: float | None = None
    timestamp_jitter_s: float | None = None
    settling_s: Mapping[float, float] = field(default_factory=dict)

    def settling_of(self, range_A: float) -> float | None:
        """Settling time (s) of a range (A); None is unknown."""
        return next((time_s for known, time_s in self.settling_s.items() if math.isclose(known, range_A)), None)


@dataclass(frozen=True)
class LightDriver(Entry):
    """A light source. Pulse widths (s), trigger delays (s), and drive levels (V) by load.

    `sync` says what begins the pulse: the meter's trigger, or a command of ours, whose edge is then known to
    `sync_uncertainty_s` at best. One that can do both has "trigger" here, and an uncertainty. `full_scale_A` is given
    for a current driver: LED currents that a drive of 10 V may stand for, in the bench file's [light.led]. `sync_out`:
    it has an output that rises with each pulse.
    """

    width_s: tuple[float, float]
    delay_s: tuple[float, float]
    drive_V: Mapping[str, tuple[float, float]]
    sync: Literal["trigger", "software"] = "trigger"
    sync_uncertainty_s: float = 0.0
    full_scale_A: tuple[float, float] | None = None
    sync_out: bool = False


@dataclass(frozen=True)
class SwitchDriver(Entry):
    """A switch. `channel` is the form of its channels' names, as an expression; empty for plain numbers."""

    channel: str = ""


def load(place: str) -> Callable[..., Any]:
    """The function at "module:function", a place written in an `Entry`."""
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


@dataclass(frozen=True)
class BiasDriver(Entry):
    """A source for a gate or a drain: its largest voltage (V), and the current limits (A) that it can be set to."""

    bias_V: float
    compliance_A: tuple[float, float]


@dataclass(frozen=True)
class StageDriver(Entry):
    """A temperature controller: set points (K)."""

    temperature_K: tuple[float, float]


@dataclass(frozen=True)
class PowerDriver(Entry):
    """An optical power meter."""
