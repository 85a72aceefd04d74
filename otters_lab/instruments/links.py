"""Links to instruments: opened, identified, closed and opened anew after a failure, and never waited on without end."""

from __future__ import annotations

import re
import socket
import warnings
from collections.abc import Callable
from typing import Any, Protocol

from pymeasure.adapters import VISAAdapter
from pyvisa import ResourceManager
from pyvisa.constants import StatusCode
from pyvisa.errors import VisaIOError

from otters_lab.core.errors import InstrumentError
from otters_lab.core.log import logger
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.replies import LinkError, link_errors
from otters_lab.instruments.entrytables import InstrumentEntry

# What pyvisa picks by itself: the system's VISA where there is one, else pyvisa-py.
SYSTEM_LIBRARY: Any = ""

# Entries asked of an error queue without anything else in between. Instruments keep some tens; PyMeasure's
# `check_errors` asks until the queue is empty, which a broken instrument's never is.
MAX_QUEUE_QUERIES = 100
_QUEUE_QUERY = re.compile(r":?SYST(EM)?:ERR(OR)?(:NEXT)?\?|.*ERRORQUEUE\.", re.IGNORECASE)

# How a VISA library says that somebody else holds the lock (VPP-4.3, viLock), and that it offers none.
_LOCKED = (StatusCode.error_resource_locked, StatusCode.error_timeout)
_NO_LOCK = (
    StatusCode.error_nonsupported_operation,
    StatusCode.error_nonimplemented_operation,
    StatusCode.error_invalid_lock_type,
)

# (role, "out" or "in", text): every message as it passes; "error" for a read or a write that failed.
Tap = Callable[[str, str, str], None]


class Place(Protocol):
    """Where a link leads, and how long (s) it waits."""

    @property
    def address(self) -> str:
        """VISA address."""

    @property
    def timeout(self) -> float:
        """Of a write or a read (s)."""


class Link(VISAAdapter):
    """A PyMeasure adapter that can be opened anew under the driver that holds it. `options` are those of pyvisa.

    It holds the resource's exclusive VISA lock while it is open, where the library offers one.

    Raises
    ------
    InstrumentError
        if another VISA session holds it.
    """

    def __init__(self, role: str, entry: Place, library: Any, tap: Tap | None = None, **options: Any) -> None:
        self.role = role
        self._tap = tap
        self._queue_queries = 0
        self._options: dict[str, Any] = {
            "timeout": round(entry.timeout * 1000),
            "read_termination": "\n",
            "write_termination": "\n",
            **options,
        }
        super().__init__(entry.address, visa_library=library, **self._options)
        send_at_once(self.connection)
        self._lock(0)

    def renew(self) -> None:
        """Closes the connection and opens another: what was still to come on the old one is gone with it."""
        self.hang_up()
        self._queue_queries = 0
        self.connection = self.manager.open_resource(self.resource_name, **self._options)
        send_at_once(self.connection)
        self._lock(self._options["timeout"])  # the lock of a connection that was cut may be freed late
        self.clear()

    def _lock(self, timeout_ms: int) -> None:
        """Keeps other programs' VISA sessions out: they know nothing of our lock files."""
        try:
            self.connection.lock_excl(timeout=timeout_ms)
        except NotImplementedError:
            logger.info("%s: this VISA library offers no lock", self.role)
        except VisaIOError as error:
            if error.error_code in _NO_LOCK:
                logger.info("%s: no VISA lock here: %s", self.role, error)
                return
            self.hang_up()
            if error.error_code in _LOCKED:
                place = f"{self.role} at {self.resource_name}"
                raise InstrumentError(f"{place} is in use: another VISA session holds its lock") from None
            raise

    def reopen(self) -> None:
        """`renew`, whose failure is a `LinkError`."""
        place = f"{self.role} at {self.resource_name}"
        try:
            with link_errors(place):
                self.renew()
        except InstrumentError:
            raise
        except Exception as error:  # as in `open_link`
            raise LinkError(f"{place}: {error}") from error

    def clear(self) -> None:
        """Device clear: on GPIB and USB a late reply waits in the instrument, whatever becomes of the session."""
        if str(self.resource_name).upper().endswith("::SOCKET"):
            return  # a raw socket has none; what was to come on it went with it
        try:
            self.connection.clear()
        except (VisaIOError, NotImplementedError) as error:
            logger.info("%s: no device clear: %s", self.role, error)

    def hang_up(self) -> None:
        """Closes the connection, whatever state it is in."""
        try:
            self.connection.close()
        except (VisaIOError, OSError) as error:
            logger.info("%s: closing the link: %s", self.role, error)

    def _write(self, command: str, **kwargs: Any) -> None:
        self._queue_queries = self._queue_queries + 1 if _QUEUE_QUERY.match(command) else 0
        if self._queue_queries > MAX_QUEUE_QUERIES:
            raise InstrumentError(f"{self.role}: the error queue has no end ({MAX_QUEUE_QUERIES} entries read)")
        self._passed("out", command)
        super()._write(command, **kwargs)

    def _write_bytes(self, content: bytes, **kwargs: Any) -> None:
        self._passed("out", content.decode("latin-1"))
        super()._write_bytes(content, **kwargs)

    def _read(self, **kwargs: Any) -> str:
        try:
            text = str(super()._read(**kwargs))
        except (VisaIOError, OSError) as error:
            self._passed("error", str(error))
            raise
        self._passed("in", text)
        return text

    def _read_bytes(self, count: int, break_on_termchar: bool = False, **kwargs: Any) -> bytes:
        try:
            content = bytes(super()._read_bytes(count, break_on_termchar, **kwargs))
        except (VisaIOError, OSError) as error:
            self._passed("error", str(error))
            raise
        self._passed("in", content.decode("latin-1"))
        return content

    def _passed(self, direction: str, text: str) -> None:
        if self._tap is None:
            return
        try:
            self._tap(self.role, direction, text)
        except OSError as error:  # a full disk must not keep an output on
            self._tap = None
            logger.warning("%s: the transcript ends here: %s", self.role, error)


