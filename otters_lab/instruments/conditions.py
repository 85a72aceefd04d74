"""What a device is measured under: gate and drain bias, and the temperature of the chip."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.core.log import logger
from otters_lab.instruments.acquire import TraceRequest
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.roles import BiasSource, TemperatureStage

POLL_S = 1.0


class Conditions:
    """The gate, drain and temperature roles of a bench, as far as it has them.

    `check` is called while the stage is waited for; whatever it raises ends the waiting.
    """

    def __init__(self, file: BenchFile, clock: Clock, roles: Mapping[str, Any], check: Callable[[], None]) -> None:
        self._file = file
        self._clock = clock
        self._gate: BiasSource | None = roles.get("gate")
        self._drain: BiasSource | None = roles.get("drain")
        self._stage: TemperatureStage | None = roles.get("temperature")
        self._check = check
        self._reached_K: float | None = None

    def reach(self, request: TraceRequest) -> None:
        """Brings the stage to the request's temperature and waits until it is there.

        Raises
        ------
        InstrumentError
            if it is not within the file's tolerance, for as long as `soak`, before `timeout_stable` has passed.
        """
        if self._stage is None or request.temperature_K is None or request.temperature_K == self._reached_K:
            return
        entry, target_K = self._file.temperature, request.temperature_K
        assert entry is not None
        self._reached_K = None
        from_K = set_K = self._stage.temperature_K() if entry.ramp else target_K
        began_s = self._clock.monotonic_s()
        ramped_s = abs(target_K - set_K) / entry.ramp if entry.ramp else 0.0
        logger.info("temperature: going to %g K", target_K)
        self._stage.go_to(set_K)
        inside_since_s: float | None = None
        while True:
            self._check()
            now_s = self._clock.monotonic_s()
            if entry.ramp and set_K != target_K:
                moved_K = min(entry.ramp * (now_s - began_s), abs(target_K - from_K))
                set_K = from_K + math.copysign(moved_K, target_K - from_K) if now_s - began_s < ramped_s else target_K
                self._stage.go_to(set_K)
            found_K = self._stage.temperature_K()
            if set_K != target_K or abs(found_K - target_K) > entry.tolerance:
                inside_since_s = None
            elif inside_since_s is None:
                inside_since_s = now_s
            if inside_since_s is not None and now_s - inside_since_s >= entry.soak:
                break
            if now_s - began_s > entry.timeout_stable + ramped_s:
                raise InstrumentError(
                    f"temperature: at {found_K:g} K after {now_s - began_s:.0f} s, expected {target_K:g} K within "
                    f"{entry.tolerance:g} K for {entry.soak:g} s"
                )
            self._clock.sleep(POLL_S)
        self._reached_K = target_K

    def bias_on(self, request: TraceRequest) -> None:
        """Gate, then drain, each followed by its settling time."""
        for source, voltage_V, entry in (
            (self._gate, request.gate_V, self._file.gate),
            (self._drain, request.bias_V, self._file.drain),
        ):
            if source is not None and voltage_V is not None and entry is not None:
                source.apply(voltage_V)
                self._clock.sleep(entry.settle)

    def readings(self) -> dict[str, float]:
        """What the stage says now, by the names of `reading_units`."""
        return {} if self._stage is None else {"stage_temperature": self._stage.temperature_K()}

    def lost(self) -> None:
        """The stage was made safe: its temperature must be reached anew."""
        self._reached_K = None


def reading_units(file: BenchFile) -> dict[str, str]:
    """SI units of the readings that a bench adds to each trace, by name."""
    return {} if file.temperature is None else {"stage_temperature": "K"}
