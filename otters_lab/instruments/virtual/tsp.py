"""A strict reader of the lines of TSP that drivers send: assignments and calls of known names, and nothing else.

One statement a line, no control structures, no variables of one's own: whatever is not understood queues -285, "TSP
Syntax error", and does nothing. Names are dotted paths with whole-number indices, as written in the manual.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

MESSAGES = {
    -285: "TSP Syntax error at line 1: unexpected symbol",
    -222: "Parameter data out of range",
    -350: "Queue overflow",
    -410: "Query INTERRUPTED",
    1102: "Parameter too big",
    5007: "Operation not permitted while a sweep is running",
}
QUEUE_LENGTH = 100
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<string>\"[^\"]*\"|'[^']*')"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d+\])*)"
    r"|(?P<sign>[=(),]))"
)


class TspError(Exception):
    """Goes into the error queue."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def tokens(line: str) -> list[tuple[str, str]]:
    """The line's tokens as (kind, text)."""
    found, position = [], 0
    line = line.rstrip()
    while position < len(line):
        match = _TOKEN.match(line, position)
        if match is None:
            raise TspError(-285)
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        position = match.end()
    return found


class TspInstrument:
    """The interpreter, the error queue and print(); a twin adds attributes, constants and functions.

    `received` keeps the last messages as they came.
    """

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.received: deque[bytes] = deque(maxlen=4096)
        self._errors: deque[int] = deque()
        self._constants: dict[str, Any] = {"true": True, "false": False, "nil": None}
        self._getters: dict[str, Callable[[], Any]] = {}
        self._setters: dict[str, Callable[[Any], None]] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._output: list[str] = []
        self._functions["print"] = self._print
        self._functions["errorqueue.next"] = self._next_error
        self._functions["errorqueue.clear"] = self._errors.clear
        self._getters["errorqueue.count"] = lambda: len(self._errors)
        self._functions["reset"] = self.reset

    def reset(self) -> None:
        """Back to the defaults, outputs off."""

    def queue_error(self, code: int) -> None:
        """Puts an error at the end of the queue; a full queue ends in -350."""
        if len(self._errors) < QUEUE_LENGTH:
            self._errors.append(code)
        else:
            self._errors[-1] = -350

    def handle(self, message: bytes) -> bytes | None:
        """Executes one line (without its terminator); what it printed, or None."""
        self.received.append(message)
        self._output = []
        try:
            self._execute(message.decode("ascii").strip())
        except UnicodeDecodeError:
            self.queue_error(-285)
        except TspError as error:
            self.queue_error(error.code)
            return None
        return "\n".join(self._output).encode("ascii") if self._output else None

    def _execute(self, line: str) -> None:
        if line.startswith("*"):
            self._common(line.upper())
            return
        if not line:
            return
        rest = tokens(line)
        kind, name = rest.pop(0)
        if kind != "name" or not rest:
            raise TspError(-285)
        if rest[0] == ("sign", "="):
            rest.pop(0)
            values = self._expression(rest)
            if rest or len(values) != 1 or name not in self._setters:
                raise TspError(-285)
            self._setters[name](values[0])
        else:
            self._call(name, rest)
            if rest:
                raise TspError(-285)

    def _common(self, line: str) -> None:
        """The common commands, which need no print()."""
        if line == "*IDN?":
            self._output.append(self.identity)
        elif line == "*OPC?":
            self._output.append("1")
        elif line == "*RST":
            self.reset()
        elif line == "*CLS":
            self._errors.clear()
        else:
            raise TspError(-285)

    def _call(self, name: str, rest: list[tuple[str, str]]) -> Any:
        """The call of `name` whose opening parenthesis is next; consumes through the closing one."""
        if rest.pop(0) != ("sign", "(") or name not in self._functions:
            raise TspError(-285)
        arguments: list[Any] = []
        if rest and rest[0] == ("sign", ")"):
            rest.pop(0)
        else:
            while True:
                arguments += self._expression(rest)
                sign = rest.pop(0) if rest else None
                if sign == ("sign", ")"):
                    break
                if sign != ("sign", ","):
                    raise TspError(-285)
        try:
            return self._functions[name](*arguments)
        except TypeError:  # a wrong number of arguments
            raise TspError(-285) from None

    def _expression(self, rest: list[tuple[str, str]]) -> list[Any]:
        """One literal, name or call; a list, since a function may return several values."""
        if not rest:
            raise TspError(-285)
        kind, text = rest.pop(0)
        if kind == "number":
            return [float(text)]
        if kind == "string":
            return [text[1:-1]]
        if kind == "name":
            if rest and rest[0] == ("sign", "("):
                value = self._call(text, rest)
                return list(value) if isinstance(value, tuple) else [value]
            if text in self._getters:
                return [self._getters[text]()]
            if text in self._constants:
                return [self._constants[text]]
        raise TspError(-285)

    def shown(self, value: Any) -> str:
        """A value as print() writes it."""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            return f"{float(value):.{self.precision() - 1}e}"
        return "nil" if value is None else str(value)

    def precision(self) -> int:
        """Significant digits of print()."""
        return 6

    def _print(self, *values: Any) -> None:
        self._output.append("\t".join(self.shown(value) for value in values))

    def _next_error(self) -> tuple[float, str, float, float]:
        if not self._errors:
            return 0.0, "Queue Is Empty", 0.0, 1.0
        code = self._errors.popleft()
        return float(code), MESSAGES[code], 20.0, 1.0