def send_at_once(connection: Any) -> None:
    """Has a raw socket send every message when it is written: VISA's default, and not pyvisa-py's.

    Without it a message that follows another, as a question does a setting, waits until the instrument's system has
    acknowledged the first, which takes it 40 ms. (pyvisa-py 0.8 has the attribute, but takes no value for it.)
    """
    session = getattr(connection.visalib, "sessions", {}).get(connection.session)
    interface = getattr(session, "interface", None)
    if isinstance(interface, socket.socket):
        interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def open_link(role: str, entry: Place, library: Any, tap: Tap | None = None, **options: Any) -> Link:
    """Opens a link. Nothing is sent. `options` are those of pyvisa.

    Raises
    ------
    LinkError
        if nothing is there.
    """
    place = f"{role} at {entry.address}"
    try:
        with link_errors(place):
            try:
                return Link(role, entry, library, tap, **options)
            except ValueError as error:  # pyvisa-py has not got what this kind of address needs
                raise LinkError(f"{place} cannot be opened: {' '.join(str(error).split())}") from error
    except InstrumentError:
        raise
    except Exception as error:  # pyvisa-py raises plain Exception where a host does not answer
        raise LinkError(f"{place}: {error}") from error


def visible_addresses(library: Any = SYSTEM_LIBRARY) -> list[str]:
    """VISA addresses at which the library finds something. Nothing is sent to it.

    Raises
    ------
    InstrumentError
        if there is no VISA library.
    """
    try:
        with warnings.catch_warnings():  # pyvisa-py tells of every kind of address that it cannot look for
            warnings.simplefilter("ignore")
            return sorted(ResourceManager(library).list_resources("?*"))
    except (OSError, ValueError, VisaIOError) as error:
        raise InstrumentError(f"VISA: {error}") from error


def identify(link: Link, entry: InstrumentEntry, file: BenchFile) -> str:
    """Asks *IDN? and refuses another instrument than the file names.

    Raises
    ------
    InstrumentError
        if another instrument answers, or none does.
    """
    place = f"{link.role} at {entry.address}"
    with link_errors(place):
        link.write("*IDN?")
        identity = str(link.read()).strip()
    if entry.identity not in identity:
        raise InstrumentError(f"{place}: found {identity!r}, expected {entry.identity!r} in it ({file.path})")
    return identity


def renew_link(link: Link, entry: InstrumentEntry, file: BenchFile) -> str:
    """Closes a link, opens it again and identifies the instrument anew.

    Raises
    ------
    InstrumentError
        as `open_link` and `identify`.
    """
    link.reopen()
    return identify(link, entry, file)
