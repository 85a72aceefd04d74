"""The twin of a Keithley DMM6500 that digitises the output of a transimpedance amplifier, or measures it at leisure.

After the sources named in the driver; the multimeter's own commands are in `multimeter`. The amplifier is ideal but for
its gain, its sign and the voltage where it clips: its bandwidth is not modelled. Timestamps are starts of apertures, to
a nanosecond. Blocks take no time of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.setups import AmplifierTable
from otters_lab.instruments.virtual.multimeter import OVERFLOW, OVERRANGE, Multimeter
from otters_lab.instruments.virtual.reading_buffer import MAX_POINTS, ReadingBuffer
from otters_lab.instruments.virtual.scpi import Call, Handler, ScpiError, choice, integer, number, quoted
from otters_lab.instruments.virtual.trace_subsystem import TraceInstrument
from otters_lab.instruments.virtual.trigger_setup import check_buffer
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

RANGES_V = (0.1, 1.0, 10.0, 100.0, 1000.0)


class DMM6500Twin(TraceInstrument):
    """The SCPI commands of a digitised record, and what the amplifier makes of the world's current."""

    output_on = False  # it has no output to switch

    _elements = ["READing", "RELative"]  # noqa: RUF012

    def __init__(self, world: World, amplifier: AmplifierTable, line_frequency_Hz: float) -> None:
        super().__init__("KEITHLEY INSTRUMENTS,MODEL DMM6500,VIRTUAL,1.7.12b")
        self._world = world
        self._amplifier = amplifier
        self._multimeter = Multimeter(
            self,
            world.clock,
            line_frequency_Hz,
            volts=lambda start_s, stop_s: float(self._volts(np.array([start_s]), np.array([stop_s]))[0]),
            store=lambda start_s, value: self._buffer.append(np.array([start_s]), np.array([value]), np.zeros(1)),
            chosen=lambda: self._put("function", "NONE"),
        )
        self.reset()
        self.query(":SYSTem:LFRequency?", lambda: f"{line_frequency_Hz:.0f}")
        self._integer(":FORMat:ASCii:PRECision", "precision", 0, 16)
        digitize = "[:SENSe[1]]:DIGitize"
        self.control(
            f"{digitize}:FUNCtion[:ON]",
            lambda: f'"{self._set["function"]}"',
            self._set_digitize_function,
        )
        self.control(f"{digitize}:VOLTage:RANGe[:UPPer]", lambda: f"{self._set['range']:.10G}", self._set_range)
        self._integer(f"{digitize}:VOLTage:SRATe", "rate", 1000, 1_000_000)
        self.control(f"{digitize}:VOLTage:APERture", lambda: f"{self._aperture_s():.10G}", self._set_aperture)
        self._choice(":TRIGger:EXTernal:OUT:LOGic", "logic", ["POSitive", "NEGative"])
        self._choice(":TRIGger:EXTernal:OUT:STIMulus", "stimulus", ["NONE", *(f"NOTify{n}" for n in range(1, 9))])
        self.on(":TRIGger:LOAD", self._load)
        block = ":TRIGger:BLOCk"
        self.on(f"{block}:BUFFer:CLEar", self._block("clear", 1, 2, lambda arguments: 0))
        self.on(f"{block}:NOTify", self._block("notify", 2, 2, lambda arguments: integer(arguments[1], 1, 8)))
        self.on(f"{block}:MDIGitize", self._block("digitize", 3, 3, lambda a: integer(a[2], 1, MAX_POINTS)))
        self.event(":INITiate[:IMMediate]", self._initiate)
        self.event(":ABORt", self._abort)
        self.query(":TRIGger:STATe?", self._trigger_state)
        self._trace_commands()

    def reset(self) -> None:
        """*RST."""
        self._multimeter.reset()
        self._set: dict[str, Any] = {
            "precision": 0, "function": "NONE", "range": 10.0, "rate": 1000, "aperture": None, "logic": "NEG",
            "stimulus": "NONE",
        }  # fmt: skip
        self._blocks: dict[int, tuple[str, int]] = {}
        self._state = "EMPTY"
        self._started_s: float | None = None
        self._buffer = ReadingBuffer()

    # --- settings -----------------------------------------------------------------------------------------------------

    def _put(self, key: str, value: Any) -> None:
        self._set[key] = value

    def _integer(self, header: str, key: str, low: int, high: int) -> None:
        self.control(header, lambda: str(self._set[key]), lambda text: self._put(key, integer(text, low, high)))

    def _choice(self, header: str, key: str, words: list[str]) -> None:
        self.control(header, lambda: str(self._set[key]), lambda text: self._put(key, choice(text, words)))

    def _set_digitize_function(self, text: str) -> None:
        """One function is active: digitising ends measuring, and the other way round."""
        self._put("function", choice(quoted(text), ["VOLTage", "CURRent", "NONE"]))
        if self._set["function"] != "NONE":
            self._multimeter.function = "NONE"

    def _set_range(self, text: str) -> None:
        expected = abs(number(text, -RANGES_V[-1], RANGES_V[-1]))
        self._put("range", next(volts for volts in RANGES_V if expected <= volts * (1 + 1e-9)))

    def _aperture_s(self) -> float:
        longest = math.floor(1e6 / self._set["rate"]) * 1e-6
        return longest if self._set["aperture"] is None else min(self._set["aperture"], longest)

    def _set_aperture(self, text: str) -> None:
        if text.upper() == "AUTO":
            return self._put("aperture", None)
        aperture_s = math.floor(number(text, 1e-6, 1e-3) * 1e6 + 1e-6) * 1e-6
        if aperture_s > (1 + 1e-9) / self._set["rate"]:
            raise ScpiError(-221)
        return self._put("aperture", aperture_s)

    # --- trigger model ------------------------------------------------------------------------------------------------

    def _load(self, call: Call) -> None:
        if call.only(1)[0].strip("\"'").upper() != "EMPTY":
            raise ScpiError(-224)
        self._blocks, self._state = {}, "EMPTY"

    def _block(self, kind: str, least: int, most: int, value: Callable[[tuple[str, ...]], int]) -> Handler:
        def handler(call: Call) -> None:
            arguments = call.only(least, most)
            if kind != "notify" and len(arguments) > 1:
                check_buffer(arguments[1])
            self._blocks[integer(arguments[0], 1, 63)] = (kind, value(arguments))
            self._state = "BUILDING"

        return handler

    def _initiate(self) -> None:
        self._finish()
        if not self._blocks or self._state == "RUNNING":
            raise ScpiError(-211)
        if sorted(self._blocks) != list(range(1, len(self._blocks) + 1)) or self._set["function"] != "VOLT":
            self._state = "FAILED"
            return
        self._started_s, self._state, self._samples = self._world.now_s, "RUNNING", 0
        for _, (kind, value) in sorted(self._blocks.items()):
            if kind == "clear":
                self._buffer.clear()
            elif kind == "digitize":
                self._samples += value
            elif (self._set["logic"], self._set["stimulus"]) == ("POS", f"NOT{value}"):
                self._world.trigger(self._started_s + self._samples / self._set["rate"])

    def _abort(self) -> None:
        self._finish()
        if self._started_s is not None:
            self._started_s, self._state = None, "ABORTED"

    def _trigger_state(self) -> str:
        self._finish()
        return f"{self._state};{self._state};{len(self._blocks)}"

    def _finish(self) -> None:
        """Fills the buffer once the clock has passed the end of the record."""
        if self._started_s is None:
            return
        begin_s = self._started_s + self._world.meter_latency_s
        start_s = begin_s + np.arange(self._samples) / self._set["rate"]
        if start_s.size and self._world.now_s < start_s[-1] + self._aperture_s() * (1 - 1e-9):
            return
        self._started_s, self._state = None, "IDLE"
        if not start_s.size:
            return
        voltage = self._volts(start_s, start_s + self._aperture_s())
        voltage = np.where(np.abs(voltage) > OVERRANGE * self._set["range"], OVERFLOW, voltage)
        self._buffer.append(start_s, voltage, np.zeros(start_s.size))

    def _volts(self, start_s: Array, stop_s: Array) -> Array:
        """Mean output of the amplifier (V) over apertures in seconds of the clock."""
        limit, driven = self._amplifier.output_limit, self._world.amplifier_V_per_A
        gain = self._amplifier.signed_gain_V_per_A if driven is None else driven()
        return np.asarray(np.clip(self._world.currents_A(start_s, stop_s) * gain, -limit, limit))


def twin(world: World, bench: BenchFile) -> DMM6500Twin:
    """For the registry."""
    if bench.meter.amplifier is None:
        raise ValueError("a DMM6500 without an amplifier measures no current here")
    return DMM6500Twin(world, bench.meter.amplifier, bench.line_frequency)
