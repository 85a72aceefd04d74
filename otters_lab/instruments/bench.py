"""An open bench: identified, made safe, and ready to take traces."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvisa

from otters_lab.core.clock import Clock, SystemClock, iso_utc
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.log import logger
from otters_lab.core.protocols import DecaySource, Trace
from otters_lab.instruments.acquire import TraceRequest, check_limits, make_trace, meter_settings
from otters_lab.instruments.amplifier import open_amplifier
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.conditions import Conditions
from otters_lab.instruments.drivers.registry import build, preload
from otters_lab.instruments.drivers.replies import LinkError, confirm
from otters_lab.instruments.interrupts import Interrupts, interrupts
from otters_lab.instruments.links import SYSTEM_LIBRARY, Link, identify, open_link, renew_link
from otters_lab.instruments.locks import locked
from otters_lab.instruments.roles import (
    LightSource,
    Meter,
    MeterSettings,
    SoftwarePaced,
    SoftwareStarted,
    Switch,
)
from otters_lab.instruments.supervisor import Supervisor, supervised
from otters_lab.instruments.transcript import Script, load_script, recording, script_library
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.world import History

if TYPE_CHECKING:
    from otters_lab.instruments.drivers.sr570 import ListeningAmplifier


class OutputUnknownError(InstrumentError):
    """Light or bias could not be confirmed to be off."""


class Bench:
    """A bench in use; made by `open_bench`."""

    def __init__(
        self,
        file: BenchFile,
        clock: Clock,
        roles: Mapping[str, Any],
        links: dict[str, Link],
        identities: dict[str, str],
        virtual: VirtualBench | None,
        guard: Interrupts,
        supervisor: Supervisor | None = None,
        script: Script | None = None,
        amplifier: ListeningAmplifier | None = None,
    ) -> None:
        self.file = file
        self.clock = clock
        self.identities = MappingProxyType(identities)
        self.virtual = virtual
        self._roles = roles
        self._meter: Meter = roles["meter"]
        self._light: LightSource = roles["light"]
        self._switch: Switch | None = roles.get("switch")
        self._conditions = Conditions(file, clock, roles, guard.check)
        self._amplifier = amplifier
        self._links = links
        self._guard = guard
        self._supervisor = supervisor
        self._script = script
        self._failed: str | None = None
        self._failures = 0
        self.safe = False  # whether everything was confirmed to be off, and nothing was switched on since

    @property
    def origin(self) -> str:
        """What a capture from this bench must be called: "measured", or what the virtual chip's decays are.

        Twins in another process, and in a transcript, are told by their *IDN? replies, which say VIRTUAL in place of
        a serial number; any other transcript is "replayed".
        """
        if self.virtual is not None:
            return self.virtual.world.decays.origin
        served = any("VIRTUAL" in identity.split(",") for identity in self.identities.values())
        if served:
            return "synthetic"
        return "measured" if self._script is None else "replayed"

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
        if request.device not in self.devices:
            raise InputError(f"the chip has no device {request.device}", file=self.file.path)
        if self._failed:
            raise InstrumentError(f"the bench failed before and must be opened anew: {self._failed}")
        if self._supervisor is not None and not self._supervisor.alive:
            raise InstrumentError("the supervisor process has ended; nothing is switched on without it")
        self._guard.check()
        start_utc, trace = iso_utc(self.clock.utc()), None
        try:
            trace = self._take(request)
            self._outputs_off()
        except LinkError as error:
            self._recover(error)
            return trace or _failed_take(request, self.file, start_utc)
        except BaseException as error:
            self._failed = str(error) or type(error).__name__
            self.make_safe()
            raise
        self._failures = 0
        return trace

    def _take(self, request: TraceRequest) -> Trace:
        self.safe = False
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
        self._light.arm_pulse(request.drive_V, 0.0 if paced else request.dark_s, request.width_s)
        start_utc = iso_utc(self.clock.utc())
        if isinstance(self._meter, SoftwarePaced) and isinstance(self._light, SoftwareStarted):
            readings, fired_s = self._meter.record(self._light.fire, request.dark_s)
            request = replace(request, dark_s=fired_s)  # as it was, not as it was asked for
        else:
            self._meter.start()
            if isinstance(self._light, SoftwareStarted):
                started_s = self.clock.monotonic_s()
                request = replace(request, dark_s=self._light.fire() - started_s)
            readings = self._meter.fetch()
        return replace(make_trace(request, settings, readings, self.file, start_utc), readings=said)

    def _outputs_off(self) -> None:
        for name in self.file.off_order:
            if name not in ("switch", "temperature"):
                self._roles[name].make_safe()

    def _recover(self, error: LinkError) -> None:
        self._failures += 1
        self._failed = str(error)
        self.make_safe()
        if self._failures > self.file.retries:
            raise InstrumentError(f"{error} ({self._failures} failed takes in a row)") from error
        self.reset()
        self._failed = None
        logger.warning("a take failed and is kept as failed, all links were opened anew: %s", error)

    def reset(self) -> None:
        """Every instrument to the defaults that a take begins from; the amplifier, where one is driven, to its own."""
        for role in self._roles.values():
            role.reset()
        if self._amplifier is not None:
            self._amplifier.set()

    def make_safe(self) -> None:
        """Everything off in the file's `off_order`; each is tried whatever happens to the others.

        After a failure each link is closed, opened anew and identified first. Signals wait until the end.

        Raises
        ------
        OutputUnknownError
            "output state unknown", if one of them could not be confirmed.
        """
        if self._script is not None and self._script.deviation:
            self.safe = True  # nothing is there that could be on, and the script has nothing more to say
            return
        unknown: list[str] = []
        self.safe = False
        self._conditions.lost()
        with self._guard.held():
            for name in self.file.off_order:
                try:
                    if self._failed:
                        renew_link(self._links[name], self.file.instruments[name], self.file)
                    self._roles[name].make_safe()
                except Exception as error:  # a driver's own mistake must not keep the next output on
                    unknown.append(str(error) if isinstance(error, InstrumentError) else f"{name}: {error!r}")
                    logger.info("could not make safe: %s", error)
            if self._amplifier is not None:
                try:
                    if self._failed:
                        self._links["amplifier"].reopen()
                    self._amplifier.make_safe()
                except InstrumentError as error:
                    unknown.append(str(error))
        if self._script is not None and self._script.deviation:
            raise InstrumentError(self._script.deviation)
        self.safe = not unknown
        if unknown:
            before = f" (after: {self._failed})" if self._failed else ""
            self._failed = self._failed or unknown[0]
            raise OutputUnknownError(f"output state unknown: {'; '.join(unknown)}{before}")


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
) -> Iterator[Bench]:
    """Opens a bench: lock, connect, identify, make safe, and make safe again at the end, whatever the end is.

    Nothing but *IDN? is sent before every instrument has proved to be the one the file names. `decays` takes the
    place of the virtual chip (a recording, a calibration); `history` lets a virtual bench go on where another
    stopped; both mean nothing to a real bench. `record` is a transcript to write: every message with its time.

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
    preload(file)
    virtual = build_virtual(file, decays, clock, history) if file.backend == "virtual" else None
    script = load_script(file) if file.backend == "transcript" else None
    if clock is None:
        clock = virtual.world.clock if virtual else script.clock if script else SystemClock()
    entries = {role: file.instruments[role] for role in file.instruments if role in file.off_order}
    supervisor: Supervisor | None = None
    with ExitStack() as stack:
        guard = stack.enter_context(interrupts())
        tap = stack.enter_context(recording(record, file, clock)) if record else None
        if file.backend == "visa":
            stack.enter_context(locked(file.addresses[role] for role in file.addresses if role != "power"))
            supervisor = stack.enter_context(supervised(file))
            library = SYSTEM_LIBRARY
        else:
            library = virtual.library if virtual else script_library(file, script or load_script(file))
            stack.callback(lambda: pyvisa.ResourceManager(library).close())
        links: dict[str, Link] = {}
        for role, entry in entries.items():
            links[role] = open_link(role, entry, library, tap)
            stack.callback(links[role].hang_up)
        identities = {role: identify(links[role], entry, file) for role, entry in entries.items()}
        amplifier = None
        if file.meter.amplifier:
            identities["amplifier"] = file.meter.amplifier.describe()
        if "amplifier" in file.addresses:
            links["amplifier"], amplifier = open_amplifier(file, library, clock, tap)
            stack.callback(links["amplifier"].hang_up)
        roles = {role: build(role, links[role], file, clock) for role in entries}
        bench = Bench(file, clock, roles, links, identities, virtual, guard, supervisor, script, amplifier)
        if supervisor is not None:
            supervisor.arm()
        with _safe_at_the_end(bench, supervisor):
            bench.make_safe()
            bench.reset()
            yield bench
        if file.temperature is not None and file.temperature.after == "hold":
            logger.warning('the temperature stage is left as it is (after = "hold"): %s', file.temperature.address)


@contextmanager
def _safe_at_the_end(bench: Bench, supervisor: Supervisor | None) -> Iterator[None]:
    # For a block that is never left: a generator that hangs in a notebook's frame when the interpreter ends.
    atexit.register(bench.make_safe)
    try:
        try:
            yield
        finally:
            bench.make_safe()
    except KeyboardInterrupt:
        # The one signal that interrupts may have come just before the line above; the next ones do not.
        bench.make_safe()
        raise
    finally:
        atexit.unregister(bench.make_safe)
        if supervisor is not None and bench.safe:  # else the supervisor goes on trying when this process has let go
            supervisor.goodbye()


def _confirm_settings(asked: MeterSettings, found: MeterSettings) -> None:
    for what in ("bias_V", "compliance_A", "range_A", "aperture_s", "interval_s", "n_samples"):
        confirm("meter", what, getattr(asked, what), getattr(found, what))
