"""The twin of an SR570 current preamplifier: it listens and never answers, whatever it is sent.

Commands as in the driver's sources. What it does not understand it leaves, and counts in `parse_errors`: the instrument
has no way to tell. Its gain is what a voltmeter behind it sees; its bandwidth is not modelled.
"""

from __future__ import annotations

import re
from collections import deque

from otters_lab.instruments.setups import SENSITIVITIES_A_PER_V
from otters_lab.instruments.virtual.world import World

# Smallest and largest number of each command that takes one, and its default: 1 uA/V, all off, filters none.
_NUMBERS = {
    "SENS": (0, 27, 18), "SUCM": (0, 1, 0), "SUCV": (0, 100, 0), "IOON": (0, 1, 0), "IOLV": (0, 29, 0),
    "IOSN": (0, 1, 1), "IOUC": (0, 1, 0), "IOUV": (-1000, 1000, 0), "BSON": (0, 1, 0), "BSLV": (-5000, 5000, 0),
    "FLTT": (0, 5, 5), "LFRQ": (0, 15, 15), "HFRQ": (0, 15, 0), "GNMD": (0, 2, 0), "INVT": (0, 1, 0), "BLNK": (0, 1, 0),
}  # fmt: skip


class SR570Twin:
    """Settings by their commands' names."""

    def __init__(self, world: World) -> None:
        self.received: deque[bytes] = deque(maxlen=4096)
        self.parse_errors = 0
        self.settings: dict[str, int] = {}
        self.reset()
        world.amplifier_V_per_A = self.gain_V_per_A

    def reset(self) -> None:
        """*RST."""
        self.settings = {name: default for name, (_, _, default) in _NUMBERS.items()}

    @property
    def output_on(self) -> bool:
        """Whether it biases its input."""
        return bool(self.settings["BSON"])

    @property
    def bias_V(self) -> float:
        """At its input; 0 while it is off."""
        return self.settings["BSLV"] / 1000 if self.output_on else 0.0

    def gain_V_per_A(self) -> float:
        """With its sign."""
        return (-1.0 if self.settings["INVT"] else 1.0) / SENSITIVITIES_A_PER_V[self.settings["SENS"]]

    def queue_error(self, code: int) -> None:
        """It has no error queue."""

    def handle(self, message: bytes) -> None:
        """One message, without terminator."""
        self.received.append(message)
        text = message.decode("latin-1").strip().upper()
        if text == "*RST":
            self.reset()
        elif text != "ROLD":
            self._set(text)

    def _set(self, text: str) -> None:
        found = re.fullmatch(r"([A-Z]{4}) ([+-]?\d+)", text)
        if found is None or found[1] not in _NUMBERS:
            self.parse_errors += 1
            return
        low, high, _ = _NUMBERS[found[1]]
        if low <= int(found[2]) <= high:
            self.settings[found[1]] = int(found[2])
        else:
            self.parse_errors += 1
