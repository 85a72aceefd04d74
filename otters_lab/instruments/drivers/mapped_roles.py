"""Gate and drain bias, temperature stage and power meter, each through a mapped PyMeasure class (`mapped.py`)."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.tomlfile import line_of
from otters_lab.instruments.drivers.entries import AttributeMap
from otters_lab.instruments.drivers.mapped import MappedInstrument, load_class
from otters_lab.instruments.drivers.mapped_light import MappedLight, MappedSoftwareLight
from otters_lab.instruments.drivers.mapped_meter import MappedMeter
from otters_lab.instruments.drivers.mapped_switch import MappedSwitch
from otters_lab.instruments.drivers.replies import link_errors

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

RAMP_STEP_S = 0.05


class MappedBias:
    """A `BiasSource`: a source with a level, an output switch and, where mapped, a current limit."""

    def __init__(self, mapped: MappedInstrument, clock: Clock, compliance_A: float, ramp_V_per_s: float | None) -> None:
        self._mapped = mapped
        self._clock = clock
        self._compliance_A = compliance_A
        self._ramp_V_per_s = ramp_V_per_s

    def identify(self) -> str:
        """The *IDN? reply."""
        return self._mapped.identify()

    def reset(self) -> None:
        """The map's reset, level 0 and the current limit; the output stays off."""
        mapped = self._mapped
        mapped.reset()
        mapped.set_number("level", 0.0)
        if "limit" in mapped:
            mapped.set_number("limit", self._compliance_A)
        mapped.switch("output", on=False)
        mapped.check_errors("after the reset")

    def apply(self, voltage_V: float) -> None:
        """Output on at 0 V if it is off, then to `voltage_V` in steps of the ramp; confirmed."""
        mapped = self._mapped
        if mapped.is_off("output"):
            mapped.set_number("level", 0.0)
            mapped.switch("output", on=True)
        self._ramp(voltage_V)
        mapped.check_errors("after the ramp")

    def make_safe(self) -> None:
        """To 0 V in steps of the ramp, output off, confirmed. A ramp that fails does not keep the output on."""
        try:
            if not self._mapped.is_off("output"):
                self._ramp(0.0)
        finally:
            self._mapped.switch("output", on=False)

    def _ramp(self, voltage_V: float) -> None:
        start_V = self._mapped.number("level")
        if self._ramp_V_per_s is not None:
            steps = math.ceil(abs(voltage_V - start_V) / (self._ramp_V_per_s * RAMP_STEP_S) - 1e-9)
            for step in range(1, steps):
                self._clock.sleep(RAMP_STEP_S)
                self._mapped.set_number("level", start_V + (voltage_V - start_V) * step / steps)
            self._clock.sleep(RAMP_STEP_S if steps else 0.0)
        self._mapped.set_number("level", voltage_V)


class MappedStage:
    """A `TemperatureStage`: a controller with a sensor, a set point and a heater."""

    def __init__(self, mapped: MappedInstrument, hold: bool) -> None:
        self._mapped = mapped
        self._hold = hold

    def identify(self) -> str:
        """The *IDN? reply."""
        return self._mapped.identify()

    def reset(self) -> None:
        """The map's reset; the heater and the set point stay as they are."""
        self._mapped.reset()

    def go_to(self, temperature_K: float) -> None:
        """Set point, then heater on, both read back."""
        self._mapped.set_number("setpoint", temperature_K)
        self._mapped.switch("heater", on=True)
        self._mapped.check_errors("after the set point")

    def temperature_K(self) -> float:
        """What the sensor reads (K)."""
        return self._mapped.number("temperature")

    def make_safe(self) -> None:
        """Heater off and confirmed; with ``after = "hold"`` only the sensor is read."""
        if self._hold:
            self.temperature_K()
            return
        self._mapped.switch("heater", on=False)


class MappedPowerMeter:
    """A `PowerMeter`."""

    def __init__(self, mapped: MappedInstrument) -> None:
        self._mapped = mapped

    def identify(self) -> str:
        """The *IDN? reply, and the sensor where the map names it: a calibration is as good as its sensor."""
        said = [str(self._mapped.raw(word)[0]).strip('"') for word in ("sensor", "serial") if word in self._mapped]
        identity = self._mapped.identify()
        return f"{identity}; sensor {', '.join(said)}" if said else identity

    def reset(self) -> None:
        """The map's reset."""
        self._mapped.reset()
        self._mapped.check_errors("after the reset")

    def expect(self, wavelength_m: float) -> None:
        """Sets the wavelength (m), confirmed.

        Raises
        ------
        InstrumentError
            if the map names none: the readings would hold for whatever wavelength stands on the meter.
        """
        if "wavelength" not in self._mapped:
            raise InstrumentError(f"{self._mapped.role}: its map has no wavelength, so it cannot be set")
        self._mapped.set_number("wavelength", wavelength_m)
        self._mapped.check_errors("after the wavelength")

    def power_W(self) -> float:
        """One reading (W)."""
        return self._mapped.number("power")

    def make_safe(self) -> None:
        """Nothing can be on; a reading shows that it is still there."""
        self.power_W()


def build_mapped(role: str, adapter: Any, bench: BenchFile, map_: AttributeMap, clock: Clock) -> Any:
    """The role of a bench file's table on an open PyMeasure adapter; `map_` is the driver's.

    Raises
    ------
    InputError
        if the class lacks an attribute that the map names; nothing was sent on account of it.
    InstrumentError
        if the class cannot be made: some ask their instrument already then.
    """
    entry: Any = bench.instruments[role]
    try:
        with link_errors(role), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what PyMeasure's maintainers wish to be told
            instrument = load_class(map_.instrument)(adapter)
    except (InputError, InstrumentError):
        raise
    except Exception as error:
        raise InstrumentError(f"{role}: {map_.instrument}: {type(error).__name__}: {error}") from error
    mapped = MappedInstrument(instrument, role, entry.kind, map_, entry.known.error_query)
    missing = mapped.missing()
    if missing is not None:
        key = (role, *missing.split(".", 1))
        raise InputError(
            f"{map_.instrument} has no such attribute",
            file=bench.path,
            line=line_of(bench.text, key),
            key=".".join(key),
            found=dict(map_.attributes, **{name: name for name in map_.preset})[key[-1]],
        )
    if entry.kind == "bias":
        return MappedBias(mapped, clock, entry.compliance, entry.ramp)
    if entry.kind == "temperature":
        return MappedStage(mapped, entry.after == "hold")
    if entry.kind == "meter":
        return MappedMeter(mapped, clock, bench.line_frequency)
    if entry.kind == "light":
        return MappedSoftwareLight(mapped, clock) if "fire" in mapped else MappedLight(mapped, clock)
    return MappedSwitch(mapped, bench.channels) if entry.kind == "switch" else MappedPowerMeter(mapped)
