"""A Thorlabs DC2200 LED driver in pulse mode: one pulse that the instrument itself times, begun by a command.

Source: DC2200 Operation Manual v1.8 (29-Nov-2023), section 4.3.2, as quoted by public code that drives the instrument;
the manual itself was not at hand. Headers are written out as that code sends them: the instrument is not strict SCPI
(Thorlabs' own examples must write CCURENT, and PWM:FREQUENCY is refused where PWM:FREQ is not).

Pulse mode knows no trigger input: a pulse begins when the output is switched on, by software. The one hardware input
(MODULATION IN, TTL mode) gates the LED for as long as it is high, so the timing would be another instrument's: an LED
gated that way is described in the bench file by the generator that gates it ("agilent-33500").
Not known from the source: the replies of MODE? and OUTPUT1:STATE? (both usual forms are taken), whether the output
switches itself off after the last pulse (nothing here depends on it), and the latency from command to light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymeasure.instruments import Instrument, SCPIMixin
from pymeasure.instruments.validators import strict_discrete_set, strict_range

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import confirm, finite, first_error, link_errors
from otters_lab.instruments.setups import FULL_DRIVE_V, LedTable

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

# Pause after the pulse; there is no second one. Pulse and pause together last 2 ms at least.
OFF_TIME_S = 0.01


def _number(reply: Any) -> float:
    return finite(reply, "DC2200")


def _whole(reply: Any) -> int:
    return int(_number(reply))


def _switch(reply: Any) -> bool:
    word = str(reply).strip().upper()
    if word not in ("0", "1", "OFF", "ON"):
        raise InstrumentError(f"DC2200: replied {word!r}, expected 0, 1, OFF or ON")
    return word in ("1", "ON")


class DC2200(SCPIMixin, Instrument):
    """The commands of a DC2200 that one pulse needs."""

    def __init__(self, adapter: Any, name: str = "Thorlabs DC2200", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    terminal = Instrument.control(
        "OUTPUT1:TERMINAL?",
        "OUTPUT1:TERMINAL %d",
        """Control which socket drives the LED (int, strictly 1: 12 pins, 10 A, or 2: 4 pins, 2 A).""",
        validator=strict_discrete_set,
        values=[1, 2],
        get_process=_whole,
    )

    current_limit = Instrument.control(
        "SOURCE1:CURRENT:LIMIT?",
        "SOURCE1:CURRENT:LIMIT %.9g",
        """Control the LED's current limit in A, which is 100 % of brightness (float strictly from 0.01 to 10).""",
        validator=strict_range,
        values=[0.01, 10],
        get_process=_number,
    )

    mode = Instrument.control(
        "SOURCE1:MODE?",
        "SOURCE1:MODE %s",
        """Control the mode of operation (string, strictly 'CC', 'CB', 'PWM', 'PULS' or 'TTL').""",
        validator=strict_discrete_set,
        values=["CC", "CB", "PWM", "PULS", "TTL"],
        cast=str,
        get_process=lambda reply: str(reply).strip().upper().replace("PULSE", "PULS"),
    )

    pulse_brightness = Instrument.control(
        "SOURCE1:PULSE:BRIGHTNESS:LEVEL:AMPLITUDE?",
        "SOURCE1:PULSE:BRIGHTNESS:LEVEL:AMPLITUDE %.9g",
        """Control the LED's current in the pulse in % of the current limit (float strictly from 0 to 100).""",
        validator=strict_range,
        values=[0, 100],
        get_process=_number,
    )

    pulse_on_time = Instrument.control(
        "SOURCE1:PULSE:ONTIME?",
        "SOURCE1:PULSE:ONTIME %.9g",
        """Control the length of a pulse in s (float strictly from 1e-6 to 10).""",
        validator=strict_range,
        values=[1e-6, 10],
        get_process=_number,
    )

    pulse_off_time = Instrument.control(
        "SOURCE1:PULSE:OFFTIME?",
        "SOURCE1:PULSE:OFFTIME %.9g",
        """Control the pause after a pulse in s (float strictly from 1e-6 to 10).""",
        validator=strict_range,
        values=[1e-6, 10],
        get_process=_number,
    )

    pulse_count = Instrument.control(
        "SOURCE1:PULSE:COUNT?",
        "SOURCE1:PULSE:COUNT %d",
        """Control how many pulses are given (int strictly from 1 to 1000; the instrument's 0, without end, is refused
        here).""",
        validator=strict_range,
        values=[1, 1000],
        get_process=_whole,
    )

    output_enabled = Instrument.control(
        "OUTPUT1:STATE?",
        "OUTPUT1:STATE %s",
        """Control the output (bool): in pulse mode switching it on begins the pulses at once.""",
        validator=strict_discrete_set,
        values=[True, False],
        set_process=lambda on: "ON" if on else "OFF",
        get_process=_switch,
        cast=str,
    )

    interlock_tripped = Instrument.measurement(
        "OUTPUT1:PROTECTION:INTLOCK:TRIPPED?",
        """Get whether the interlock keeps the LED off (bool).""",
        get_process=_switch,
        cast=str,
    )


