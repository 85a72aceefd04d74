"""A Stanford Research SR570 current preamplifier in front of a voltmeter. It listens (RS-232) and never answers.

So it can be neither identified nor read back: its settings are sent once every other instrument has proved to be the
one the bench file names, and the header says that they are not confirmed. PyMeasure's SR570 is used as it is, but for
`offset_current`, which sends BSLV, the bias level, in place of IOLV (upstream's mistake; not used), and `bias_level`,
which cuts off where it should round (1.001 V goes out as 1000 mV). The manual was not at hand: the commands are those
of that driver and of other public code, which agree; the line (9600 baud, 8 bits, 2 stop bits, CR LF) is the latter's.
"""

from __future__ import annotations

import warnings
from typing import Any

from pymeasure.instruments.srs import SR570
from pyvisa.constants import StopBits

from otters_lab.core.clock import Clock
from otters_lab.core.errors import InstrumentError
from otters_lab.instruments.drivers.replies import link_errors
from otters_lab.instruments.setups import AmplifierTable

VALIDATED = "independent driver"
EVIDENCE = "PyMeasure's SR570, unmodified on our twin; it only listens: nothing is confirmed"

# After each message; public code waits as long between two settings. No figure of a manual.
PAUSE_S = 0.2
SERIAL_OPTIONS = {"baud_rate": 9600, "data_bits": 8, "stop_bits": StopBits.two}
WRITE_TERMINATION = "\r\n"

_FILTERS = {"none": "none", "6 dB": "6dB Lowpass", "12 dB": "12dB Lowpass"}
_GAIN_MODES = {"low noise": "Low Noise", "high bandwidth": "High Bandwidth", "low drift": "Low Drift"}


class ListeningAmplifier:
    """What is sent to an SR570. Nothing here can say whether it arrived."""

    def __init__(self, adapter: Any, table: AmplifierTable, clock: Clock) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what PyMeasure's maintainers wish to be told
            self._instrument = SR570(adapter)
        self._table = table
        self._clock = clock

    def set(self) -> None:
        """Sends *RST (bias and offset off), then gain, filter, gain mode, sign and, where the file has one, the bias.

        Raises
        ------
        InstrumentError
            if the line is not there, or the table is of an amplifier that is set by hand.
        """
        table, amplifier = self._table, self._instrument
        if table.step_A_per_V is None or table.gain_mode is None:
            raise InstrumentError("amplifier: the bench file names no settings that can be sent")
        self._send("*RST")
        self._put("sensitivity", table.step_A_per_V)
        self._put("filter_type", _FILTERS[table.filter])
        if table.filter != "none":
            self._put("low_freq", table.bandwidth)
        self._put("gain_mode", _GAIN_MODES[table.gain_mode])
        self._put("invert_signal_sign", table.inverting)
        if table.bias is not None:
            self._send(f"BSLV {round(1000 * table.bias)}")  # mV
            with link_errors("amplifier"):
                amplifier.enable_bias()
            self._clock.sleep(PAUSE_S)

    def make_safe(self) -> None:
        """Sends that the bias be off."""
        self._put("bias_enabled", False)

    def _put(self, attribute: str, value: Any) -> None:
        with link_errors("amplifier"):
            setattr(self._instrument, attribute, value)
        self._clock.sleep(PAUSE_S)

    def _send(self, message: str) -> None:
        with link_errors("amplifier"):
            self._instrument.write(message)
        self._clock.sleep(PAUSE_S)
