"""Looks a bench over, instrument by instrument, and leaves every output off: what `otters-lab bench` shows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pyvisa

from otters_lab.core.clock import Clock, SystemClock
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.protocols import DecaySource
from otters_lab.instruments.amplifier import open_amplifier
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.own import is_own
from otters_lab.instruments.drivers.registry import build, preload
from otters_lab.instruments.drivers.replies import finite, first_error, link_errors
from otters_lab.instruments.interrupts import interrupts
from otters_lab.instruments.links import SYSTEM_LIBRARY, Link, identify, open_link, renew_link
from otters_lab.instruments.locks import locked
from otters_lab.instruments.virtual.assemble import build_virtual

# Drivers whose instrument has *TST?, 0 for passed (IEEE 488.2, 10.38): 2450-901-01 appendix B (always 0); 33500 Series
# Operating and Service Guide, IEEE-488 common commands; Model 2700 User's Manual, section 11 (ROM checksum).
_SELF_TESTED = ("keithley-2450", "agilent-33500", "keithley-2700")
_SELF_TEST_S = 30.0

# Query and meanings. OUTPut subsystem of the 2450; the wording of the replies is that of the sister manual 2470-901-01.
# 6487-901-01 p. 14-10. 6517B: as public code quotes its manual. DC2200 Operation Manual v1.8, section 4.3.2.
_INTERLOCKS = {
    "keithley-2450": (":OUTP:INT:TRIP?", {0: "asserted", 1: "not asserted: no high voltage"}),
    "keithley-6487": (":SOUR:VOLT:INT:FAIL?", {0: "closed", 1: "asserted: no bias"}),
    "keithley-6517b": (":SYST:INT?", {0: "open: no bias", 1: "closed, or no cable in it"}),
    "thorlabs-dc2200": ("OUTPUT1:PROTECTION:INTLOCK:TRIPPED?", {0: "closed", 1: "open: no light"}),
}

_MAX_ERRORS = 30


@dataclass
class Found:
    """One instrument. `self_test`, `interlock`: what it said, "not offered" where we know of none.

    `output`: "off", "held" (a stage that stays where it is), "none" (a power meter has no output), or "unknown".
    `errors`: what its error queue held, None where it could not be read or is not known (a lab's own driver).
    """

    role: str
    driver: str
    validated: str
    evidence: str
    address: str
    error_query: str | None
    identity: str | None = None
    firmware: str | None = None
    self_test: str | None = None
    interlock: str | None = None
    errors: list[str] | None = None
    output: str = "unknown"
    problems: list[str] = field(default_factory=list)


def survey(file: BenchFile, decays: DecaySource | None = None) -> list[Found]:
    """Connects to each instrument in the file's `off_order`, makes it safe, and asks what it has to say.

    What is wrong with one does not keep the others from being looked at: it stands in its `problems`. An instrument
    that is not the one the file names gets nothing but *IDN?. `decays` as for `open_bench`.

    Raises
    ------
    InputError
        for a transcript, which holds a sweep and nothing else.
    InstrumentError
        if an instrument is in use by another bench.
    """
    if file.backend == "transcript":
        raise InputError("a transcript is replayed by the sweep it is of", file=file.path, key="backend")
    preload(file)
    with ExitStack() as stack:
        guard = stack.enter_context(interrupts())
        library, clock = _library(stack, file, decays)
        found, roles = [], [*file.off_order, *(role for role in file.instruments if role not in file.off_order)]
        for role in roles:
            guard.check()
            with guard.held():
                found.append(_look_at(role, file, library, clock))
        if "amplifier" in file.addresses:
            with guard.held():
                found.append(_silent_amplifier(file, library, clock))
    return sorted(found, key=lambda one: list(file.addresses).index(one.role))


def _library(stack: ExitStack, file: BenchFile, decays: DecaySource | None) -> tuple[Any, Clock]:
    if file.backend == "virtual":
        virtual = build_virtual(file, decays)
        stack.callback(lambda: pyvisa.ResourceManager(virtual.library).close())
        return virtual.library, virtual.world.clock
    stack.enter_context(locked(file.addresses.values()))
    return SYSTEM_LIBRARY, SystemClock()


def _look_at(role: str, file: BenchFile, library: Any, clock: Clock) -> Found:
    entry = file.instruments[role]
    driver = entry.known
    found = Found(role, entry.driver, driver.validated, driver.evidence, entry.address, driver.error_query)
    try:
        link = open_link(role, entry, library)
    except InstrumentError as error:
        found.problems.append(str(error))
        return found
    try:
        found.identity = identify(link, entry, file)
        fields = [part.strip() for part in found.identity.split(",")]
        found.firmware = fields[3] if len(fields) > 3 else None  # IEEE 488.2, 10.14: the fourth field
        instrument = build(role, link, file, clock)
        _try(_error_queue, found, link, file)
        _try(lambda found, link: instrument.make_safe(), found, link, file)
        _try(_self_test, found, link, file)
        _try(_interlock, found, link, file)
        instrument.make_safe()
        held = role == "temperature" and file.temperature is not None and file.temperature.after == "hold"
        found.output = "none" if role == "power" else "held" if held else "off"
    except Exception as error:  # a driver's own mistake must not keep the others from being made safe
        found.problems.append(str(error) if isinstance(error, InstrumentError) else f"{role}: {error!r}")
    finally:
        link.hang_up()
    return found


def _silent_amplifier(file: BenchFile, library: Any, clock: Clock) -> Found:
    """An amplifier that only listens: its bias is sent off, and nothing is known of it."""
    from otters_lab.instruments.drivers.sr570 import EVIDENCE, VALIDATED

    driver = str(file.meter.amplifier and file.meter.amplifier.driver)
    found = Found("amplifier", driver, VALIDATED, EVIDENCE, file.addresses["amplifier"], None)
    try:
        link, amplifier = open_amplifier(file, library, clock)
    except InstrumentError as error:
        found.problems.append(str(error))
        return found
    try:
        amplifier.make_safe()
        found.output = "off, not confirmed"
    except InstrumentError as error:
        found.problems.append(str(error))
    finally:
        link.hang_up()
    return found


def _try(step: Callable[[Found, Link], None], found: Found, link: Link, file: BenchFile) -> None:
    """One step; after a failure the link is opened anew, since a late reply may be on its way."""
    try:
        with link_errors(found.role):
            step(found, link)
    except InstrumentError as error:
        found.problems.append(str(error))
        renew_link(link, file.instruments[found.role], file)


def _error_queue(found: Found, link: Link) -> None:
    """What was in the queue before anything was asked; reading it empties it."""
    if is_own(found.driver) or found.error_query is None:
        return
    found.errors = []
    while (error := first_error(_ask(link, found.error_query), f"{found.role} error queue")) is not None:
        if len(found.errors) == _MAX_ERRORS:
            raise InstrumentError(f"{found.role}: the error queue has no end ({_MAX_ERRORS} entries read)")
        found.errors.append(error)
    if found.errors:
        found.problems.append(f"{found.role}: {len(found.errors)} in the error queue, first {found.errors[0]}")


def _self_test(found: Found, link: Link) -> None:
    if found.driver not in _SELF_TESTED:
        found.self_test = "not offered"
        return
    before = link.connection.timeout
    link.connection.timeout = _SELF_TEST_S * 1000
    try:
        result = finite(_ask(link, "*TST?"), f"{found.role}: *TST?")
    finally:
        link.connection.timeout = before
    found.self_test = "passed" if result == 0 else f"failed ({result:g})"
    if result != 0:
        found.problems.append(f"{found.role}: self-test {found.self_test}")


def _interlock(found: Found, link: Link) -> None:
    if found.driver not in _INTERLOCKS:
        found.interlock = "not offered"
        return
    query, meanings = _INTERLOCKS[found.driver]
    state = finite(_ask(link, query), f"{found.role}: {query}")
    found.interlock = meanings.get(int(state), f"unknown ({state:g})")


def _ask(link: Link, query: str) -> str:
    """One query."""
    link.write(query)
    return str(link.read())
