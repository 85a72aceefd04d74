"""The twin of a Keysight B2901A or B2902A, channel 1: voltage source, acquire trigger, trace buffer, digital line 1.

After the Agilent B2900 Series SCPI Command Reference, Edition 2. Memoryless and ideal but for the read noise of the
world. As after a real *RST, INITiate switches the output on unless OUTPut:ON:AUTO is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.virtual.front_end import measured
from otters_lab.instruments.virtual.scpi import Call, ScpiError, ScpiInstrument, boolean, choice, integer, number
from otters_lab.instruments.virtual.settings import Settings
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

RANGES_A = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.5, 3.0)
OVERRANGE = 1.06
OVERFLOW, NAN = 9.9e37, 9.91e37
IN_COMPLIANCE, RANGE_OVERFLOW = 2, 1 << 13
ELEMENTS = ["VOLTage", "CURRent", "RESistance", "TIME", "STATus", "SOURce"]
ORDER = ["VOLT", "CURR", "RES", "TIME", "STAT", "SOUR"]


class KeysightB2900Twin(ScpiInstrument):
    """The SCPI commands of a timed current measurement, and their effect on the world."""

    no_error = '+0,"No error"'

    def __init__(self, world: World, line_frequency_Hz: float, model: str) -> None:
        super().__init__(f"Agilent Technologies,{model},VIRTUAL,1.2.1110.1610")
        self._world = world
        self._line_frequency_Hz = line_frequency_Hz
        self._set = Settings(self, self._defaults, "%+.8E")
        self.reset()
        self._source_commands()
        self._sense_commands()
        self._trigger_commands()
        self._trace_commands()

    def _defaults(self) -> dict[str, Any]:
        return {
            "source": "VOLT", "volt": 0.0, "curr": 0.0, "output": False, "auto_on": True, "off": "NORM", "limit": 1e-4,
            "vlimit": 2.0, "remote": False, "sense": ["VOLT", "CURR"], "autorange": True, "range": 1e-4,
            "aperture": 0.1 / self._line_frequency_Hz, "arm_count": 1, "arm_source": "AINT", "out_signal": "EXT1",
            "out": False, "trig_source": "AINT", "delay": 0.0, "timer": 2e-5, "count": 1, "points": 100_000,
            "feed": "SENS", "control": "NEV", "stamp": "ABS", "elements": list(ORDER), "dio": "DIO", "polarity": "NEG",
            "type": "EDGE", "edge": "BOTH", "width": 1e-4,
        }  # fmt: skip

    def reset(self) -> None:
        """*RST."""
        self._set.restore()
        self._pending: tuple[Array, float] | None = None
        self._table = np.zeros((0, 6))

    @property
    def output_on(self) -> bool:
        """Whether a device is biased."""
        return bool(self._set["output"])

    # --- commands ---------------------------------------------------------------------------------------------------

    def _source_commands(self) -> None:
        s, source = self._set, "[:SOURce[1]]"
        level = "[:LEVel][:IMMediate][:AMPLitude]"
        s.word(f"{source}:FUNCtion:MODE", "source", ["VOLTage", "CURRent"])
        s.number(f"{source}:VOLTage{level}", "volt", -210, 210)
        s.number(f"{source}:CURRent{level}", "curr", -3.03, 3.03)
        line = f"{source}:DIGital:EXTernal1"
        s.word(f"{line}[:FUNCtion]", "dio", ["DIO", "DINPut", "HVOL", "TINPut", "TOUTput"])
        s.word(f"{line}:POLarity", "polarity", ["POSitive", "NEGative"])
        s.word(f"{line}:TOUTput:TYPE", "type", ["EDGE", "LEVel"])
        s.word(f"{line}:TOUTput[:EDGE]:POSition", "edge", ["BEFore", "AFTer", "BOTH"])
        s.number(f"{line}:TOUTput[:EDGE]:WIDTh", "width", 1e-5, 1e-2)
        self.control(":OUTPut[1][:STATe]", lambda: str(int(s["output"])), self._set_output)
        s.flag(":OUTPut[1]:ON:AUTO", "auto_on")
        s.word(":OUTPut[1]:OFF:MODE", "off", ["NORMal", "HIZ", "ZERO"])
        self.query(":SYSTem:LFRequency?", lambda: f"{self._line_frequency_Hz:.0f}")

    def _set_output(self, text: str) -> None:
        self._finish()
        self._set["output"] = boolean(text)
        if not self.output_on:
            self._pending = None

    def _sense_commands(self) -> None:
        s, sense = self._set, ":SENSe[1]"
        self.on(f"{sense}:FUNCtion[:ON]", self._set_functions)
        self.query(f"{sense}:FUNCtion[:ON]?", lambda: ",".join(f'"{name}"' for name in s["sense"]))
        s.flag(f"{sense}:REMote", "remote")
        s.number(f"{sense}:CURRent[:DC]:PROTection[:LEVel]", "limit", 1e-9, 3.03)
        s.number(f"{sense}:VOLTage[:DC]:PROTection[:LEVel]", "vlimit", 0, 210)
        s.flag(f"{sense}:CURRent[:DC]:RANGe:AUTO", "autorange")
        self.control(f"{sense}:CURRent[:DC]:RANGe[:UPPer]", lambda: s.shown(s["range"]), self._set_range)
        s.number(f"{sense}:CURRent[:DC]:APERture", "aperture", 8e-6, 2)
        self.on(":FORMat[:DATA]", lambda call: (choice(call.only(1)[0], ["ASCii"]), None)[1])
        self.on(":FORMat:ELEMents:SENSe", self._set_elements)
        self.query(":FORMat:ELEMents:SENSe?", lambda: ",".join(s["elements"]))

    def _set_functions(self, call: Call) -> None:
        names = []
        for text in call.only(1, 3):
            if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
                raise ScpiError(-104)
            names.append(choice(text[1:-1], ["CURRent", "VOLTage", "RESistance"]))
        self._set["sense"] = sorted({*self._set["sense"], *names})  # those that are on stay on

    def _set_range(self, text: str) -> None:
        expected = abs(number(text, -3.03, 3.03))
        chosen = next((known for known in RANGES_A if expected <= known), RANGES_A[-1])
        if chosen > next((known for known in RANGES_A if self._set["limit"] <= OVERRANGE * known), RANGES_A[-1]):
            raise ScpiError(-221)
        self._set["range"], self._set["autorange"] = chosen, False

    def _set_elements(self, call: Call) -> None:
        names = {choice(text, ELEMENTS) for text in call.only(1, 6)}
        self._set["elements"] = [name for name in ORDER if name in names]

    def _trigger_commands(self) -> None:
        s, sources = self._set, ["AINT", "BUS", "TIMer", "INT1", "INT2", "LAN", "EXT1"]
        s.whole(":ARM[1]:ACQuire:COUNt", "arm_count", 1, 100_000)
        s.word(":ARM[1]:ACQuire:SOURce", "arm_source", sources)
        s.word(":ARM[1]:ACQuire:TOUTput:SIGNal", "out_signal", ["INT1", "INT2", "LAN", "EXT1"])
        s.flag(":ARM[1]:ACQuire:TOUTput[:STATe]", "out")
        s.word(":TRIGger[1]:ACQuire:SOURce", "trig_source", sources)
        s.number(":TRIGger[1]:ACQuire:DELay", "delay", 0, 1e5)
        s.number(":TRIGger[1]:ACQuire:TIMer", "timer", 2e-5, 1e5)
        s.whole(":TRIGger[1]:ACQuire:COUNt", "count", 1, 100_000)
        self.event(":INITiate[:IMMediate]:ACQuire", self._initiate)
        self.event(":ABORt:ACQuire", self._abort)

    def _trace_commands(self) -> None:
        s = self._set
        self.control(":TRACe[1]:POINts", lambda: str(s["points"]), self._set_points)
        self.query(":TRACe[1]:POINts:ACTual?", lambda: str(self._filled().shape[0]))
        self.event(":TRACe[1]:CLEar", self._clear)
        self.control(":TRACe[1]:FEED", lambda: str(s["feed"]), self._set_feed)
        self.control(":TRACe[1]:FEED:CONTrol", lambda: str(s["control"]), self._set_control)
        s.word(":TRACe[1]:TSTamp:FORMat", "stamp", ["ABSolute", "DELTa"])
        self.query(":TRACe[1]:DATA?", lambda: self._text(self._filled()))
        self.query(":FETCh:ARRay:CURRent?", lambda: self._text(self._filled(), ["CURR"]))

    # --- the buffer -------------------------------------------------------------------------------------------------

    def _unfed(self) -> None:
        self._finish()
        if self._set["control"] != "NEV":
            raise ScpiError(-221)

    def _set_points(self, text: str) -> None:
        points = integer(text, 1, 100_000)
        self._unfed()
        self._set["points"] = points

    def _clear(self) -> None:
        self._unfed()
        self._table = np.zeros((0, 6))

    def _set_feed(self, text: str) -> None:
        self._unfed()
        self._set["feed"] = choice(text, ["SENSe", "MATH", "LIMit"])

    def _set_control(self, text: str) -> None:
        self._finish()
        self._set["control"] = choice(text, ["NEXT", "NEVer"])

    def _filled(self) -> Array:
        self._finish()
        return self._table

    def _text(self, table: Array, names: list[str] | None = None) -> str:
        if table.size == 0:
            raise ScpiError(-230)
        table = table.copy()
        table[:, 3] -= table[0, 3]
        if self._set["stamp"] == "DELT":
            table[:, 3] = np.diff(table[:, 3], prepend=0.0)
        columns = [ORDER.index(name) for name in names or self._set["elements"]]
        return ",".join(["%+.6E"] * (len(columns) * table.shape[0])) % tuple(table[:, columns].ravel())

    # --- what it does -----------------------------------------------------------------------------------------------

    def _initiate(self) -> None:
        self._finish()
        s = self._set
        if self._pending is not None:
            raise ScpiError(-213)
        if s["auto_on"]:
            s["output"] = True
        if s["arm_source"] != "AINT" or s["arm_count"] != 1 or s["trig_source"] not in ("TIM", "AINT"):
            raise ScpiError(-211)  # waiting for a trigger is not modelled
        now, aperture_s = self._world.now_s, float(s["aperture"])
        period_s = max(s["timer"] if s["trig_source"] == "TIM" else 0.0, aperture_s)
        start_s = now + self._world.meter_latency_s + s["delay"] + period_s * np.arange(s["count"])
        self._pending = (start_s, aperture_s)
        line = (s["dio"], s["polarity"], s["type"])
        if s["out"] and s["out_signal"] == "EXT1" and line == ("TOUT", "POS", "EDGE") and s["edge"] != "AFT":
            self._world.trigger(now)

    def _abort(self) -> None:
        self._finish()
        self._pending = None

    def _finish(self) -> None:
        """Stores the readings once the clock has passed the last of them."""
        if self._pending is None:
            return
        start_s, aperture_s = self._pending
        if self._world.now_s < start_s[-1] + aperture_s:
            return
        self._pending = None
        table = self._measure(start_s, start_s + aperture_s)
        if self._set["control"] == "NEXT":
            self._table = np.concatenate([self._table, table])[: self._set["points"]]
            if self._table.shape[0] == self._set["points"]:
                self._set["control"] = "NEV"

    def _measure(self, start_s: Array, stop_s: Array) -> Array:
        """Rows of voltage (V), current (A), resistance, time (s), status word and source level."""
        s = self._set
        table = np.full((start_s.size, 6), NAN)
        table[:, 0] = table[:, 5] = s["volt"]
        status = np.full(start_s.size, int(s["source"] == "CURR"))
        table[:, 1] = 0.0
        if self.output_on and s["source"] == "VOLT" and "CURR" in s["sense"]:
            full_scale = OVERRANGE * (RANGES_A[-1] if s["autorange"] else s["range"])
            found = measured(self._world, start_s, stop_s, s["limit"], full_scale)
            table[:, 1] = np.where(found.over, OVERFLOW, found.current_A)
            status = status | found.limited * IN_COMPLIANCE | found.over * RANGE_OVERFLOW
        table[:, 3] = start_s
        table[:, 4] = status
        return table


def twin(world: World, bench: BenchFile) -> KeysightB2900Twin:
    """For the registry: the model is the driver's name."""
    return KeysightB2900Twin(world, bench.line_frequency, bench.meter.driver.removeprefix("keysight-").upper())
