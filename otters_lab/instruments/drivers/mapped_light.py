"""A light source through a mapped PyMeasure class (`mapped.py`): pulses that the instrument itself times.

That one command or one trigger gives ONE pulse, and which trigger it waits for, is the business of the map's `preset`.
"""

from __future__ import annotations

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.mapped import MappedInstrument


class MappedLight:
    """A `LightSource` that a hardware trigger begins."""

    def __init__(self, mapped: MappedInstrument, clock: Clock) -> None:
        self._mapped = mapped
        self._clock = clock

    def identify(self) -> str:
        """The *IDN? reply."""
        return self._mapped.identify()

    def reset(self) -> None:
        """The map's reset and its presets, output off."""
        self._mapped.reset()
        self._mapped.switch("output", on=False)
        self._mapped.check_errors("after the reset")

    def arm_pulse(self, drive_V: float, delay_s: float, width_s: float) -> None:
        """Sets one pulse with the output off, reads it back, and only then switches the output on."""
        mapped = self._mapped
        mapped.switch("output", on=False)
        mapped.set_number("drive", drive_V)
        mapped.set_number("width", width_s)
        if "delay" in mapped:
            mapped.set_number("delay", delay_s)
        elif delay_s != 0:
            raise InstrumentError(f"light: asked for a delay of {delay_s:g} s, its map has none")
        mapped.check_errors("after arming")
        mapped.switch("output", on=True)

    def make_safe(self) -> None:
        """Output off, confirmed."""
        self._mapped.switch("output", on=False)


class MappedSoftwareLight(MappedLight):
    """The same, its pulse begun by the method that the map calls `fire`; what it cannot delay is delayed here."""

    _delay_s: float | None = None

    def reset(self) -> None:
        """The map's reset and its presets, output off."""
        self._delay_s = None
        super().reset()

    def arm_pulse(self, drive_V: float, delay_s: float, width_s: float) -> None:
        """As the triggered one. `fire` gives the pulse."""
        ours = "delay" not in self._mapped
        super().arm_pulse(drive_V, 0.0 if ours else delay_s, width_s)
        self._delay_s = delay_s if ours else 0.0

    def fire(self) -> float:
        """Waits for the armed delay and begins the pulse; the clock's seconds at which the command was handed over."""
        if self._delay_s is None:
            raise InstrumentError("light: fired before it was armed")
        delay_s, self._delay_s = self._delay_s, None
        self._clock.sleep(delay_s)
        begun_s = self._clock.monotonic_s()
        self._mapped.call("fire")
        self._mapped.check_errors("after the start of the pulse")
        return begun_s

    def make_safe(self) -> None:
        """Output off, confirmed."""
        self._delay_s = None
        super().make_safe()
