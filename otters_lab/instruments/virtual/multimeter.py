"""The multimeter of a DMM6500's twin: functions, ranges, integration, averaging, relative offset, display, READ?.

As QCoDeS's Keithley6500 and PyMeasure's KeithleyDMM6500 send it: the manual, DMM6500-901-01, was not at hand. QCoDeS's
takes SENSe:FUNCtion? to answer without quotes, PyMeasure's takes either; it is set with them. Of the functions DC volts
are measured, the amplifier's output, and DC amperes, which are none: nothing is wired there. The others can be set, not
read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from otters_lab.core.clock import Clock
from otters_lab.instruments.virtual.scpi import ScpiError, ScpiInstrument, header_pattern, number, quoted
from otters_lab.instruments.virtual.settings import Settings

OVERRANGE = 1.2
OVERFLOW = 9.9e37
NPLC = {50: (0.0005, 12.0), 60: (0.0005, 15.0)}  # by line frequency (Hz)
STIMULI = ["NONE", "DISPlay", "COMMand", "EXTernal", *(f"{word}{n}" for word in ("TIMer", "NOTify") for n in (1, 2, 3))]
TIMERS = range(1, 5)
LIGHTS = ["ON100", "ON75", "ON50", "ON25", "OFF", "BLACkout"]


@dataclass(frozen=True)
class Function:
    """One measuring function: its header, ranges (V, A, ohm), largest relative offset, and what else can be set."""

    header: str
    ranges: tuple[float, ...]
    relative: float
    integrates: bool = True
    bandwidth: bool = False


FUNCTIONS = {
    "VOLT:DC": Function("VOLTage[:DC]", (0.1, 1.0, 10.0, 100.0, 1000.0), 1000.0),
    "VOLT:AC": Function("VOLTage:AC", (0.1, 1.0, 10.0, 100.0, 750.0), 750.0, integrates=False, bandwidth=True),
    "CURR:DC": Function("CURRent[:DC]", (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 3.0), 3.0),
    "CURR:AC": Function("CURRent:AC", (1e-3, 1e-2, 0.1, 1.0, 3.0), 3.0, integrates=False, bandwidth=True),
    "RES": Function("RESistance", (10.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8), 1e8),
    "FRES": Function("FRESistance", (1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8), 1e8),
    "TEMP": Function("TEMPerature", (), 3310.0),
}


class Multimeter:
    """The commands, and what is set by them. `function` is NONE while the instrument digitises instead.

    `volts` gives the mean voltage (V) at the input between two times of the clock (s), and what is to be done with a
    reading: `store`, which takes its start (s) and its value. `chosen` is called when a function becomes active.
    """

    def __init__(
        self,
        instrument: ScpiInstrument,
        clock: Clock,
        line_frequency_Hz: float,
        *,
        volts: Callable[[float, float], float],
        store: Callable[[float, float], None],
        chosen: Callable[[], None],
    ) -> None:
        self._instrument = instrument
        self._clock = clock
        self._line_Hz = line_frequency_Hz
        self._volts, self._store, self._chosen = volts, store, chosen
        self._of = {name: Settings(instrument, partial(_defaults, f), "%.10G") for name, f in FUNCTIONS.items()}
        self._shared = Settings(instrument, _shared_defaults, "%.10G")
        self.reset()
        instrument.control("[:SENSe[1]]:FUNCtion[:ON]", lambda: self.function, self._choose)
        for name, function in FUNCTIONS.items():
            self._function_commands(function, self._of[name])
        self._shared_commands(instrument)

    def reset(self) -> None:
        """*RST: volts, automatic ranges, one power-line cycle, no averaging."""
        self.function = "VOLT:DC"
        for settings in (*self._of.values(), self._shared):
            settings.restore()

    # --- commands -----------------------------------------------------------------------------------------------------

    def _choose(self, text: str) -> None:
        word = quoted(text).upper()
        for name, function in FUNCTIONS.items():
            if header_pattern(function.header).fullmatch(word):
                self.function = name
                return self._chosen()
        raise ScpiError(-224)

    def _function_commands(self, function: Function, settings: Settings) -> None:
        sense = f"[:SENSe[1]]:{function.header}"
        if function.ranges:
            self._instrument.control(
                f"{sense}:RANGe[:UPPer]",
                lambda: settings.shown(settings["range"]),
                lambda text: _set_range(function, settings, text),
            )
            settings.flag(f"{sense}:RANGe:AUTO", "auto")
        if function.integrates:
            least, most = NPLC[round(self._line_Hz)]
            settings.number(f"{sense}:NPLCycles", "nplc", least, most)
            self._instrument.control(
                f"{sense}:APERture",
                lambda: settings.shown(settings["nplc"] / self._line_Hz),
                lambda text: self._set_aperture(settings, text),
            )
            settings.flag(f"{sense}:AZERo[:STATe]", "azero")
        if function.bandwidth:
            settings.word(f"{sense}:DETector:BANDwidth", "bandwidth", ["3", "30", "300"])
        settings.flag(f"{sense}:AVERage[:STATe]", "average")
        settings.word(f"{sense}:AVERage:TCONtrol", "tcontrol", ["REPeat", "MOVing", "HYBRid"])
        settings.whole(f"{sense}:AVERage:COUNt", "count", 1, 100)
        settings.number(f"{sense}:RELative", "relative", -function.relative, function.relative)
        settings.flag(f"{sense}:RELative:STATe", "relative_on")
        settings.whole(f":DISPlay:{function.header}:DIGits", "digits", 3, 6)

    def _set_aperture(self, settings: Settings, text: str) -> None:
        least, most = NPLC[round(self._line_Hz)]
        settings["nplc"] = number(text, least / self._line_Hz, most / self._line_Hz) * self._line_Hz

    def _shared_commands(self, instrument: ScpiInstrument) -> None:
        self._shared.word(":DISPlay:LIGHt:STATe", "light", LIGHTS)
        self._shared.whole(":ROUTe:SCAN:COUNt:SCAN", "scans", 0, 100_000_000)
        self._shared.number(":ROUTe:SCAN:INTerval", "interval", 0.0, 1e5)
        for n in TIMERS:  # the blocks that the twin knows wait for none of them
            self._shared.number(f":TRIGger:TIMer{n}:DELay", f"delay{n}", 8e-6, 1e5)
            self._shared.word(f":TRIGger:TIMer{n}:STARt:STIMulus", f"stimulus{n}", STIMULI)
        self._shared.word("*LANG", "language", ["SCPI"])
        self._shared.word(":FORMat[:DATA]", "format", ["ASCii"])
        instrument.query(":ROUTe:TERMinals?", lambda: "FRON")  # a switch on the front panel, not a setting
        instrument.event("[:SENSe[1]]:AZERo:ONCE", lambda: None)  # an ideal zero needs no renewal
        instrument.query(":READ?", self._read)
        instrument.query(":MEASure:VOLTage[:DC]?", self._measure_volts)

    # --- measuring ----------------------------------------------------------------------------------------------------

    def _measure_volts(self) -> str:
        """MEASure: the function, then READ?."""
        self._choose('"VOLT:DC"')
        return self._read()

    def _read(self) -> str:
        """One reading, awaited: the mean over its power-line cycles, repeated where it is averaged."""
        if self.function not in ("VOLT:DC", "CURR:DC"):
            raise ScpiError(-221)
        settings = self._of[self.function]
        conversions = settings["count"] if settings["average"] and settings["tcontrol"] == "REP" else 1
        start_s = self._clock.monotonic_s()
        self._clock.sleep(conversions * settings["nplc"] / self._line_Hz)
        value = self._volts(start_s, self._clock.monotonic_s()) if self.function == "VOLT:DC" else 0.0
        if settings["auto"]:
            ranges = FUNCTIONS[self.function].ranges
            settings["range"] = next((full for full in ranges if abs(value) <= full), ranges[-1])
        if abs(value) > OVERRANGE * settings["range"]:
            value = OVERFLOW
        elif settings["relative_on"]:
            value -= settings["relative"]
        self._store(start_s, value)
        return f"{value:.6E}"


def _defaults(function: Function) -> dict[str, Any]:
    return {
        "range": function.ranges[-1] if function.ranges else 0.0, "auto": True, "nplc": 1.0, "azero": True,
        "bandwidth": "3", "average": False, "tcontrol": "REP", "count": 10, "relative": 0.0, "relative_on": False,
        "digits": 6,
    }  # fmt: skip


def _shared_defaults() -> dict[str, Any]:
    timers = {f"delay{n}": 1e-5 for n in TIMERS} | {f"stimulus{n}": "NONE" for n in TIMERS}
    return {"light": "ON50", "scans": 1, "interval": 0.0, "language": "SCPI", "format": "ASC", **timers}


def _set_range(function: Function, settings: Settings, text: str) -> None:
    """The lowest range that holds the expected value; a chosen range is no automatic one."""
    expected = number(text, 0.0, function.ranges[-1])
    settings["range"] = next(full for full in function.ranges if expected <= full * (1 + 1e-9))
    settings["auto"] = False
