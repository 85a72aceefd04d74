"""Links hold the VISA lock of their instrument: other sessions are kept out, and let in again afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pyvisa
from pyvisa.constants import Lock, ResourceAttribute, StatusCode
from pyvisa.errors import VisaIOError

from otters_lab.core.errors import InstrumentError
from otters_lab.core.log import logger
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.replies import LinkError
from otters_lab.instruments.links import identify, open_link, renew_link
from otters_lab.instruments.virtual.assemble import VirtualBench
from otters_lab.instruments.virtual.server import serving
from otters_lab.instruments.virtual.visalib import TwinLibrary

ADDRESS = "GPIB0::18::INSTR"


@contextmanager
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Our log's lines reach caplog, also after a command has configured the log for itself."""
    propagate, logger.propagate = logger.propagate, True
    try:
        with caplog.at_level(logging.INFO, logger=logger.name):
            yield
    finally:
        logger.propagate = propagate


def session_of(twins: VirtualBench) -> Any:
    """Another program's session at the meter, as plain pyvisa opens it."""
    ends = {"read_termination": "\n", "write_termination": "\n"}
    return pyvisa.ResourceManager(twins.library).open_resource(ADDRESS, **ends)


def test_a_second_link_is_refused_by_name_and_closing_frees_the_lock(twins: VirtualBench, shipped: BenchFile) -> None:
    first = open_link("meter", shipped.meter, twins.library)
    with pytest.raises(InstrumentError, match=f"meter at {ADDRESS} is in use: another VISA session") as caught:
        open_link("meter", shipped.meter, twins.library)
    assert not isinstance(caught.value, LinkError)  # nothing was cut, nothing timed out
    assert identify(first, shipped.meter, shipped) == twins.meter.identity
    open_link("light", shipped.light, twins.library).hang_up()  # another instrument is another lock
    first.hang_up()
    second = open_link("meter", shipped.meter, twins.library)
    assert identify(second, shipped.meter, shipped) == twins.meter.identity
    second.hang_up()


def test_another_programs_session_can_do_nothing_while_the_link_is_open(
    twins: VirtualBench, shipped: BenchFile
) -> None:
    other = session_of(twins)
    link = open_link("meter", shipped.meter, twins.library)
    received = list(twins.meter.received)
    for act in (lambda: other.write("*RST"), other.read, other.clear):
        with pytest.raises(VisaIOError, match="VI_ERROR_RSRC_LOCKED"):
            act()
    assert list(twins.meter.received) == received
    link.hang_up()
    assert other.query("*IDN?") == twins.meter.identity


def test_a_link_opened_anew_holds_the_lock_again(twins: VirtualBench, shipped: BenchFile) -> None:
    link = open_link("meter", shipped.meter, twins.library)
    renew_link(link, shipped.meter, shipped)
    with pytest.raises(InstrumentError, match="in use"):
        open_link("meter", shipped.meter, twins.library)
    link.hang_up()
    other = session_of(twins)
    other.lock_excl(timeout=0)
    before_s = twins.world.now_s
    with pytest.raises(InstrumentError, match=f"meter at {ADDRESS} is in use"):
        renew_link(link, shipped.meter, shipped)
    assert twins.world.now_s - before_s == pytest.approx(shipped.meter.timeout)  # it waited for a lock freed late
    other.unlock()
    assert renew_link(link, shipped.meter, shipped) == twins.meter.identity


def test_an_exclusive_lock_nests_and_shared_ones_are_not_offered(twins: VirtualBench) -> None:
    first, second = session_of(twins), session_of(twins)
    first.lock_excl(timeout=0)
    first.lock_excl(timeout=0)
    first.unlock()
    with pytest.raises(VisaIOError, match="VI_ERROR_RSRC_LOCKED"):
        second.lock_excl(timeout=0)
    first.unlock()
    with pytest.raises(VisaIOError, match="VI_ERROR_SESN_NLOCKED"):
        first.unlock()
    with pytest.raises(VisaIOError, match="VI_ERROR_NSUP_OPER"):
        second.lock(timeout=0)
    second.lock_excl(timeout=0)


@pytest.mark.parametrize("error", [NotImplementedError(), VisaIOError(StatusCode.error_nonsupported_operation)])
def test_a_library_that_offers_no_lock_is_used_without_one_and_says_so(
    twins: VirtualBench,
    shipped: BenchFile,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def lock(self: Any, session: Any, lock_type: Lock, timeout: int, requested_key: Any = None) -> None:
        raise error

    monkeypatch.setattr(TwinLibrary, "lock", lock)
    with heard(caplog):
        link = open_link("meter", shipped.meter, twins.library)
    assert any("lock" in message for message in caplog.messages)
    assert identify(link, shipped.meter, shipped) == twins.meter.identity


def test_a_lock_that_fails_otherwise_is_a_broken_link(
    twins: VirtualBench, shipped: BenchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock(*arguments: Any) -> None:
        raise VisaIOError(StatusCode.error_connection_lost)

    monkeypatch.setattr(TwinLibrary, "lock", lock)
    with pytest.raises(LinkError, match="VI_ERROR_CONN_LOST"):
        open_link("meter", shipped.meter, twins.library)


def test_over_tcp_pyvisa_py_offers_none_and_the_link_works(
    shipped: BenchFile, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(shipped) as served, heard(caplog):
        link = open_link("meter", served.meter, "@py")
        assert "MODEL 2450" in identify(link, served.meter, served)
        link.hang_up()
    assert any("no VISA lock here" in message for message in caplog.messages)


def test_the_bench_frees_every_lock(shipped: BenchFile, built: list[VirtualBench]) -> None:
    with open_bench(shipped):
        assert len(built[-1].library._locks) == 3
    assert built[-1].library._locks == {}


def test_a_raw_socket_sends_each_message_when_it_is_written_also_after_it_was_opened_anew(shipped: BenchFile) -> None:
    """Else a setting and the question after it take 40 ms on the loopback, and no less in a laboratory."""
    with serving(shipped) as served:
        link = open_link("meter", served.meter, "@py")
        for _ in range(2):
            assert link.connection.get_visa_attribute(ResourceAttribute.tcpip_nodelay)
            link.renew()
        link.hang_up()
