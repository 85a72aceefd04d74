"""The commands by which a Keithley 2450's timers, digital line 1 and trigger-model blocks are set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otters_lab.instruments.virtual.scpi import (
    Call,
    Handler,
    ScpiError,
    ScpiInstrument,
    boolean,
    choice,
    integer,
    number,
)
from otters_lab.instruments.virtual.trigger_model import Block, Timer

BUFFER = '"defbuffer1"'


def check_buffer(text: str) -> None:
    """Refuses another buffer than defbuffer1, the one there is."""
    if text.replace("'", '"').lower() != BUFFER:
        raise ScpiError(-224)


class TriggerSetup:
    """Blocks, timers and the trigger line, as set. `loaded` is called when the blocks change, with the new state."""

    def __init__(self, instrument: ScpiInstrument, loaded: Callable[[str], None]) -> None:
        self._loaded = loaded
        self.reset()
        on = instrument.on
        on(":DIGital:LINE#:MODE", self._line_mode)
        on(":TRIGger:DIGital#:OUT:LOGic", self._line_setting("logic", ["POSitive", "NEGative"]))
        on(":TRIGger:DIGital#:OUT:STIMulus", self._line_setting("stimulus", ["NONE", *_events("NOTify", 8)]))
        timer = ":TRIGger:TIMer#"
        self._timer_control(on, f"{timer}:DELay", "delay_s", lambda text: number(text, 8e-6, 1e5))
        self._timer_control(on, f"{timer}:COUNt", "count", lambda text: integer(text, 0, 1_048_575))
        self._timer_control(on, f"{timer}:STATe", "enabled", boolean)
        self._timer_control(on, f"{timer}:STARt:GENerate", "at_start", boolean)
        self._timer_control(on, f"{timer}:STARt:STIMulus", "stimulus", _notify_event)
        on(f"{timer}:CLEar", self._clear_timer)
        on(":TRIGger:LOAD", self._load)
        block = ":TRIGger:BLOCk"
        on(f"{block}:BUFFer:CLEar", self._block(lambda a: Block("clear"), 1, 2))
        on(f"{block}:NOTify", self._block(lambda a: Block("notify", integer(a[1], 1, 8)), 2))
        on(f"{block}:WAIT", self._block(lambda a: Block("wait", event=choice(a[1], _events("TIMer", 4))), 2))
        on(f"{block}:MEASure", self._block(lambda a: Block("measure"), 1, 2))
        on(f"{block}:DELay:CONStant", self._block(lambda a: Block("delay", number(a[1], 0, 1e4)), 2))
        on(f"{block}:BRANch:COUNter", self._block(_count_block, 3))

    def reset(self) -> None:
        """No blocks, timers idle, line 1 a plain input."""
        self.blocks: dict[int, Block] = {}
        self.timers = {number: Timer() for number in range(1, 5)}
        self._line = {"type": "DIG", "direction": "IN", "logic": "NEG", "stimulus": "NONE"}

    def gives_rising_edge_on(self, event: str) -> bool:
        """Whether line 1 rises when the event occurs (a negative pulse falls first)."""
        expected = {"type": "TRIG", "direction": "OUT", "logic": "POS", "stimulus": event}
        return self._line == expected

    def _line_mode(self, call: Call) -> None:
        _only_line_1(call)
        kind, direction = call.only(2)
        self._line["type"] = choice(kind, ["DIGital", "TRIGger"])
        self._line["direction"] = choice(direction, ["IN", "OUT", "OPENdrain"])

    def _line_setting(self, key: str, words: list[str]) -> Handler:
        def handler(call: Call) -> None:
            _only_line_1(call)
            self._line[key] = choice(call.only(1)[0], words)

        return handler

    def _timer(self, call: Call) -> Timer:
        if call.suffixes[0] not in self.timers:
            raise ScpiError(-222)
        return self.timers[call.suffixes[0]]

    def _timer_control(self, on: Any, header: str, name: str, parse: Callable[[str], Any]) -> None:
        def get(call: Call) -> str:
            value = getattr(self._timer(call), name)
            return value if isinstance(value, str) else f"{float(value):.10G}"

        on(header, lambda call: setattr(self._timer(call), name, parse(call.only(1)[0])))
        on(header + "?", get)

    def _clear_timer(self, call: Call) -> None:
        call.only(0)
        self._timer(call)

    def _load(self, call: Call) -> None:
        if call.only(1)[0].strip("\"'").upper() != "EMPTY":  # the other templates are not modelled
            raise ScpiError(-224)
        self.blocks = {}
        self._loaded("EMPTY")

    def _block(self, make: Callable[[tuple[str, ...]], Block], least: int, most: int | None = None) -> Handler:
        """A block command: block number, its parameters, and where `most` is given the buffer's name at the end."""

        def handler(call: Call) -> None:
            arguments = call.only(least, most)
            if len(arguments) > least:
                check_buffer(arguments[-1])
            self.blocks[integer(arguments[0], 1, 63)] = make(arguments)
            self._loaded("BUILDING")

        return handler


def _only_line_1(call: Call) -> None:
    if call.suffixes[0] != 1:  # the one line that is wired
        raise ScpiError(-222)


def _count_block(arguments: tuple[str, ...]) -> Block:
    return Block("count", integer(arguments[1], 1, 1_000_000), to=integer(arguments[2], 1, 63))


def _events(name: str, count: int) -> list[str]:
    return [f"{name}{n}" for n in range(1, count + 1)]


def _notify_event(text: str) -> str:
    return choice(text, ["NONE", *_events("NOTify", 8)])
