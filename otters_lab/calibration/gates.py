"""Gates: what a calibration must pass before a network is trained on it. Each has a value, a limit and a verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["pass", "fail", "unknown"]


class Gate(BaseModel):
    """One gate. `value` is null, and the verdict "unknown", where the data cannot give it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    value: float | None
    limit: float
    rule: Literal["at most", "at least"]
    verdict: Verdict
    about: str


def at_most(name: str, value: float | None, limit: float, about: str) -> Gate:
    """A gate that passes where value <= limit."""
    verdict: Verdict = "unknown" if value is None else "pass" if value <= limit else "fail"
    return Gate(name=name, value=value, limit=limit, rule="at most", verdict=verdict, about=about)


def at_least(name: str, value: float | None, limit: float, about: str) -> Gate:
    """A gate that passes where value >= limit."""
    verdict: Verdict = "unknown" if value is None else "pass" if value >= limit else "fail"
    return Gate(name=name, value=value, limit=limit, rule="at least", verdict=verdict, about=about)
