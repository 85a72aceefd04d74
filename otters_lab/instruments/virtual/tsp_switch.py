"""The twins of a Keithley 707B and a 3706A: the statements of their TSP language that open and close channels.

After the manuals named in the driver. One statement a message; every slot holds a card of 8 rows and 12 columns (707B)
or of 60 channels (3706A). The codes of errors are those of any TSP instrument (-285 syntax, -286 runtime), not the
models' own finer ones, which the pages at hand do not list.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

MESSAGES = {-285: "TSP Syntax Error at line 1", -286: "TSP Runtime Error at line 1", -410: "Query INTERRUPTED"}
QUEUE_LENGTH = 100
MODELS = {
    "707B": [f"{slot}{row}{column:02d}" for slot in range(1, 7) for row in "ABCDEFGH" for column in range(1, 13)],
    "3706A": [f"{slot}{number:03d}" for slot in range(1, 7) for number in range(1, 61)],
}
RULES = {"channel.OFF": 0, "channel.BREAK_BEFORE_MAKE": 1, "channel.MAKE_BEFORE_BREAK": 2, "0": 0, "1": 1, "2": 2}


class TspError(Exception):
    """Goes into the error queue."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class TspSwitchTwin:
    """Statements in, printed text or nothing out; closes channels of the world."""

    def __init__(self, world: World, model: str) -> None:
        self.identity = f"KEITHLEY INSTRUMENTS INC.,MODEL {model},VIRTUAL,1.40c"
        self.received: deque[bytes] = deque(maxlen=4096)
        self._separator = ";" if model == "707B" else ","
        self._channels = MODELS[model]
        self._known = set(self._channels)
        self._closed = world.closed_channels
        self._errors: deque[int] = deque()
        self._rule = 1
        self._calls: dict[str, Callable[[str], str | None]] = {
            "channel.exclusiveclose": self._exclusive_close,
            "channel.close": lambda text: self._closed.update(self._listed(text)),
            "channel.open": lambda text: self._closed.difference_update(self._listed(text, slots=True)),
            "channel.getclose": self._get_close,
        }

    def handle(self, message: bytes) -> bytes | None:
        """Executes one statement or common command."""
        self.received.append(message)
        try:
            reply = self._execute(message.decode("ascii").strip())
        except UnicodeDecodeError:
            self.queue_error(-285)
            return None
        except TspError as error:
            self.queue_error(error.code)
            return None
        return None if reply is None else reply.encode("ascii")

    def queue_error(self, code: int) -> None:
        """Puts an error at the end of the queue, as long as there is room."""
        if len(self._errors) < QUEUE_LENGTH:
            self._errors.append(code)

    def reset(self) -> None:
        """Everything open, the default connection rule."""
        self._closed.clear()
        self._rule = 1

    def _execute(self, text: str) -> str | None:
        common: dict[str, Callable[[], str | None]] = {
            "": lambda: None, "*IDN?": lambda: self.identity, "*OPC?": lambda: "1", "*CLS": self._errors.clear,
            "*RST": self.reset, "*WAI": lambda: None,
        }  # fmt: skip
        if text.upper() in common:
            return common[text.upper()]()
        if printed := re.fullmatch(r"print\((.*)\)", text):
            return self._value(printed[1].strip())
        if rule := re.fullmatch(r"channel\.connectrule\s*=\s*([\w.]+)", text):
            if rule[1] not in RULES:
                raise TspError(-286)
            self._rule = RULES[rule[1]]
            return None
        if text == "errorqueue.clear()":
            self._errors.clear()
            return None
        if text == "reset()":
            self.reset()
            return None
        self._call(text)
        return None

    def _value(self, expression: str) -> str:
        if expression == "channel.connectrule":
            return f"{self._rule:.5e}"
        if expression == "errorqueue.count":
            return f"{len(self._errors):.5e}"
        if expression == "errorqueue.next()":
            code = self._errors.popleft() if self._errors else 0
            severity = 20 if code else 0
            return f"{code:.5e}\t{MESSAGES.get(code, 'Queue Is Empty')}\t{severity:.5e}\t{1 if code else 0:.5e}"
        return self._call(expression) or "nil"

    def _call(self, text: str) -> str | None:
        call = re.fullmatch(r"([a-z.]+)\(\s*(?:\"([^\"]*)\"|'([^']*)')\s*\)", text)
        if not call:
            raise TspError(-285)
        if call[1] not in self._calls:
            raise TspError(-286)  # attempt to call a nil value
        return self._calls[call[1]](call[2] if call[2] is not None else call[3])

    def _exclusive_close(self, text: str) -> None:
        channels = self._listed(text) if text.strip() else []
        self._closed.clear()
        self._closed.update(channels)

    def _get_close(self, text: str) -> str:
        inside = set(self._listed(text, slots=True))
        return self._separator.join(channel for channel in self._channels if channel in inside & self._closed)

    def _listed(self, text: str, slots: bool = False) -> list[str]:
        """Channels of a list such as ``1A03,1A05:1A07``; ``allslots`` and ``slot1`` where they are allowed."""
        listed: list[str] = []
        for item in re.split("[,;]", text.upper()):
            first, _, last = (part.strip() for part in item.partition(":"))
            if slots and re.fullmatch("ALLSLOTS|SLOT[1-6]", first) and not last:
                listed += [channel for channel in self._channels if first in ("ALLSLOTS", f"SLOT{channel[0]}")]
                continue
            if not {first, last or first} <= self._known:
                raise TspError(-286)
            low, high = self._channels.index(first), self._channels.index(last or first)
            if high < low:
                raise TspError(-286)
            listed += self._channels[low : high + 1]
        return listed


def twin_707b(world: World, bench: BenchFile) -> TspSwitchTwin:
    """For the registry."""
    return TspSwitchTwin(world, "707B")


def twin_3706a(world: World, bench: BenchFile) -> TspSwitchTwin:
    """For the registry."""
    return TspSwitchTwin(world, "3706A")
