"""The twins of a virtual bench served on loopback, in real time: one port an instrument, messages end in a line feed.

As on most instruments' raw sockets, one connection at a time is served; a second one waits until the first is closed.
A closed connection changes nothing at the instrument: an output that is on stays on.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from otters_lab.core.clock import SystemClock
from otters_lab.core.files import write_atomically
from otters_lab.core.protocols import DecaySource
from otters_lab.instruments.benchfile import BenchFile, load_bench
from otters_lab.instruments.virtual.assemble import VirtualBench, build_virtual
from otters_lab.instruments.virtual.faults import FaultPlan
from otters_lab.instruments.virtual.visalib import Device

LOOPBACK = "127.0.0.1"
_MORE_OUTPUTS = ("gate", "drain", "temperature", "amplifier")


class Record:
    """The twins' own record, as JSON lines: every message, and every change of light, bias or switch.

    `t` is the machine's monotonic clock (s). A state says whether each output is on, which channels are closed, and
    from when to when light falls that has not ended yet (no end is null).
    """

    def __init__(self, virtual: VirtualBench, file: TextIO | None) -> None:
        self._virtual = virtual
        self._file = file
        self._last: dict[str, Any] = {}

    def message(self, role: str, message: bytes) -> None:
        """Notes what arrived."""
        self._write({"role": role, "message": message.decode("latin-1")})

    def state(self) -> None:
        """Notes the state if it is another one than before."""
        found = self._state()
        if found != self._last:
            self._last = found
            self._write({"state": found})

    def _state(self) -> dict[str, Any]:
        world = self._virtual.world
        coming = [pulse for pulse in world.pulses if pulse.stop_s > world.now_s]
        return {
            "light": bool(self._virtual.light.output_on),
            "bias": bool(self._virtual.meter.output_on),
            **{role: bool(twin.output_on) for role, twin in self._virtual.twins.items() if role in _MORE_OUTPUTS},
            "closed": sorted(world.closed_channels),
            "pulses": [[p.start_s, p.stop_s if math.isfinite(p.stop_s) else None] for p in coming],
        }

    def _write(self, entry: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"t": self._virtual.world.now_s, **entry}) + "\n")
            self._file.flush()


@dataclass
class _Port:
    """One instrument at one listening socket."""

    role: str
    device: Device
    listener: socket.socket
    lock: threading.Lock  # of the whole bench: its instruments share a world
    record: Record
    faults: FaultPlan
    closed: bool = False

    def run(self) -> None:
        """Serves connections, one after the other, until the listener is closed."""
        while not self.closed:
            try:
                link, _ = self.listener.accept()
            except OSError:  # closed meanwhile
                return
            with link:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._serve(link)

    def close(self) -> None:
        """Nothing listens here any more."""
        self.closed = True
        self.listener.close()

    def _serve(self, link: socket.socket) -> None:
        incoming = b""
        while True:
            try:
                data = link.recv(65536)
            except OSError:  # reset by the other end
                return
            if not data:
                return
            *messages, incoming = (incoming + data).split(b"\n")
            for message in messages:
                if not self._answer(link, message.rstrip(b"\r")):
                    return

    def _answer(self, link: socket.socket, message: bytes) -> bool:
        """One message and its reply; False where the connection ends here."""
        with self.lock:
            fault = self.faults.meets(self.role, message)
            do = "" if fault is None else fault.do
            if fault is not None and do == "cut":
                if fault.stay:
                    self.close()
                return False
            self.record.message(self.role, message)
            if fault is not None and do in ("ignore", "reply"):
                reply = fault.text.encode("latin-1") if do == "reply" else None
            else:
                reply = self.device.handle(message)
            self.record.state()
        if reply is None or do == "silent":
            return True
        if do == "half":
            return _send(link, reply[: len(reply) // 2])
        if fault is not None and do == "late":
            # The instrument goes on meanwhile: its late reply then stands before that to a later question.
            timer = threading.Timer(fault.seconds, _send, (link, reply + b"\n"))
            timer.daemon = True
            timer.start()
            return True
        return _send(link, reply + b"\n")


def _send(link: socket.socket, data: bytes) -> bool:
    try:
        link.sendall(data)
    except OSError:  # nobody there any more
        return False
    return True


@contextmanager
def serving(
    benchfile: BenchFile,
    record: TextIO | None = None,
    faults: FaultPlan | None = None,
    decays: DecaySource | None = None,
) -> Iterator[BenchFile]:
    """Serves a virtual bench on free ports of 127.0.0.1; yields the file of the same bench over TCP.

    `decays` take the place of its chip.

    Raises
    ------
    InputError
        if the bench has nothing to measure.
    """
    virtual = build_virtual(benchfile, decays, clock=SystemClock())
    lock, faults, log = threading.Lock(), faults or FaultPlan(), Record(virtual, record)
    log.state()
    ports: dict[str, _Port] = {}
    try:
        for role, twin in virtual.twins.items():
            listener = socket.create_server((LOOPBACK, 0))
            ports[role] = _Port(role, twin, listener, lock, log, faults)
        for port in ports.values():
            threading.Thread(target=port.run, name=f"twin-{port.role}", daemon=True).start()
        updates: dict[str, Any] = {"backend": "visa"}
        for role, entry in benchfile.instruments.items():
            updates[role] = entry.model_copy(update={"address": address(ports[role].listener)})
        if "amplifier" in ports:
            there = {"address": address(ports["amplifier"].listener)}
            amplifier = benchfile.meter.amplifier and benchfile.meter.amplifier.model_copy(update=there)
            updates["meter"] = updates["meter"].model_copy(update={"amplifier": amplifier})
        yield benchfile.model_copy(update=updates)
    finally:
        for port in ports.values():
            port.close()


def address(listener: socket.socket) -> str:
    """The VISA address of a listening socket."""
    return f"TCPIP0::{LOOPBACK}::{listener.getsockname()[1]}::SOCKET"


def tcp_text(benchfile: BenchFile, served: BenchFile) -> str:
    """The text of a virtual bench's file, rewritten for its served twins: backend and addresses, nothing else."""
    text = re.sub(r'(?m)^backend\s*=\s*"virtual"', 'backend = "visa"', benchfile.text, count=1)
    for role, old in benchfile.addresses.items():
        new = served.addresses[role]
        text = re.sub(rf'(?m)^(\s*address\s*=\s*)(["\']){re.escape(old)}\2', rf'\g<1>"{new}"', text, count=1)
    return text


def main(arguments: list[str] | None = None) -> None:
    """Serves until standard input ends: for a process that lives as long as the one that started it."""
    parser = argparse.ArgumentParser(description="Serve the twins of a virtual bench on loopback.")
    parser.add_argument("bench", type=Path)
    parser.add_argument("--write", type=Path, required=True, help="bench file to write, pointing at the ports")
    parser.add_argument("--record", type=Path, required=True, help="JSON lines: messages and states")
    parser.add_argument("--faults", default="[]", help="JSON list of faults")
    given = parser.parse_args(arguments)
    benchfile = load_bench(given.bench)
    with (
        given.record.open("w", encoding="utf-8") as record,
        serving(benchfile, record, FaultPlan.of_json(given.faults)) as served,
    ):
        write_atomically(given.write, tcp_text(benchfile, served).encode())
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
