"""The twin of a Keithley 2450 or 2460: source voltage, measure current, trigger model, buffer, overflow, compliance.

After the Model 2450 Reference Manual, 2450-901-01 Rev. B. Memoryless and ideal but for the read noise of the world:
settling, range transients and the time that blocks take are not modelled. Timestamps are starts of apertures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.virtual.front_end import measured
from otters_lab.instruments.virtual.reading_buffer import ReadingBuffer
from otters_lab.instruments.virtual.scpi import ScpiError, boolean, choice, integer, number, quoted
from otters_lab.instruments.virtual.trace_subsystem import TraceInstrument
from otters_lab.instruments.virtual.trigger_model import play
from otters_lab.instruments.virtual.trigger_setup import TriggerSetup
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


@dataclass(frozen=True)
class Model:
    """What the models of the family differ in: measuring ranges (A), largest source voltage (V), current limits (A)."""

    name: str
    ranges_A: tuple[float, ...]
    volt: float
    limit_A: tuple[float, float]


MODEL_2450 = Model("2450", (10e-9, 100e-9, 1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0), 210.0, (1e-9, 1.05))
MODEL_2460 = Model("2460", (1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0, 4.0, 5.0, 7.0), 105.0, (1e-7, 7.35))
OVERRANGE = 1.05
OVERFLOW = 9.9e37
STATUS_LIMITED, STATUS_OUTPUT = 32, 128


class Keithley2450Twin(TraceInstrument):
    """The SCPI commands of a timed current measurement, and their effect on the world."""

    _elements = ["READing", "RELative", "SOURSTATus"]  # noqa: RUF012

    def __init__(self, world: World, line_frequency_Hz: float, model: Model = MODEL_2450) -> None:
        super().__init__(f"KEITHLEY INSTRUMENTS,MODEL {model.name},VIRTUAL,1.7.12b")
        self._world = world
        self._model = model
        self._line_frequency_Hz = line_frequency_Hz
        self._trigger = TriggerSetup(self, self._blocks_changed)
        self.reset()
        self._source_commands()
        self._sense_commands()
        self._trigger_commands()
        self._buffer_commands()

    def reset(self) -> None:
        """*RST."""
        self._set: dict[str, Any] = {
            "source": "VOLT", "volt": 0.0, "limit": 1.05e-4, "readback": True, "output": False, "sense": "VOLT:DC",
            "range": None, "nplc": 1.0, "azero": True, "rsense": False, "average": False, "count": 1, "precision": 0,
            "terminals": "FRON", "off": "NORM", "filter": 10, "tcontrol": "REP",
        }  # fmt: skip
        self._trigger.reset()
        self._blocks_changed("EMPTY")
        self._started_s: float | None = None
        self._buffer = ReadingBuffer()

    @property
    def output_on(self) -> bool:
        """Whether a device is biased."""
        return bool(self._set["output"])

    @property
    def bias_V(self) -> float:
        """Voltage at the output, 0 while it is off."""
        return float(self._set["volt"]) if self.output_on else 0.0

    # --- commands ---------------------------------------------------------------------------------------------------

    def _number(self, header: str, key: str, low: float, high: float) -> None:
        self.control(header, lambda: f"{self._set[key]:.10G}", lambda text: self._put(key, number(text, low, high)))

    def _boolean(self, header: str, key: str) -> None:
        self.control(header, lambda: str(int(self._set[key])), lambda text: self._put(key, boolean(text)))

    def _word(self, header: str, key: str, words: list[str]) -> None:
        self.control(header, lambda: str(self._set[key]), lambda text: self._put(key, choice(text, words)))

    def _put(self, key: str, value: Any) -> None:
        self._set[key] = value

    def _source_commands(self) -> None:
        level = ":SOURce[1]:VOLTage[:LEVel][:IMMediate][:AMPLitude]"
        self._number(level, "volt", -self._model.volt, self._model.volt)
        self._boolean(":SOURce[1]:VOLTage:READ:BACK", "readback")
        self.control(
            ":SOURce[1]:FUNCtion[:MODE]",
            lambda: str(self._set["source"]),
            lambda text: self._put("source", choice(text, ["VOLTage", "CURRent"])),
        )
        self.control(":SOURce[1]:VOLTage:ILIMit[:LEVel]", lambda: f"{self._set['limit']:.10G}", self._set_limit)
        self._word(":OUTPut[1]:VOLTage:SMODe", "off", ["NORMal", "HIMPedance", "ZERO", "GUARd"])
        self._word(":ROUTe:TERMinals", "terminals", ["FRONt", "REAR"])
        self.control(":OUTPut[1][:STATe]", lambda: str(int(self._set["output"])), self._set_output)

    def _set_limit(self, text: str) -> None:
        limit = number(text, *self._model.limit_A)
        if self._set["range"] is not None and limit <= 1e-3 * self._set["range"]:
            raise ScpiError(-221)
        self._set["limit"] = limit

    def _set_output(self, text: str) -> None:
        self._finish()
        self._set["output"] = boolean(text)
        if not self._set["output"]:
            self._abort()

    def _sense_commands(self) -> None:
        sense = "[:SENSe[1]]:CURRent[:DC]"
        self.control(
            "[:SENSe[1]]:FUNCtion[:ON]",
            lambda: f'"{self._set["sense"]}"',
            lambda text: self._put("sense", _sense_function(text)),
        )
        self.control(f"{sense}:RANGe[:UPPer]", self._range, self._set_range)
        self.control(
            f"{sense}:RANGe:AUTO",
            lambda: str(int(self._set["range"] is None)),
            lambda text: self._put("range", None if boolean(text) else float(self._range())),
        )
        self._number(f"{sense}:NPLCycles", "nplc", 0.01, 10)
        self._boolean(f"{sense}:AZERo[:STATe]", "azero")
        self._boolean(f"{sense}:RSENse", "rsense")
        self._boolean(f"{sense}:AVERage[:STATe]", "average")
        self._word(f"{sense}:AVERage:TCONtrol", "tcontrol", ["REPeat", "MOVing"])
        self.control(
            f"{sense}:AVERage:COUNt",
            lambda: str(self._set["filter"]),
            lambda text: self._put("filter", integer(text, 1, 100)),
        )
        self.event("[:SENSe[1]]:AZERo:ONCE", lambda: None)  # an ideal zero needs no renewal
        self.control(
            "[:SENSe[1]]:COUNt",
            lambda: str(self._set["count"]),
            lambda text: self._put("count", integer(text, 1, 300_000)),
        )
        self.query("*LANG?", lambda: "SCPI")
        self.query(":SYSTem:LFRequency?", lambda: f"{self._line_frequency_Hz:.0f}")
        self.control(
            ":FORMat:ASCii:PRECision",
            lambda: str(self._set["precision"]),
            lambda text: self._put("precision", integer(text, 0, 16)),
        )

    def _range(self) -> str:
        return f"{self._set['range'] if self._set['range'] is not None else self._model.ranges_A[0]:.10G}"

    def _set_range(self, text: str) -> None:
        ranges, most = self._model.ranges_A, OVERRANGE * self._model.ranges_A[-1]
        expected = abs(number(text, -most, most))
        self._set["range"] = next((r for r in ranges if expected <= r), ranges[-1])

    def _trigger_commands(self) -> None:
        self.event(":INITiate[:IMMediate]", self._initiate)
        self.event(":ABORt", self._abort)
        self.query("*TST?", lambda: "0")
        self.query(":OUTPut[1]:INTerlock:TRIPped?", lambda: "1")  # nothing is plugged in
        self.query(":TRIGger:STATe?", self._trigger_state)

    def _buffer_commands(self) -> None:
        self._trace_commands()
        self.on(":TRACe:CLEar", lambda call: self._buffer_of(call).clear())

    # --- what it does -----------------------------------------------------------------------------------------------

    def _blocks_changed(self, state: str) -> None:
        self._state, self._last_block = state, 0

    def _initiate(self) -> None:
        self._finish()
        if not self._trigger.blocks or self._state == "RUNNING":
            raise ScpiError(-211)
        conversions = self._set["filter"] if self._set["average"] and self._set["tcontrol"] == "REP" else 1
        now, aperture_s = self._world.now_s, conversions * self._set["nplc"] / self._line_frequency_Hz
        self._line = play(self._trigger.blocks, self._trigger.timers, aperture_s)
        self._last_block = self._line.last_block
        self._state = "FAILED" if self._line.failed else "RUNNING"
        if self._line.failed:
            return
        self._started_s, self._aperture_s = now, aperture_s
        if self._line.cleared:
            self._buffer.clear()
        for after_s, event in self._line.notified:
            if self._trigger.gives_rising_edge_on(event):
                self._world.trigger(now + after_s)

    def _abort(self) -> None:
        self._finish()
        if self._started_s is not None:
            self._started_s = None
            self._state = "ABORTED"

    def _finish(self) -> None:
        """Fills the buffer once the clock has passed the end of the acquisition."""
        if self._started_s is None:
            return
        begin_s = self._started_s + self._world.meter_latency_s
        if self._world.now_s < begin_s + self._line.end_s:
            return
        self._started_s, self._state = None, "IDLE"
        start_s = begin_s + np.array(self._line.readings_s)
        if start_s.size == 0:
            return
        stop_s = start_s + self._aperture_s
        self._buffer.append(start_s, *self._measure(start_s, stop_s))

    def _measure(self, start_s: Array, stop_s: Array) -> tuple[Array, Array]:
        """Readings (A) and source status words of apertures in seconds of the clock."""
        status = np.full(start_s.size, float(STATUS_OUTPUT if self.output_on else 0))
        if not self.output_on or self._set["source"] != "VOLT" or self._set["sense"] != "CURR:DC":
            return np.zeros(start_s.size), status
        full_scale = OVERRANGE * (self._set["range"] if self._set["range"] is not None else self._model.ranges_A[-1])
        found = measured(self._world, start_s, stop_s, self._set["limit"], full_scale)
        return np.where(found.over, OVERFLOW, found.current_A), status + STATUS_LIMITED * found.limited

    def _trigger_state(self) -> str:
        self._finish()
        return f"{self._state};{self._state};{self._last_block}"


def _sense_function(text: str) -> str:
    return choice(quoted(text).upper().removesuffix(":DC"), ["CURRent", "VOLTage"]) + ":DC"


def twin(world: World, bench: BenchFile) -> Keithley2450Twin:
    """For the registry."""
    return Keithley2450Twin(world, bench.line_frequency)


def twin_2460(world: World, bench: BenchFile) -> Keithley2450Twin:
    """For the registry."""
    return Keithley2450Twin(world, bench.line_frequency, MODEL_2460)