class DC2200Light:
    """A DC2200 in the role of the light source, begun by software. A drive of 10 V is the LED's full-scale current."""

    def __init__(self, instrument: DC2200, led: LedTable, clock: Clock) -> None:
        self._instrument = instrument
        self._led = led
        self._clock = clock
        self._delay_s: float | None = None

    def identify(self) -> str:
        """The *IDN? reply."""
        with link_errors("light"):
            return str(self._instrument.id)

    def reset(self) -> None:
        """*RST, output off, the LED's socket and current limit, pulse mode, one pulse."""
        driver = self._instrument
        self._delay_s = None
        with link_errors("light"):
            driver.write("*RST")
            driver.write("*CLS")
            driver.output_enabled = False
            driver.terminal = self._led.terminal
            driver.current_limit = self._led.full_scale
            driver.mode = "PULS"
            driver.pulse_count = 1
            driver.pulse_off_time = OFF_TIME_S
            self._check_errors("after the reset")
            if driver.terminal != self._led.terminal:
                raise InstrumentError(f"light: terminal {driver.terminal} is selected, expected {self._led.terminal}")
            confirm("light", "current limit (A)", self._led.full_scale, driver.current_limit)

    def arm_pulse(self, drive_V: float, delay_s: float, width_s: float) -> None:
        """Sets one pulse with the output off and reads it back. `fire` gives it."""
        driver, brightness = self._instrument, 100 * drive_V / FULL_DRIVE_V
        with link_errors("light"):
            driver.output_enabled = False
            driver.pulse_brightness = brightness
            driver.pulse_on_time = width_s
            self._check_errors("after arming")
            confirm("light", "brightness (%)", brightness, driver.pulse_brightness)
            confirm("light", "pulse width (s)", width_s, driver.pulse_on_time)
            confirm("light", "current limit (A)", self._led.full_scale, driver.current_limit)
            if driver.mode != "PULS" or driver.pulse_count != 1:
                raise InstrumentError("light: not in pulse mode with one pulse, the light would stay on")
            if driver.interlock_tripped:
                raise InstrumentError("light: the interlock is open")
            if driver.output_enabled:
                raise InstrumentError("light: the output is on before its time")
        self._delay_s = delay_s

    def fire(self) -> float:
        """Waits for the armed delay and begins the pulse; the clock's seconds at which the command was handed over."""
        if self._delay_s is None:
            raise InstrumentError("light: fired before it was armed")
        delay_s, self._delay_s = self._delay_s, None
        with link_errors("light"):
            self._clock.sleep(delay_s)
            begun_s = self._clock.monotonic_s()
            self._instrument.output_enabled = True
            self._check_errors("after the start of the pulse")
        return begun_s

    def make_safe(self) -> None:
        """Output off, confirmed."""
        self._delay_s = None
        with link_errors("light"):
            self._instrument.output_enabled = False
            if self._instrument.output_enabled:
                raise InstrumentError("light: the output is still on")

    def _check_errors(self, when: str) -> None:
        error = first_error(self._instrument.ask("SYST:ERR?"), "light error queue")
        if error:
            raise InstrumentError(f"light: error queue {when}: {error}")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> DC2200Light:
    """For the registry."""
    if bench.light.led is None:
        raise InstrumentError("light: the bench file says nothing of the LED ([light.led])")
    return DC2200Light(DC2200(adapter), bench.light.led, clock)
