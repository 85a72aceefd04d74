"""Some instruments of a bench, open: locked, identified, supervised, and made safe at the end, whatever the end is."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyvisa

from otters_lab.core.clock import Clock, SystemClock
from otters_lab.core.errors import InstrumentError
from otters_lab.core.log import logger
from otters_lab.core.protocols import DecaySource
from otters_lab.instruments.amplifier import open_amplifier
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.registry import build, preload
from otters_lab.instruments.drivers.replies import LinkError
from otters_lab.instruments.interrupts import Interrupts, interrupts
from otters_lab.instruments.links import SYSTEM_LIBRARY, Link, identify, open_link, renew_link
from otters_lab.instruments.locks import locked
from otters_lab.instruments.supervisor import Supervisor, supervised
from otters_lab.instruments.transcript import Script, load_script, recording, script_library
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.world import History

if TYPE_CHECKING:
    from otters_lab.instruments.drivers.sr570 import ListeningAmplifier


AMPLIFIER = "amplifier"


class OutputUnknownError(InstrumentError):
    """Light or bias could not be confirmed to be off."""


@dataclass(frozen=True)
class Source:
    """What a session's clock and instruments come from, where they are not the machine's own."""

    virtual: VirtualBench | None = None
    script: Script | None = None


class Session:
    """Instruments of a bench in use, by role; made by `open_session`.

    `off_order`: the roles that are made safe, in this order. `failed`: why nothing more may be switched on; set after
    a failure. `safe`: whether everything was confirmed to be off, and nothing was switched on since.
    """

    def __init__(
        self, file: BenchFile, off_order: Sequence[str], clock: Clock, guard: Interrupts, source: Source
    ) -> None:
        self.file = file
        self.clock = clock
        self.guard = guard
        self.virtual = source.virtual
        self.off_order = tuple(off_order)
        self.roles: dict[str, Any] = {}
        self.failed: str | None = None
        self.safe = False
        self.supervisor: Supervisor | None = None
        self.amplifier: ListeningAmplifier | None = None
        self._script = source.script
        self._links: dict[str, Link] = {}
        self._identities: dict[str, str] = {}

    @property
    def identities(self) -> MappingProxyType[str, str]:
        """The *IDN? replies by role."""
        return MappingProxyType(self._identities)

    @property
    def origin(self) -> str:
        """What is measured here must be called: "measured", or what the virtual chip's decays are.

        Twins in another process, and in a transcript, are told by their *IDN? replies, which say VIRTUAL in place of
        a serial number; any other transcript is "replayed".
        """
        if self.virtual is not None:
            return self.virtual.world.decays.origin
        served = any("VIRTUAL" in identity.split(",") for identity in self._identities.values())
        if served:
            return "synthetic"
        return "measured" if self._script is None else "replayed"

    def check(self) -> None:
        """Whether something may be switched on.

        Raises
        ------
        InstrumentError
            after a failure, and without a supervisor where there must be one.
        KeyboardInterrupt
            if a signal came.
        """
        if self.failed:
            raise InstrumentError(f"the bench failed before and must be opened anew: {self.failed}")
        if self.supervisor is not None and not self.supervisor.alive:
            raise InstrumentError("the supervisor process has ended; nothing is switched on without it")
        self.guard.check()

    def connect(self, stack: ExitStack, library: Any, tap: Any, roles: Sequence[str]) -> None:
        """Opens the links of some roles, identifies all, and only then builds the drivers."""
        file = self.file
        for role in roles:
            self._links[role] = open_link(role, file.instruments[role], library, tap)
            stack.callback(self._links[role].hang_up)
        for role in roles:
            self._identities[role] = identify(self._links[role], file.instruments[role], file)
        if "meter" in roles and file.meter.amplifier:
            self._identities["amplifier"] = file.meter.amplifier.describe()
        if AMPLIFIER in places_of(file, roles):
            self._links[AMPLIFIER], self.amplifier = open_amplifier(file, library, self.clock, tap)
            stack.callback(self._links[AMPLIFIER].hang_up)
        self.roles.update({role: build(role, self._links[role], file, self.clock) for role in roles})

    def reset(self) -> None:
        """Every instrument to the defaults that a take begins from; the amplifier, where one is driven, to its own."""
        for instrument in self.roles.values():
            instrument.reset()
        if self.amplifier is not None:
            self.amplifier.set()

    def make_safe(self) -> None:
        """Everything off in `off_order`, a driven amplifier last; each is tried whatever happens to the others.

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
        with self.guard.held():
            for name in self.off_order:
                try:
                    if self.failed:
                        renew_link(self._links[name], self.file.instruments[name], self.file)
                    self.roles[name].make_safe()
                except Exception as error:  # a driver's own mistake must not keep the next output on
                    unknown.append(str(error) if isinstance(error, InstrumentError) else f"{name}: {error!r}")
                    logger.info("could not make safe: %s", error)
            if self.amplifier is not None:
                try:
                    if self.failed:
                        self._links[AMPLIFIER].reopen()
                    self.amplifier.make_safe()
                except InstrumentError as error:
                    unknown.append(str(error))
        if self._script is not None and self._script.deviation:
            raise InstrumentError(self._script.deviation)
        self.safe = not unknown
        if unknown:
            before = f" (after: {self.failed})" if self.failed else ""
            self.failed = self.failed or unknown[0]
            raise OutputUnknownError(f"output state unknown: {'; '.join(unknown)}{before}")


