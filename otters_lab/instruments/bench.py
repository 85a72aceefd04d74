"""An open bench: identified, made safe, and ready to take traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pyvisa
from pymeasure.adapters import VISAAdapter
from pyvisa.errors import VisaIOError

from otters_lab.core.clock import Clock, SystemClock, iso_utc
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.log import logger
from otters_lab.core.protocols import DecaySource, Trace
from otters_lab.instruments.acquire import TraceRequest, check_limits, make_trace, meter_settings
from otters_lab.instruments.benchfile import BenchFile, InstrumentEntry
from otters_lab.instruments.drivers.registry import build_light, build_meter, build_switch
from otters_lab.instruments.drivers.replies import confirm, link_errors
from otters_lab.instruments.locks import locked
from otters_lab.instruments.roles import LightSource, Meter, MeterSettings, SoftwareStarted, Switch
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.world import History

# What pyvisa picks by itself: the system's VISA where there is one, else pyvisa-py.
_SYSTEM_LIBRARY: Any = ""


class Bench:
    """A bench in use; made by `open_bench`."""

    def __init__(
        self,
        file: BenchFile,
        clock: Clock,
        roles: tuple[Meter, LightSource, Switch],
        links: dict[str, VISAAdapter],
        identities: dict[str, str],
        virtual: VirtualBench | None,
    ) -> None:
        self.file = file
        self.clock = clock
        self.identities = MappingProxyType(identities)
        self.virtual = virtual
        self._meter, self._light, self._switch = roles
        self._links = links
        self._failed: str | None = None

    @property
    def origin(self) -> str:
        """What a capture from this bench must be called: "measured", or what the virtual chip's decays are."""
        return "measured" if self.virtual is None else self.virtual.world.decays.origin

    @property
    def devices(self) -> tuple[int, ...]:
        """Devices that can be measured: on the switch, and on the chip where that is known."""
        wired = tuple(sorted(self.file.switch.channels))
        if self.virtual is None:
            return wired
        return tuple(device for device in wired if device in self.virtual.world.decays.devices)

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

        Raises
        ------
        InputError
            if the bench's limits forbid it; no instrument was touched.
        InstrumentError
            if an instrument failed. After this, or an interruption, the bench takes no more: a link that was left in
            the middle would hand every reply to the wrong question.
        """
        check_limits(request, self.file)
        if request.device not in self.devices:
            raise InputError(f"the chip has no device {request.device}", file=self.file.path)
        if self._failed:
            raise InstrumentError(f"the bench failed before and must be opened anew: {self._failed}")
        try:
            trace = self._take(request)
            self._light.make_safe()
            self._meter.make_safe()
        except BaseException as error:
            self._failed = str(error) or type(error).__name__
            self.make_safe()
            raise
        return trace

    def _take(self, request: TraceRequest) -> Trace:
        self._switch.close(request.device)
        self.wait(self.file.switch.settle)
        asked = meter_settings(request, self.file)
        settings = self._meter.configure(asked)
        _confirm_settings(asked, settings)
        self._meter.bias_on()
        self.wait(self.file.meter.settle)
        self._light.arm_pulse(request.drive_V, request.dark_s, request.width_s)
        start_utc = iso_utc(self.clock.utc())
        self._meter.start()
        if isinstance(self._light, SoftwareStarted):
            started_s = self.clock.monotonic_s()
            request = replace(request, dark_s=self._light.fire() - started_s)  # as it was, not as it was asked for
        readings = self._meter.fetch()
        return make_trace(request, settings, readings, self.file, start_utc)

    def make_safe(self) -> None:
        """Light off, bias off, switch open, in this order; each is tried whatever happens to the others.

        Raises
        ------
        InstrumentError
            "output state unknown", if one of them could not be confirmed.
        """
        unknown = []
        for name, role in (("light", self._light), ("meter", self._meter), ("switch", self._switch)):
            try:
                if self._failed:
                    self._clear(name)
                role.make_safe()
            except InstrumentError as error:
                unknown.append(str(error))
                logger.error("could not make safe: %s", error)
        if unknown:
            before = f" (after: {self._failed})" if self._failed else ""
            raise InstrumentError(f"output state unknown: {'; '.join(unknown)}{before}")

    def _clear(self, name: str) -> None:
        """Device clear, which empties both ends of a link where a late reply may be waiting."""
        try:
            self._links[name].connection.clear()
        except (VisaIOError, NotImplementedError) as error:  # raw sockets have none
            logger.warning("%s: no device clear: %s", name, error)


def _confirm_settings(asked: MeterSettings, found: MeterSettings) -> None:
    for what in ("bias_V", "compliance_A", "range_A", "aperture_s", "interval_s", "n_samples"):
        confirm("meter", what, getattr(asked, what), getattr(found, what))


@contextmanager
def open_bench(
    file: BenchFile,
    *,
    decays: DecaySource | None = None,
    clock: Clock | None = None,
    history: History | None = None,
) -> Iterator[Bench]:
    """Opens a bench: lock, connect, identify, make safe, and make safe again at the end, whatever the end is.

    Nothing but *IDN? is sent before every instrument has proved to be the one the file names. `decays` takes the
    place of the virtual chip (a recording, a calibration); `history` lets a virtual bench go on where another
    stopped; both mean nothing to a real bench. A virtual bench has instruments of its own and needs no locks.

    Raises
    ------
    InputError
        if a virtual bench has nothing to measure.
    InstrumentError
        if an instrument is in use, does not answer, is another one than the file says, or cannot be made safe.
    """
    virtual = build_virtual(file, decays, clock, history) if file.backend == "virtual" else None
    if clock is None:
        clock = SystemClock() if virtual is None else virtual.world.clock
    entries = {"meter": file.meter, "light": file.light, "switch": file.switch}
    with ExitStack() as stack:
        if virtual is None:
            stack.enter_context(locked(entry.address for entry in entries.values()))
            library = _SYSTEM_LIBRARY
        else:
            library = virtual.library
            stack.callback(lambda: pyvisa.ResourceManager(library).close())
        links = {role: _connect(stack, role, entry, library) for role, entry in entries.items()}
        identities = {role: _identify(role, links[role], entry, file) for role, entry in entries.items()}
        if file.meter.amplifier:
            identities["amplifier"] = file.meter.amplifier.describe()
        roles = (build_meter(links["meter"], file, clock), build_light(links["light"], file, clock),
                 build_switch(links["switch"], file, clock))  # fmt: skip
        bench = Bench(file, clock, roles, links, identities, virtual)
        try:
            bench.make_safe()
            for role in roles:
                role.reset()
            yield bench
        finally:
            bench.make_safe()


def _connect(stack: ExitStack, role: str, entry: InstrumentEntry, library: Any) -> VISAAdapter:
    """Opens a link, to be closed with the stack. Nothing is sent."""
    with link_errors(f"{role} at {entry.address}"):
        adapter = VISAAdapter(
            entry.address,
            visa_library=library,
            timeout=round(entry.timeout * 1000),
            read_termination="\n",
            write_termination="\n",
        )
    stack.callback(adapter.connection.close)
    return adapter


def _identify(role: str, link: VISAAdapter, entry: InstrumentEntry, file: BenchFile) -> str:
    """Asks *IDN? and refuses another instrument than the file names."""
    with link_errors(f"{role} at {entry.address}"):
        link.write("*IDN?")
        identity = str(link.read()).strip()
    if entry.identity not in identity:
        raise InstrumentError(
            f"{role} at {entry.address}: found {identity!r}, expected {entry.identity!r} in it ({file.path})"
        )
    return identity
