"""The twin of a Keithley 2600B: channels, trigger timer 1, digital line 1, reading buffer 1, in TSP.

After the Series 2600B Reference Manual, 2600BS-901-01 Rev. F. Channel A is wired to the device, channel B to nothing.
Memoryless and ideal but for the read noise of the world; readings are single precision, as the buffer keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.virtual.front_end import measured
from otters_lab.instruments.virtual.tsp import TspError, TspInstrument
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

OVERFLOW = 9.91e37
OVERRANGE = 1.02
COMPLIANCE, FILTERED, FOUR_WIRE = 64, 128, 16
CAPACITY = 60_000
_DECADES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)

# Event numbers have no meaning but their difference.
EVENTS = {"smua.trigger.ARMED_EVENT_ID": 2.0, "trigger.timer[1].EVENT_ID": 20.0}


@dataclass(frozen=True)
class Model:
    """What the models differ in: ranges (A, V), smallest current limit (A), channels."""

    name: str
    ranges_A: tuple[float, ...]
    ranges_V: tuple[float, ...]
    least_limit_A: float
    channels: tuple[str, ...]


_LOW = ((0.1, 1.0, 6.0, 40.0), 1e-8)
_HIGH = ((0.2, 2.0, 20.0, 200.0), 1e-8)
_FINE = ((0.2, 2.0, 20.0, 200.0), 1e-10)
MODELS = {
    "2601B": Model("2601B", (*_DECADES, 3.0), *_LOW, ("smua",)),
    "2602B": Model("2602B", (*_DECADES, 3.0), *_LOW, ("smua", "smub")),
    "2611B": Model("2611B", (*_DECADES, 1.5), *_HIGH, ("smua",)),
    "2612B": Model("2612B", (*_DECADES, 1.5), *_HIGH, ("smua", "smub")),
    "2635B": Model("2635B", (1e-9, 1e-8, *_DECADES, 1.5), *_FINE, ("smua",)),
    "2636B": Model("2636B", (1e-9, 1e-8, *_DECADES, 1.5), *_FINE, ("smua", "smub")),
}

# Numbers a channel takes: path below the channel, default, lowest, highest. Levels and ranges depend on the model.
_NUMBERS = [
    ("source.func", 1, 0, 1), ("source.output", 0, 0, 2), ("source.offmode", 0, 0, 2),
    ("source.leveli", 0, -3.03, 3.03),
    ("source.autorangev", 1, 0, 1), ("source.autorangei", 1, 0, 1), ("source.delay", 0, -1, 1e3), ("sense", 0, 0, 3),
    ("measure.nplc", 1, 0.001, 25), ("measure.autozero", 2, 0, 2), ("measure.autorangei", 1, 0, 1),
    ("measure.autorangev", 1, 0, 1), ("measure.count", 1, 1, 60_000), ("measure.delay", 0, -1, 1e3),
    ("measure.filter.enable", 0, 0, 1), ("measure.filter.count", 1, 1, 100), ("measure.filter.type", 1, 0, 2),
    ("trigger.count", 1, 0, 60_000), ("trigger.arm.count", 1, 0, 60_000), ("trigger.arm.stimulus", 0, 0, 100),
    ("trigger.source.action", 0, 0, 1), ("trigger.measure.action", 0, 0, 2), ("trigger.measure.stimulus", 0, 0, 100),
    ("nvbuffer1.collecttimestamps", 1, 0, 1), ("nvbuffer1.timestampresolution", 1e-6, 1e-6, 1e3),
    ("nvbuffer1.appendmode", 0, 0, 1),
]  # fmt: skip
_OTHERS = [
    ("format.data", 1, 1, 3), ("format.asciiprecision", 6, 1, 16), ("trigger.timer[1].delay", 1e-5, 8e-6, 1e5),
    ("trigger.timer[1].count", 1, 0, 1_048_575), ("trigger.timer[1].stimulus", 0, 0, 100),
    ("digio.trigger[1].mode", 0, 0, 8), ("digio.trigger[1].stimulus", 0, 0, 100),
    ("digio.trigger[1].pulsewidth", 1e-5, 0, 1e3),
]  # fmt: skip
_CONSTANTS = {
    "DISABLE": 0, "ENABLE": 1, "OUTPUT_DCAMPS": 0, "OUTPUT_DCVOLTS": 1, "OUTPUT_OFF": 0, "OUTPUT_ON": 1,
    "OUTPUT_NORMAL": 0, "OUTPUT_ZERO": 1, "OUTPUT_HIGH_Z": 2, "SENSE_LOCAL": 0, "SENSE_REMOTE": 1, "AUTOZERO_OFF": 0,
    "AUTOZERO_ONCE": 1, "AUTOZERO_AUTO": 2, "FILTER_MOVING_AVG": 0, "FILTER_REPEAT_AVG": 1, "FILTER_MEDIAN": 2,
}  # fmt: skip


class Keithley2600Twin(TspInstrument):
    """The TSP of a timed current measurement, and its effect on the world."""

    def __init__(self, world: World, line_frequency_Hz: float, model: Model) -> None:
        super().__init__(f"Keithley Instruments Inc., Model {model.name}, VIRTUAL, 3.4.0")
        self._world = world
        self._line_frequency_Hz = line_frequency_Hz
        self._model = model
        self._bounds: dict[str, tuple[float, float]] = {}
        self._defaults: dict[str, Any] = {"trigger.timer[1].passthrough": False}
        for path, default, low, high in _OTHERS:
            self._attribute(path, default, low, high)
        self._getters["trigger.timer[1].passthrough"] = lambda: self._set["trigger.timer[1].passthrough"]
        self._setters["trigger.timer[1].passthrough"] = self._set_passthrough
        for name in model.channels:
            self._channel(name)
        self._getters["localnode.linefreq"] = lambda: self._line_frequency_Hz
        self._getters["localnode.model"] = lambda: self._model.name
        self._constants |= EVENTS | {"format.ASCII": 1.0, "format.REAL32": 2.0, "format.REAL64": 3.0}
        self._constants |= {"digio.TRIG_BYPASS": 0.0, "digio.TRIG_RISINGA": 7.0, "digio.TRIG_RISINGM": 8.0}
        self._functions |= {"printbuffer": self._printbuffer, "beeper.beep": lambda length, pitch: None}
        self._functions |= {"display.clear": lambda: None, "display.settext": lambda text: None}
        self.reset()

    def reset(self) -> None:
        """reset()."""
        self._set = dict(self._defaults)
        self._pending: tuple[Array, float] | None = None
        self._table = np.zeros((0, 3))

    def precision(self) -> int:
        return int(self._set["format.asciiprecision"])

    @property
    def output_on(self) -> bool:
        """Whether a device is biased."""
        return bool(self._set["smua.source.output"] == 1)

    @property
    def bias_V(self) -> float:
        """Voltage at the output, 0 while it is off."""
        return float(self._set["smua.source.levelv"]) if self.output_on else 0.0

    # --- names ------------------------------------------------------------------------------------------------------

    def _attribute(self, path: str, default: float, low: float, high: float) -> None:
        def put(value: Any) -> None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TspError(-285)
            if not low <= value <= high:
                raise TspError(1102)
            self._set[path] = float(value)

        self._defaults[path] = float(default)
        self._getters[path] = lambda: self._set[path]
        self._setters[path] = put

    def _channel(self, name: str) -> None:
        model = self._model
        for path, default, low, high in _NUMBERS:
            self._attribute(f"{name}.{path}", default, low, high)
        volt, limit = 1.01 * model.ranges_V[-1], 1.01 * model.ranges_A[-1]
        self._attribute(f"{name}.source.levelv", 0, -volt, volt)
        self._attribute(f"{name}.source.limiti", 0.1, model.least_limit_A, limit)
        self._attribute(f"{name}.source.limitv", model.ranges_V[-1], 0.01, volt)
        for function, ranges in (("v", model.ranges_V), ("i", model.ranges_A)):
            for what in ("source", "measure"):
                self._range(f"{name}.{what}", function, ranges)
            self._functions[f"{name}.measure.{function}"] = self._reader(name, function)
        self._functions[f"{name}.measure.r"] = lambda: self._now(name)[1] / self._now(name)[0]
        self._getters[f"status.measurement.instrument.{name}.condition"] = lambda: 0.0
        self._setters[f"{name}.source.output"] = self._output_setter(name, self._setters[f"{name}.source.output"])
        self._constants |= {f"{name}.{word}": float(number) for word, number in _CONSTANTS.items()}
        self._constants[f"{name}.nvbuffer1"] = f"{name}.nvbuffer1"
        for column in ("timestamps", "readings", "statuses"):
            self._constants[f"{name}.nvbuffer1.{column}"] = f"{name}.nvbuffer1.{column}"
        self._getters[f"{name}.nvbuffer1.n"] = lambda: float(self._filled(name).shape[0])
        self._functions |= {f"{name}.nvbuffer1.clear": self._clear, f"{name}.reset": self.reset}
        self._functions |= {f"{name}.trigger.initiate": self._initiate, f"{name}.abort": self._abort}
        self._functions[f"{name}.trigger.measure.i"] = self._into

    def _range(self, where: str, function: str, ranges: tuple[float, ...]) -> None:
        path, auto = f"{where}.range{function}", f"{where}.autorange{function}"

        def put(value: Any) -> None:
            if not isinstance(value, float) or abs(value) > 1.01 * ranges[-1]:
                raise TspError(1102)
            self._set[path] = next((known for known in ranges if abs(value) <= known), ranges[-1])
            self._set[auto] = 0.0

        self._defaults[path] = ranges[0]
        self._getters[path] = lambda: self._set[path]
        self._setters[path] = put

    def _output_setter(self, name: str, put: Callable[[Any], None]) -> Callable[[Any], None]:
        def switch(value: Any) -> None:
            self._finish()
            put(value)
            if name == "smua" and not self.output_on:
                self._pending = None

        return switch

    def _set_passthrough(self, value: Any) -> None:
        if not isinstance(value, bool):
            raise TspError(-285)
        self._set["trigger.timer[1].passthrough"] = value

    # --- the buffer -------------------------------------------------------------------------------------------------

    def _filled(self, name: str) -> Array:
        self._finish()
        return self._table if name == "smua" else np.zeros((0, 3))

    def _clear(self) -> None:
        self._finish()
        self._table = np.zeros((0, 3))

    def _into(self, buffer: Any) -> None:
        if buffer != "smua.nvbuffer1":  # the one that is modelled
            raise TspError(-285)

    def _printbuffer(self, first: Any, last: Any, *columns: Any) -> None:
        table = self._filled("smua")
        names = ["smua.nvbuffer1.timestamps", "smua.nvbuffer1.readings", "smua.nvbuffer1.statuses"]
        if not columns or any(column not in names for column in columns):
            raise TspError(-285)
        start, stop = int(first), int(last)
        if not 1 <= start <= stop <= table.shape[0]:
            raise TspError(-222)
        chosen = table[start - 1 : stop, [names.index(column) for column in columns]]
        form = f"%.{self.precision() - 1}e"
        self._output.append(", ".join([form] * chosen.size) % tuple(chosen.ravel()))

    # --- what it does -----------------------------------------------------------------------------------------------

    def _aperture_s(self) -> float:
        repeat = self._set["smua.measure.filter.enable"] and self._set["smua.measure.filter.type"] == 1
        conversions = self._set["smua.measure.filter.count"] if repeat else 1
        return float(conversions * self._set["smua.measure.nplc"] / self._line_frequency_Hz)

    def _initiate(self) -> None:
        self._finish()
        s = self._set
        if self._pending is not None:
            raise TspError(5007)
        timed = s["smua.trigger.measure.stimulus"] == EVENTS["trigger.timer[1].EVENT_ID"]
        armed = s["trigger.timer[1].stimulus"] == EVENTS["smua.trigger.ARMED_EVENT_ID"]
        if not (timed and armed and s["smua.trigger.measure.action"] == 1 and s["smua.trigger.arm.stimulus"] == 0):
            return  # waits for an event that never comes
        now, n = self._world.now_s, int(s["smua.trigger.count"])
        passed = bool(s["trigger.timer[1].passthrough"])
        if s["trigger.timer[1].count"] and n > s["trigger.timer[1].count"] + passed:
            return  # the timer stops short of the last reading
        delay_s, aperture_s = s["trigger.timer[1].delay"], self._aperture_s()
        start_s = now + self._world.meter_latency_s + delay_s * (np.arange(n) + (0 if passed else 1))
        if aperture_s > delay_s:  # an event during a reading is latched: the next begins at its end
            start_s = start_s[0] + aperture_s * np.arange(n)
        self._pending = (start_s, aperture_s)
        rising = s["digio.trigger[1].mode"] == self._constants["digio.TRIG_RISINGM"]
        if rising and s["digio.trigger[1].stimulus"] == EVENTS["smua.trigger.ARMED_EVENT_ID"]:
            self._world.trigger(now)

    def _abort(self) -> None:
        self._finish()
        self._pending = None

    def _finish(self) -> None:
        """Fills the buffer once the clock has passed the last reading."""
        if self._pending is None:
            return
        start_s, aperture_s = self._pending
        if self._world.now_s < start_s[-1] + aperture_s:
            return
        self._pending = None
        resolution_s = self._set["smua.nvbuffer1.timestampresolution"]
        stamps = np.round((start_s - start_s[0]) / resolution_s) * resolution_s
        readings, status = self._measure(start_s, start_s + aperture_s)
        self._table = np.column_stack([stamps, readings, status])[:CAPACITY]

    def _measure(self, start_s: Array, stop_s: Array) -> tuple[Array, Array]:
        """Readings (A, single precision) and status words of channel A."""
        s = self._set
        status = np.full(start_s.size, FOUR_WIRE * (s["smua.sense"] == 1) + FILTERED * s["smua.measure.filter.enable"])
        if not self.output_on or s["smua.source.func"] != 1:
            return np.zeros(start_s.size), status
        fixed = not s["smua.measure.autorangei"]
        full_scale = OVERRANGE * (s["smua.measure.rangei"] if fixed else self._model.ranges_A[-1])
        found = measured(self._world, start_s, stop_s, s["smua.source.limiti"], full_scale)
        readings = np.where(found.over, OVERFLOW, found.current_A).astype(np.float32).astype(np.float64)
        return readings, status + COMPLIANCE * found.limited

    def _now(self, name: str) -> tuple[float, float]:
        """Current (A) and voltage (V), measured now."""
        if name != "smua":
            return 0.0, self._set[f"{name}.source.levelv"]
        begin, aperture_s = self._world.now_s, self._aperture_s()
        self._world.clock.sleep(aperture_s)
        reading = self._measure(np.array([begin]), np.array([begin + aperture_s]))[0][0]
        return float(reading), self._set["smua.source.levelv"] if self.output_on else 0.0

    def _reader(self, name: str, function: str) -> Callable[..., float]:
        return lambda: self._now(name)[0 if function == "i" else 1]


def twin(world: World, bench: BenchFile) -> Keithley2600Twin:
    """For the registry: the model is the driver's name."""
    return Keithley2600Twin(world, bench.line_frequency, MODELS[bench.meter.driver.removeprefix("keithley-").upper()])
