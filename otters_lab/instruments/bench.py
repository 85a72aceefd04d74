"""An open bench: identified, made safe, and ready to take traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from otters_lab.core.clock import Clock, iso_utc
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.log import logger
from otters_lab.core.protocols import DecaySource, Trace
from otters_lab.instruments.acquire import TraceRequest, make_trace, meter_settings
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.conditions import Conditions
from otters_lab.instruments.drivers.replies import LinkError, confirm
from otters_lab.instruments.refusals import check_gate_pulse, check_limits
from otters_lab.instruments.roles import (
    LightSource,
    Meter,
    MeterSettings,
    SoftwarePaced,
    SoftwareStarted,
    Switch,
)
from otters_lab.instruments.session import Session, open_session
from otters_lab.instruments.virtual.assemble import VirtualBench
from otters_lab.instruments.virtual.world import History


class Bench:
    """A bench in use; made by `open_bench`."""

    def __init__(self, session: Session) -> None:
        self.file = session.file
        self.clock: Clock = session.clock
        self.identities: Mapping[str, str] = session.identities
        self.virtual: VirtualBench | None = session.virtual
        self._session = session
        roles = session.roles
        self._meter: Meter = roles["meter"]
        self._light: LightSource = roles["light"]
        self._switch: Switch | None = roles.get("switch")
        self._conditions = Conditions(self.file, self.clock, roles, session.guard.check)
        self._failures = 0

    @property
    def origin(self) -> str:
        """What a capture from this bench must be called."""
        return self._session.origin

    @property
    def safe(self) -> bool:
        """Whether everything was confirmed to be off, and nothing was switched on since."""
        return self._session.safe

    @property
    def devices(self) -> tuple[int, ...]:
        """Devices that can be measured: on the switch, and on the chip where that is known."""
        if self.virtual is None:
            return self.file.devices
        return tuple(device for device in self.file.devices if device in self.virtual.world.decays.devices)

    @property
    def history(self) -> History:
        """What a later virtual bench needs to go on from here; empty on a real bench, whose devices know it."""
        return History() if self.virtual is None else self.virtual.world.history

    @property
    def truth(self) -> dict[str, Any] | None:
        """What a virtual bench really is (true parameters, noise, latencies), for a capture's attributes; else None."""
        return None if self.virtual is None else self.virtual.describe()

    def wait(self, seconds: float) -> None:
        """Lets the device recover."""
        self.clock.sleep(seconds)

    def pause_first(self, say: Callable[[], None] | None) -> None:
        """The first Ctrl-C from now on calls `say` and sets `pause_wanted`; None: it ends the run again."""
        self._session.guard.pause_first(say)

    @property
    def pause_wanted(self) -> bool:
        """Whether Ctrl-C asked for a pause."""
        return self._session.guard.pause_wanted

    def gate_pulse(self, device: int, voltage_V: float, width_s: float) -> None:
        """Holds a device's gate at a voltage for a while (s, by our clock), with no light and no bias.

        Raises
        ------
        InputError
            over the bench's limits, or on a bench without a gate; no instrument was touched.
        InstrumentError
            as `acquire`, but a link that fails ends the run: nothing is taken that could be kept.
        """
        check_gate_pulse(voltage_V, self.file)
        self._ready_for(device)
        try:
            self._session.safe = False
            if self._switch is not None:
                self._switch.close(device)
            gate = self._session.roles["gate"]
            gate.apply(voltage_V)
            self.wait(width_s)
            gate.make_safe()
        except BaseException as error:
            self._session.failed = str(error) or type(error).__name__
            self.make_safe()
            raise

    def acquire(self, request: TraceRequest) -> Trace:
        """Takes one trace: dark baseline, light pulse, decay. Light and bias are off when it returns or raises.

        A take that a link spoilt (a time-out, a cut) is a take too: a trace without samples and of status "failed".
        Every link has then been closed, opened anew and identified again, and the instruments stand at their
        defaults. It is not taken again. More than the file's `retries` such takes in a row are an error.

        Raises
        ------
        InputError
            if the bench's limits forbid it; no instrument was touched.
        InstrumentError
            if an instrument failed. After this, or an interruption, the bench takes no more.
        """
        check_limits(request, self.file)
        self._ready_for(request.device)
        start_utc, trace = iso_utc(self.clock.utc()), None
        try:
            trace = self._take(request)
            self._outputs_off()
        except LinkError as error:
            self._recover(error)
            return trace or _failed_take(request, self.file, start_utc)
        except BaseException as error:
            self._session.failed = str(error) or type(error).__name__
            self.make_safe()
            raise
        self._failures = 0
        return trace

    def _ready_for(self, device: int) -> None:
        if device not in self.devices:
            raise InputError(f"the chip has no device {device}", file=self.file.path)
        self._session.check()

    def _take(self, request: TraceRequest) -> Trace:
        self._session.safe = False
        self._conditions.reach(request)
        if self._switch is not None and self.file.switch is not None:
            self._switch.close(request.device)
            self.wait(self.file.switch.settle)
        asked = meter_settings(request, self.file)
        settings = self._meter.configure(asked)
        _confirm_settings(asked, settings)
        self._conditions.bias_on(request)
        self._meter.bias_on()
        self.wait(self.file.meter.settle)
        said = self._conditions.readings()
        paced = isinstance(self._meter, SoftwarePaced)
        if request.light:
            self._light.arm_pulse(request.drive_V, 0.0 if paced else request.dark_s, request.width_s)
        start_utc = iso_utc(self.clock.utc())
        if isinstance(self._meter, SoftwarePaced):
            fire = self._light.fire if request.light and isinstance(self._light, SoftwareStarted) else None
            readings, fired_s = self._meter.record(fire, request.dark_s)
            request = replace(request, dark_s=fired_s)  # as it was, not as it was asked for
        else:
            self._meter.start()
            if request.light and isinstance(self._light, SoftwareStarted):
                started_s = self.clock.monotonic_s()
                dark_s = self._light.fire() - started_s
                if not self.file.meter.known.triggered_by_light:
                    request = replace(request, dark_s=dark_s)
            readings = self._meter.fetch()
        return replace(make_trace(request, settings, readings, self.file, start_utc), readings=said)

    def _outputs_off(self) -> None:
        for name in self.file.off_order:
            if name not in ("switch", "temperature"):
                self._session.roles[name].make_safe()

    def _recover(self, error: LinkError) -> None:
        self._failures += 1
        self._session.failed = str(error)
        self.make_safe()
        if self._failures > self.file.retries:
            raise InstrumentError(f"{error} ({self._failures} failed takes in a row)") from error
        self._session.reset()
        self._session.failed = None
        logger.warning("a take failed and is kept as failed, all links were opened anew: %s", error)

    def make_safe(self) -> None:
        """Everything off in the file's `off_order`, as `Session.make_safe`."""
        self._conditions.lost()
        self._session.make_safe()


