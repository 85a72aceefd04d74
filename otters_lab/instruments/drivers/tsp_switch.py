"""Keithley 707B (matrix) and 3706A (multiplexer or matrix cards) in the role of the switch: the same TSP commands.

Sources: 707B = Models 707B and 708B Reference Manual, 707B-901-01 Rev. B (January 2015); 3700A = Series 3700A Reference
Manual, 3700AS-901-01 Rev. D (June 2018); 3700 = Series 3700 Reference Manual, 3700S-901-01 Rev. C (July 2008); pages
beside each command. A channel is slot, row, column on the 707B ("1A01"), slot and number on the 3706A (1001).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pymeasure.instruments import Instrument, SCPIMixin

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import finite, first_error, link_errors

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile

BREAK_BEFORE_MAKE = 1  # 707B p. 7-18


def _whole(reply: Any) -> int:
    return int(finite(reply, "switch"))


def _channel_list(reply: Any) -> list[str]:
    """Channels of a getclose reply: separated by commas or semicolons (707B p. 2-89), nil for none (3700 p. 13-47)."""
    text = str(reply).strip()
    if text == "nil" or not text:
        return []
    channels = [item.strip() for item in re.split("[,;]", text)]
    if not all(re.fullmatch(r"[0-9A-Za-z]+", channel) for channel in channels):
        raise InstrumentError(f"switch: replied {text!r}, expected a list of channels")
    return channels


class TspSwitch(SCPIMixin, Instrument):
    """The commands of a Keithley TSP switch that closing one channel needs."""

    def __init__(self, adapter: Any, name: str = "Keithley TSP switch", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    closed_channels = Instrument.measurement(
        'print(channel.getclose("allslots"))',
        """Get the closed channels of all slots (list of str, none or more; 3700 p. 13-47).""",
        cast=str,
        separator="\x00",
        get_process=_channel_list,
    )

    connect_rule = Instrument.control(
        "print(channel.connectrule)",
        "channel.connectrule = %d",
        """Control the order of opening and closing (int, strictly 0: any, 1: break before make, 2: make before break;
        707B p. 7-18).""",
        get_process=_whole,
    )

    error_count = Instrument.measurement(
        "print(errorqueue.count)",
        """Get how many errors wait in the queue (int from 0; errorqueue functions).""",
        get_process=_whole,
    )

    def close_only(self, channel: str) -> None:
        """Closes one channel and opens every other (707B p. 7-22)."""
        self.write(f'channel.exclusiveclose("{channel}")')

    def open_all(self) -> None:
        """Opens every channel of every slot (channel.open; 3700 p. 13-59)."""
        self.write('channel.open("allslots")')

    def next_error(self) -> str:
        """The oldest error, taken off the queue: code and text (errorqueue.next: code, message, severity, node)."""
        return first_error(str(self.ask("print(errorqueue.next())")), "switch error queue") or "none"


class TspChannelSwitch:
    """Closes the one channel that leads to a device."""

    def __init__(self, instrument: TspSwitch, channels: Mapping[int, str]) -> None:
        self._instrument = instrument
        self._channels = dict(channels)

    def identify(self) -> str:
        """The *IDN? reply."""
        with link_errors("switch"):
            return str(self._instrument.id)

    def reset(self) -> None:
        """Error queue empty, all open, and never two devices at once while it switches."""
        switch = self._instrument
        with link_errors("switch"):
            switch.write("errorqueue.clear()")
            switch.connect_rule = BREAK_BEFORE_MAKE
            if switch.connect_rule != BREAK_BEFORE_MAKE:
                raise InstrumentError("switch: the connection rule is not break before make")
        self.make_safe()

    def close(self, device: int) -> None:
        """Closes the device's channel alone, and reads that back."""
        if device not in self._channels:
            raise InstrumentError(f"switch: no channel leads to device {device}")
        channel = self._channels[device]
        with link_errors("switch"):
            self._instrument.close_only(channel)
            self._check_errors("after closing")
            closed = self._instrument.closed_channels
        if [name.upper() for name in closed] != [channel.upper()]:
            raise InstrumentError(f"switch: channels {closed} are closed, expected {channel} alone")

    def make_safe(self) -> None:
        """All open, confirmed."""
        with link_errors("switch"):
            self._instrument.open_all()
            closed = self._instrument.closed_channels
        if closed:
            raise InstrumentError(f"switch: channels {closed} are still closed")

    def _check_errors(self, when: str) -> None:
        if self._instrument.error_count:
            raise InstrumentError(f"switch: error queue {when}: {self._instrument.next_error()}")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> TspChannelSwitch:
    """For the registry."""
    channels = {device: str(channel) for device, channel in bench.channels.items()}
    return TspChannelSwitch(TspSwitch(adapter), channels)
