"""Gate and drain bias, temperature stage and power meter, each through a mapped PyMeasure class (`mapped.py`)."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.entries import AttributeMap
from otters_lab.instruments.drivers.mapped import MappedInstrument, load_class
from otters_lab.instruments.drivers.replies import link_errors

if TYPE_CHECKING:
    from otters_lab.instruments.benchtables import StageEntry

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
        mapped.set_state("output", False)
        mapped.check_errors("after the reset")

    def apply(self, voltage_V: float) -> None:
        """Output on at 0 V if it is off, then to `voltage_V` in steps of the ramp; confirmed."""
        mapped = self._mapped
        if not mapped.state("output"):
            mapped.set_number("level", 0.0)
            mapped.set_state("output", True)
        self._ramp(voltage_V)
        mapped.check_errors("after the ramp")

    def make_safe(self) -> None:
        """To 0 V in steps of the ramp, output off, confirmed."""
        mapped = self._mapped
        if mapped.state("output"):
            self._ramp(0.0)
        mapped.set_state("output", False)

    def _ramp(self, voltage_V: float) -> None:
        start_V = self._mapped.number("level")
        if self._ramp_V_per_s is not None:
            steps = math.ceil(abs(voltage_V - start_V) / (self._ramp_V_per_s * RAMP_STEP_S) - 1e-9)
            for step in range(1, steps):
                self._mapped.set_number("level", start_V + (voltage_V - start_V) * step / steps)
                self._clock.sleep(RAMP_STEP_S)
        self._mapped.set_number("level", voltage_V)


class MappedStage:
    """A `TemperatureStage`: a controller with a sensor, a set point and a heater."""

    def __init__(self, mapped: MappedInstrument, entry: StageEntry) -> None:
        self._mapped = mapped
        self._entry = entry

    def identify(self) -> str:
        """The *IDN? reply."""
        return self._mapped.identify()

    def reset(self) -> None:
        """The map's reset; the heater and the set point stay as they are."""
        self._mapped.reset()

    def go_to(self, temperature_K: float) -> None:
        """Set point, then heater on, both read back."""
        self._mapped.set_number("setpoint", temperature_K)
        self._mapped.set_state("heater", self._entry.known.heater_on)
        self._mapped.check_errors("after the set point")

    def temperature_K(self) -> float:
        """What the sensor reads (K)."""
        return self._mapped.number("temperature")

    def make_safe(self) -> None:
        """Heater off and confirmed; with ``after = "hold"`` only the sensor is read."""
        if self._entry.after == "hold":
            self.temperature_K()
            return
        self._mapped.set_state("heater", self._entry.known.heater_off)


class MappedPowerMeter:
    """A `PowerMeter`."""

    def __init__(self, mapped: MappedInstrument) -> None:
        self._mapped = mapped

    def identify(self) -> str:
        """The *IDN? reply, and the sensor where the map names it: a calibration is as good as its sensor."""
        said = [str(self._mapped.state(word)).strip('"') for word in ("sensor", "serial") if word in self._mapped]
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


def build_mapped(role: str, adapter: Any, entry: Any, map_: AttributeMap, clock: Clock) -> Any:
    """The role of a bench file's table on an open PyMeasure adapter; `map_` is the driver's."""
    with link_errors(role), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # for PyMeasure's maintainers: whether this model speaks SCPI
        instrument = load_class(map_.instrument)(adapter)
    mapped = MappedInstrument(instrument, role, entry.kind, map_, entry.known.error_query)
    if entry.kind == "bias":
        return MappedBias(mapped, clock, entry.compliance, entry.ramp)
    return MappedStage(mapped, entry) if entry.kind == "temperature" else MappedPowerMeter(mapped)
