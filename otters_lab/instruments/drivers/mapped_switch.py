"""A switch through a mapped PyMeasure class (`mapped.py`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.mapped import MappedInstrument


class MappedSwitch:
    """A `Switch`. Without a mapped `closed` what it does is not confirmed."""

    def __init__(self, mapped: MappedInstrument, channels: Mapping[int, int | str]) -> None:
        self._mapped = mapped
        self._channels = dict(channels)

    def identify(self) -> str:
        """The *IDN? reply."""
        return self._mapped.identify()

    def reset(self) -> None:
        """The map's reset, all open."""
        self._mapped.reset()
        self.make_safe()
        self._mapped.check_errors("after the reset")

    def close(self, device: int) -> None:
        """Opens all channels, closes the device's own, and reads back, where it can, that no other is closed."""
        if device not in self._channels:
            raise InstrumentError(f"switch: no channel leads to device {device}")
        channel = self._channels[device]
        self._mapped.call("open_all")
        self._mapped.call("close", channel)
        self._mapped.check_errors("after closing")
        self._confirm([str(channel)])

    def make_safe(self) -> None:
        """All open; confirmed where that can be read."""
        self._mapped.call("open_all")
        self._confirm([])
        if "closed" not in self._mapped:
            self._mapped.identify()  # it is still there

    def _confirm(self, expected: list[str]) -> None:
        if "closed" not in self._mapped:
            return
        closed = channel_names(self._mapped.raw("closed")[0])
        if closed != expected:
            shown = ", ".join(closed) or "none"
            raise InstrumentError(f"switch: closed channels: {shown}, expected {', '.join(expected) or 'none'}")


def channel_names(reply: Any) -> list[str]:
    """Channels as a class tells them: a list, or text like ``(@101,102)`` or ``nil`` for none."""
    if reply is None:
        return []
    if isinstance(reply, list | tuple | set):
        return [str(channel) for channel in reply]
    return [name for name in re.split(r"[\s,;()@]+", str(reply)) if name and name.lower() != "nil"]
