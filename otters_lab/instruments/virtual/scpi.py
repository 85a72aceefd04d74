"""A strict SCPI instrument without a transport: bytes in, bytes or nothing out.

Syntax after SCPI-99 volume 1, chapters 5 to 7, and IEEE 488.2: a header matches in its short or its long form and no
other, in any case; ``;`` joins commands, a later one continuing at the node of the one before unless it begins with a
colon; a wrong command queues an error, gives no reply and ends its message. The queue is read by SYST:ERR?.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

QUEUE_LENGTH = 20
MESSAGES = {
    -100: "Command error",
    -101: "Invalid character",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -350: "Queue overflow",
    -410: "Query INTERRUPTED",
    313: "Buffer & format element mismatch",
    800: "Illegal with storage active",
    803: "Not permitted with OUTPUT off",
}


class ScpiError(Exception):
    """Goes into the error queue."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Call:
    """One command as received: numeric suffixes of its header (1 where left out) and its parameters."""

    suffixes: tuple[int, ...]
    arguments: tuple[str, ...]

    def only(self, least: int, most: int | None = None) -> tuple[str, ...]:
        """The parameters, if their number is right."""
        if len(self.arguments) < least:
            raise ScpiError(-109)
        if len(self.arguments) > (least if most is None else most):
            raise ScpiError(-108)
        return self.arguments


Handler = Callable[[Call], str | None]


def header_pattern(header: str) -> re.Pattern[str]:
    """A manual's header as an expression: ``[:SENSe[1]]:CURRent[:DC]:RANGe``; ``#`` stands for a numeric suffix."""
    parts = []
    for token in re.findall(r"[A-Z]+[a-z]*|\[|\]|[:#?*0-9]", header):
        if token[0].isalpha():
            short = re.match(r"[A-Z]+", token)[0]  # type: ignore[index]
            rest = token[len(short) :].upper()
            parts.append(short + (f"(?:{rest})?" if rest else ""))
        else:
            parts.append({"[": "(?:", "]": ")?", "#": r"(\d*)", "?": r"\?", "*": r"\*"}.get(token, token))
    return re.compile("".join(parts))


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """Splits where the separator stands outside quotes and parentheses."""
    parts, depth, quote, begin = [], 0, "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == separator and depth == 0:
            parts.append(text[begin:position])
            begin = position + 1
    return [*parts, text[begin:]]


def number(text: str, low: float, high: float, default: float | None = None) -> float:
    """A numeric parameter within bounds; MINimum, MAXimum and DEFault are understood."""
    word = text.upper()
    if word in ("MIN", "MINIMUM"):
        return low
    if word in ("MAX", "MAXIMUM"):
        return high
    if word in ("DEF", "DEFAULT") and default is not None:
        return default
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        raise ScpiError(-104)
    value = float(text)
    if not low <= value <= high:
        raise ScpiError(-222)
    return value


def integer(text: str, low: int, high: int) -> int:
    """A whole-number parameter within bounds."""
    value = number(text, low, high)
    if value != int(value):
        raise ScpiError(-104)
    return int(value)


def choice(text: str, words: Sequence[str]) -> str:
    """One of the words, given in long or short form (``EXTernal``); returns the short form."""
    for word in words:
        short = "".join(c for c in word if not c.islower())
        if text.upper() in (short, word.upper()):
            return short
    raise ScpiError(-224)


def quoted(text: str) -> str:
    """A string parameter without its quotes, which may be single or double."""
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
        raise ScpiError(-104)
    return text[1:-1]


def boolean(text: str) -> bool:
    """ON, OFF, 1 or 0."""
    word = text.upper()
    if word not in ("ON", "OFF", "1", "0"):
        raise ScpiError(-224)
    return word in ("ON", "1")


class ScpiInstrument:
    """The parser, the error queue and the common commands; a twin adds its own with `on`.

    `received` keeps the last messages as they came, for tests and for looking.
    """

    no_error = '0,"No error"'

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.received: deque[bytes] = deque(maxlen=4096)
        self._errors: deque[int] = deque()
        self._handlers: list[tuple[re.Pattern[str], Handler]] = []
        self._found: dict[str, tuple[Handler, tuple[int, ...]] | None] = {}
        self.query("*IDN?", lambda: self.identity)
        self.query("*OPC?", lambda: "1")
        self.event("*WAI", lambda: None)
        self.event("*CLS", self.clear_status)
        self.event("*RST", self.reset)
        self.query(":SYSTem:ERRor[:NEXT]?", self._next_error)

    def reset(self) -> None:
        """Back to the defaults, outputs off."""

    def clear_status(self) -> None:
        """*CLS: no errors; a twin that has event registers clears them too."""
        self._errors.clear()

    def on(self, header: str, handler: Handler) -> None:
        """Adds a command, or with a trailing ``?`` a query, in the manual's notation."""
        self._handlers.append((header_pattern(header), handler))

    def query(self, header: str, get: Callable[[], str]) -> None:
        """Adds a query without parameters."""

        def handler(call: Call) -> str:
            call.only(0)
            return get()

        self.on(header, handler)

    def event(self, header: str, act: Callable[[], None]) -> None:
        """Adds a command without parameters."""

        def handler(call: Call) -> None:
            call.only(0)
            act()

        self.on(header, handler)

    def control(self, header: str, get: Callable[[], str], set_: Callable[[str], None]) -> None:
        """Adds a setting of one parameter and its query."""
        self.on(header, lambda call: set_(call.only(1)[0]))
        self.query(header + "?", get)

    def queue_error(self, code: int) -> None:
        """Puts an error at the end of the queue; a full queue ends in -350."""
        if len(self._errors) < QUEUE_LENGTH:
            self._errors.append(code)
        else:
            self._errors[-1] = -350

    def handle(self, message: bytes) -> bytes | None:
        """Executes one message (without its terminator); the replies of its queries, joined, or None."""
        self.received.append(message)
        try:
            text = message.decode("ascii")
        except UnicodeDecodeError:
            self.queue_error(-101)
            return None
        replies: list[str] = []
        node = ":"
        for part in split_outside_quotes(text, ";"):
            unit = part.strip()
            if not unit:
                continue
            header, _, rest = unit.partition(" ")
            path = header if header.startswith((":", "*")) else node + header
            arguments = tuple(item.strip() for item in split_outside_quotes(rest, ",")) if rest.strip() else ()
            try:
                handler, suffixes = self._find(path.upper())
                reply = handler(Call(suffixes, arguments))
            except ScpiError as error:
                self.queue_error(error.code)
                break
            if reply is not None:
                replies.append(reply)
            if not path.startswith("*"):
                node = path[: path.rindex(":") + 1]
        return ";".join(replies).encode("latin-1") if replies else None  # a block's bytes are characters here

    def _find(self, path: str) -> tuple[Handler, tuple[int, ...]]:
        if path not in self._found:
            self._found[path] = None
            for pattern, handler in self._handlers:
                if match := pattern.fullmatch(path):
                    suffixes = tuple(int(digits or 1) for digits in match.groups())
                    self._found[path] = (handler, suffixes)
                    break
        found = self._found[path]
        if found is None:
            raise ScpiError(-113)
        return found

    def _next_error(self) -> str:
        if not self._errors:
            return self.no_error
        code = self._errors.popleft()
        return f'{code},"{MESSAGES[code]}"'