def _failed_take(request: TraceRequest, file: BenchFile, start_utc: str) -> Trace:
    """A take that gave nothing."""
    return Trace(
        time_s=np.empty(0),
        current_A=np.empty(0),
        aperture_s=request.aperture_s,
        edge_uncertainty_s=file.sync.edge_uncertainty,
        pulse_width_s=request.width_s,
        range_A=request.range_A,
        start_utc=start_utc,
        status="failed",
    )


@contextmanager
def open_bench(
    file: BenchFile,
    *,
    decays: DecaySource | None = None,
    clock: Clock | None = None,
    history: History | None = None,
    record: Path | None = None,
    also_record: Callable[[str], None] | None = None,
) -> Iterator[Bench]:
    """Opens a bench: lock, connect, identify, make safe, and make safe again at the end, whatever the end is.

    Nothing but *IDN? is sent before every instrument has proved to be the one the file names. `decays` takes the
    place of the virtual chip (a recording, a calibration); `history` lets a virtual bench go on where another
    stopped; both mean nothing to a real bench. `record` is a transcript to write: every message with its time; each of
    its lines is handed to `also_record` too.

    A real bench has a supervisor process that makes it safe should this one die. A virtual bench has instruments of
    its own and needs neither that nor locks. The first signal (SIGINT, SIGTERM, SIGHUP) ends the block with
    KeyboardInterrupt; no signal stops the bench from being made safe.

    Raises
    ------
    InputError
        if a virtual bench has nothing to measure, or a transcript cannot be read or written.
    InstrumentError
        if an instrument is in use, does not answer, is another one than the file says, or cannot be made safe.
    """
    with open_session(
        file, file.off_order, decays=decays, clock=clock, history=history, record=record, also_record=also_record
    ) as session:
        yield Bench(session)
    if file.temperature is not None and file.temperature.after == "hold":
        logger.warning('the temperature stage is left as it is (after = "hold"): %s', file.temperature.address)


def _confirm_settings(asked: MeterSettings, found: MeterSettings) -> None:
    for what in ("bias_V", "compliance_A", "range_A", "aperture_s", "interval_s", "n_samples"):
        confirm("meter", what, getattr(asked, what), getattr(found, what))
