"""A small process beside a sweep that makes the bench safe if the sweep dies: a killed process switches nothing off.

It holds the bench file and one end of a pipe, and sends nothing while the sweep lives. The pipe's end without a
"goodbye" is the sweep's death; the system has then closed the dead process's links and freed its locks.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otters_lab.core.clock import SystemClock
from otters_lab.core.errors import InstrumentError
from otters_lab.core.tomlfile import TomlText
from otters_lab.instruments.amplifier import open_amplifier
from otters_lab.instruments.benchfile import BenchFile, bench_of
from otters_lab.instruments.drivers.registry import build, preload
from otters_lab.instruments.links import SYSTEM_LIBRARY, identify, open_link
from otters_lab.instruments.locks import locked
from otters_lab.instruments.supervisor_log import Note, log_path, noter

START_S = 30.0  # a slow disk may take its time to start a process
TRY_S = 30.0  # how long it goes on trying to reach an instrument
# The same code as the sweep's, wherever that was imported from.
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from otters_lab.instruments.supervisor import main
sys.exit(main())
"""

# --- in the sweep's process -----------------------------------------------------------------------------------------


class Supervisor:
    """The other end of the pipe."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def arm(self) -> None:
        """From now on the sweep's death is followed by making safe.

        Raises
        ------
        InstrumentError
            if the process did not start: without it nothing may be switched on.
        """
        heard: list[str] = []
        assert self._process.stdout is not None
        reader = threading.Thread(target=lambda out: heard.append(out.readline()), args=(self._process.stdout,))
        reader.daemon = True
        reader.start()
        reader.join(START_S)
        if heard != ["ready\n"] or not self._say("armed"):
            raise InstrumentError("the supervisor process did not start; nothing was switched on")

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        return self._process.poll() is None

    def goodbye(self) -> None:
        """The bench is safe: the process ends and does nothing."""
        self._say("goodbye")

    def close(self) -> None:
        """Closes the pipe. Does not wait: without a goodbye the process now makes safe."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # it ended before us
                continue

    def _say(self, word: str) -> bool:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
        except OSError:
            return False
        return True


@contextmanager
def supervised(file: BenchFile, roles: Sequence[str]) -> Iterator[Supervisor]:
    """Starts the supervisor of some roles of a bench, in a session of its own: no terminal's signal reaches it.

    They are made safe in this order.
    """
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    process = subprocess.Popen(  # -P: no module of the current folder takes the place of one of ours
        [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).resolve().parents[2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **detached,
    )
    supervisor = Supervisor(process)
    try:
        supervisor._say(json.dumps({"path": str(file.path.absolute()), "text": file.text, "roles": list(roles)}))
        yield supervisor
    finally:
        supervisor.close()


# --- in its own process ---------------------------------------------------------------------------------------------


def make_safe(file: BenchFile, roles: Sequence[str], note: Note, try_s: float = TRY_S) -> bool:
    """Connects to each instrument in the order of `roles`, identifies it and makes it safe.

    An instrument that cannot be reached does not hold up the others; it is tried again for `try_s` (s). Returns
    whether all are confirmed to be off; a stage that was to be held is switched off too, since nobody watches it.
    """
    if file.temperature is not None:
        file = file.model_copy(update={"temperature": file.temperature.model_copy(update={"after": "off"})})
    deadline_s = time.monotonic() + try_s
    pending = list(roles)
    addresses = [file.addresses[role] for role in pending]
    while True:
        try:
            with locked(addresses):
                while pending:
                    pending = [role for role in pending if not _role_made_safe(file, role, note)]
                    if pending and time.monotonic() > deadline_s:
                        break
                    time.sleep(0.5 if pending else 0)
            break
        except InstrumentError as error:
            if time.monotonic() > deadline_s:
                note("gave up", detail=str(error))
                break
            time.sleep(0.2)
    note("output state unknown" if pending else "safe", roles=pending or list(roles))
    return not pending


def _role_made_safe(file: BenchFile, role: str, note: Note) -> bool:
    link = None
    try:
        if role == "amplifier":
            link, amplifier = open_amplifier(file, SYSTEM_LIBRARY, SystemClock())
            amplifier.make_safe()
            note("off", role=role, detail="sent, not confirmed: it listens only")
            return True
        entry = file.instruments[role]
        link = open_link(role, entry, SYSTEM_LIBRARY)
        link.clear()  # the reply to the dead process's last question
        identify(link, entry, file)
        build(role, link, file, SystemClock()).make_safe()
    except Exception as error:  # a driver's own mistake must not keep the next output on
        note("failed", role=role, detail=str(error) if isinstance(error, InstrumentError) else repr(error))
        return False
    finally:
        if link is not None:
            link.hang_up()
    note("off", role=role)
    return True


def main() -> int:
    """Waits for the sweep's end. Exit code 0; 3 if it had to make safe and could not confirm it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):  # it ends with the sweep, and not before
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    given = json.loads(sys.stdin.readline())
    path, text = Path(given["path"]), str(given["text"])
    file = bench_of(TomlText(path, text, tomllib.loads(text)))
    roles = [str(role) for role in given["roles"]]
    preload(file, roles)  # imported now: later there is no time for it
    try:
        print("ready", flush=True)
    except OSError:  # the sweep ended before it began: nothing was switched on
        sys.stdout = None  # else Python complains again when it flushes
        return 0
    words = [line.strip() for line in sys.stdin]
    if "armed" not in words or "goodbye" in words:
        return 0
    note = noter(path)
    note("the sweep ended without making safe")
    safe = make_safe(file, roles, note)
    off = "light and bias are off" if "meter" in roles else "the light is off"
    result = off if safe else "output state unknown"
    _tell(f"otters-lab supervisor: the sweep ended without making safe; {result} (see {log_path(path)})")
    return 0 if safe else 3


def _tell(line: str) -> None:
    try:
        print(line, file=sys.stderr)
    except OSError:  # the terminal went with the sweep
        return
