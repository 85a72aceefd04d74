"""The twin of a Siglent SDS1000X HD (two of its channels), after the sources named in the driver.

Twelve bits, 480 codes a division, left-aligned in words of sixteen; how many codes a division truly has no source at
hand says. What a stopped scope or a channel that is off drops without a word is dropped here too. Fixed depth alone,
normal acquisition alone; a delay moves the trigger, its sign being that of the guide's formula.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.instruments.drivers.sds1000xhd import DESCRIPTOR_BYTES
from otters_lab.instruments.setups import AmplifierTable
from otters_lab.instruments.virtual.scope import ScopeTwin, block, nr3, width_s
from otters_lab.instruments.virtual.scpi import Call, ScpiError, boolean, choice, integer, number
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

DEPTHS = {"10K": 10_000, "100K": 100_000, "1M": 1_000_000}
FASTEST = 1e9  # samples a second, with both channels on
CODES_A_DIVISION = 480 * 16
TOP = 2047 * 16
MAX_PIECE = 5_000_000
STEPS_S = [step * 10.0**power for power in range(-10, 4) for step in (1, 2, 5)][1:40]  # 200 ps to 1000 s


class SDS1000XHDTwin(ScopeTwin):
    """The commands of a triggered record, and of PyMeasure's class around it."""

    def __init__(self, world: World, amplifier: AmplifierTable) -> None:
        super().__init__("Siglent Technologies,SDS1104X HD,VIRTUAL,1.1.0.2", world, amplifier)
        self.reset()
        channel = ":CHANnel#"
        self._of_channel(f"{channel}:SWITch", "on", _on_off, lambda call: boolean(call.only(1)[0]))
        self._of_channel(f"{channel}:VISible", "visible", _on_off, lambda call: boolean(call.only(1)[0]))
        self._of_channel(f"{channel}:INVert", "invert", _on_off, lambda call: boolean(call.only(1)[0]))
        self._of_channel(f"{channel}:BWLimit", "bandwidth", str, _bandwidth)
        self._of_channel(f"{channel}:PROBe", "probe", nr3, _probe)
        self._of_channel(f"{channel}:UNIT", "unit", str, lambda call: choice(call.only(1)[0], ["V", "A"]))
        self._of_channel(f"{channel}:LABel:TEXT", "label", str, lambda call: call.only(1)[0].upper())
        self._of_channel(f"{channel}:COUPling", "coupling", str, lambda c: choice(c.only(1)[0], ["DC", "AC", "GND"]))
        self._of_channel(f"{channel}:SCALe", "scale", nr3, lambda call: self._if_on(call, "scale", 5e-4, 10))
        self._of_channel(f"{channel}:OFFSet", "offset", nr3, lambda call: self._if_on(call, "offset", -20, 20))
        self.control(":TIMebase:SCALe", lambda: nr3(self._set["tdiv"]), self._set_tdiv)
        self.control(":TIMebase:DELay", lambda: nr3(self._set["delay"]), self._set_delay)
        self._choice(":ACQuire:MMANagement", "management", ["AUTO", "FSRate", "FMDepth"])
        self._choice(":ACQuire:MODE", "plot", ["YT", "XY", "ROLL"])
        self._choice(":ACQuire:TYPE", "type", ["NORMal", "PEAK", "AVERage", "ERES"])
        self.control(":ACQuire:MDEPth", lambda: str(self._set["depth"]).lower(), self._set_depth)
        self.query(":ACQuire:POINts?", lambda: nr3(self._planned()[2]))
        self.query(":ACQuire:SRATe?", lambda: nr3(1 / self._planned()[1]))
        self._choice(":TRIGger:TYPE", "trigger", ["EDGE", "SLOPe", "PULSe"])
        self.control(":TRIGger:MODE", lambda: str(self._set["mode"]), self._set_mode)
        self.query(":TRIGger:STATus?", self._status)
        self.event(":TRIGger:STOP", self._stop)
        self._choice(":TRIGger:EDGE:SOURce", "source", ["C1", "C2", "C3", "C4", "EX", "EX5", "LINE"])
        self._choice(":TRIGger:EDGE:SLOPe", "slope", ["RISing", "FALLing", "ALTernate"])
        self._choice(":TRIGger:EDGE:COUPling", "trigger coupling", ["DC", "AC", "LFREJect", "HFREJect"])
        self.control(":TRIGger:EDGE:LEVel", lambda: nr3(self._set["level"]), self._set_level)
        self._choice(":WAVeform:SOURce", "waveform", ["C1", "C2", "C3", "C4"])
        self._choice(":WAVeform:WIDTh", "width", ["BYTE", "WORD"])
        self._count(":WAVeform:STARt", "start", 0)
        self._count(":WAVeform:INTerval", "stride", 1)
        self._count(":WAVeform:POINt", "points", 0)
        self.query(":WAVeform:MAXPoint?", lambda: str(MAX_PIECE))
        self.query(":WAVeform:PREamble?", self._preamble)
        self.query(":WAVeform:DATA?", self._data)

    def reset(self) -> None:
        """*RST: runs in AUTO."""
        super().reset()
        self._stopped = False
        self._channels = {
            n: {
                "on": n == 1, "visible": True, "invert": False, "bandwidth": "FULL", "probe": 1.0, "unit": "V",
                "label": f'"C{n}"', "coupling": "DC", "scale": 1.0, "offset": 0.0,
            }
            for n in (1, 2, 3, 4)
        }  # fmt: skip
        self._set: dict[str, Any] = {
            "tdiv": 1e-6, "delay": 0.0, "management": "AUTO", "plot": "YT", "type": "NORMal", "depth": "10K",
            "trigger": "EDGE", "mode": "AUTO", "source": "C1", "slope": "RISing", "trigger coupling": "DC",
            "level": 0.0, "waveform": "C1", "width": "BYTE", "start": 0, "stride": 1, "points": 0,
        }  # fmt: skip

    # --- settings -----------------------------------------------------------------------------------------------------

    def _put(self, key: str, value: Any) -> None:
        self._set[key] = value

    def _choice(self, header: str, key: str, words: list[str]) -> None:
        self.control(header, lambda: str(self._set[key]), lambda text: self._put(key, _long(text, words)))

    def _count(self, header: str, key: str, low: int) -> None:
        self.control(header, lambda: str(self._set[key]), lambda text: self._put(key, integer(text, low, 10**9)))

    def _if_on(self, call: Call, key: str, low: float, high: float) -> float:
        channel = self._channel(call)
        value = number(call.only(1)[0], low, high)
        return value if channel["on"] else float(channel[key])

    def _set_tdiv(self, text: str) -> None:
        asked = number(text, STEPS_S[0], STEPS_S[-1])
        if not self._stopped:
            self._put("tdiv", next(step for step in STEPS_S if asked <= step * (1 + 1e-6)))

    def _set_delay(self, text: str) -> None:
        delay = number(text, -5e5, 5e5)
        if not self._stopped:
            self._put("delay", delay)

    def _set_depth(self, text: str) -> None:
        if text.upper() not in DEPTHS:
            raise ScpiError(-224)
        if not self._stopped and self._set["management"] == "FMDepth":
            self._put("depth", text.upper())

    def _set_level(self, text: str) -> None:
        channel = self._channels.get({"C1": 1, "C2": 2, "C3": 3, "C4": 4}.get(self._set["source"], 1), {})
        bound = 4.1 * channel["scale"]
        level = min(max(number(text, -1000, 1000), -bound - channel["offset"]), bound - channel["offset"])
        self._put("level", round(level / channel["scale"] * 60) * channel["scale"] / 60)

    def _set_mode(self, text: str) -> None:
        self._put("mode", _long(text, ["AUTO", "NORMal", "SINGle", "FTRIG"]))
        self._halt()
        self._stopped = False
        if self._set["mode"] == "SINGle":
            self._single()

    # --- acquisition --------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._halt()
        self._stopped = True

    def _planned(self) -> tuple[float, float, int]:
        whole_s = width_s(self._set["tdiv"])
        depth = DEPTHS[self._set["depth"]]
        rate = min(FASTEST, depth / whole_s)
        return self._set["delay"] - whole_s / 2, 1 / rate, round(whole_s * rate)

    def _trigger_level_V(self) -> float | None:
        trigger = (self._set["trigger"], self._set["source"], self._set["slope"], self._set["trigger coupling"])
        channel = self._channels[2]
        shown = channel["on"] and channel["coupling"] == "DC" and not channel["invert"] and channel["probe"] == 1
        return self._set["level"] if trigger == ("EDGE", "C2", "RISing", "DC") and shown else None

    def _status(self) -> str:
        if self._stopped:
            return "Stop"
        if self._set["mode"] != "SINGle":
            return "Auto" if self._set["mode"] == "AUTO" else "Ready"
        if self._running:
            return "Trig'd" if self._trigger_s is not None else "Ready" if self._armed else "Arm"
        self._stopped = True
        return "Stop"

    # --- waveform -----------------------------------------------------------------------------------------------------

    def _preamble(self) -> str:
        self._recorded()
        first_s, interval_s, points = self._plan
        channel, word = self._channels[1], self._set["width"] == "WORD"
        found = bytearray(DESCRIPTOR_BYTES)
        found[0:8], found[16:23], found[76:87] = b"WAVEDESC", b"WAVEACE", b"Siglent SDS"
        tdiv = min(range(len(STEPS_S)), key=lambda k: abs(STEPS_S[k] - self._set["tdiv"]))
        for place, kind, value in (
            (0x20, "h", int(word)), (0x24, "i", DESCRIPTOR_BYTES), (0x3C, "i", (1 + word) * points),
            (0x74, "i", points), (0x84, "i", self._set["start"]), (0x88, "i", self._set["stride"]), (0x90, "i", 1),
            (0x94, "i", 1), (0x9C, "f", channel["scale"] / channel["probe"]),
            (0xA0, "f", channel["offset"] / channel["probe"]), (0xA4, "f", CODES_A_DIVISION / (1 if word else 256)),
            (0xAC, "h", 12), (0xB0, "f", interval_s), (0xB4, "d", first_s + points * interval_s / 2),
            (0x144, "h", tdiv), (0x148, "f", channel["probe"]),
        ):  # fmt: skip
            struct.pack_into("<" + kind, found, place, value)
        return block(bytes(found), 9)

    def _data(self) -> str:
        channel, stride = self._channels[1], self._set["stride"]
        if self._set["waveform"] != "C1" or not channel["on"] or channel["coupling"] != "DC":
            raise ScpiError(-221)
        voltage_V = self._recorded()[self._set["start"] :: stride][:MAX_PIECE]
        if not voltage_V.size:
            raise ScpiError(-222)
        voltage_V = voltage_V[: self._set["points"] or None]
        sign = -1.0 if channel["invert"] else 1.0
        codes = np.round((sign * voltage_V + channel["offset"]) / channel["scale"] * (CODES_A_DIVISION / 16)) * 16
        words = np.clip(codes, -TOP - 16, TOP).astype("<i2")
        return block(words.tobytes() if self._set["width"] == "WORD" else (words >> 8).astype("i1").tobytes(), 9)


def _long(text: str, words: list[str]) -> str:
    """One of the words in its long form, in which the scope replies."""
    short = choice(text, words)
    return next(word for word in words if choice(word, words) == short)


def _on_off(value: bool) -> str:
    return "ON" if value else "OFF"


def _bandwidth(call: Call) -> str:
    text = call.only(1)[0].upper()
    if text not in ("FULL", "20M", "200M"):
        raise ScpiError(-224)
    return text


def _probe(call: Call) -> float:
    """``DEFault``, or ``VALue,<ratio>``."""
    word, *rest = call.only(1, 2)
    if choice(word, ["DEFault", "VALue"]) == "DEF":
        return 1.0
    if not rest:
        raise ScpiError(-109)
    return number(rest[0], 1e-6, 1e6)


def twin(world: World, bench: BenchFile) -> SDS1000XHDTwin:
    """For the registry."""
    if bench.meter.amplifier is None:
        raise ValueError("a scope without an amplifier measures no current here")
    return SDS1000XHDTwin(world, bench.meter.amplifier)
