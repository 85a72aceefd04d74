"""The twin of an Agilent 33500 function generator whose first channel drives an LED.

After the 33500 Series Operating and Service Guide. Modelled: pulse shape, levels, period and width with their
conflict, triggered bursts with delay, the output switch, the sync output's edge as a burst begins. Any other output
that is on counts as light without end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from otters_lab.instruments.virtual.scpi import ScpiError, ScpiInstrument, boolean, choice, integer, number
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

SHAPES = ["SINusoid", "SQUare", "TRIangle", "RAMP", "PULSe", "PRBS", "NOISe", "ARBitrary", "DC"]
MIN_SWING_V = 1e-3
MIN_WIDTH_S = 16e-9


class Agilent33500Twin(ScpiInstrument):
    """The SCPI commands of a triggered pulse, and their effect on the world's light."""

    no_error = '+0,"No error"'

    def __init__(self, world: World) -> None:
        super().__init__("Agilent Technologies,33522A,VIRTUAL,2.03-1.19-2.00-52-00")
        self._world = world
        self.reset()
        source, output = "[:SOURce[1]]", ":OUTPut[1]"
        self._choice(f"{source}:FUNCtion", "shape", SHAPES)
        self._number(f"{source}:FREQuency", "frequency", 1e-6, 30e6)
        self.control(f"{source}:VOLTage:HIGH", lambda: _real(self._set["high"]), self._set_high)
        self.control(f"{source}:VOLTage:LOW", lambda: _real(self._set["low"]), self._set_low)
        self.control(f"{source}:FUNCtion:PULSe:WIDTh", lambda: _real(self._set["width"]), self._set_width)
        self.control(f"{source}:FUNCtion:PULSe:PERiod", lambda: _real(self._set["period"]), self._set_period)
        self.control(f"{source}:BURSt:STATe", lambda: str(int(self._set["burst"])), self._set_burst)
        self._choice(f"{source}:BURSt:MODE", "mode", ["TRIGgered", "GATed"])
        self.control(
            f"{source}:BURSt:NCYCles",
            lambda: _real(self._set["cycles"]),
            lambda text: self._put("cycles", integer(text, 1, 100_000_000)),
        )
        self._choice(":TRIGger[1]:SOURce", "trigger", ["IMMediate", "EXTernal", "TIMer", "BUS"])
        self._choice(":TRIGger[1]:SLOPe", "slope", ["POSitive", "NEGative"])
        self._number(":TRIGger[1]:DELay", "delay", 0, 1000)
        self.control(f"{output}[:STATe]", lambda: str(int(self._set["output"])), self._set_output)
        self.control(
            ":OUTPut:SYNC[:STATe]",
            lambda: str(int(self._set["sync"])),
            lambda text: self._put("sync", boolean(text)),
        )
        self.control(f"{output}:LOAD", lambda: _real(self._set["load"]), self._set_load)
        self.event("*TRG", self._bus_trigger)
        self.query("*TST?", lambda: "+0")
        world.trigger_inputs.append(self._external_trigger)

    def reset(self) -> None:
        """*RST: a sine of 100 mVpp, output off."""
        self._world.light_off()
        self._set: dict[str, Any] = {
            "shape": "SIN", "frequency": 1e3, "high": 0.05, "low": -0.05, "width": 1e-4, "period": 1e-3, "burst": False,
            "mode": "TRIG", "cycles": 1, "trigger": "IMM", "slope": "POS", "delay": 0.0, "output": False, "load": 50.0,
            "sync": True,
        }  # fmt: skip
        self._busy_until_s = -math.inf

    @property
    def output_on(self) -> bool:
        """Whether the output relay is closed."""
        return bool(self._set["output"])

    # --- settings ---------------------------------------------------------------------------------------------------

    def _put(self, key: str, value: Any) -> None:
        self._set[key] = value
        if self.output_on:
            self._world.light_off()
            self._shine()

    def _number(self, header: str, key: str, low: float, high: float) -> None:
        self.control(header, lambda: _real(self._set[key]), lambda text: self._put(key, number(text, low, high)))

    def _choice(self, header: str, key: str, words: list[str]) -> None:
        self.control(header, lambda: str(self._set[key]), lambda text: self._put(key, choice(text, words)))

    def _top_V(self) -> float:
        """Highest level: 5 V into 50 ohm, twice that into an open end."""
        return 10.0 if math.isinf(self._set["load"]) else 5.0

    def _set_high(self, text: str) -> None:
        level = number(text, -self._top_V(), self._top_V())
        if level - self._set["low"] < MIN_SWING_V:
            raise ScpiError(-221)
        self._put("high", level)

    def _set_low(self, text: str) -> None:
        level = number(text, -self._top_V(), self._top_V())
        if self._set["high"] - level < MIN_SWING_V:
            raise ScpiError(-221)
        self._put("low", level)

    def _set_width(self, text: str) -> None:
        width = number(text, MIN_WIDTH_S, 1e6)
        self._put("width", min(width, self._set["period"] - MIN_WIDTH_S))
        if self._set["width"] < width:
            self.queue_error(-221)

    def _set_period(self, text: str) -> None:
        self._put("period", number(text, 33e-9, 1e6))
        if self._set["width"] > self._set["period"] - MIN_WIDTH_S:
            self._put("width", self._set["period"] - MIN_WIDTH_S)
            self.queue_error(-221)

    def _set_burst(self, text: str) -> None:
        self._put("burst", boolean(text))

    def _set_load(self, text: str) -> None:
        infinite = text.upper() in ("INF", "INFINITY")
        load = math.inf if infinite else number(text, 1, 10_000)
        factor = (2.0 if infinite else 1.0) / (2.0 if math.isinf(self._set["load"]) else 1.0)
        self._set["high"], self._set["low"] = self._set["high"] * factor, self._set["low"] * factor
        self._put("load", load)

    def _set_output(self, text: str) -> None:
        on, was = boolean(text), self.output_on
        self._set["output"] = on
        if on and not was:
            self._shine()
        elif not on:
            self._world.light_off()

    # --- light ------------------------------------------------------------------------------------------------------

    def _waits_for_trigger(self, source: str) -> bool:
        return bool(self._set["burst"]) and self._set["mode"] == "TRIG" and self._set["trigger"] == source

    def _shine(self) -> None:
        """With the output on, anything but a burst that waits for its trigger is light without end."""
        if not (self._waits_for_trigger("EXT") or self._waits_for_trigger("BUS")):
            self._world.light_on(self._world.now_s, math.inf, self._set["high"])

    def _external_trigger(self, at_s: float) -> None:
        if self.output_on and self._waits_for_trigger("EXT") and self._set["slope"] == "POS":
            self._burst(at_s)

    def _bus_trigger(self) -> None:
        if not (self.output_on and self._waits_for_trigger("BUS")):
            raise ScpiError(-211)
        self._burst(self._world.now_s)

    def _burst(self, at_s: float) -> None:
        """One pulse a cycle after the delay; triggers during a burst are ignored."""
        if at_s < self._busy_until_s:
            return
        begin = at_s + self._world.light_latency_s + self._set["delay"]
        for cycle in range(self._set["cycles"]):
            start = begin + cycle * self._set["period"]
            self._world.light_on(start, start + self._set["width"], self._set["high"])
        if self._set["sync"]:
            self._world.sync_edge(at_s + self._set["delay"])
        self._busy_until_s = begin + self._set["cycles"] * self._set["period"]


def _real(value: float) -> str:
    return f"{9.9e37 if math.isinf(value) else value:+.15E}"


def twin(world: World, bench: BenchFile) -> Agilent33500Twin:
    """For the registry."""
    return Agilent33500Twin(world)
