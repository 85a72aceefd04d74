"""The twin of a Keithley 6517B electrometer: amps on a fixed range, V-source, the measure layer's timer, the buffer.

After the sources named in the driver. The text of a reading with units and status is as PyMeasure's Keithley6517B takes
it apart (the manual's figure 113 was not at hand); without them it is numbers alone. Compliance is told with readings.
Not modelled: other functions (volts, ohms, coulombs), autoranging (it is the highest range), filters, settling, the
mains, the time that the instrument needs between two readings, and of the resistive limit's effect all but the current
that it lets through. The lists of TRAC:ELEM and FORM:ELEM must agree on what is optional, as p. 14-142 says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.virtual.front_end import measured
from otters_lab.instruments.virtual.scpi import Call, ScpiError, boolean, choice, number
from otters_lab.instruments.virtual.settings import Settings
from otters_lab.instruments.virtual.timed_readings import TimedReadings, grid
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

RANGES_A = (2e-11, 2e-10, 2e-9, 2e-8, 2e-7, 2e-6, 2e-5, 2e-4, 2e-3, 2e-2)
FULL_SCALE = 1.05
OVERFLOW, UNDER_ZERO_CHECK = 9.9e37, 9.91e37
LIMITS_A = {100.0: 10e-3, 1000.0: 1e-3}
SERIES_OHM = 1e6
BUFFER_FULL, COMPLIANCE, OVER_RANGE = 1 << 9, 1 << 14, 1 << 0
ELEMENTS = ["READing", "TSTamp", "STATus", "RNUMber", "CHANnel", "UNITs", "VSOurce"]
OPTIONAL = ["TSTamp", "CHANnel", "VSOurce"]
READING, TIME, VOLTS, CHECKED = range(4)


class ElectrometerTwin(TimedReadings):
    """The SCPI commands of a timed current measurement. `offset_A` is the input's own offset, for zero correct."""

    def __init__(self, world: World, line_frequency_Hz: float) -> None:
        super().__init__("KEITHLEY INSTRUMENTS INC.,MODEL 6517B,VIRTUAL,A13/A02", world, columns=4, most=50_000)
        self._line_frequency_Hz = line_frequency_Hz
        self.offset_A = self._zero_A = 0.0
        self.interlock_open = False
        self._stored: list[str] = []  # TRAC:ELEM
        self._events = self._service = self._event_enable = 0
        self._set = Settings(self, self._defaults, "%.6E")
        self.reset()
        self._current_commands()
        self._source_commands()
        self._system_commands()
        self._trigger_commands()
        self._buffer_commands()

    def _defaults(self) -> dict[str, Any]:
        return {
            "function": "VOLT", "range": 2e-2, "auto": True, "nplc": 1.0, "digits": 6, "average": False, "median": True,
            "damping": False, "volt": 0.0, "source_range": 100.0, "limit": 1000.0, "limited": False, "connect": False,
            "resistor": False, "output": False, "lsync": False, "check": True, "correct": False, "stamp": "REL",
            "arm_source": "IMM", "arm2_source": "IMM", "arms": 1, "arms2": 1, "arm2_delay": 0.0,
            "trigger_source": "IMM", "timer": 0.1, "triggers": 1, "delay": 0.0, "trace_stamp": "ABS",
            "elements": ["READ", "CHAN", "RNUM", "UNIT", "TST", "STAT"],
        }  # fmt: skip

    def reset(self) -> None:
        """*RST: one reading at a time, source off, zero check on. The buffer stays."""
        self._set.restore()
        self._started_s = None
        self._last_A, self._in_compliance = 0.0, False

    def clear_status(self) -> None:
        """*CLS: no errors and no events."""
        super().clear_status()
        self._events = 0

    @property
    def output_on(self) -> bool:
        """Whether the source is in operate; an open interlock keeps it in standby."""
        return bool(self._set["output"]) and not self.interlock_open

    # --- settings -----------------------------------------------------------------------------------------------------

    def _current_commands(self) -> None:
        s, current = self._set, "[:SENSe[1]]:CURRent[:DC]"
        self.control("[:SENSe[1]]:FUNCtion", lambda: f'"{s["function"]}:DC"', self._set_function)
        self.control(f"{current}:RANGe[:UPPer]", lambda: s.shown(self._range_A()), self._set_range)
        s.flag(f"{current}:RANGe:AUTO", "auto")
        s.number(f"{current}:NPLCycles", "nplc", 0.01, 10)
        self.control(f"{current}:APERture", lambda: s.shown(self._aperture()), self._set_aperture)
        s.whole(f"{current}:DIGits", "digits", 4, 7)
        s.flag(f"{current}:AVERage[:STATe]", "average")
        s.flag(f"{current}:MEDian[:STATe]", "median")
        s.flag(f"{current}:DAMPing", "damping")
        self.query(":MEASure[:CURRent[:DC]]?", self._read)
        self.query(":READ?", self._read)

    def _set_function(self, text: str) -> None:
        if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
            raise ScpiError(-104)
        name = text[1:-1].upper().removesuffix(":DC")
        self._set["function"] = choice(name, ["CURRent", "VOLTage"])

    def _range_A(self) -> float:
        return RANGES_A[-1] if self._set["auto"] else float(self._set["range"])

    def _set_range(self, text: str) -> None:
        expected = number(text, 0, 2.1e-2)
        self._set["range"] = next(known for known in RANGES_A if expected <= known * FULL_SCALE * (1 + 1e-9))
        self._set["auto"] = False

    def _aperture(self) -> float:
        return float(self._set["nplc"] / self._line_frequency_Hz)

    def _set_aperture(self, text: str) -> None:
        self._set["nplc"] = number(text, 0.01 / self._line_frequency_Hz, 0.2) * self._line_frequency_Hz

    def _source_commands(self) -> None:
        s, source = self._set, ":SOURce:VOLTage"
        level = f"{source}[:LEVel][:IMMediate][:AMPLitude]"
        self.control(level, lambda: s.shown(s["volt"]), self._set_level)
        self.control(f"{source}:RANGe", lambda: s.shown(s["source_range"]), self._set_source_range)
        s.number(f"{source}:LIMit[:AMPLitude]", "limit", 0, 1000)
        s.flag(f"{source}:LIMit:STATe", "limited")
        s.flag(f"{source}:MCONnect", "connect")
        s.flag(":SOURce:CURRent:RLIMit:STATe", "resistor")
        self.query(":SOURce:CURRent:LIMit[:STATe]?", lambda: str(int(self._now_limited())))
        self.control(":OUTPut[1][:STATe]", lambda: str(int(self.output_on)), self._set_output)

    def _set_level(self, text: str) -> None:
        most = min(self._set["source_range"], self._set["limit"] if self._set["limited"] else 1000.0)
        self._set["volt"] = number(text, -most, most)

    def _set_source_range(self, text: str) -> None:
        range_V = 100.0 if abs(number(text, -1000, 1000)) <= 100 else 1000.0
        if abs(self._set["volt"]) > range_V:
            raise ScpiError(-221)
        self._set["source_range"] = range_V

    def _set_output(self, text: str) -> None:
        on = boolean(text)
        if on and self.interlock_open:
            raise ScpiError(-221)
        self._finish()
        self._set["output"] = on
        self._in_compliance = self._in_compliance and on

    def _now_limited(self) -> bool:
        self._finish()
        return self._in_compliance and self.output_on

    def _system_commands(self) -> None:
        s = self._set
        s.flag(":SYSTem:ZCHeck", "check")
        s.flag(":SYSTem:ZCORrect[:STATe]", "correct")
        self.event(":SYSTem:ZCORrect:ACQuire", self._acquire_zero)
        s.flag(":SYSTem:LSYNc:STATe", "lsync")
        s.word(":SYSTem:TSTamp:TYPE", "stamp", ["RELative"])
        self.query(":SYSTem:INTerlock?", lambda: str(int(not self.interlock_open)))
        self.event(":STATus:PRESet", lambda: setattr(self, "_event_enable", 0))
        self.query(":STATus:MEASurement[:EVENt]?", self._event_register)
        self.on(":STATus:MEASurement:ENABle", self._enable)
        self.on("*SRE", self._service_enable)
        self.query("*STB?", self._status_byte)

    def _acquire_zero(self) -> None:
        self._finish()
        if not self._set["check"]:
            raise ScpiError(-221)
        self._zero_A = self._last_A

    def _event_register(self) -> str:
        self._finish()
        events, self._events = self._events, 0
        return str(events)

    def _enable(self, call: Call) -> None:
        self._event_enable = int(number(call.only(1)[0], 0, 65535))

    def _service_enable(self, call: Call) -> None:
        self._service = int(number(call.only(1)[0], 0, 255))

    def _status_byte(self) -> str:
        """Bit 0: an enabled measurement event; bit 6: an enabled summary."""
        self._finish()
        summary = int(bool(self._events & self._event_enable))
        return str(summary | (64 if summary & self._service else 0))

    # --- readings -----------------------------------------------------------------------------------------------------

    def _trigger_commands(self) -> None:
        s, arm, trigger = self._set, ":ARM[:SEQuence[1]]", ":TRIGger[:SEQuence[1]]"
        for layer, key in ((f"{arm}[:LAYer[1]]", "arm"), (f"{arm}:LAYer2", "arm2")):
            s.word(f"{layer}:SOURce", f"{key}_source", ["IMMediate"])
        s.whole(f"{arm}[:LAYer[1]]:COUNt", "arms", 1, 1)
        s.whole(f"{arm}:LAYer2:COUNt", "arms2", 1, 1)
        s.number(f"{arm}:LAYer2:DELay", "arm2_delay", 0, 999999.999)
        s.word(f"{trigger}:SOURce", "trigger_source", ["IMMediate", "TIMer"])
        s.number(f"{trigger}:TIMer", "timer", 1e-3, 99999.999)
        s.whole(f"{trigger}:COUNt", "triggers", 1, 99999)
        s.number(f"{trigger}:DELay", "delay", 0, 999999.999)
        self.event(":INITiate[:IMMediate]", self._initiate)
        self.event(":ABORt", self._abort)

    def _initiate(self) -> None:
        s = self._set
        if s["function"] != "CURR":
            raise ScpiError(-221)  # volts are not modelled
        timer_s = s["timer"] if s["trigger_source"] == "TIM" else None
        first_s = s["arm2_delay"]
        starts = [first_s + start_s for start_s in grid(s["triggers"], 1, timer_s, s["delay"], self._aperture())]
        self._begin(starts, self._aperture(), already=-213)

    def _take(self, start_s: Array, stop_s: Array) -> Array:
        reading = self._measure(start_s, stop_s) + self.offset_A
        self._last_A = float(reading[-1])
        reading = reading - (self._zero_A if self._set["correct"] else 0.0)
        full_scale_A = FULL_SCALE * self._range_A()
        over = np.abs(reading) > full_scale_A
        step_A = self._range_A() / (2 * 10 ** (self._set["digits"] - 1))  # 5 1/2 digits count to 200 000
        reading = np.where(over, OVERFLOW, np.round(reading / step_A) * step_A)
        checked = bool(self._set["check"])
        self._events |= OVER_RANGE * bool(np.any(over) and not checked)
        volts = self._set["volt"] if self.output_on else 0.0
        rows = np.zeros((start_s.size, 4))
        rows[:, READING] = UNDER_ZERO_CHECK if checked else reading
        rows[:, TIME] = np.round(start_s - start_s[0], 6)
        rows[:, VOLTS], rows[:, CHECKED] = volts, checked
        if self._feeding and len(self._buffer) + start_s.size >= self._points:
            self._events |= BUFFER_FULL
        return rows

    def _measure(self, start_s: Array, stop_s: Array) -> Array:
        """Currents (A) of apertures in seconds of the clock: none without a source that drives them through."""
        if self._set["check"] or not (self.output_on and self._set["connect"]):
            return np.zeros(start_s.size)
        limit_A = LIMITS_A[self._set["source_range"]]
        found = measured(self._world, start_s, stop_s, limit_A, FULL_SCALE * self._range_A())
        self._in_compliance = bool(found.limited[-1])
        self._events |= COMPLIANCE * bool(np.any(found.limited))
        if not self._set["resistor"]:
            return found.current_A
        most_A = abs(self._set["volt"]) / SERIES_OHM
        return np.clip(found.current_A, -most_A, most_A)

    def _read(self) -> str:
        """READ? and MEASure?: one acquisition as it is set up, awaited; its last reading."""
        if self._feeding:
            raise ScpiError(-221)
        kept = self._buffer, self._points
        self._clear()
        self._feeding, self._points = True, self._set["triggers"]
        try:
            self._initiate()
            self._world.clock.sleep(self._starts_s[-1] + self._aperture_s + self._world.meter_latency_s)
            self._finish()
            return self._text(self._buffer[-1:])
        finally:
            self._feeding = False
            self._buffer, self._points = kept

    # --- buffer -------------------------------------------------------------------------------------------------------

    def _buffer_commands(self) -> None:
        self._trace_commands(actual=":TRACe:POINts:ACTual?")
        self._set.word(":TRACe:TSTamp:FORMat", "trace_stamp", ["ABSolute"])
        self.on(":TRACe:ELEMents", self._set_stored)
        self.on(":FORMat:ELEMents", self._set_elements)
        self.query(":FORMat:ELEMents?", lambda: ",".join(self._set["elements"]))
        self.on(":FORMat[:DATA]", lambda call: (choice(call.only(1)[0], ["ASCii"]), None)[1])
        self.query(":TRACe:DATA?", self._data)

    def _set_stored(self, call: Call) -> None:
        names = [choice(text, [*OPTIONAL, "NONE"]) for text in call.only(1, len(OPTIONAL))]
        self._stored = [] if names == ["NONE"] else names
        self._clear()

    def _set_elements(self, call: Call) -> None:
        self._set["elements"] = [choice(text, ELEMENTS) for text in call.only(1, len(ELEMENTS))]

    def _data(self) -> str:
        if {"TST", "CHAN", "VSO"} & set(self._set["elements"]) != set(self._stored):
            raise ScpiError(313)
        return self._text(self._filled())

    def _text(self, rows: Array) -> str:
        """Readings in the instrument's own order of elements, whatever the order that they were asked for in."""
        return ",".join(self._reading_text(number_, row) for number_, row in enumerate(rows))

    def _reading_text(self, index: int, row: Array) -> str:
        elements, units = self._set["elements"], "UNIT" in self._set["elements"]
        state = "Z" if row[CHECKED] else "O" if row[READING] >= OVERFLOW else "N"
        letters = (state if "STAT" in elements else "") + ("ADC" if units else "")
        parts = {
            "READ": f"{row[READING]:+.6E}{letters}",
            "TST": f"{row[TIME]:+.6f}" + ("secs" if units else ""),
            "RNUM": f"{index:+d}" + ("RDNG#" if units else ""),
            "CHAN": "000",
            "VSO": f"{row[VOLTS]:+.4f}" + ("Vdc" if units else ""),
        }
        return ",".join(text for name, text in parts.items() if name in elements)


def twin(world: World, bench: BenchFile) -> ElectrometerTwin:
    """For the registry."""
    return ElectrometerTwin(world, bench.line_frequency)
