"""Whether a process is still there."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

_PROC = Path("/proc")
_CLOCK_SET = timedelta(minutes=1)  # a clock that is being set right makes no other process of one


def is_there(pid: int, since: datetime) -> bool | None:
    """Whether the process that had this number at `since` still runs; None where the system does not say.

    A killed process that its parent has not asked after (a zombie) does not run; and a process that was started later
    is another one, which was given the number anew.
    """
    if os.name == "nt":
        return None  # os.kill(pid, 0) would send it Ctrl-C
    if (_PROC / "self" / "stat").exists():
        return _by_proc(pid, since)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _by_proc(pid: int, since: datetime) -> bool:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
        about = (_PROC / "stat").read_text()
    except OSError:
        return False
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything; see proc(5)
    boot_s = next(float(line.split()[1]) for line in about.splitlines() if line.startswith("btime"))
    started = datetime.fromtimestamp(boot_s + int(fields[18]) / os.sysconf("SC_CLK_TCK"), UTC)
    return state not in "ZX" and started <= since + _CLOCK_SET
