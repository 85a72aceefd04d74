"""The twin of a Thorlabs DC2200 LED driver: pulse mode, and constant current as light without end.

After the same source as the driver, the DC2200 Operation Manual v1.8, section 4.3.2. A pulse begins the world's light
latency after the command. The output stays "on" after the last pulse. PWM and external modulation are not modelled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from otters_lab.instruments.setups import FULL_DRIVE_V
from otters_lab.instruments.virtual.scpi import ScpiError, ScpiInstrument, boolean, choice, integer, number
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

TERMINAL_LIMIT_A = {1: 10.0, 2: 2.0}
LEAST_PERIOD_S = 2e-3


class DC2200Twin(ScpiInstrument):
    """The commands of one pulse, and their effect on the world's light."""

    no_error = '+0,"No error"'

    def __init__(self, world: World, full_scale_A: float) -> None:
        super().__init__("Thorlabs,DC2200,VIRTUAL,1.8.0")
        self._world = world
        self._full_scale_A = full_scale_A
        self.reset()
        self.control(":OUTPut[1]:TERMinal", lambda: str(self._set["terminal"]), self._set_terminal)
        self.control(":OUTPut[1][:STATe]", lambda: str(int(self._set["output"])), self._set_output)
        self.query(":OUTPut[1]:PROTection:INTLock:TRIPped?", lambda: str(int(self.interlock_open)))
        self.control(":SOURce[1]:CURRent:LIMit[:AMPLitude]", lambda: _real(self._set["limit"]), self._set_limit)
        self.control(
            ":SOURce[1]:MODE",
            lambda: str(self._set["mode"]),
            lambda text: self._put("mode", choice(text, ["CC", "CB", "PULS", "TTL"])),
        )
        pulse = ":SOURce[1]:PULSe"
        self._number(f"{pulse}[:BRIGhtness][:LEVel][:AMPLitude]", "brightness", 0, 100)
        self._number(f"{pulse}:ONTime", "on", 1e-6, 10)
        self._number(f"{pulse}:OFFTime", "off", 1e-6, 10)
        self.control(
            f"{pulse}:COUNt",
            lambda: str(self._set["count"]),
            lambda text: self._put("count", integer(text, 0, 1000)),
        )

    def reset(self) -> None:
        """*RST: constant current, output off."""
        self._world.light_off()
        self.interlock_open = False
        self._set: dict[str, Any] = {
            "terminal": 1, "output": False, "limit": 0.1, "mode": "CC", "brightness": 10.0, "on": 0.01, "off": 0.01,
            "count": 0,
        }  # fmt: skip

    @property
    def output_on(self) -> bool:
        """Whether the LED is driven, or a pulse may come."""
        return bool(self._set["output"])

    def _number(self, header: str, key: str, low: float, high: float) -> None:
        self.control(header, lambda: _real(self._set[key]), lambda text: self._put(key, number(text, low, high)))

    def _put(self, key: str, value: Any) -> None:
        self._set[key] = value
        if self.output_on:  # a change while the light is on begins it anew
            self._world.light_off()
            self._shine()

    def _set_terminal(self, text: str) -> None:
        terminal = integer(text, 1, 2)
        if self.output_on:
            raise ScpiError(-221)
        self._set["terminal"] = terminal
        self._set["limit"] = min(self._set["limit"], TERMINAL_LIMIT_A[terminal])

    def _set_limit(self, text: str) -> None:
        self._put("limit", number(text, 0.01, TERMINAL_LIMIT_A[self._set["terminal"]]))

    def _set_output(self, text: str) -> None:
        on = boolean(text)
        if on and self.interlock_open:
            raise ScpiError(-221)
        was, self._set["output"] = self.output_on, on
        if on and not was:
            self._shine()
        elif not on:
            self._world.light_off()

    def _shine(self) -> None:
        begin = self._world.now_s + self._world.light_latency_s
        if self._set["mode"] == "TTL":  # nothing is wired to the modulation input
            return
        share = self._set["limit"] / self._full_scale_A
        if self._set["mode"] != "PULS":
            self._world.light_on(begin, math.inf, FULL_DRIVE_V * share)
            return
        drive_V = FULL_DRIVE_V * share * self._set["brightness"] / 100
        period = max(self._set["on"] + self._set["off"], LEAST_PERIOD_S)
        if self._set["count"] == 0:
            self._world.light_on(begin, math.inf, drive_V)
        for cycle in range(self._set["count"]):
            start = begin + cycle * period
            self._world.light_on(start, start + self._set["on"], drive_V)


def _real(value: float) -> str:
    return f"{value:.9G}"


def twin(world: World, bench: BenchFile) -> DC2200Twin:
    """For the registry."""
    return DC2200Twin(world, bench.light.led.full_scale if bench.light.led else 1.0)