@contextmanager
def open_session(
    file: BenchFile,
    off_order: Sequence[str],
    *,
    decays: DecaySource | None = None,
    clock: Clock | None = None,
    history: History | None = None,
    record: Path | None = None,
    also_record: Callable[[str], None] | None = None,
) -> Iterator[Session]:
    """Opens the roles in `off_order`: lock, connect, identify, make safe, reset, and make safe again at the end.

    Nothing but *IDN? is sent before every instrument has proved to be the one the file names. A real bench has a
    supervisor process that makes these roles safe should this one die. The first signal ends the block with
    KeyboardInterrupt; no signal stops the instruments from being made safe. The rest as for `open_bench`.

    Raises
    ------
    InputError
        if a virtual bench has nothing to measure, or a transcript cannot be read or written.
    InstrumentError
        if an instrument is in use, does not answer, is another one than the file says, or cannot be made safe.
    """
    roles = [role for role in file.instruments if role in off_order]
    preload(file, roles)
    source = Source(
        virtual=build_virtual(file, decays, clock, history) if file.backend == "virtual" else None,
        script=load_script(file) if file.backend == "transcript" else None,
    )
    if clock is None:
        clock = (
            source.virtual.world.clock if source.virtual else source.script.clock if source.script else SystemClock()
        )
    with ExitStack() as stack:
        session = Session(file, off_order, clock, stack.enter_context(interrupts()), source)
        tap = stack.enter_context(recording(record, file, clock, also_record)) if record else None
        if file.backend == "visa":
            stack.enter_context(locked(places_of(file, roles).values()))
            session.supervisor = stack.enter_context(supervised(file, [*off_order, *_listener(file, roles)]))
            library = SYSTEM_LIBRARY
        else:
            made = source.virtual
            library = made.library if made else script_library(file, source.script or load_script(file))
            stack.callback(lambda: pyvisa.ResourceManager(library).close())
        session.connect(stack, library, tap, roles)
        if session.supervisor is not None:
            session.supervisor.arm()
        with _safe_at_the_end(session):
            session.make_safe()
            session.reset()
            yield session


def places_of(file: BenchFile, roles: Sequence[str]) -> dict[str, str]:
    """The address of each role, and of the meter's amplifier where that is sent something."""
    return {role: file.addresses[role] for role in [*roles, *_listener(file, roles)]}


def _listener(file: BenchFile, roles: Sequence[str]) -> list[str]:
    return [AMPLIFIER] if "meter" in roles and AMPLIFIER in file.addresses else []


@contextmanager
def _safe_at_the_end(session: Session) -> Iterator[None]:
    # For a block that is never left: a generator that hangs in a notebook's frame when the interpreter ends.
    atexit.register(session.make_safe)
    try:
        try:
            yield
        except LinkError as error:  # a late reply may be on its way: the links are opened anew before they are used
            session.failed = session.failed or str(error)
            raise
        finally:
            session.make_safe()
    except KeyboardInterrupt:
        # The one signal that interrupts may have come just before the line above; the next ones do not.
        session.make_safe()
        raise
    finally:
        atexit.unregister(session.make_safe)
        if session.supervisor is not None and session.safe:
            # else the supervisor goes on trying when this process has let go
            session.supervisor.goodbye()
