"""A Keithley 2700 with a 7709 matrix card in the role of the switch.

PyMeasure's Keithley2700 is used as it is. What one must know of it: it supports the 7709 card alone; its docstring
says that setting `closed_channels` opens all others, but the command closes the listed ones and leaves the rest
(Model 2700 User's Manual, 2-19), so everything is opened first here; errors after a setting are logged, not raised, so
the channels are read back; and its list of valid channels is shared by all its instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pymeasure.instruments.keithley import Keithley2700

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import first_error, link_errors

if TYPE_CHECKING:
    from otters_lab.instruments.benchfile import BenchFile


class Keithley2700Switch:
    """Closes the one channel of the matrix that leads to a device."""

    def __init__(self, connect: Callable[[], Keithley2700], channels: Mapping[int, int]) -> None:
        self._connect = connect
        self._channels = dict(channels)

    @cached_property
    def _instrument(self) -> Keithley2700:
        # PyMeasure's constructor already asks for errors and cards, so it waits until something is wanted.
        return self._connect()

    def identify(self) -> str:
        """The *IDN? reply."""
        with link_errors("switch"):
            return str(self._instrument.id)

    def reset(self) -> None:
        """All open, error queue empty. No *RST: it does nothing for the matrix that opening does not."""
        with link_errors("switch"):
            self._instrument.write("*CLS")
        self.make_safe()

    def close(self, device: int) -> None:
        """Opens all channels, closes the device's own, and reads back that no other is closed."""
        if device not in self._channels:
            raise InstrumentError(f"switch: no channel leads to device {device}")
        channel = self._channels[device]
        with link_errors("switch"):
            self._instrument.open_all_channels()
            self._instrument.closed_channels = [channel]
            closed = self._instrument.closed_channels
            self._check_errors("after closing")
        if closed != [channel]:
            raise InstrumentError(f"switch: channels {closed} are closed, expected {channel} alone")

    def make_safe(self) -> None:
        """All open, confirmed."""
        with link_errors("switch"):
            self._instrument.open_all_channels()
            closed = self._instrument.closed_channels
        if closed:
            raise InstrumentError(f"switch: channels {closed} are still closed")

    def _check_errors(self, when: str) -> None:
        error = first_error(self._instrument.ask("SYST:ERR?"), "switch error queue")
        if error:
            raise InstrumentError(f"switch: error queue {when}: {error}")


def build(adapter: Any, bench: BenchFile, clock: Clock) -> Keithley2700Switch:
    """For the registry."""
    channels = {device: int(channel) for device, channel in bench.channels.items()}
    return Keithley2700Switch(lambda: Keithley2700(adapter), channels)
