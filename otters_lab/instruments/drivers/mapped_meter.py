"""A meter that software asks for each reading, through a mapped PyMeasure class (`mapped.py`).

The grid is kept by our clock, so `[sync] meter_latency` of such a bench is 0. A reading is placed in the middle of its
query; what the link takes on either side belongs into `edge_uncertainty`. Readings that come later than their place by
half an interval are told by the trace's status.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.mapped import MappedInstrument
from otters_lab.instruments.drivers.replies import OVERFLOW_A, finite
from otters_lab.instruments.roles import MeterReadings, MeterSettings, ReadingFlag

# Some meters tell a range's full scale (105 % of its name on a Keithley 2400), and the next range is far from both.
_SAME_RANGE = 0.06
# A class says nothing of the source's limit: a current within this of it is taken to be limited.
_AT_THE_LIMIT = 0.99


class MappedMeter:
    """A `Meter` that is `SoftwarePaced`. Without a mapped bias it sources nothing."""

    def __init__(self, mapped: MappedInstrument, clock: Clock, line_frequency_Hz: float) -> None:
        self._mapped = mapped
        self._clock = clock
        self._line_frequency_Hz = line_frequency_Hz
        self._sources = "bias" in mapped
        self._settings: MeterSettings | None = None
        self._begun_s: float | None = None

    def identify(self) -> str:
        """The *IDN? reply."""
        return self._mapped.identify()

    def reset(self) -> None:
        """The map's reset, output off."""
        self._settings = None
        self._mapped.reset()
        if self._sources:
            self._mapped.switch("output", on=False)
        self._mapped.check_errors("after the reset")

    def configure(self, settings: MeterSettings) -> MeterSettings:
        """Sets bias, limit, range and aperture with the output off; returns them as they read back."""
        mapped, bias_V, compliance_A = self._mapped, 0.0, settings.compliance_A
        if self._sources:
            mapped.switch("output", on=False)
            mapped.set_number("bias", settings.bias_V)
            mapped.set_number("compliance", settings.compliance_A)
            bias_V, compliance_A = mapped.number("bias"), mapped.number("compliance")
        elif settings.bias_V != 0:
            raise InstrumentError(f"meter: asked for a bias of {settings.bias_V:g} V, but there is no source")
        mapped.set_number("range", settings.range_A, relative=_SAME_RANGE)
        if "nplc" in mapped:
            mapped.set_number("nplc", settings.aperture_s * self._line_frequency_Hz)
        mapped.check_errors("after the settings")
        self._settings = MeterSettings(
            bias_V=bias_V,
            compliance_A=compliance_A,
            range_A=settings.range_A,
            aperture_s=mapped.number("nplc") / self._line_frequency_Hz if "nplc" in mapped else settings.aperture_s,
            interval_s=settings.interval_s,
            n_samples=settings.n_samples,
        )
        return self._settings

    def bias_on(self) -> None:
        """Output on, confirmed, where there is one."""
        if self._sources:
            self._mapped.switch("output", on=True)

    def start(self) -> None:
        """The first reading is due now; no trigger is given."""
        self._begun_s = self._clock.monotonic_s()

    def fetch(self) -> MeterReadings:
        """Takes the readings of an acquisition without light."""
        if self._begun_s is None:
            raise InstrumentError("meter: read before it was started")
        begun_s, self._begun_s = self._begun_s, None
        return self._take(begun_s, None, 0.0)[0]

    def record(self, fire: Callable[[], float], fire_at_s: float) -> tuple[MeterReadings, float]:
        """Takes all readings; calls `fire` `fire_at_s` (s) after the start, between two of them.

        Returns the readings, and when (s, after the start) `fire` says that it handed the command over.
        """
        return self._take(self._clock.monotonic_s(), fire, fire_at_s)

    def make_safe(self) -> None:
        """Output off, confirmed; of a meter without one, the answer shows that it is still there."""
        self._begun_s = None
        if self._sources:
            self._mapped.switch("output", on=False)
        else:
            self._mapped.number("range")

    def _take(self, begun_s: float, fire: Callable[[], float] | None, fire_at_s: float) -> tuple[MeterReadings, float]:
        settings = self._settings
        if settings is None:
            raise InstrumentError("meter: read before it was configured")
        start_s, current_A = np.empty(settings.n_samples), np.empty(settings.n_samples)
        fired_s = math.nan
        for index in range(settings.n_samples):
            due_s = index * settings.interval_s
            if fire is not None and due_s >= fire_at_s - 1e-9 * settings.interval_s:
                self._sleep_until(begun_s + fire_at_s)
                fired_s, fire = fire() - begun_s, None
            self._sleep_until(begun_s + due_s)
            asked_s = self._clock.monotonic_s()
            current_A[index] = self._reading_A()
            middle_s = (asked_s + self._clock.monotonic_s()) / 2
            start_s[index] = middle_s - begun_s - settings.aperture_s / 2
        if fire is not None:
            raise InstrumentError("meter: the last reading came before the light")
        self._settings_were_kept(settings)
        return MeterReadings(start_s, current_A, self._flags(current_A, settings.compliance_A)), fired_s

    def _reading_A(self) -> float:
        """NaN for what is beyond the range: 9.9E37 in SCPI, 9.91E37 on a Keithley 2600."""
        reply, factor = self._mapped.raw("current")
        try:
            value = float(reply)
        except (TypeError, ValueError):
            value = math.nan
        if OVERFLOW_A <= abs(value) < math.inf:
            return math.nan
        return finite(reply, "meter: current") * factor

    def _flags(self, current_A: np.ndarray, compliance_A: float) -> np.ndarray:
        limited = self._sources & (np.abs(current_A) >= _AT_THE_LIMIT * compliance_A)
        flags = np.isnan(current_A) * int(ReadingFlag.OVERFLOW) + limited * int(ReadingFlag.COMPLIANCE)
        return flags.astype(np.uint8)

    def _settings_were_kept(self, settings: MeterSettings) -> None:
        """Some classes read by a command that sets the instrument's defaults first (MEASure): the range is not ours."""
        self._mapped.confirm_number("range", settings.range_A, relative=_SAME_RANGE)
        if "nplc" in self._mapped:
            self._mapped.confirm_number("nplc", settings.aperture_s * self._line_frequency_Hz)
        self._mapped.check_errors("after the readings")

    def _sleep_until(self, at_s: float) -> None:
        self._clock.sleep(max(0.0, at_s - self._clock.monotonic_s()))
