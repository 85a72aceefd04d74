"""A Keithley 2450 or 2460 in the role of the meter; pages are those of the 2450's manual, 2450-901-01 Rev. B."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.keithley2450 import MIN_BUFFER, Keithley2450, Keithley2460
from otters_lab.instruments.drivers.options import MeterOptions, set_and_read_back
from otters_lab.instruments.drivers.replies import confirm, first_error, link_errors
from otters_lab.instruments.roles import MeterReadings, MeterSettings

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class Keithley2450Meter:
    """Sources a bias and records the current on a grid that the instrument's own timer keeps."""

    def __init__(
        self, instrument: Keithley2450, clock: Clock, line_frequency_Hz: float, options: MeterOptions | None = None
    ) -> None:
        self._instrument = instrument
        self._options = options or MeterOptions()
        self._clock = clock
        self._line_frequency_Hz = line_frequency_Hz
        self._settings: MeterSettings | None = None
        self._due_s = 0.0

    def identify(self) -> str:
        """The *IDN? reply."""
        with link_errors("meter"):
            return str(self._instrument.id)

    def reset(self) -> None:
        """*RST, and the line frequency of the bench file against the detected one."""
        with link_errors("meter"):
            self._instrument.write("*RST")
            self._instrument.write("*CLS")
            confirm("meter", "line frequency (Hz)", self._line_frequency_Hz, self._instrument.line_frequency)
            self._instrument.write(":FORM:ASC:PREC 10")  # p. 6-28: ten significant digits
            self._instrument.prepare_trigger_out()
            self._check_errors("after the reset")

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets a timed acquisition with the output off; returns what the instrument reads back."""
        smu, nplc = self._instrument, settings.aperture_s * self._line_frequency_Hz
        with link_errors("meter"):
            smu.output_enabled = False
            smu.source_function = "VOLT"
            smu.source_readback_enabled = False
            smu.sense_function = "CURR:DC"
            set_and_read_back(smu, self._options.pairs())
            smu.write(":SENS:COUN 1")  # one reading a measure block (SENSe subsystem)
            smu.current_range = settings.range_A
            smu.current_nplc = nplc
            smu.write(":SENS:AZER:ONCE")  # reference readings now, none inside the trace (p. 6-46)
            smu.current_autozero_enabled = False
            smu.current_limit = settings.compliance_A  # after the range: the range bounds the limit (p. 6-71)
            smu.source_voltage = settings.bias_V
            smu.buffer_points = max(settings.n_samples, MIN_BUFFER)
            smu.load_timed_acquisition(settings.n_samples, settings.interval_s)
            self._check_errors("after the settings")
            self._settings = MeterSettings(
                bias_V=smu.source_voltage,
                compliance_A=smu.current_limit,
                range_A=smu.current_range,
                aperture_s=smu.current_nplc / self._line_frequency_Hz,
                interval_s=smu.timer_delay,
                n_samples=min(settings.n_samples, smu.buffer_points),
            )
            if smu.current_autozero_enabled or smu.source_readback_enabled or smu.sense_function != "CURR:DC":
                raise InstrumentError("meter: autozero, source readback or measure function is not as it was set")
        return self._settings

    def bias_on(self) -> None:
        """Output on, confirmed."""
        with link_errors("meter"):
            self._instrument.output_enabled = True
            if not self._instrument.output_enabled:
                raise InstrumentError("meter: the output did not switch on (interlock?)")

    def start(self) -> None:
        """Starts the trigger model, whose second block gives the trigger (p. 6-124)."""
        settings = self._ready()
        with link_errors("meter"):
            self._instrument.write(":INIT")
        duration_s = (settings.n_samples - 1) * settings.interval_s + settings.aperture_s * self._options.filter
        self._due_s = self._clock.monotonic_s() + duration_s

    def fetch(self) -> MeterReadings:
        """Waits until the trigger model is idle, then reads the buffer and the error queue."""
        settings = self._ready()
        # The state is looked at every 100 ms by the instrument itself (p. 6-166).
        deadline_s = self._due_s + 5.0 + 0.5 * settings.n_samples * settings.interval_s
        self._clock.sleep(self._due_s - self._clock.monotonic_s())
        with link_errors("meter"):
            while (state := self._instrument.trigger_state) in ("RUNNING", "WAITING"):
                if self._clock.monotonic_s() > deadline_s:
                    raise InstrumentError(f"meter: the acquisition did not end, the trigger model is {state}")
                self._clock.sleep(0.02)
            if state != "IDLE":
                raise InstrumentError(f"meter: the trigger model ended as {state}")
            taken = self._instrument.buffer_count
            if taken != settings.n_samples:
                raise InstrumentError(f"meter: {taken} readings in the buffer, expected {settings.n_samples}")
            readings: MeterReadings = self._instrument.read_buffer(settings.n_samples)
            self._check_errors("after the acquisition")
        return readings

    def make_safe(self) -> None:
        """Stops the trigger model, output off, confirmed."""
        with link_errors("meter"):
            self._instrument.write(":ABOR")  # TRIGger subsystem
            self._instrument.output_enabled = False
            if self._instrument.output_enabled:
                raise InstrumentError("meter: the output is still on")

    def _ready(self) -> MeterSettings:
        if self._settings is None:
            raise InstrumentError("meter: started or read before it was configured")
        return self._settings

    def _check_errors(self, when: str) -> None:
        error = first_error(self._instrument.ask(":SYST:ERR?"), "meter error queue")
        if error:
            raise InstrumentError(f"meter: error queue {when}: {error}")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2450Meter:
    """For the registry."""
    return Keithley2450Meter(Keithley2450(adapter), clock, bench.line_frequency, bench.meter.options)


def build_2460(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2450Meter:
    """For the registry."""
    return Keithley2450Meter(Keithley2460(adapter), clock, bench.line_frequency, bench.meter.options)
