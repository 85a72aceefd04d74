"""Keysight DSOX1102G: PyMeasure's class with what a single-shot record needs beyond it.

PyMeasure writes times with %f, whose last digit is a microsecond, has no trigger subsystem, and reads waveforms as text
alone. Sources: the Programmer's Guides of the DSOX1204A/G (1204: p. 136 AER, p. 152 OPERegister, p. 638 formats), the
2000 X-Series (2000: p. 631, 644 the preamble) and the 4000 X-Series (4000: p. 1243, what codes 0, 1 and 255 mean). The
1102G's own guide was not at hand; trigger commands are as public code for this family sends them. No instrument was at
hand.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pymeasure.instruments import Instrument
from pymeasure.instruments.keysight import KeysightDSOX1102G
from pymeasure.instruments.validators import strict_discrete_set, strict_range

from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.blocks import read_block
from otters_lab.instruments.drivers.replies import finite, number_table

_OF = "Keysight DSOX1102G"
_RUN = 1 << 3  # of the operation status condition register; 1204 p. 152


def _number(value: Any) -> float:
    return finite(value, _OF)


@dataclass(frozen=True)
class Preamble:
    """How codes become volts and places in the record seconds; :WAVeform:PREamble? in the manual's order."""

    format: float
    type: float
    points: float
    count: float
    x_increment_s: float
    x_origin_s: float
    x_reference: float
    y_increment_V: float
    y_origin_V: float
    y_reference: float


class DSOX1102G(KeysightDSOX1102G):
    """The commands of a triggered record; channels and acquisition are PyMeasure's."""

    def __init__(self, adapter: Any, name: str = "Keysight DSOX1102G", **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyMeasure does not know whether it speaks SCPI; it does
            super().__init__(adapter, name, **kwargs)

    timebase_scale = Instrument.control(
        ":TIM:SCAL?",
        ":TIM:SCAL %.9g",
        """Control the horizontal scale per division in s (float strictly from 5e-9 to 50).""",
        validator=strict_range,
        values=[5e-9, 50],
        get_process=_number,
    )

    timebase_position = Instrument.control(
        ":TIM:POS?",
        ":TIM:POS %.9g",
        """Control the time from the trigger to the middle of the display in s (float strictly from -500 to 500).""",
        validator=strict_range,
        values=[-500, 500],
        get_process=_number,
    )

    trigger_source = Instrument.control(
        ":TRIG:EDGE:SOUR?",
        ":TRIG:EDGE:SOUR %s",
        """Control the source of the edge trigger (string: 'CHAN1', 'CHAN2' or 'EXT').""",
        validator=strict_discrete_set,
        values=["CHAN1", "CHAN2", "EXT"],
        cast=str,
        get_process=lambda reply: str(reply).strip().upper(),
    )

    trigger_level = Instrument.control(
        ":TRIG:EDGE:LEV?",
        ":TRIG:EDGE:LEV %.9g",
        """Control the level of the edge trigger in V (float strictly from -30 to 30).""",
        validator=strict_range,
        values=[-30, 30],
        get_process=_number,
    )

    trigger_slope = Instrument.control(
        ":TRIG:EDGE:SLOP?",
        ":TRIG:EDGE:SLOP %s",
        """Control the slope of the edge trigger (string: 'POS' or 'NEG').""",
        validator=strict_discrete_set,
        values=["POS", "NEG"],
        cast=str,
        get_process=lambda reply: str(reply).strip().upper(),
    )

    trigger_sweep = Instrument.control(
        ":TRIG:SWE?",
        ":TRIG:SWE %s",
        """Control whether a trigger is waited for without end (string: 'NORM') or not ('AUTO').""",
        validator=strict_discrete_set,
        values=["NORM", "AUTO"],
        cast=str,
        get_process=lambda reply: str(reply).strip().upper(),
    )

    armed = Instrument.measurement(
        ":AER?",
        """Get whether the trigger has been armed since this was last asked (bool; 1204 p. 136).""",
        get_process=lambda reply: _number(reply) == 1,
    )

    running = Instrument.measurement(
        ":OPER:COND?",
        """Get whether an acquisition is running or waits for its trigger (bool; 1204 p. 152).""",
        get_process=lambda reply: bool(int(_number(reply)) & _RUN),
    )

    def read_preamble(self) -> Preamble:
        """How the record is to be read; 2000 p. 644."""
        return Preamble(*number_table(str(self.ask(":WAV:PRE?")), 10, 1, f"{_OF} preamble")[0])

    def read_codes(self, points: int) -> npt.NDArray[np.uint8]:
        """The record's codes, one byte each, not signed.

        Raises
        ------
        InstrumentError
            for another number of points, and for a hole (code 0: nothing was acquired there; 4000 p. 1243).
        """
        self.write(":WAV:DATA?")
        codes = np.frombuffer(read_block(self, f"{_OF} waveform", points), dtype=np.uint8)
        if np.any(codes == 0):
            raise InstrumentError(f"{_OF} waveform: {np.count_nonzero(codes == 0)} points were not acquired")
        return codes
