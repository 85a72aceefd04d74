"""What picoammeters and electrometers do alike as meters: buffer, a source beside the input, a shunt between takes."""

from __future__ import annotations

from typing import Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import link_errors
from otters_lab.instruments.drivers.timed_meter import TimedMeter


class ZeroCheckedMeter(TimedMeter):
    """A timed meter whose input is shunted (zero check) between takes, which also spares it the switching of channels.

    `source` is the instrument if it has a voltage source, else None. A model adds `reset` and `configure`.
    """

    def __init__(self, instrument: Any, clock: Clock, line_frequency_Hz: float, source: Any = None) -> None:
        super().__init__(instrument, clock, line_frequency_Hz)
        self._source = source

    def _correct_zero(self) -> None:
        self._instrument.correct_zero()
        self._check_errors("after the zero correction")
        if not (self._instrument.zero_check_enabled and self._instrument.zero_correct_enabled):
            raise InstrumentError("meter: zero check or zero correct is not on")

    def bias_on(self) -> None:
        """Source on, confirmed; nothing without one."""
        if self._source is None:
            return
        with link_errors("meter"):
            self._source.output_enabled = True
            if self._source.interlock_tripped or not self._source.output_enabled:
                raise InstrumentError("meter: the source did not switch on (interlock?)")

    def start(self) -> None:
        """Leaves the idle state: the first reading begins at once."""
        self._begin(":INIT", self._ready().aperture_s)

    def make_safe(self) -> None:
        """Back to idle, source off, input shunted, confirmed."""
        with link_errors("meter"):
            self._instrument.write(":ABOR")
            if self._source:
                self._source.output_enabled = False
                if self._source.output_enabled:
                    raise InstrumentError("meter: the source is still on")
            self._instrument.zero_check_enabled = True
            if not self._instrument.zero_check_enabled:
                raise InstrumentError("meter: the input is not shunted (zero check)")
