"""Where a supervisor writes what it did after a sweep's death: JSON lines beside the bench file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from otters_lab.core.clock import iso_utc

LOG_SUFFIX = ".supervisor.jsonl"
Note = Callable[..., None]

_END_BYTES = 20_000  # of a log, that are read


def log_path(bench: Path) -> Path:
    """``NAME.supervisor.jsonl`` beside the bench file, or in the folder for temporary files where that is read-only."""
    beside = bench.with_name(bench.stem + LOG_SUFFIX)
    return beside if os.access(bench.parent, os.W_OK) else Path(tempfile.gettempdir()) / beside.name


def noter(bench: Path) -> Note:
    """Adds a line to the log of a bench, with an event and facts of it."""
    path = log_path(bench)

    def note(event: str, **facts: Any) -> None:
        with path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"utc": iso_utc(datetime.now(UTC)), "event": event, **facts}) + "\n")

    return note


def notes_since(path: Path, since: datetime) -> list[dict[str, Any]]:
    """The notes of a log from `since` on, of its last few dozen; what cannot be read is left out."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - _END_BYTES))
            lines = log.read().splitlines()
    except OSError:
        return []
    notes = []
    for line in lines:
        try:
            note = json.loads(line)
            if datetime.fromisoformat(note["utc"]) >= since:
                notes.append(note)
        except (ValueError, TypeError, KeyError):
            continue
    return notes
