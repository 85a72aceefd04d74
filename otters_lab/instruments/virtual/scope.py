"""What the twins of oscilloscopes share: channel 1 on the amplifier, channel 2 on the light's sync output, one record.

The amplifier is that of the DMM6500's twin: gain, sign, and where it clips. Samples are points (apertures of 10 ns, as
the drivers assume) on a grid that begins with the trigger, which is resolved ideally. The sync output is TTL: levels
between 0.4 and 2.4 V are crossed by its edge. A record needs its whole pre-trigger part before a trigger counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from otters_lab.core.protocols import Array
from otters_lab.instruments.drivers.timebase import DIVISIONS, POINT_APERTURE_S
from otters_lab.instruments.setups import AmplifierTable
from otters_lab.instruments.virtual.scpi import Call, ScpiError, ScpiInstrument
from otters_lab.instruments.virtual.world import World

TTL_V = (0.4, 2.4)


class ScopeTwin(ScpiInstrument):
    """Arming, triggering and sampling; a model adds its commands and says what they amount to."""

    output_on = False  # it has no output to switch

    def __init__(self, identity: str, world: World, amplifier: AmplifierTable) -> None:
        super().__init__(identity)
        self._world = world
        self._amplifier = amplifier
        world.sync_inputs.append(self._sync_edge)

    def reset(self) -> None:
        """*RST: nothing armed, nothing recorded."""
        self._waits = False
        self._ready_s = 0.0
        self._trigger_s: float | None = None
        self._voltage_V: Array | None = None
        self._plan: tuple[float, float, int] = (0.0, 0.0, 0)

    # --- what a model says --------------------------------------------------------------------------------------------

    def _planned(self) -> tuple[float, float, int]:
        """Seconds from the trigger to the first sample (negative before it), sample interval (s), points."""
        raise NotImplementedError

    def _trigger_level_V(self) -> float | None:
        """The level that a rising edge on channel 2 must cross; None if that is not what triggers."""
        raise NotImplementedError

    # --- acquisition --------------------------------------------------------------------------------------------------

    def _single(self) -> None:
        """Arms one acquisition; what was recorded is gone."""
        self._plan = self._planned()
        self._voltage_V, self._trigger_s, self._waits = None, None, True
        self._ready_s = self._world.now_s + max(0.0, -self._plan[0])

    def _halt(self) -> None:
        self._finish()
        self._waits, self._trigger_s = False, None

    def _sync_edge(self, at_s: float) -> None:
        level_V = self._trigger_level_V()
        if self._waits and at_s >= self._ready_s and level_V is not None and TTL_V[0] < level_V < TTL_V[1]:
            self._waits, self._trigger_s = False, at_s + self._world.meter_latency_s

    def _finish(self) -> None:
        """Keeps the record once the clock has passed its end."""
        if self._trigger_s is None:
            return
        first_s, interval_s, points = self._plan
        middle_s: Array = self._trigger_s + first_s + np.arange(points, dtype=np.float64) * interval_s
        if self._world.now_s < middle_s[-1]:
            return
        self._trigger_s = None
        half_s = POINT_APERTURE_S / 2
        current_A = self._world.currents_A(middle_s - half_s, middle_s + half_s)
        limit = self._amplifier.output_limit
        self._voltage_V = np.clip(current_A * self._amplifier.signed_gain_V_per_A, -limit, limit)

    @property
    def _armed(self) -> bool:
        return self._waits and self._world.now_s >= self._ready_s

    @property
    def _running(self) -> bool:
        self._finish()
        return self._waits or self._trigger_s is not None

    def _recorded(self) -> Array:
        """Volts at the input of channel 1."""
        self._finish()
        if self._voltage_V is None:
            raise ScpiError(-230)
        return self._voltage_V

    # --- channels -----------------------------------------------------------------------------------------------------

    def _of_channel(self, header: str, key: str, show: Any, read: Any) -> None:
        """A setting that each channel has: ``:CHANnel#:...`` and its query; kept in `_channels`."""

        def put(call: Call) -> None:
            self._channel(call)[key] = read(call)

        def get(call: Call) -> str:
            call.only(0)
            return str(show(self._channel(call)[key]))

        self.on(header, put)
        self.on(header + "?", get)

    def _channel(self, call: Call) -> dict[str, Any]:
        number = call.suffixes[0]
        if number not in self._channels:
            raise ScpiError(-113)
        return self._channels[number]

    _channels: dict[int, dict[str, Any]]


def block(data: bytes, digits: int) -> str:
    """A block of definite length as characters, its byte count in so many digits."""
    return f"#{digits}{len(data):0{digits}d}" + data.decode("latin-1")


def nr3(value: float) -> str:
    """A number as these scopes write it."""
    return f"{value:+.9E}"


def width_s(scale_s: float) -> float:
    """Seconds across the screen."""
    return scale_s * DIVISIONS
