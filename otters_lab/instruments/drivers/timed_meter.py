"""What meters alike do: hold their settings, start, wait for an acquisition that they pace themselves, switch off."""

from __future__ import annotations

from typing import Any, ClassVar

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.options import MeterOptions
from otters_lab.instruments.drivers.replies import first_error, link_errors
from otters_lab.instruments.roles import MeterReadings, MeterSettings

POLL_S = 0.02


class TimedMeter:
    """A meter that takes a number of readings on a grid of its own. A model adds `reset`, `configure` and `fetch`."""

    def __init__(self, instrument: Any, clock: Clock, line_frequency_Hz: float) -> None:
        self._instrument = instrument
        self._clock = clock
        self._line_frequency_Hz = line_frequency_Hz
        self._settings: MeterSettings | None = None
        self._due_s = 0.0

    def identify(self) -> str:
        """The *IDN? reply."""
        with link_errors("meter"):
            return str(self._instrument.id)

    def _ready(self) -> MeterSettings:
        if self._settings is None:
            raise InstrumentError("meter: started or read before it was configured")
        return self._settings

    def _next_error(self) -> str | None:
        return first_error(str(self._instrument.ask(":SYST:ERR?")), "meter error queue")

    def _check_errors(self, when: str) -> None:
        error = self._next_error()
        if error:
            raise InstrumentError(f"meter: error queue {when}: {error}")

    def _begin(self, command: str, reading_s: float) -> None:
        """Starts the acquisition; the last reading takes `reading_s` (s)."""
        settings = self._ready()
        with link_errors("meter"):
            self._instrument.write(command)
        self._due_s = self._clock.monotonic_s() + (settings.n_samples - 1) * settings.interval_s + reading_s

    def _sleep_until_due(self) -> float:
        """Sleeps until all readings should be there; the time (s) at which to give up, half as long and 5 s later."""
        settings = self._ready()
        self._clock.sleep(self._due_s - self._clock.monotonic_s())
        return self._due_s + 5.0 + 0.5 * settings.n_samples * settings.interval_s

    def fetch(self) -> MeterReadings:
        """Waits until the buffer holds every reading, then reads it and the error queue."""
        with link_errors("meter"):
            self._await_readings()
            readings: MeterReadings = self._instrument.read_buffer(self._ready().n_samples)
            self._check_errors("after the acquisition")
        return readings

    def _await_readings(self) -> None:
        """Waits until the instrument's `buffer_count` is what was asked for.

        Raises
        ------
        InstrumentError
            if it is not in time, or is more.
        """
        settings, deadline_s = self._ready(), self._sleep_until_due()
        while (taken := self._instrument.buffer_count) < settings.n_samples:
            if self._clock.monotonic_s() > deadline_s:
                asked = f"{taken} readings, expected {settings.n_samples}"
                raise InstrumentError(f"meter: the acquisition did not end: {asked}")
            self._clock.sleep(POLL_S)
        self._check_count(taken)

    def _await_trigger_model(self) -> None:
        """Waits until the instrument's `trigger_state`, which it refreshes every 100 ms, is idle, and counts readings.

        Raises
        ------
        InstrumentError
            if it is not in time, ends otherwise, or there are not as many readings as were asked for.
        """
        deadline_s = self._sleep_until_due()
        while (state := self._instrument.trigger_state) in ("RUNNING", "WAITING"):
            if self._clock.monotonic_s() > deadline_s:
                raise InstrumentError(f"meter: the acquisition did not end, the trigger model is {state}")
            self._clock.sleep(POLL_S)
        if state != "IDLE":
            raise InstrumentError(f"meter: the trigger model ended as {state}")
        self._check_count(self._instrument.buffer_count)

    def _check_count(self, taken: int) -> None:
        expected = self._ready().n_samples
        if taken != expected:
            raise InstrumentError(f"meter: {taken} readings in the buffer, expected {expected}")


class SourceMeter(TimedMeter):
    """A timed meter that biases the device itself, through the instrument's `output_enabled`."""

    _abort: ClassVar[str]  # the command that stops an acquisition

    def __init__(
        self, instrument: Any, clock: Clock, line_frequency_Hz: float, options: MeterOptions | None = None
    ) -> None:
        super().__init__(instrument, clock, line_frequency_Hz)
        self._options = options or MeterOptions()

    def bias_on(self) -> None:
        """Output on, confirmed."""
        with link_errors("meter"):
            self._instrument.output_enabled = True
            if not self._instrument.output_enabled:
                raise InstrumentError("meter: the output did not switch on (interlock?)")

    def make_safe(self) -> None:
        """Stops the acquisition, output off, confirmed."""
        with link_errors("meter"):
            self._instrument.write(self._abort)
            self._instrument.output_enabled = False
            if self._instrument.output_enabled:
                raise InstrumentError("meter: the output is still on")
