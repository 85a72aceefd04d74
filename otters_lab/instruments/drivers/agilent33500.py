"""An LED gated by an Agilent/Keysight 33500 function generator: one pulse a hardware trigger.

PyMeasure's Agilent33500 is used as it is; it lacks the trigger's delay and slope, which are written here. Sources:
33500 Series Operating and Service Guide, TRIGger, BURSt, FUNCtion:PULSe and OUTPut subsystems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymeasure.instruments.agilent import Agilent33500

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import confirm, finite, first_error, link_errors

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

_LOAD = {"high impedance": "INF", "50 ohm": "50"}


class Agilent33500Light:
    """A 33500 in the role of the light source: 0 V is dark, `drive_V` lights the LED."""

    trigger = "EXT"

    def __init__(self, instrument: Agilent33500, load: str, drive_range_V: tuple[float, float]) -> None:
        self._instrument = instrument
        self._load = load
        self._drive_range_V = drive_range_V

    def identify(self) -> str:
        """The *IDN? reply."""
        with link_errors("light"):
            return str(self._instrument.id)

    def reset(self) -> None:
        """*RST, then a pulse of one burst cycle on the external trigger's rising edge; the output stays off."""
        generator = self._instrument
        with link_errors("light"):
            generator.write("*RST")
            generator.write("*CLS")
            # PyMeasure bounds the level to 5 V, which is right into 50 ohm only.
            generator.voltage_high_values = self._drive_range_V
            generator.output_load = _LOAD[self._load]
            generator.shape = "PULS"
            generator.burst_mode = "TRIG"
            generator.burst_ncycles = 1
            generator.trigger_source = self.trigger
            generator.write("TRIG:SLOP POS")
            generator.burst_state = True
            self._check_errors("after the reset")

    def arm_pulse(self, drive_V: float, delay_s: float, width_s: float) -> None:
        """Sets one pulse with the output off, reads it back, and only then switches the output on."""
        generator = self._instrument
        with link_errors("light"):
            generator.output = False
            generator.voltage_high = drive_V
            generator.voltage_low = 0
            # A period must hold its pulse at every moment, else the generator changes the pulse (settings conflict).
            if width_s > generator.pulse_width:
                generator.pulse_period = 2 * width_s
                generator.pulse_width = width_s
            else:
                generator.pulse_width = width_s
                generator.pulse_period = 2 * width_s
            generator.write(f"TRIG:DEL {delay_s:.9g}")
            self._check_errors("after arming")
            confirm("light", "drive (V)", drive_V, generator.voltage_high)
            confirm("light", "dark level (V)", 0.0, generator.voltage_low)
            confirm("light", "pulse width (s)", width_s, generator.pulse_width)
            confirm("light", "trigger delay (s)", delay_s, finite(generator.ask("TRIG:DEL?"), "light: TRIG:DEL?"))
            confirm("light", "burst cycles", 1, generator.burst_ncycles)
            if (generator.shape, generator.trigger_source, generator.burst_mode) != ("PULS", self.trigger, "TRIG"):
                raise InstrumentError(f"light: not a triggered pulse on the trigger {self.trigger}")
            if not generator.burst_state:
                raise InstrumentError("light: burst mode is off, the light would stay on")
            generator.output = True
            if not generator.output:
                raise InstrumentError("light: the output did not switch on")

    def make_safe(self) -> None:
        """Output off, confirmed."""
        with link_errors("light"):
            self._instrument.output = False
            if self._instrument.output:
                raise InstrumentError("light: the output is still on")

    def _check_errors(self, when: str) -> None:
        error = first_error(self._instrument.ask("SYST:ERR?"), "light error queue")
        if error:
            raise InstrumentError(f"light: error queue {when}: {error}")


class Agilent33500SoftwareLight(Agilent33500Light):
    """The same, its pulse begun by *TRG: for a meter that gives no trigger. The delay is ours, not the generator's."""

    trigger = "BUS"

    def __init__(
        self,
        instrument: Agilent33500,
        load: str,
        drive_range_V: tuple[float, float],
        clock: Clock,
        sync_out: bool = False,
    ) -> None:
        super().__init__(instrument, load, drive_range_V)
        self._clock = clock
        self._sync_out = sync_out
        self._delay_s: float | None = None

    def reset(self) -> None:
        """As the triggered one, if asked for with the sync output on, whose edge rises as the burst begins."""
        super().reset()
        if not self._sync_out:
            return
        with link_errors("light"):
            self._instrument.write("OUTP:SYNC ON")  # OUTPut subsystem; QCoDeS's Keysight33522B sends the same
            self._check_errors("after switching the sync output on")
            if finite(self._instrument.ask("OUTP:SYNC?"), "light: OUTP:SYNC?") != 1:
                raise InstrumentError("light: the sync output is off, nothing would trigger the meter")

    def arm_pulse(self, drive_V: float, delay_s: float, width_s: float) -> None:
        """As the triggered one, without delay. `fire` gives the pulse."""
        super().arm_pulse(drive_V, 0.0, width_s)
        self._delay_s = delay_s

    def fire(self) -> float:
        """Waits for the armed delay and begins the pulse; the clock's seconds at which the command was handed over."""
        if self._delay_s is None:
            raise InstrumentError("light: fired before it was armed")
        delay_s, self._delay_s = self._delay_s, None
        with link_errors("light"):
            self._clock.sleep(delay_s)
            begun_s = self._clock.monotonic_s()
            self._instrument.write("*TRG")  # IEEE-488 common commands; needs the trigger source BUS
            self._check_errors("after the start of the pulse")
        return begun_s

    def make_safe(self) -> None:
        """Output off, confirmed."""
        self._delay_s = None
        super().make_safe()


def build(adapter: Any, bench: BenchFile, clock: Clock) -> Agilent33500Light:
    """For the registry."""
    drive_range_V = bench.light.known.drive_V[bench.light.load]
    generator = Agilent33500(adapter)
    if bench.light.known.sync == "software":
        sync_out = bench.meter.known.triggered_by_light
        return Agilent33500SoftwareLight(generator, bench.light.load, drive_range_V, clock, sync_out)
    return Agilent33500Light(generator, bench.light.load, drive_range_V)
