"""A VISA library whose instruments are twins in this process; hand it to `pyvisa.ResourceManager`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyvisa import constants, errors, rname
from pyvisa.constants import ResourceAttribute, StatusCode
from pyvisa.highlevel import VisaLibraryBase

from otters_lab.core.clock import Clock

_MANAGER_SESSION = 1


class Device(Protocol):
    """Anything that answers messages."""

    def handle(self, message: bytes) -> bytes | None:
        """The reply to one message, without terminators; None for none."""

    def queue_error(self, code: int) -> None:
        """Records an error that the transport found."""


@dataclass
class _Session:
    device: Device
    address: str
    attributes: dict[Any, Any]
    incoming: bytes = b""
    outgoing: bytes = b""


class TwinLibrary(VisaLibraryBase):
    """The VISA calls a message-based resource needs. Messages end in a line feed, both ways.

    A message that arrives while a reply is unread discards the reply and queues -410 (IEEE 488.2, 6.3.2.3); a read
    with nothing to come times out, which costs the time-out on the virtual clock. Where the termination character is
    enabled a read ends at it, also inside a block: whoever reads one must go on until all its bytes have come. While a
    session holds the exclusive lock of an instrument, others may open it and are refused everything else; closing a
    session frees its lock (viLock of VPP-4.3). Shared locks are not offered.
    """

    _devices: dict[str, Device]
    _clock: Clock
    _sessions: dict[int, _Session]
    _locks: dict[str, tuple[int, int]]  # session and how often it locked, by address
    _last_session: int

    def open_default_resource_manager(self) -> tuple[Any, StatusCode]:
        return _MANAGER_SESSION, StatusCode.success

    def list_resources(self, session: Any, query: str = "?*::INSTR") -> tuple[str, ...]:
        return tuple(self._devices)

    def open(
        self,
        session: Any,
        resource_name: str,
        access_mode: constants.AccessModes = constants.AccessModes.no_lock,
        open_timeout: int = constants.VI_TMO_IMMEDIATE,
    ) -> tuple[Any, StatusCode]:
        device = self._devices.get(_canonical(resource_name))
        if device is None:
            raise errors.VisaIOError(StatusCode.error_resource_not_found)
        self._last_session += 1
        attributes = {ResourceAttribute.timeout_value: 2000, ResourceAttribute.resource_name: resource_name}
        self._sessions[self._last_session] = _Session(device, _canonical(resource_name), attributes)
        return self._last_session, self.handle_return_value(None, StatusCode.success)

    def close(self, session: Any) -> StatusCode:
        if session != _MANAGER_SESSION:
            address = self._session(session).address
            if self._holder(address) == session:
                del self._locks[address]
            del self._sessions[session]
        return self.handle_return_value(None, StatusCode.success)

    def lock(
        self, session: Any, lock_type: constants.Lock, timeout: int, requested_key: str | None = None
    ) -> tuple[str, StatusCode]:
        address = self._session(session).address
        if lock_type != constants.Lock.exclusive:
            self.handle_return_value(session, StatusCode.error_nonsupported_operation)
        if self._holder(address) not in (None, session):
            self._clock.sleep(timeout / 1000)
            self.handle_return_value(session, StatusCode.error_timeout if timeout else StatusCode.error_resource_locked)
        self._locks[address] = (session, self._locks.get(address, (session, 0))[1] + 1)
        return "", self.handle_return_value(session, StatusCode.success)

    def unlock(self, session: Any) -> StatusCode:
        address = self._session(session).address
        if self._holder(address) != session:
            self.handle_return_value(session, StatusCode.error_session_not_locked)
        times = self._locks.pop(address)[1] - 1
        if times:
            self._locks[address] = (session, times)
        return self.handle_return_value(session, StatusCode.success)

    def write(self, session: Any, data: bytes) -> tuple[int, StatusCode]:
        link = self._unlocked(session)
        *messages, link.incoming = (link.incoming + data).split(b"\n")
        for message in messages:
            if link.outgoing:
                link.outgoing = b""
                link.device.queue_error(-410)
            reply = link.device.handle(message.rstrip(b"\r"))
            if reply is not None:
                link.outgoing = reply + b"\n"
        return len(data), self.handle_return_value(session, StatusCode.success)

    def read(self, session: Any, count: int) -> tuple[bytes, StatusCode]:
        link = self._unlocked(session)
        if not link.outgoing:
            self._clock.sleep(link.attributes[ResourceAttribute.timeout_value] / 1000)
            self.handle_return_value(session, StatusCode.error_timeout)
        data = link.outgoing[:count]
        status = StatusCode.success_max_count_read if link.outgoing[count:] else StatusCode.success
        if link.attributes.get(ResourceAttribute.termchar_enabled):
            end = data.find(link.attributes.get(ResourceAttribute.termchar, 0x0A))
            if 0 <= end < len(link.outgoing) - 1:
                data, status = data[: end + 1], StatusCode.success_termination_character_read
        link.outgoing = link.outgoing[len(data) :]
        return data, self.handle_return_value(session, status)

    def clear(self, session: Any) -> StatusCode:
        link = self._unlocked(session)
        link.incoming = link.outgoing = b""
        return self.handle_return_value(session, StatusCode.success)

    def get_attribute(self, session: Any, attribute: Any) -> tuple[Any, StatusCode]:
        attributes = self._session(session).attributes
        if attribute not in attributes:
            raise errors.VisaIOError(StatusCode.error_nonsupported_attribute)
        return attributes[attribute], self.handle_return_value(session, StatusCode.success)

    def set_attribute(self, session: Any, attribute: Any, attribute_state: Any) -> StatusCode:
        self._session(session).attributes[attribute] = attribute_state
        return self.handle_return_value(session, StatusCode.success)

    def disable_event(self, session: Any, event_type: Any, mechanism: Any) -> StatusCode:
        return StatusCode.success

    def discard_events(self, session: Any, event_type: Any, mechanism: Any) -> StatusCode:
        return StatusCode.success

    def _session(self, session: Any) -> _Session:
        if session not in self._sessions:
            raise errors.VisaIOError(StatusCode.error_connection_lost)
        return self._sessions[session]

    def _holder(self, address: str) -> int | None:
        """The session that holds the lock of an instrument."""
        return self._locks[address][0] if address in self._locks else None

    def _unlocked(self, session: Any) -> _Session:
        """A session that may talk to its instrument."""
        link = self._session(session)
        if self._holder(link.address) not in (None, session):
            self.handle_return_value(session, StatusCode.error_resource_locked)
        return link


def _canonical(address: str) -> str:
    """One spelling of an address: pyvisa writes out what may be left out of one (a USB interface number)."""
    try:
        return str(rname.to_canonical_name(address)).upper()
    except rname.InvalidResourceName:
        return address.upper()


def twin_library(devices: Mapping[str, Device], clock: Clock) -> TwinLibrary:
    """A VISA library of its own (pyvisa shares libraries by path) with a device at each address."""
    library = TwinLibrary(f"virtual-{uuid.uuid4()}")
    library._devices = {_canonical(address): device for address, device in devices.items()}
    library._clock = clock
    library._sessions = {}
    library._locks = {}
    library._last_session = _MANAGER_SESSION
    return library
