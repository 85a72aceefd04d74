"""The TRACe subsystem that the 2450's family shares: size, count and data of defbuffer1."""

from __future__ import annotations

from typing import Any, ClassVar

from otters_lab.instruments.virtual.reading_buffer import MAX_POINTS, MIN_POINTS, ReadingBuffer
from otters_lab.instruments.virtual.scpi import Call, ScpiError, ScpiInstrument, choice, integer
from otters_lab.instruments.virtual.trigger_setup import check_buffer


class TraceInstrument(ScpiInstrument):
    """A twin with a reading buffer. `_elements` are the columns that TRACe:DATA? offers, in their SCPI spelling."""

    _elements: ClassVar[list[str]]
    _buffer: ReadingBuffer
    _set: dict[str, Any]

    def _finish(self) -> None:
        """Fills the buffer with what has been measured by now."""
        raise NotImplementedError

    def _trace_commands(self) -> None:
        self.on(":TRACe:POINts", self._set_points)
        self.on(":TRACe:POINts?", lambda call: str(self._buffer_of(call).points))
        self.on(":TRACe:ACTual?", lambda call: str(len(self._buffer_of(call))))
        self.on(":TRACe:DATA?", self._data)

    def _buffer_of(self, call: Call) -> ReadingBuffer:
        """The buffer that a call without other parameters names, up to date."""
        for text in call.only(0, 1):
            check_buffer(text)
        self._finish()
        return self._buffer

    def _set_points(self, call: Call) -> None:
        points, *rest = call.only(1, 2)
        for text in rest:
            check_buffer(text)
        self._buffer = ReadingBuffer(integer(points, MIN_POINTS, MAX_POINTS))

    def _data(self, call: Call) -> str:
        self._finish()
        first, last, *rest = call.only(2, 17)
        if rest:
            check_buffer(rest[0])
        start, stop = integer(first, 1, MAX_POINTS), integer(last, 1, MAX_POINTS)
        if not start <= stop <= len(self._buffer):
            raise ScpiError(-222)
        names = [choice(name, self._elements) for name in rest[1:]] or ["READ"]
        return self._buffer.text(start, stop, names, self._set["precision"] or 7)
