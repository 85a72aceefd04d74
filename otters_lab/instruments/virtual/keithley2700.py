"""The twin of a Keithley 2700 with a 7709 matrix card (6 rows, 8 columns) in slot 1.

After the Model 2700 User's Manual, section 2 (pages 2-12 to 2-31) and 12-3.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otters_lab.instruments.virtual.scpi import Call, ScpiError, ScpiInstrument
from otters_lab.instruments.virtual.world import World

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

CHANNELS = range(101, 151)


class Keithley2700Twin(ScpiInstrument):
    """The SCPI commands of the matrix, and which device they connect."""

    def __init__(self, world: World) -> None:
        super().__init__("KEITHLEY INSTRUMENTS INC.,MODEL 2700,VIRTUAL,B09  /A02")
        self._world = world
        self.query("*OPT?", lambda: "7709, NONE")
        self.query("*TST?", lambda: "0")
        self.on(":ROUTe:MULTiple:CLOSe", lambda call: self._world.closed_channels.update(_channels(call)))
        self.query(":ROUTe:MULTiple:CLOSe?", self._closed)
        self.on(":ROUTe:MULTiple:CLOSe:STATe?", self._states)
        self.on(":ROUTe:MULTiple:OPEN", lambda call: self._world.closed_channels.difference_update(_channels(call)))
        self.event(":ROUTe:OPEN:ALL", self._world.closed_channels.clear)

    def reset(self) -> None:
        """*RST opens all channels."""
        self._world.closed_channels.clear()

    def _closed(self) -> str:
        return "(@" + ",".join(str(channel) for channel in sorted(self._world.closed_channels)) + ")"

    def _states(self, call: Call) -> str:
        return ",".join(str(int(channel in self._world.closed_channels)) for channel in _channels(call))


def _channels(call: Call) -> list[int]:
    """A channel list such as ``(@101, 103:105)``."""
    (text,) = call.only(1)
    match = re.fullmatch(r"\(@(.*)\)", text)
    if not match:
        raise ScpiError(-104)
    channels: list[int] = []
    for item in match[1].split(","):
        ends = re.fullmatch(r"\s*(\d{3})(?:\s*:\s*(\d{3}))?\s*", item)
        if not ends:
            raise ScpiError(-104)
        channels.extend(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    if any(channel not in CHANNELS for channel in channels):
        raise ScpiError(-222)
    return channels


def twin(world: World, bench: BenchFile) -> Keithley2700Twin:
    """For the registry."""
    return Keithley2700Twin(world)
