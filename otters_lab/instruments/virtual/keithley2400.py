"""The twin of a Keithley 2400: source voltage, measure current, trigger delay, trace buffer, status, trigger link.

After the 2400 Series User's Manual, 2400S-900-01 Rev. K. Memoryless and ideal but for the read noise of the world.
Modelled: the trigger layer of one arm, the 2500-reading buffer, timestamps of 1/1024 s told as milliseconds, full
scale in range queries, range compliance told as overflow. Its dead time between readings is a round 0.6 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.virtual.front_end import measured
from otters_lab.instruments.virtual.scpi import Call, ScpiError, ScpiInstrument, boolean, choice, number, quoted
from otters_lab.instruments.virtual.settings import Settings
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

RANGES_A = (1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0)
RANGES_V = (0.2, 2.0, 20.0, 200.0)
FULL_SCALE = 1.05
OVERFLOW, NAN = 9.9e37, 9.91e37
DEAD_S = 0.6e-3
LINK_PULSE_S = 10e-6  # the trigger link's low pulse; its end is the rising edge
OVER_RANGE, FILTERED, FRONT, IN_COMPLIANCE, RANGE_COMPLIANCE = 1, 2, 4, 8, 1 << 16
ELEMENTS = ["VOLTage", "CURRent", "RESistance", "TIME", "STATus"]
ORDER = ["VOLT", "CURR", "RES", "TIME", "STAT"]


def _range_of(value: float, ranges: tuple[float, ...]) -> float:
    return next((known for known in ranges if abs(value) <= FULL_SCALE * known), ranges[-1])


class Keithley2400Twin(ScpiInstrument):
    """The SCPI commands of a timed current measurement, and their effect on the world."""

    def __init__(self, world: World, line_frequency_Hz: float) -> None:
        super().__init__("KEITHLEY INSTRUMENTS INC.,MODEL 2400,VIRTUAL,C34 Sep 21 2016 15:30:00/A02  /S/K")
        self._world = world
        self._line_frequency_Hz = line_frequency_Hz
        self._trace: dict[str, Any] = {"points": 100, "control": "NEV", "feed": "SENS", "stamp": "ABS"}
        self._buffer = np.zeros((0, 5))
        self._set = Settings(self, self._defaults, "%+.6E")
        self._pending: tuple[float, Array, float] | None = None
        self._service = self._measurement_enable = 0
        self._full = False
        self._source_commands()
        self._sense_commands()
        self._trigger_commands()
        self._trace_commands()

    def _defaults(self) -> dict[str, Any]:
        return {
            "source": "VOLT", "volt": 0.0, "curr": 0.0, "vrange": 20.0, "irange": 100e-6, "vauto": True, "iauto": True,
            "output": False, "limit": 1.05e-4, "vlimit": 21.0, "delay": 0.0, "autodelay": True, "autooff": False,
            "off": "NORM", "sense": ["CURR"], "concurrent": True, "range": None, "range_V": None, "nplc": 1.0,
            "average": False, "tcontrol": "REP", "count": 10, "azero": True, "wires": False, "guard": "CABL",
            "terminals": "FRON", "elements": list(ORDER), "arm": 1, "trig": 1, "tdelay": 0.0, "armsource": "IMM",
            "trigsource": "IMM", "armout": "NONE", "trigout": "NONE", "armline": 2, "trigline": 2, "armin": 1,
            "trigin": 1, "timer": 0.1, "display": True,
        }  # fmt: skip

    def reset(self) -> None:
        """*RST; the trace buffer is not touched (p. 18-21)."""
        self._set.restore()
        self._pending = None

    @property
    def output_on(self) -> bool:
        """Whether a device is biased."""
        return bool(self._set["output"])

    @property
    def bias_V(self) -> float:
        """Voltage at the output, 0 while it is off."""
        return float(self._set["volt"]) if self.output_on else 0.0

    # --- commands ---------------------------------------------------------------------------------------------------

    def _source_commands(self) -> None:
        s, source = self._set, ":SOURce[1]"
        level = "[:LEVel][:IMMediate][:AMPLitude]"
        s.word(f"{source}:FUNCtion[:MODE]", "source", ["VOLTage", "CURRent"])
        s.number(f"{source}:VOLTage{level}", "volt", -210, 210)
        s.number(f"{source}:CURRent{level}", "curr", -1.05, 1.05)
        self._range(f"{source}:VOLTage:RANGe", "vrange", "vauto", RANGES_V)
        self._range(f"{source}:CURRent:RANGe", "irange", "iauto", RANGES_A)
        s.number(f"{source}:DELay", "delay", 0, 9999.999)
        s.flag(f"{source}:DELay:AUTO", "autodelay")
        s.flag(f"{source}:CLEar:AUTO", "autooff")
        self.control(":OUTPut[1][:STATe]", lambda: str(int(s["output"])), self._set_output)
        s.word(":OUTPut[1]:SMODe", "off", ["HIMPedance", "NORMal", "ZERO", "GUARd"])
        s.word(":ROUTe:TERMinals", "terminals", ["FRONt", "REAR"])
        s.word(":SYSTem:GUARd", "guard", ["OHMS", "CABLe"])
        s.flag(":SYSTem:RSENse", "wires")
        s.flag(":DISPlay:ENABle", "display")
        self.query(":SYSTem:LFRequency?", lambda: f"{self._line_frequency_Hz:.0f}")
        self.control(":SYSTem:AZERo[:STATe]", lambda: str(int(s["azero"])), self._set_azero)

    def _range(self, header: str, key: str, auto: str, ranges: tuple[float, ...]) -> None:
        s = self._set

        def put(text: str) -> None:
            s[key], s[auto] = _range_of(number(text, -1.05 * ranges[-1], 1.05 * ranges[-1]), ranges), False

        self.control(header, lambda: s.shown(s[key]), put)
        s.flag(f"{header}:AUTO", auto)

    def _set_azero(self, text: str) -> None:
        if text.upper() != "ONCE":
            self._set["azero"] = boolean(text)

    def _set_output(self, text: str) -> None:
        self._finish()
        self._set["output"] = boolean(text)
        if not self.output_on:
            self._pending = None

    def _sense_commands(self) -> None:
        s, sense = self._set, "[:SENSe[1]]"
        self.on(f"{sense}:FUNCtion[:ON]", self._set_functions)
        self.query(f"{sense}:FUNCtion[:ON]?", lambda: ",".join(f'"{name}:DC"' for name in s["sense"]))
        s.flag(f"{sense}:FUNCtion:CONCurrent", "concurrent")
        current, voltage = f"{sense}:CURRent[:DC]", f"{sense}:VOLTage[:DC]"
        self.control(f"{current}:RANGe[:UPPer]", lambda: s.shown(FULL_SCALE * self._range_A()), self._set_range)
        self._autorange(f"{current}:RANGe:AUTO", "range", self._range_A)
        self.control(f"{voltage}:RANGe[:UPPer]", lambda: s.shown(FULL_SCALE * self._range_V()), self._set_voltage_range)
        self._autorange(f"{voltage}:RANGe:AUTO", "range_V", self._range_V)
        for function in (current, voltage, f"{sense}:RESistance"):  # one integration time for all (p. 18-67)
            s.number(f"{function}:NPLCycles", "nplc", 0.01, 10)
        self.control(f"{current}:PROTection[:LEVel]", lambda: s.shown(s["limit"]), self._set_limit)
        s.number(f"{voltage}:PROTection[:LEVel]", "vlimit", -210, 210)
        s.flag(f"{sense}:AVERage[:STATe]", "average")
        s.word(f"{sense}:AVERage:TCONtrol", "tcontrol", ["REPeat", "MOVing"])
        s.whole(f"{sense}:AVERage:COUNt", "count", 1, 100)
        self.on(":FORMat:ELEMents[:SENSe[1]]", self._set_elements)
        self.query(":FORMat:ELEMents[:SENSe[1]]?", lambda: ",".join(s["elements"]))
        self.on(":FORMat[:DATA]", lambda call: (choice(call.only(1)[0], ["ASCii"]), None)[1])
        self.query(":READ?", self._read)
        self.query(":MEASure:CURRent[:DC]?", self._measure_current)

    def _autorange(self, header: str, key: str, now: Any) -> None:
        def put(text: str) -> None:
            self._set[key] = None if boolean(text) else now()

        self.control(header, lambda: str(int(self._set[key] is None)), put)

    def _set_functions(self, call: Call) -> None:
        names = []
        for text in call.only(1, 3):
            word = quoted(text).upper().removesuffix(":DC")
            names.append(choice(word, ["CURRent", "VOLTage", "RESistance"]))
        self._set["sense"] = names if self._set["concurrent"] else names[-1:]

    def _range_A(self) -> float:
        return float(self._set["range"] or _range_of(self._set["limit"], RANGES_A))

    def _range_V(self) -> float:
        return float(self._set["range_V"] or 20.0)

    def _set_range(self, text: str) -> None:
        asked = _range_of(number(text, -1.05, 1.05), RANGES_A)
        if asked > _range_of(self._set["limit"], RANGES_A):  # no higher than the compliance range (p. 18-62)
            raise ScpiError(-221)
        self._set["range"] = asked

    def _set_voltage_range(self, text: str) -> None:
        self._set["range_V"] = _range_of(number(text, -210, 210), RANGES_V)

    def _set_limit(self, text: str) -> None:
        limit = abs(number(text, -1.05, 1.05))
        if limit < 1e-9:
            raise ScpiError(-222)
        self._set["limit"] = limit
        if self._set["range"] is not None:
            self._set["range"] = min(self._set["range"], _range_of(limit, RANGES_A))

    def _set_elements(self, call: Call) -> None:
        names = {choice(text, ELEMENTS) for text in call.only(1, 5)}
        self._set["elements"] = [name for name in ORDER if name in names]

    def _trigger_commands(self) -> None:
        s = self._set
        for layer, key in ((":ARM", "arm"), (":TRIGger", "trig")):
            s.whole(f"{layer}:COUNt", key, 1, 2500)
            s.whole(f"{layer}:OLINe", key + "line", 1, 4)
            s.whole(f"{layer}:ILINe", key + "in", 1, 4)
        s.word(":ARM:SOURce", "armsource", ["IMMediate", "TLINk", "TIMer", "MANual", "BUS", "NSTest", "PSTest"])
        s.word(":TRIGger:SOURce", "trigsource", ["IMMediate", "TLINk"])
        s.word(":ARM:OUTPut", "armout", ["TENTer", "TEXit", "NONE"])
        s.word(":TRIGger:OUTPut", "trigout", ["SOURce", "DELay", "SENSe", "NONE"])
        s.number(":TRIGger:DELay", "tdelay", 0, 999.9999)
        s.number(":ARM:TIMer", "timer", 0.001, 99999.99)
        self.event(":TRIGger:CLEar", lambda: None)
        self.event(":INITiate[:IMMediate]", self._initiate)
        self.event(":ABORt", self._abort)

    def _trace_commands(self) -> None:
        self.on(":TRACe:POINts", self._set_points)
        self.query(":TRACe:POINts?", lambda: str(self._trace["points"]))
        self.query(":TRACe:POINts:ACTual?", lambda: str(self._filled().shape[0]))
        self.event(":TRACe:CLEar", self._clear)
        self.control(":TRACe:FEED", lambda: str(self._trace["feed"]), self._feed)
        self.control(":TRACe:FEED:CONTrol", lambda: str(self._trace["control"]), self._control)
        self.control(":TRACe:TSTamp:FORMat", lambda: str(self._trace["stamp"]), self._set_stamp)
        self.query(":TRACe:DATA?", self._data)
        self.event(":STATus:PRESet", lambda: setattr(self, "_measurement_enable", 0))
        self.on(":STATus:MEASurement:ENABle", self._enable)
        self.on("*SRE", self._service_enable)
        self.query("*STB?", self._status_byte)

    # --- the buffer -------------------------------------------------------------------------------------------------

    def _idle_buffer(self) -> None:
        self._finish()
        if self._trace["control"] != "NEV":
            raise ScpiError(800)

    def _set_points(self, call: Call) -> None:
        points = int(number(call.only(1)[0], 1, 2500))
        self._idle_buffer()
        self._trace["points"] = points

    def _clear(self) -> None:
        self._idle_buffer()
        self._buffer, self._full = np.zeros((0, 5)), False

    def _feed(self, text: str) -> None:
        self._idle_buffer()
        self._trace["feed"] = choice(text, ["SENSe", "CALCulate", "CALCulate2"])

    def _control(self, text: str) -> None:
        self._finish()
        self._trace["control"] = choice(text, ["NEXT", "NEVer"])
        if self._trace["control"] == "NEXT":
            self._buffer, self._full = np.zeros((0, 5)), False

    def _set_stamp(self, text: str) -> None:
        self._trace["stamp"] = choice(text, ["ABSolute", "DELTa"])

    def _filled(self) -> Array:
        self._finish()
        return self._buffer

    def _data(self) -> str:
        table = self._filled()
        if table.size == 0:
            raise ScpiError(-230)
        table = table.copy()
        table[:, 3] -= table[0, 3]
        if self._trace["stamp"] == "DELT":
            table[:, 3] = np.diff(table[:, 3], prepend=0.0)
        return self._text(table)

    def _text(self, table: Array) -> str:
        columns = [ORDER.index(name) for name in self._set["elements"]]
        return ",".join(["%+.6E"] * (len(columns) * table.shape[0])) % tuple(table[:, columns].ravel())

    def _enable(self, call: Call) -> None:
        self._measurement_enable = int(number(call.only(1)[0], 0, 65535))

    def _service_enable(self, call: Call) -> None:
        self._service = int(number(call.only(1)[0], 0, 255))

    def _status_byte(self) -> str:
        """Bit 0: an enabled measurement event (bit 9, buffer full); bit 6: an enabled summary."""
        self._finish()
        summary = 1 if self._full and self._measurement_enable & 512 else 0
        return str(summary | (64 if summary & self._service else 0))

    # --- what it does -----------------------------------------------------------------------------------------------

    def _aperture_s(self) -> float:
        conversions = self._set["count"] if self._set["average"] and self._set["tcontrol"] == "REP" else 1
        return float(conversions * self._set["nplc"] / self._line_frequency_Hz)

    def _initiate(self) -> None:
        self._finish()
        s = self._set
        if self._pending is not None:
            raise ScpiError(-213)
        if not self.output_on:
            raise ScpiError(803)
        if s["armsource"] != "IMM" or s["trigsource"] != "IMM" or s["arm"] != 1:
            raise ScpiError(-211)  # waiting for a trigger is not modelled
        now, aperture_s = self._world.now_s, self._aperture_s()
        period_s = s["tdelay"] + aperture_s + DEAD_S
        start_s = now + self._world.meter_latency_s + s["tdelay"] + period_s * np.arange(s["trig"])
        self._pending = (now, start_s, aperture_s)
        if s["armout"] == "TENT":
            self._world.trigger(now + LINK_PULSE_S)
        if s["trigout"] != "NONE":
            for at_s in start_s + (aperture_s if s["trigout"] == "SENS" else 0.0):
                self._world.trigger(float(at_s) + LINK_PULSE_S)

    def _abort(self) -> None:
        self._finish()
        self._pending = None

    def _finish(self) -> None:
        """Stores the readings once the clock has passed the last of them."""
        if self._pending is None:
            return
        _, start_s, aperture_s = self._pending
        if self._world.now_s < start_s[-1] + aperture_s:
            return
        self._pending = None
        table = self._measure(start_s, start_s + aperture_s)
        if self._trace["control"] == "NEXT":
            self._buffer = np.concatenate([self._buffer, table])[: self._trace["points"]]
            if self._buffer.shape[0] == self._trace["points"]:
                self._trace["control"], self._full = "NEV", True

    def _read(self) -> str:
        """READ?: one acquisition, awaited."""
        self._initiate()
        if self._pending is None:
            raise ScpiError(-211)
        _, start_s, aperture_s = self._pending
        self._pending = None
        self._world.clock.sleep(max(0.0, start_s[-1] + aperture_s - self._world.now_s))
        return self._text(self._measure(start_s, start_s + aperture_s))

    def _measure_current(self) -> str:
        """MEASure: CONFigure, which sets the function's controls to their *RST values and switches on; then READ?.

        2400S-900-01 p. 17-2; that the current limit is none of those controls is an assumption.
        """
        self._set["sense"], self._set["range"], self._set["nplc"] = ["CURR"], None, 1.0
        self._set["output"] = True
        return self._read()

    def _measure(self, start_s: Array, stop_s: Array) -> Array:
        """Rows of voltage (V), current (A), resistance, timestamp (s as told) and status word."""
        s, n = self._set, start_s.size
        table = np.full((n, 5), NAN)
        word = np.full(n, FRONT if s["terminals"] == "FRON" else 0) | (FILTERED if s["average"] else 0)
        table[:, 0] = s["volt"]
        if s["source"] == "VOLT" and "CURR" in s["sense"]:
            found = measured(self._world, start_s, stop_s, s["limit"], FULL_SCALE * self._range_A())
            table[:, 1] = np.where(found.over, OVERFLOW, found.current_A)
            word = word | found.limited * IN_COMPLIANCE | found.over * (OVER_RANGE | RANGE_COMPLIANCE)
        table[:, 3] = np.floor(start_s * 1024 + 1e-6) / 1000
        table[:, 4] = word
        return table


def twin(world: World, bench: BenchFile) -> Keithley2400Twin:
    """For the registry."""
    return Keithley2400Twin(world, bench.line_frequency)
