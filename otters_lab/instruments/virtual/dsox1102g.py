"""The twin of a Keysight DSOX1102G, after the sources named in the driver.

Eight bits: 256 codes over the eight divisions of full scale, 128 in the middle, 1 and 255 where clipped, which is how
the 2000 X-Series' guide describes the preamble; how far beyond the screen the converter truly reaches is not modelled.
:DIGitize, measurements, segments, other trigger sources and averaging are not either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otters_lab.instruments.setups import AmplifierTable
from otters_lab.instruments.virtual.scope import ScopeTwin, block, nr3, width_s
from otters_lab.instruments.virtual.scpi import Call, ScpiError, boolean, choice, number
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

POINTS = (100, 250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 62_500)
CODES = 256
_FORMATS = {"BYTE": 0, "WORD": 1, "ASC": 4}


class DSOX1102GTwin(ScopeTwin):
    """The commands of a triggered record, and of PyMeasure's class around it."""

    no_error = '+0,"No error"'

    def __init__(self, world: World, amplifier: AmplifierTable) -> None:
        super().__init__("KEYSIGHT TECHNOLOGIES,DSO-X 1102G,VIRTUAL,01.20.2019", world, amplifier)
        self.reset()
        channel = ":CHANnel#"
        self._of_channel(f"{channel}:BWLimit", "bandwidth", int, lambda call: boolean(call.only(1)[0]))
        self._of_channel(f"{channel}:DISPlay", "display", int, lambda call: boolean(call.only(1)[0]))
        self._of_channel(f"{channel}:INVert", "invert", int, lambda call: boolean(call.only(1)[0]))
        self._of_channel(f"{channel}:COUPling", "coupling", str, lambda call: choice(call.only(1)[0], ["AC", "DC"]))
        self._of_channel(f"{channel}:LABel", "label", str, _label)
        self._of_channel(f"{channel}:OFFSet", "offset", nr3, lambda call: number(call.only(1)[0], -40, 40))
        self._of_channel(f"{channel}:PROBe", "probe", nr3, lambda call: number(call.only(1)[0], 0.1, 10_000))
        self._of_channel(f"{channel}:RANGe", "range", nr3, lambda call: number(call.only(1)[0], 8e-3, 40))
        self._of_channel(
            f"{channel}:SCALe", "range", lambda v: nr3(v / 8), lambda call: 8 * number(call.only(1)[0], 1e-3, 5)
        )
        self._choice(":TIMebase:MODE", "mode", ["MAIN", "WINDow", "XY", "ROLL"])
        self._choice(":TIMebase:REFerence", "reference", ["LEFT", "CENTer", "RIGHt"])
        self._number(":TIMebase:POSition", "position", -500, 500)
        self._number(":TIMebase:SCALe", "scale", 5e-9, 50)
        self.control(
            ":TIMebase:RANGe",
            lambda: nr3(width_s(self._set["scale"])),
            lambda text: self._put("scale", number(text, 5e-8, 500) / 10),
        )
        self._choice(":ACQuire:TYPE", "type", ["NORMal", "AVERage", "HRESolution", "PEAK"])
        self._choice(":ACQuire:MODE", "acquisition", ["RTIMe", "SEGMented"])
        self._choice(":TRIGger:MODE", "trigger", ["EDGE", "GLITch", "PATTern"])
        self._choice(":TRIGger:SWEep", "sweep", ["AUTO", "NORMal"])
        self._choice(":TRIGger:EDGE:SOURce", "source", ["CHANnel1", "CHANnel2", "EXTernal", "LINE"])
        self._choice(":TRIGger:EDGE:SLOPe", "slope", ["POSitive", "NEGative", "EITHer", "ALTernate"])
        self._choice(":TRIGger:EDGE:COUPling", "trigger coupling", ["AC", "DC", "LFReject"])
        self.control(":TRIGger:EDGE:LEVel", lambda: nr3(self._set["level"]), self._set_level)
        self._choice(":WAVeform:SOURce", "waveform", ["CHANnel1", "CHANnel2"])
        self._choice(":WAVeform:FORMat", "format", ["BYTE", "WORD", "ASCii"])
        self._choice(":WAVeform:BYTeorder", "order", ["MSBFirst", "LSBFirst"])
        self._choice(":WAVeform:POINts:MODE", "points mode", ["NORMal", "MAXimum", "RAW"])
        self.control(
            ":WAVeform:UNSigned",
            lambda: str(int(self._set["unsigned"])),
            lambda text: self._put("unsigned", boolean(text)),
        )
        self.control(":WAVeform:POINts", lambda: f"{self._set['points']:+d}", self._set_points)
        self.query(":WAVeform:PREamble?", self._preamble)
        self.query(":WAVeform:DATA?", self._data)
        self.event(":SINGle", self._single)
        self.event(":STOP", self._halt)
        self.query(":AER?", self._arm_event)
        self.query(":OPERegister:CONDition?", lambda: f"{8 * self._running + 32 * self._armed:+d}")

    def reset(self) -> None:
        """*RST."""
        super().reset()
        self._arm_read = False
        self._channels = {
            n: {
                "bandwidth": False, "display": n == 1, "invert": False, "coupling": "DC", "label": f'"{n}"',
                "offset": 0.0, "probe": 1.0, "range": 40.0,
            }
            for n in (1, 2)
        }  # fmt: skip
        self._set: dict[str, Any] = {
            "mode": "MAIN", "reference": "CENT", "position": 0.0, "scale": 1e-4, "type": "NORM", "acquisition": "RTIM",
            "trigger": "EDGE", "sweep": "AUTO", "source": "CHAN1", "slope": "POS", "trigger coupling": "DC",
            "level": 0.0, "waveform": "CHAN1", "format": "BYTE", "order": "MSBF", "points mode": "NORM",
            "unsigned": True, "points": 1000,
        }  # fmt: skip

    # --- settings -----------------------------------------------------------------------------------------------------

    def _put(self, key: str, value: Any) -> None:
        self._set[key] = value

    def _number(self, header: str, key: str, low: float, high: float) -> None:
        self.control(header, lambda: nr3(self._set[key]), lambda text: self._put(key, number(text, low, high)))

    def _choice(self, header: str, key: str, words: list[str]) -> None:
        self.control(header, lambda: str(self._set[key]), lambda text: self._put(key, choice(text, words)))

    def _set_level(self, text: str) -> None:
        source = self._channels[2 if self._set["source"] == "CHAN2" else 1]
        bound = 0.75 * source["range"]  # from the middle of the screen, at offset 0
        self._put("level", number(text, source["offset"] - bound, source["offset"] + bound))

    def _set_points(self, text: str) -> None:
        points = int(number(text, POINTS[0], POINTS[-1]))
        if points not in POINTS:
            raise ScpiError(-222)
        self._put("points", points)

    # --- acquisition --------------------------------------------------------------------------------------------------

    def _planned(self) -> tuple[float, float, int]:
        if self._set["mode"] != "MAIN" or self._set["reference"] != "CENT" or self._set["type"] != "NORM":
            raise ScpiError(-221)
        whole_s = width_s(self._set["scale"])
        self._arm_read = False
        return self._set["position"] - whole_s / 2, whole_s / self._set["points"], self._set["points"]

    def _trigger_level_V(self) -> float | None:
        fits = (self._set["trigger"], self._set["source"], self._set["slope"]) == ("EDGE", "CHAN2", "POS")
        channel = self._channels[2]
        shown = channel["display"] and channel["coupling"] == "DC" and not channel["invert"]
        return self._set["level"] if fits and shown else None

    def _arm_event(self) -> str:
        """Set by arming, cleared by being read."""
        new = self._armed and not self._arm_read
        self._arm_read = self._arm_read or new
        return f"{int(new):+d}"

    # --- waveform -----------------------------------------------------------------------------------------------------

    def _step_V(self) -> float:
        return float(self._channels[1]["range"]) / CODES

    def _preamble(self) -> str:
        self._recorded()
        first_s, interval_s, points = self._plan
        step_V, middle = self._step_V(), CODES // 2
        if self._set["format"] == "WORD":
            step_V, middle = step_V / 256, middle * 256
        numbers = (nr3(interval_s), nr3(first_s), "+0", nr3(step_V), nr3(self._channels[1]["offset"]), f"{middle:+d}")
        return f"{_FORMATS[self._set['format']]:+d},+0,{points:+d},+1," + ",".join(numbers)

    def _data(self) -> str:
        channel = self._channels[1]
        if self._set["waveform"] != "CHAN1" or not channel["display"] or channel["coupling"] != "DC":
            raise ScpiError(-221)
        sign = -1.0 if channel["invert"] else 1.0
        steps = np.round((sign * self._recorded() * channel["probe"] - channel["offset"]) / self._step_V())
        codes = np.clip(steps + CODES // 2, 1, CODES - 1).astype(np.uint8)
        if self._set["format"] == "ASC":
            volts = (codes.astype(float) - CODES // 2) * self._step_V() + channel["offset"]
            return block(", ".join(f"{volt: .6E}" for volt in volts).encode("ascii"), 8)
        if not self._set["unsigned"]:
            raise ScpiError(-221)
        if self._set["format"] == "WORD":
            order = ">u2" if self._set["order"] == "MSBF" else "<u2"
            return block((codes.astype(np.uint16) << 8).astype(order).tobytes(), 8)
        return block(codes.tobytes(), 8)


def _label(call: Call) -> str:
    return '"' + call.only(1)[0].strip("\"'").upper()[:10] + '"'


def twin(world: World, bench: BenchFile) -> DSOX1102GTwin:
    """For the registry."""
    if bench.meter.amplifier is None:
        raise ValueError("a scope without an amplifier measures no current here")
    return DSOX1102GTwin(world, bench.meter.amplifier)
