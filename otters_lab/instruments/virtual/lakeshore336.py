"""The twin of a Lake Shore 336: one sensor, one heater, and a chip that follows the set point at a constant rate.

After the Model 336 User's Manual, chapter 6, as PyMeasure's and QCoDeS's drivers send it (the manual was not at hand).
Commands are words of their own, not SCPI; a wrong one is ignored without a reply. Replies end in CR LF on the
instrument. With the heater off the chip goes back to the room's temperature.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from otters_lab.instruments.virtual.tables import ROOM_K
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

RATE_K_PER_S = 0.5
OUTPUTS = (1, 2)
INPUTS = ("A", "B", "C", "D")


class LakeShore336Twin:
    """KRDG?, CRDG?, SRDG?, SETP, RANGE, HTR?, *IDN?, *OPC?, *TST?, *CLS, *RST."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.received: deque[bytes] = deque(maxlen=4096)
        self._setpoint_K = dict.fromkeys(OUTPUTS, ROOM_K)
        self._range = dict.fromkeys(OUTPUTS, 0)
        self._from_K, self._since_s = ROOM_K, world.now_s
        world.thermometer = self.temperature_K

    @property
    def output_on(self) -> bool:
        """Whether the heater of loop 1 is on."""
        return self._range[1] > 0

    def temperature_K(self) -> float:
        """Of the chip, now."""
        target_K = self._setpoint_K[1] if self.output_on else ROOM_K
        step_K = RATE_K_PER_S * (self._world.now_s - self._since_s)
        return target_K + math.copysign(max(0.0, abs(self._from_K - target_K) - step_K), self._from_K - target_K)

    def queue_error(self, code: int) -> None:
        """It has no error queue."""

    def handle(self, message: bytes) -> bytes | None:
        """One message; several commands may be joined by semicolons."""
        self.received.append(message)
        replies = [reply for part in message.decode("latin-1").split(";") if (reply := self._command(part.strip()))]
        return ";".join(replies).encode() + b"\r" if replies else None

    def _command(self, text: str) -> str | None:
        word, _, rest = text.partition(" ")
        arguments = [argument.strip() for argument in rest.split(",")] if rest.strip() else []
        handler = self._commands().get(word.upper())
        try:
            return handler(arguments) if handler else None
        except (ValueError, KeyError, IndexError):  # a parameter that it does not take: ignored, like a wrong command
            return None

    def _commands(self) -> dict[str, Callable[[list[str]], str | None]]:
        return {
            "*IDN?": lambda a: "LSCI,MODEL336,VIRTUAL/#######,2.9",
            "*OPC?": lambda a: "1",
            "*TST?": lambda a: "0",
            "*CLS": lambda a: None,
            "*RST": lambda a: None,
            "KRDG?": lambda a: f"{self._reading(a):+.6G}",
            "CRDG?": lambda a: f"{self._reading(a) - 273.15:+.6G}",
            "SRDG?": lambda a: f"{1000 / self._reading(a):+.6G}",
            "SETP?": lambda a: f"{self._setpoint_K[int(a[0])]:+.6G}",
            "SETP": self._set_point,
            "RANGE?": lambda a: str(self._range[int(a[0])]),
            "RANGE": self._set_range,
            "HTR?": lambda a: f"{50.0 if self._range[int(a[0])] else 0.0:+06.1f}",
        }

    def _reading(self, arguments: list[str]) -> float:
        if arguments[0] not in INPUTS:
            raise KeyError(arguments[0])
        return self.temperature_K() if arguments[0] == "A" else ROOM_K

    def _set_point(self, arguments: list[str]) -> None:
        output, value = int(arguments[0]), arguments[1]
        if output not in OUTPUTS or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
            raise ValueError(value)
        self._turn()
        self._setpoint_K[output] = float(value)

    def _set_range(self, arguments: list[str]) -> None:
        output, value = int(arguments[0]), int(arguments[1])
        if output not in OUTPUTS or not 0 <= value <= 3:
            raise ValueError(value)
        self._turn()
        self._range[output] = value

    def _turn(self) -> None:
        """From here on the chip goes another way."""
        self._from_K, self._since_s = self.temperature_K(), self._world.now_s


def twin(world: World, bench: BenchFile) -> LakeShore336Twin:
    """For the registry."""
    return LakeShore336Twin(world)
