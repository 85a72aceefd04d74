"""The twin of a Lake Shore 336: one sensor, one heater, and a chip that follows the set point at a constant rate.

After the Model 336 User's Manual, chapter 6, as Lake Shore's own Python driver, PyMeasure's and QCoDeS's send it (the
manual was not at hand). Commands are words of their own, not SCPI; a wrong one is ignored without a reply, and shows in
*ESR? alone. Replies end in CR LF on the instrument. With the heater off the chip goes back to the room's temperature.

Kept and answered, without effect on the chip: PID, manual output, heater set-up, output mode, limits, names, curves. A
ramp slows the chip down; SETP? gives the end of it. What the sources do not say is not here: AOUT, WARMUP, ZONE, ALARM.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from otters_lab.instruments.virtual.scpi import split_outside_quotes
from otters_lab.instruments.virtual.tables import ROOM_K
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

RATE_K_PER_S = 0.5
OUTPUTS = ("1", "2", "3", "4")
HEATERS = ("1", "2")  # the others are voltage outputs
INPUTS = ("A", "B", "C", "D")
CURVES = tuple(str(number) for number in range(1, 60))
COMMAND_ERROR, EXECUTION_ERROR = 32, 16  # of the standard event register


def whole(low: int, high: int) -> Callable[[str], str]:
    """A field that takes a whole number."""

    def parse(text: str) -> str:
        if not low <= int(text) <= high:
            raise ValueError(text)
        return str(int(text))

    return parse


def real(low: float, high: float) -> Callable[[str], str]:
    """A field that takes a number with a point; answered with its sign."""

    def parse(text: str) -> str:
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) or not low <= float(text) <= high:
            raise ValueError(text)
        return f"{float(text):+.6G}"

    return parse


def name(text: str) -> str:
    """A field that takes up to fifteen characters in quotes, and answers all fifteen."""
    if not re.fullmatch(r'"[^"]{0,15}"', text):
        raise ValueError(text)
    return text.strip('"').ljust(15)


# Command -> what it is of, its fields, and what they are at first.
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[Callable[[str], str], ...], str]] = {
    "OUTMODE": (OUTPUTS, (whole(0, 5), whole(0, 4), whole(0, 1)), "1,1,0"),
    "PID": (HEATERS, (real(0.1, 1000), real(0.1, 1000), real(0, 200)), "50,20,0"),
    "RAMP": (OUTPUTS, (whole(0, 1), real(0, 100)), "0,0.1"),
    "HTRSET": (HEATERS, (whole(1, 2), whole(0, 4), real(0, 2), whole(1, 2)), "1,2,0,2"),
    "MOUT": (OUTPUTS, (real(-100, 100),), "0"),
    "INTYPE": (INPUTS, (whole(0, 4), whole(0, 1), whole(0, 8), whole(0, 1), whole(1, 3)), "1,0,0,0,1"),
    "INNAME": (INPUTS, (name,), '""'),
    "INCRV": (INPUTS, (whole(0, 59),), "1"),
    "TLIMIT": (INPUTS, (real(0, 10000),), "0"),
}


class LakeShore336Twin:
    """KRDG?, CRDG?, SRDG?, RDGST?, SETP, RANGE, HTR?, RAMPST?, CRVHDR?, `SETTINGS`, and the common commands."""

    def __init__(self, world: World) -> None:
        self.identity = "LSCI,MODEL336,VIRTUAL/#######,2.9"
        self._world = world
        self.received: deque[bytes] = deque(maxlen=4096)
        self._setpoint = dict.fromkeys(OUTPUTS, f"{ROOM_K:+.6G}")
        self._range = dict.fromkeys(OUTPUTS, 0)
        self._events = 0
        self._set = {
            (command, which): [parse(text) for parse, text in zip(fields, first.split(","), strict=True)]
            for command, (whose, fields, first) in SETTINGS.items()
            for which in whose
        }
        self._from_K, self._since_s = ROOM_K, world.now_s
        world.thermometer = self.temperature_K

    @property
    def output_on(self) -> bool:
        """Whether the heater of loop 1 is on."""
        return self._range["1"] > 0

    def temperature_K(self) -> float:
        """Of the chip, now."""
        target_K = self._target_K() if self.output_on else ROOM_K
        ramping, rate = self._set["RAMP", "1"]
        slower = self.output_on and ramping == "1" and float(rate) > 0
        rate_K_per_s = min(RATE_K_PER_S, float(rate) / 60) if slower else RATE_K_PER_S
        step_K = rate_K_per_s * (self._world.now_s - self._since_s)
        return target_K + math.copysign(max(0.0, abs(self._from_K - target_K) - step_K), self._from_K - target_K)

    def queue_error(self, code: int) -> None:
        """It has no error queue."""

    def handle(self, message: bytes) -> bytes | None:
        """One message; several commands may be joined by semicolons."""
        self.received.append(message)
        replies = [reply for part in split_outside_quotes(message.decode("latin-1"), ";")
                   if (reply := self._command(part.strip().removeprefix(":"))) is not None]  # fmt: skip
        return ";".join(replies).encode("latin-1") + b"\r" if replies else None

    def _command(self, text: str) -> str | None:
        word, _, rest = text.partition(" ")
        word = word.upper()
        arguments = [argument.strip() for argument in split_outside_quotes(rest, ",")] if rest.strip() else []
        try:
            if word.removesuffix("?") in SETTINGS:
                return self._setting(word, arguments)
            handler = self._commands().get(word)
            if handler is None:
                self._events |= COMMAND_ERROR
                return None
            return handler(arguments)
        except (ValueError, KeyError, IndexError):  # a parameter that it does not take: ignored, like a wrong command
            self._events |= EXECUTION_ERROR
            return None

    def _commands(self) -> dict[str, Callable[[list[str]], str | None]]:
        return {
            "*IDN?": lambda a: self.identity,
            "*OPC?": lambda a: "1",
            "*TST?": lambda a: "0",
            "*CLS": lambda a: self._clear(),
            "*RST": lambda a: None,
            "*ESR?": lambda a: self._event_register(),
            "KRDG?": lambda a: self._readings(a, lambda kelvin: kelvin),
            "CRDG?": lambda a: self._readings(a, lambda kelvin: kelvin - 273.15),
            "SRDG?": lambda a: self._readings(a, lambda kelvin: 1000 / kelvin),
            "RDGST?": lambda a: self._readings(a, lambda kelvin: 0).replace("+", "").zfill(3),
            "SETP?": lambda a: self._setpoint[a[0]],
            "SETP": self._set_point,
            "RANGE?": lambda a: str(self._range[a[0]]),
            "RANGE": self._set_range,
            "RAMPST?": lambda a: str(int(self._ramping(a[0]))),
            "HTR?": lambda a: f"{50.0 if self._range[HEATERS[HEATERS.index(a[0])]] else 0.0:+06.1f}",
            "CRVHDR?": lambda a: f"{'DT-670':<15},{'STANDARD':<10},2,+500.000,1" if a[0] in CURVES else None,
        }

    def _setting(self, word: str, arguments: list[str]) -> str | None:
        command = word.removesuffix("?")
        if word.endswith("?"):
            (which,) = arguments
            return ",".join(self._set[command, which.upper()])
        which, *values = arguments
        fields = SETTINGS[command][1]
        parsed = [parse(text) for parse, text in zip(fields, values, strict=True)]
        if (command, which.upper()) not in self._set:
            raise KeyError(which)
        self._turn()
        self._set[command, which.upper()] = parsed
        return None

    def _clear(self) -> None:
        self._events = 0

    def _event_register(self) -> str:
        events, self._events = self._events, 0
        return f"{events:03d}"

    def _readings(self, arguments: list[str], convert: Callable[[float], float]) -> str:
        """Of one input, or with 0 of all."""
        asked = INPUTS if arguments[0] == "0" else (INPUTS[INPUTS.index(arguments[0])],)
        kelvins = [self.temperature_K() if which == "A" else ROOM_K for which in asked]
        return ",".join(f"{convert(kelvin):+.6G}" for kelvin in kelvins)

    def _target_K(self) -> float:
        """The set point of loop 1, which is in the units that its input prefers."""
        value, units = float(self._setpoint["1"]), self._set["INTYPE", "A"][4]
        if units == "3":
            return 1000 / value if value > 0 else ROOM_K
        return value + 273.15 if units == "2" else value

    def _ramping(self, output: str) -> bool:
        on = self._set["RAMP", output][0] == "1"
        return on and output == "1" and self.output_on and self.temperature_K() != self._target_K()

    def _set_point(self, arguments: list[str]) -> None:
        output, value = arguments
        number = real(-math.inf, math.inf)(value)
        if output not in self._setpoint:
            raise KeyError(output)
        self._turn()
        self._setpoint[output] = number

    def _set_range(self, arguments: list[str]) -> None:
        output, value = arguments
        number = int(whole(0, 3 if output in HEATERS else 1)(value))
        if output not in self._range:
            raise KeyError(output)
        self._turn()
        self._range[output] = number

    def _turn(self) -> None:
        """From here on the chip goes another way."""
        self._from_K, self._since_s = self.temperature_K(), self._world.now_s


def twin(world: World, bench: BenchFile) -> LakeShore336Twin:
    """For the registry."""
    return LakeShore336Twin(world)
