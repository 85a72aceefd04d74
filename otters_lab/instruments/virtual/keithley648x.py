"""The twins of a Keithley 6485 picoammeter and of a 6487, which has a voltage source.

After the sources named in the driver. Readings have seven digits. Settling, damping and the time that the instrument
needs between two readings are not modelled; a timer faster than the aperture gives late readings, as timestamps tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.virtual.scpi import Call, ScpiError, boolean, choice, integer, number
from otters_lab.instruments.virtual.timed_readings import TimedReadings, grid
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

RANGES_A = (2e-9, 2e-8, 2e-7, 2e-6, 2e-5, 2e-4, 2e-3, 2e-2)
OVERRANGE = 1.05
OVERFLOW = 9.9e37
LIMITS_A = (2.5e-5, 2.5e-4, 2.5e-3, 2.5e-2)
SOURCE_RANGES_V = (10.0, 50.0, 500.0)
STATUS_OVERFLOW, STATUS_ZERO_CHECK, STATUS_ZERO_CORRECT = 1, 1 << 9, 1 << 10
IN_COMPLIANCE_V = -999.0


class PicoammeterTwin(TimedReadings):
    """The SCPI commands of a timed current measurement. `offset_A` is the input's own offset, for zero correct."""

    def __init__(self, world: World, model: str, line_frequency_Hz: float) -> None:
        self._sources = model == "6487"
        identity = f"KEITHLEY INSTRUMENTS INC.,MODEL {model},VIRTUAL,B04  /A02"
        super().__init__(identity, world, columns=4, most=3000 if self._sources else 2500)
        self._line_frequency_Hz = line_frequency_Hz
        self.offset_A = 0.0
        self.interlock_open = False
        self._zero_A = 0.0
        self.reset()
        self.query(":SYSTem:LFRequency?", lambda: f"{line_frequency_Hz:.0f}")
        for name, key in (("ZCHeck", "check"), ("ZCORrect[:STATe]", "correct"), ("AZERo[:STATe]", "azero")):
            self._boolean(f":SYSTem:{name}", key)
        self.event(":SYSTem:ZCORrect:ACQuire", self._acquire_zero)
        self._boolean("[:SENSe[1]]:AVERage[:STATe]", "average")
        self._boolean("[:SENSe[1]]:MEDian[:STATe]", "median")
        current = "[:SENSe[1]]:CURRent[:DC]"
        self.control(f"{current}:RANGe[:UPPer]", lambda: f"{self._range():.6E}", self._set_range)
        self._number(f"{current}:NPLCycles", "nplc", lambda text: number(text, 0.01, 3000 / line_frequency_Hz))
        arm, trigger = ":ARM[:SEQuence[1]][:LAYer[1]]", ":TRIGger[:SEQuence[1]]"
        self._word(f"{arm}:SOURce", "arm_source", ["IMMediate", "TIMer"])
        self._number(f"{arm}:TIMer", "timer", lambda text: round(number(text, 1e-3, 99999.999), 3))
        self._number(f"{arm}:COUNt", "arms", lambda text: integer(text, 1, 2048))
        self._word(f"{trigger}:SOURce", "trigger_source", ["IMMediate"])
        self._number(f"{trigger}:COUNt", "triggers", lambda text: integer(text, 1, 2048))
        self._number(f"{trigger}:DELay", "delay", lambda text: number(text, 0, 999.9999))
        self.event(":INITiate[:IMMediate]", self._initiate)
        self.event(":ABORt", self._abort)
        self.on(":FORMat:ELEMents", self._set_elements)
        self._buffer_commands()
        if self._sources:
            self._source_commands()

    def reset(self) -> None:
        """*RST: one reading at a time, source off. Buffer settings stay, as the manual says."""
        self._set: dict[str, Any] = {
            "check": True, "correct": False, "azero": True, "average": False, "median": False, "range": None,
            "nplc": 6.0, "arm_source": "IMM", "timer": 0.1, "arms": 1, "trigger_source": "IMM", "triggers": 1,
            "delay": 0.0, "volt": 0.0, "source_range": 10.0, "limit": 2.5e-2, "output": False,
        }  # fmt: skip
        self._elements = ["READ", "TIME", "STAT"]
        self._started_s = None
        self._last_A = 0.0

    @property
    def output_on(self) -> bool:
        """Whether a device is biased."""
        return bool(self._set["output"])

    # --- settings -----------------------------------------------------------------------------------------------------

    def _put(self, key: str, value: Any) -> None:
        self._set[key] = value

    def _boolean(self, header: str, key: str) -> None:
        self.control(header, lambda: str(int(self._set[key])), lambda text: self._put(key, boolean(text)))

    def _number(self, header: str, key: str, parse: Callable[[str], float]) -> None:
        self.control(header, lambda: f"{self._set[key]:.7G}", lambda text: self._put(key, parse(text)))

    def _word(self, header: str, key: str, words: list[str]) -> None:
        self.control(header, lambda: str(self._set[key]), lambda text: self._put(key, choice(text, words)))

    def _range(self) -> float:
        return float(self._set["range"] or RANGES_A[-1])

    def _set_range(self, text: str) -> None:
        expected = abs(number(text, -2.1e-2, 2.1e-2))
        self._set["range"] = next((r for r in RANGES_A if expected <= r * OVERRANGE), RANGES_A[-1])

    def _set_elements(self, call: Call) -> None:
        words = ["READing", "UNITs", "TIME", "STATus", *(["VSOurce"] if self._sources else [])]
        elements = [choice(name, words) for name in call.only(1, len(words))]
        if "UNIT" in elements:
            raise ScpiError(-224)  # not modelled
        self._elements = elements

    def _source_commands(self) -> None:
        source = ":SOURce[1]:VOLTage"
        self.control(
            f"{source}[:LEVel][:IMMediate][:AMPLitude]",
            lambda: f"{self._set['volt']:.6E}",
            lambda text: self._put("volt", number(text, -self._set["source_range"], self._set["source_range"])),
        )
        self.control(f"{source}:RANGe", lambda: f"{self._set['source_range']:.6E}", self._set_source_range)
        self.control(f"{source}:ILIMit", lambda: f"{self._set['limit']:.6E}", self._set_limit)
        self.control(f"{source}:STATe", lambda: str(int(self._set["output"])), self._set_output)
        self.query(f"{source}:INTerlock:FAIL?", lambda: str(int(self.interlock_open)))

    def _set_source_range(self, text: str) -> None:
        volts = number(text, -500, 500)
        self._set["source_range"] = next(r for r in SOURCE_RANGES_V if abs(volts) <= r)
        if self._set["source_range"] > 10:
            self._set["limit"] = min(self._set["limit"], LIMITS_A[2])

    def _set_limit(self, text: str) -> None:
        limit = number(text, LIMITS_A[0], LIMITS_A[-1])
        nearest = min(LIMITS_A, key=lambda known: abs(known - limit))
        self._set["limit"] = nearest if self._set["source_range"] == 10 else min(nearest, LIMITS_A[2])

    def _set_output(self, text: str) -> None:
        on = boolean(text)
        if on and self.interlock_open:
            raise ScpiError(-221)
        self._finish()
        self._set["output"] = on

    # --- readings -----------------------------------------------------------------------------------------------------

    def _initiate(self) -> None:
        setting = self._set
        aperture_s = setting["nplc"] / self._line_frequency_Hz
        timer_s = setting["timer"] if setting["arm_source"] == "TIM" else None
        self._begin(grid(setting["arms"], setting["triggers"], timer_s, setting["delay"], aperture_s), aperture_s, -211)

    def _acquire_zero(self) -> None:
        self._finish()
        self._zero_A = self._last_A

    def _take(self, start_s: Array, stop_s: Array) -> Array:
        current, source_V = self._measure(start_s, stop_s)
        offset_A = self.offset_A - (self._zero_A if self._set["correct"] else 0.0)
        self._last_A = float(current[-1] + self.offset_A)
        reading = current + offset_A
        overflow = np.abs(reading) > OVERRANGE * self._range()
        status = STATUS_ZERO_CHECK * self._set["check"] + STATUS_ZERO_CORRECT * self._set["correct"]
        return np.column_stack(
            [
                np.where(overflow, OVERFLOW, reading),
                np.round(start_s - start_s[0], 6),
                status + STATUS_OVERFLOW * overflow,
                source_V,
            ]
        )

    def _measure(self, start_s: Array, stop_s: Array) -> tuple[Array, Array]:
        """Currents (A) and source values (V) of apertures in seconds of the clock."""
        zeros = np.zeros(start_s.size)
        if self._set["check"] or (self._sources and not self.output_on):
            return zeros, zeros
        current = self._world.currents_A(start_s, stop_s)
        if not self._sources:
            return current, zeros
        limited = np.abs(current) > self._set["limit"]
        current = np.clip(current, -self._set["limit"], self._set["limit"])
        return current, np.where(limited, IN_COMPLIANCE_V, self._set["volt"])

    # --- buffer -------------------------------------------------------------------------------------------------------

    def _buffer_commands(self) -> None:
        self._trace_commands(actual=":TRACe:ACTual?")
        self.control(":TRACe:FEED", lambda: "SENS1", lambda text: self._put("feed", choice(text, ["SENSe", "SENSe1"])))
        self.control(":TRACe:TSTamp:FORMat", lambda: "ABS", lambda text: self._put("stamp", choice(text, ["ABSolute"])))
        self.query(":TRACe:DATA?", self._data)

    def _data(self) -> str:
        column = {"READ": 0, "TIME": 1, "STAT": 2, "VSO": 3}
        rows = self._filled()[:, [column[name] for name in self._elements]]
        return ",".join(f"{value:+.6E}" for value in rows.ravel())


def twin_6485(world: World, bench: BenchFile) -> PicoammeterTwin:
    """For the registry."""
    return PicoammeterTwin(world, "6485", bench.line_frequency)


def twin_6487(world: World, bench: BenchFile) -> PicoammeterTwin:
    """For the registry."""
    return PicoammeterTwin(world, "6487", bench.line_frequency)
