"""The twin of a Thorlabs PM100USB with a photodiode sensor in the device's place.

Commands as PyMeasure's ThorlabsPM100USB sends them; the flags of SYST:SENS:IDN? are those of the PM100D's manual as
that driver quotes them, the unit as in Thorlabs' own SCPI example. Modelled: the sensor's identity, its wavelength, and
the power of the light that shines now, in watts or dBm; not averaging, ranges, response time and a sensor's spectrum.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from otters_lab.instruments.virtual.scpi import Call, ScpiInstrument, choice, number
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

WAVELENGTH_NM = (400.0, 1100.0)
POWER_SENSOR, WAVELENGTH_SETTABLE = 1, 32


class PM100USBTwin(ScpiInstrument):
    """The SCPI commands of a power reading."""

    no_error = '+0,"No error"'
    output_on = False  # it has no output to switch

    def __init__(self, world: World) -> None:
        super().__init__("Thorlabs,PM100USB,VIRTUAL,1.7.0")
        self._world = world
        self.reset()
        sensor = f'"S130VC","VIRTUAL","01-JAN-2026",1,18,{POWER_SENSOR | WAVELENGTH_SETTABLE}'
        self.query(":SYSTem:SENSor:IDN?", lambda: sensor)
        self.on("[:SENSe]:CORRection:WAVelength", self._set_wavelength)
        self.on("[:SENSe]:CORRection:WAVelength?", self._wavelength)
        self.query(":MEASure[:SCALar][:POWer]?", self._power)
        self.control("[:SENSe]:POWer[:DC]:UNIT", lambda: self._unit, self._set_unit)
        self.query("*TST?", lambda: "0")

    def reset(self) -> None:
        """*RST."""
        self._wavelength_nm = 635.0
        self._unit = "W"

    def _set_unit(self, text: str) -> None:
        self._unit = choice(text, ["W", "DBM"])

    def _power(self) -> str:
        power_W = self._world.optical_power_W()
        if self._unit == "W":
            return f"{power_W:.6E}"
        return f"{10 * math.log10(power_W / 1e-3):.6E}" if power_W > 0 else "-9.9E+37"  # no power: as SCPI says -inf

    def _set_wavelength(self, call: Call) -> None:
        self._wavelength_nm = number(call.only(1)[0], *WAVELENGTH_NM)

    def _wavelength(self, call: Call) -> str:
        asked = call.only(0, 1)
        return f"{number(asked[0], *WAVELENGTH_NM) if asked else self._wavelength_nm:.6E}"


def twin(world: World, bench: BenchFile) -> PM100USBTwin:
    """For the registry."""
    return PM100USBTwin(world)
