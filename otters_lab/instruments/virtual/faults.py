"""Faults that a served twin has on purpose, to test everything that can go wrong: what happens to which message.

A fault is a small table: `role` and `match` (part of a message, in any case) say which messages, `first` which of them
begins it (1 is the first), `times` how many it takes (0: all that follow), `do` what happens:

ignore   the instrument does not see the message
silent   it sees the message and does not reply
late     its reply comes after `seconds`
half     the first half of its reply comes, and no end
reply    it does nothing and replies `text`
cut      the connection is closed before the message is seen; with `stay` nothing listens there any more
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from otters_lab.core.tomlfile import StrictModel


class Fault(StrictModel):
    """One fault."""

    role: str
    match: str
    do: Literal["ignore", "silent", "late", "half", "reply", "cut"]
    first: int = Field(default=1, ge=1)
    times: int = Field(default=1, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    text: str = ""
    stay: bool = False


class FaultPlan:
    """Counts messages and tells which fault, if any, each one meets."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)

    @classmethod
    def of_json(cls, text: str) -> FaultPlan:
        """From a JSON list of faults."""
        return cls([Fault.model_validate(entry) for entry in json.loads(text)])

    def meets(self, role: str, message: bytes) -> Fault | None:
        """The fault of this message; every fault that it matches counts it."""
        text, met = message.decode("latin-1").upper(), None
        for number, fault in enumerate(self._faults):
            if fault.role != role or fault.match.upper() not in text:
                continue
            self._seen[number] += 1
            since = self._seen[number] - fault.first
            if since >= 0 and (fault.times == 0 or since < fault.times):
                met = met or fault
        return met
